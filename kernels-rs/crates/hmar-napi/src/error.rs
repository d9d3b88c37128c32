//! Errors as they cross to JavaScript: a JSON object in the message, which `@hmar/native` makes typed again.

use hmar_error::{Code, Error};

pub(crate) fn to_js(error: &Error) -> napi::Error {
    let Error { code, message, found, expected, remedy } = error;
    let json = serde_json::json!({
        "hmar": true,
        "code": code.as_str(),
        "message": message,
        "found": found,
        "expected": expected,
        "remedy": remedy,
    });
    napi::Error::from_reason(json.to_string())
}

/// What a caught panic says.
pub(crate) fn from_panic(panic: &(dyn std::any::Any + Send)) -> Error {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
    Error::new(Code::Internal, "The native engine panicked: this is a bug.").found(text)
}

/// The object was closed before the call.
pub(crate) fn closed(what: &str) -> napi::Error {
    to_js(&Error::new(Code::Closed, format!("The {what} is closed.")))
}
