//! A tokenizer's checkpoint, ready to be loaded.

use crate::checkpoint::{Part, open};
use crate::infer::{fit, resolve_tokenizer};
use crate::license::license_of;
use crate::locate::{describe, file_of};
use crate::names::tokenizer_tensors;
use crate::{TensorSource, TokenizerConfig};
use hmar_error::Result;
use std::path::Path;
use std::sync::Arc;

/// A tokenizer whose tensors have been checked against its configuration; no weight has been read yet.
pub struct TokenizerCheckpoint {
    /// What the tokenizer is made of.
    pub config: TokenizerConfig,
    /// Its tensors, named as [`crate::tokenizer_tensors`] names them; constants may be missing.
    pub source: Arc<dyn TensorSource>,
    /// The licence its file states.
    pub license: Option<String>,
}

impl TokenizerCheckpoint {
    /// Opens a tokenizer: a file, or the folder it is in. `config` is JSON in the form of [`crate::ConfigFile`], and goes
    /// before what stands in the file or beside it.
    ///
    /// # Errors
    /// Those of [`crate::open`]; `TENSOR_MISMATCH`, listing every difference; `CONFIG_INVALID` when a configuration
    /// contradicts itself or the tensors.
    pub fn open(path: &Path, config: Option<&str>) -> Result<Self> {
        let path = file_of(path, Part::Tokenizer)?;
        let checkpoint = open(&path)?;
        let source = checkpoint.require(Part::Tokenizer)?;
        let described = describe(config, checkpoint.metadata(), &path, Part::Tokenizer)?;
        let config = fit(
            &path,
            &*source,
            described.as_ref(),
            |described| resolve_tokenizer(&*source, described.map(|described| &described.json)),
            tokenizer_tensors,
        )?;
        let license = license_of(checkpoint.metadata(), None);
        Ok(TokenizerCheckpoint { config, source, license })
    }
}
