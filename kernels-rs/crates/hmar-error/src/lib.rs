//! The one error type of the HMAR crates.
//!
//! Every failure a caller can meet carries a stable [`Code`], a sentence, and, where they help, what was
//! found, what was expected and what to do about it. The napi layer hands all five to TypeScript unchanged.

#![forbid(unsafe_code)]

use std::fmt;

/// What kind of failure this is. The string form is public API: it never changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Code {
    /// The file cannot be opened or read (missing, permissions, I/O).
    FileUnreadable,
    /// The file cannot be written (disk full, permissions, I/O). Nothing half-written is left behind.
    FileUnwritable,
    /// The bytes are not a checkpoint of a known format; the message names what they look like instead.
    NotACheckpoint,
    /// A checkpoint that is truncated, inconsistent or damaged.
    CheckpointCorrupt,
    /// A checkpoint that asks for something this reader refuses to do (a foreign pickle global, a budget).
    CheckpointRefused,
    /// Tensors are missing, superfluous or of the wrong shape or type; the message lists every difference.
    TensorMismatch,
    /// A weight is NaN or infinite.
    NonFiniteWeight,
    /// The file changed while it was read.
    FileChanged,
    /// The layout or a configuration value cannot be told from the file: the caller must say.
    ConfigAmbiguous,
    /// The configuration contradicts itself or the file.
    ConfigInvalid,
    /// An argument is out of its range.
    ArgumentOutOfRange,
    /// A plan does not fit the model (a scale's counts, its side, its order).
    PlanInvalid,
    /// A saved session is damaged, of another version, or of another model.
    SessionInvalid,
    /// The device is not there, or cannot be used.
    DeviceUnavailable,
    /// Memory ran out.
    OutOfMemory,
    /// The work was cancelled by its caller.
    Cancelled,
    /// The object was closed before the call.
    Closed,
    /// A bug: an internal invariant broke, or a panic was caught.
    Internal,
}

impl Code {
    /// The stable string, e.g. `CHECKPOINT_CORRUPT`.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::FileUnreadable => "FILE_UNREADABLE",
            Code::FileUnwritable => "FILE_UNWRITABLE",
            Code::NotACheckpoint => "NOT_A_CHECKPOINT",
            Code::CheckpointCorrupt => "CHECKPOINT_CORRUPT",
            Code::CheckpointRefused => "CHECKPOINT_REFUSED",
            Code::TensorMismatch => "TENSOR_MISMATCH",
            Code::NonFiniteWeight => "NON_FINITE_WEIGHT",
            Code::FileChanged => "FILE_CHANGED",
            Code::ConfigAmbiguous => "CONFIG_AMBIGUOUS",
            Code::ConfigInvalid => "CONFIG_INVALID",
            Code::ArgumentOutOfRange => "ARGUMENT_OUT_OF_RANGE",
            Code::PlanInvalid => "PLAN_INVALID",
            Code::SessionInvalid => "SESSION_INVALID",
            Code::DeviceUnavailable => "DEVICE_UNAVAILABLE",
            Code::OutOfMemory => "OUT_OF_MEMORY",
            Code::Cancelled => "CANCELLED",
            Code::Closed => "CLOSED",
            Code::Internal => "INTERNAL",
        }
    }
}

/// A failure with its stable code, and the details a person needs to act on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The kind of failure.
    pub code: Code,
    /// One sentence, in plain words, naming the file, tensor or argument.
    pub message: String,
    /// What was found.
    pub found: Option<String>,
    /// What was expected instead.
    pub expected: Option<String>,
    /// What the caller can do.
    pub remedy: Option<String>,
}

/// `Result` with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error with its code and sentence.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Error { code, message: message.into(), found: None, expected: None, remedy: None }
    }

    /// Adds what was found.
    #[must_use]
    pub fn found(mut self, found: impl fmt::Display) -> Self {
        self.found = Some(found.to_string());
        self
    }

    /// Adds what was expected.
    #[must_use]
    pub fn expected(mut self, expected: impl fmt::Display) -> Self {
        self.expected = Some(expected.to_string());
        self
    }

    /// Adds what to do.
    #[must_use]
    pub fn remedy(mut self, remedy: impl fmt::Display) -> Self {
        self.remedy = Some(remedy.to_string());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(found) = &self.found {
            write!(f, " Found: {found}.")?;
        }
        if let Some(expected) = &self.expected {
            write!(f, " Expected: {expected}.")?;
        }
        if let Some(remedy) = &self.remedy {
            write!(f, " {remedy}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}
