//! A transformer's checkpoint, ready to be loaded.

use crate::assemble::assemble;
use crate::checkpoint::{Part, open};
use crate::infer::{ModelEvidence, fit, resolve_layout, resolve_model};
use crate::license::license_of;
use crate::locate::{describe, file_of};
use crate::names::model_tensors;
use crate::{Layout, ModelConfig, TensorSource};
use hmar_error::{Code, Error, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Which files a transformer is in, and what its caller says about it.
#[derive(Clone, Debug, Default)]
pub struct OpenModel {
    /// One file (or the folder it is in), or two training files to be assembled: next-scale and masked.
    pub paths: Vec<PathBuf>,
    /// A configuration, as JSON in the form of [`crate::ConfigFile`]. It goes before what stands in the file or beside it.
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
    pub source: Arc<dyn TensorSource>,
    /// The licence its file states, or that released weights of this form have.
    pub license: Option<String>,
}

impl ModelCheckpoint {
    /// Opens a model: finds its configuration and checks its tensors' names and shapes.
    ///
    /// # Errors
    /// Those of [`crate::open`]; `TENSOR_MISMATCH`, listing every difference; `CONFIG_AMBIGUOUS` when pyramid, layout or
    /// branch depth cannot be told; `CONFIG_INVALID` when a configuration contradicts itself or the tensors.
    pub fn open(options: &OpenModel) -> Result<Self> {
        match &options.paths[..] {
            [path] => open_one(&file_of(path, Part::Model)?, options),
            [first, second] => assemble(&open(first)?, &open(second)?, options.config.as_deref()),
            paths => {
                Err(Error::new(Code::ArgumentOutOfRange, "A model is in one file, or in two training files.")
                    .found(format_args!("{} files", paths.len())))
            }
        }
    }
}

fn open_one(path: &Path, options: &OpenModel) -> Result<ModelCheckpoint> {
    let checkpoint = open(path)?;
    let source = checkpoint.require(Part::Model)?;
    let evidence = ModelEvidence::of(&*source);
    if evidence.masked {
        return Err(Error::new(
            Code::TensorMismatch,
            format!(
                "{} is the masked finetuned half of a training: it has no next-scale branch.",
                path.display()
            ),
        )
        .remedy("Give the next-scale training file too, and both are assembled."));
    }
    if let (true, Some(mode)) = (evidence.combined, options.mode) {
        return Err(
            Error::new(Code::ConfigInvalid, "A combined model has no other mode.").found(mode.as_str())
        );
    }
    let described = describe(options.config.as_deref(), checkpoint.metadata(), path, Part::Model)?;
    let config = fit(
        path,
        &*source,
        described.as_ref(),
        |described| {
            let json = described.map(|described| &described.json);
            let layout = if evidence.combined {
                Layout::Combined
            } else {
                let said = json.and_then(|json| json.model.as_ref()?.layout);
                resolve_layout(&evidence, &*source, options.mode.or(said), json)?
            };
            resolve_model(&evidence, json, layout)
        },
        model_tensors,
    )?;
    let license = license_of(checkpoint.metadata(), Some(&config));
    Ok(ModelCheckpoint { config, source, license })
}
