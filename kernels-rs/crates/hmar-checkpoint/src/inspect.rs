//! What is in a file, without reading its weights.

use crate::checkpoint::{Checkpoint, Format, Part, open};
use crate::convert::parameters;
use crate::locate::file_of;
use crate::model::{ModelCheckpoint, OpenModel};
use crate::tokenizer::TokenizerCheckpoint;
use crate::{Layout, ModelConfig, TensorInfo, TensorSource, TokenizerConfig};
use hmar_error::{Error, Result};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// What a checkpoint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A transformer.
    Model,
    /// A tokenizer.
    Tokenizer,
    /// A training checkpoint, with either or both.
    Training,
    /// Tensors of something else.
    Unknown,
}

/// What is in a file.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Inspection {
    /// The file's format.
    pub format: Format,
    /// What its tensors are.
    pub kind: Kind,
    /// The model's layout, where it can be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layout: Option<Layout>,
    /// The model's configuration, where it can be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_config: Option<ModelConfig>,
    /// The tokenizer's configuration, where it can be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokenizer_config: Option<TokenizerConfig>,
    /// Every tensor under its name in the file.
    pub tensors: Vec<TensorInfo>,
    /// Numbers in all tensors together.
    pub parameters: u64,
    /// The file's size.
    pub bytes: u64,
    /// The strings of a safetensors header.
    pub metadata: BTreeMap<String, String>,
    /// The licence that the file states, or that released weights of this form have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// Why the file cannot be loaded as it is: one sentence for each part that cannot.
    pub problems: Vec<String>,
}

/// Describes a file, or the model's file in a folder. What keeps it from being loaded is no error here.
///
/// # Errors
/// Those of [`crate::open`].
pub fn inspect(path: &Path, mode: Option<Layout>) -> Result<Inspection> {
    let path = file_of(path, Part::Model)?;
    let checkpoint = open(&path)?;
    let mut problems = Vec::new();
    let mut keep = |error: Error| problems.push(error.to_string());
    let model = checkpoint.part(Part::Model).and_then(|_| {
        let open = OpenModel { mode, ..OpenModel::at(&path) };
        ModelCheckpoint::open(&open).map_err(&mut keep).ok()
    });
    let tokenizer = checkpoint
        .part(Part::Tokenizer)
        .and_then(|_| TokenizerCheckpoint::open(&path, None).map_err(&mut keep).ok());
    let license = model.as_ref().and_then(|model| model.license.clone());
    let license = license.or_else(|| checkpoint.metadata().get("license").cloned());
    let model_config = model.map(|model| model.config);
    Ok(Inspection {
        format: checkpoint.format(),
        kind: kind(&checkpoint),
        layout: model_config.as_ref().map(|config| config.layout),
        model_config,
        tokenizer_config: tokenizer.map(|tokenizer| tokenizer.config),
        tensors: checkpoint.tensors().to_vec(),
        parameters: parameters(checkpoint.tensors()),
        bytes: checkpoint.bytes(),
        metadata: checkpoint.metadata().clone(),
        license,
        problems,
    })
}

fn kind(checkpoint: &Checkpoint) -> Kind {
    if checkpoint.is_training() {
        return Kind::Training;
    }
    match (checkpoint.part(Part::Model), checkpoint.part(Part::Tokenizer)) {
        (Some(_), _) => Kind::Model,
        (_, Some(_)) => Kind::Tokenizer,
        _ => Kind::Unknown,
    }
}
