//! Files of small models.

use super::{small_model, write, write_plain};
use hmar_checkpoint::{Layout, ModelCheckpoint, ModelConfig, OpenModel, Synthetic};
use hmar_error::Error;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

pub fn write_json(folder: &TempDir, json: &serde_json::Value) {
    write(folder.path(), "config.json", json.to_string().as_bytes());
}

/// A small model's file, without anything beside it.
pub fn file_of(folder: &TempDir, config: &ModelConfig) -> PathBuf {
    let path = folder.path().join("model.safetensors");
    write_plain(&path, &Synthetic::model(config));
    path
}

pub fn opened(options: OpenModel) -> Result<ModelCheckpoint, Error> {
    ModelCheckpoint::open(&options)
}

pub fn error_at(path: &Path) -> Error {
    opened(OpenModel::at(path)).err().expect("the model must be refused")
}

/// As [`small_model`], with the released pyramid.
pub fn known_pyramid(layout: Layout) -> ModelConfig {
    ModelConfig { pyramid: hmar_checkpoint::PYRAMID_256.to_vec(), ..small_model(layout) }
}
