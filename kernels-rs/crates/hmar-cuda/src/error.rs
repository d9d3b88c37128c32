//! The driver's errors in this project's words.

use cudarc::driver::DriverError;
use cudarc::driver::sys::CUresult;
use hmar_error::{Code, Error};

/// Errors after which the driver refuses every further call of this process on the device.
pub(crate) fn is_fatal(error: DriverError) -> bool {
    use CUresult as E;
    matches!(
        error.0,
        E::CUDA_ERROR_ECC_UNCORRECTABLE
            | E::CUDA_ERROR_NVLINK_UNCORRECTABLE
            | E::CUDA_ERROR_ILLEGAL_ADDRESS
            | E::CUDA_ERROR_LAUNCH_TIMEOUT
            | E::CUDA_ERROR_ASSERT
            | E::CUDA_ERROR_HARDWARE_STACK_ERROR
            | E::CUDA_ERROR_ILLEGAL_INSTRUCTION
            | E::CUDA_ERROR_MISALIGNED_ADDRESS
            | E::CUDA_ERROR_INVALID_ADDRESS_SPACE
            | E::CUDA_ERROR_INVALID_PC
            | E::CUDA_ERROR_LAUNCH_FAILED
            | E::CUDA_ERROR_CONTEXT_IS_DESTROYED
            | E::CUDA_ERROR_DEINITIALIZED
            | E::CUDA_ERROR_UNKNOWN
    )
}

pub(crate) fn is_out_of_memory(error: DriverError) -> bool {
    error.0 == CUresult::CUDA_ERROR_OUT_OF_MEMORY
}

/// What the driver calls the error, and its own sentence.
pub(crate) fn in_driver_words(error: DriverError) -> String {
    let name = error.error_name().ok().and_then(|name| name.to_str().ok()).unwrap_or("an unknown error");
    match error.error_string().ok().and_then(|text| text.to_str().ok()) {
        Some(text) => format!("{name} ({text})"),
        None => name.to_owned(),
    }
}

/// The error a dead device answers every call with.
pub(crate) fn dead(what: &str, error: DriverError) -> Error {
    Error::new(Code::DeviceUnavailable, format!("The GPU stopped working while it was to {what}."))
        .found(in_driver_words(error))
        .expected("a GPU that answers")
        .remedy("Restart the process: a GPU serves a process no longer after this error. Should it happen again, look at the machine's kernel log (`dmesg | grep -i xid`).")
}

/// An error that leaves the device usable.
pub(crate) fn failed(what: &str, error: DriverError) -> Error {
    Error::new(Code::Internal, format!("The GPU could not {what}.")).found(in_driver_words(error))
}

/// Memory that is not there: what was needed, what is free.
pub(crate) fn out_of_memory(needed: Option<usize>, free: Option<usize>) -> Error {
    let mut error = Error::new(Code::OutOfMemory, "The GPU has not enough memory left.")
        .remedy("Generate fewer images at a time, or close other programs on this GPU.");
    error.expected = needed.map(|bytes| format!("{} free", in_mebibytes(bytes)));
    error.found = free.map(|bytes| format!("{} free", in_mebibytes(bytes)));
    error
}

fn in_mebibytes(bytes: usize) -> String {
    format!("{:.1} MiB", bytes as f64 / (1 << 20) as f64)
}
