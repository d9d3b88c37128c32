//! A transformer's checkpoint, ready to be loaded.

use crate::{Layout, ModelConfig, TensorSource};
use hmar_error::{Code, Error, Result};
use std::path::PathBuf;

/// Which files a transformer is in, and what its caller says about it.
#[derive(Clone, Debug, Default)]
pub struct OpenModel {
    /// One file (or the folder it is in), or two training files to be assembled: next-scale and masked.
    pub paths: Vec<PathBuf>,
    /// A configuration, as JSON in the form of the `config.json` beside a file. It goes before any other.
    pub config: Option<String>,
    /// [`Layout::NextScale`] or [`Layout::Var`], for files that do not tell them apart.
    pub mode: Option<Layout>,
}

impl OpenModel {
    /// One file, or the folder it is in.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        OpenModel { paths: vec![path.into()], ..OpenModel::default() }
    }
}

/// A transformer whose tensors have been checked against its configuration; no weight has been read yet.
pub struct ModelCheckpoint {
    /// What the model is made of.
    pub config: ModelConfig,
    /// Its tensors, named as [`crate::model_tensors`] names them; constants may be missing.
    pub source: Box<dyn TensorSource>,
    /// The licence its file states, or that released weights of this form have.
    pub license: Option<String>,
}

impl ModelCheckpoint {
    /// Opens a model.
    pub fn open(_options: &OpenModel) -> Result<Self> {
        Err(Error::new(Code::Internal, "not written yet"))
    }
}
