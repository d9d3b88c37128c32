//! A tokenizer's checkpoint, ready to be loaded.

use crate::{TensorSource, TokenizerConfig};
use hmar_error::{Code, Error, Result};
use std::path::Path;

/// A tokenizer whose tensors have been checked against its configuration; no weight has been read yet.
pub struct TokenizerCheckpoint {
    /// What the tokenizer is made of.
    pub config: TokenizerConfig,
    /// Its tensors, named as [`crate::tokenizer_tensors`] names them; constants may be missing.
    pub source: Box<dyn TensorSource>,
    /// The licence its file states.
    pub license: Option<String>,
}

impl TokenizerCheckpoint {
    /// Opens a tokenizer: a file, or the folder it is in. `config` is JSON in the form of the `config.json` beside a
    /// file, and goes before any other.
    pub fn open(_path: &Path, _config: Option<&str>) -> Result<Self> {
        Err(Error::new(Code::Internal, "not written yet"))
    }
}
