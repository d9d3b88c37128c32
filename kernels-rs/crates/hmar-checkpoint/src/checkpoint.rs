//! Opening a file of either format.

use crate::file::SharedFile;
use crate::pth::PthFile;
use crate::safetensors::SafetensorsFile;
use crate::sniff::{Contents, sniff};
use crate::tensor::Sink;
use crate::view::View;
use crate::{TensorInfo, TensorSource};
use hmar_error::{Code, Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The format of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// PyTorch's zip archive.
    Pth,
    /// JSON header and raw tensors.
    Safetensors,
}

/// What a set of tensors is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// A transformer.
    Model,
    /// A tokenizer.
    Tokenizer,
}

/// An open file. As a source it has all tensors under the names they have in the file; those of a training checkpoint
/// start with their path (`trainer.vae_local.`).
pub struct Checkpoint {
    path: PathBuf,
    format: Format,
    bytes: u64,
    metadata: BTreeMap<String, String>,
    source: Arc<dyn TensorSource>,
}

/// Opens a `.pth` or `.safetensors` file, told apart by their contents. Headers are read and checked, weights are not.
///
/// # Errors
/// `FILE_UNREADABLE`; `NOT_A_CHECKPOINT`, naming what the file is instead; `CHECKPOINT_CORRUPT`; `CHECKPOINT_REFUSED`.
pub fn open(path: &Path) -> Result<Checkpoint> {
    open_shared(SharedFile::open(path)?)
}

/// Opens what is in memory already, as a file of that name would be opened.
///
/// # Errors
/// Those of [`open`], but for `FILE_UNREADABLE`.
pub fn open_bytes(name: &Path, bytes: Vec<u8>) -> Result<Checkpoint> {
    open_shared(SharedFile::in_memory(name, bytes))
}

fn open_shared(file: SharedFile) -> Result<Checkpoint> {
    let path = file.path().to_path_buf();
    let bytes = file.len();
    let (format, source, metadata): (_, Arc<dyn TensorSource>, _) = match sniff(&file)? {
        Contents::Zip => (Format::Pth, Arc::new(PthFile::open(file)?), BTreeMap::new()),
        Contents::Safetensors => {
            let file = SafetensorsFile::open(file)?;
            let metadata = file.metadata().clone();
            (Format::Safetensors, Arc::new(file), metadata)
        }
    };
    Ok(Checkpoint { path, format, bytes, metadata, source })
}

impl Checkpoint {
    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file's format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The file's size.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The strings of a safetensors header; empty for `.pth`.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Whether this is a training checkpoint, which holds more than the weights.
    pub fn is_training(&self) -> bool {
        self.source.tensors().iter().any(|tensor| tensor.name.starts_with("trainer."))
    }

    /// The model or the tokenizer in this file, if it is there.
    pub fn part(&self, part: Part) -> Option<Arc<dyn TensorSource>> {
        if self.is_training() {
            let prefixes: &[&str] = match part {
                Part::Model => &["trainer.transformer_wo_ddp.", "trainer.var_wo_ddp."],
                Part::Tokenizer => &["trainer.vae_local."],
            };
            let mut views = prefixes.iter().map(|prefix| View::below(&self.source, prefix));
            return views.find(|view| !view.tensors().is_empty()).map(|view| Arc::new(view) as _);
        }
        (part_of(self.source.tensors()) == Some(part)).then(|| Arc::clone(&self.source))
    }

    /// The model or the tokenizer in this file.
    ///
    /// # Errors
    /// `TENSOR_MISMATCH` when the file has other tensors.
    pub fn require(&self, part: Part) -> Result<Arc<dyn TensorSource>> {
        self.part(part).ok_or_else(|| {
            let (wanted, other) = match part {
                Part::Model => ("a transformer", Part::Tokenizer),
                Part::Tokenizer => ("a tokenizer", Part::Model),
            };
            let error = Error::new(
                Code::TensorMismatch,
                format!("{} does not hold the weights of {wanted}.", self.path.display()),
            );
            let names: Vec<&str> = self.tensors().iter().take(5).map(|tensor| tensor.name.as_str()).collect();
            match (self.part(other), names.is_empty()) {
                (Some(_), _) if other == Part::Tokenizer => error.found("a tokenizer"),
                (Some(_), _) => error.found("a transformer"),
                (None, true) => error.found("no tensors at all"),
                (None, false) => error.found(format_args!("tensors such as {}", names.join(", "))),
            }
        })
    }
}

/// What tensors are, by their names.
fn part_of(tensors: &[TensorInfo]) -> Option<Part> {
    let starts = |prefixes: &[&str]| {
        tensors.iter().any(|tensor| prefixes.iter().any(|prefix| tensor.name.starts_with(prefix)))
    };
    if starts(&["blocks.", "base_blocks.", "ns_blocks.", "mask_blocks.", "class_emb."]) {
        Some(Part::Model)
    } else if starts(&["encoder.", "decoder.", "quantize."]) {
        Some(Part::Tokenizer)
    } else {
        None
    }
}

impl TensorSource for Checkpoint {
    fn tensors(&self) -> &[TensorInfo] {
        self.source.tensors()
    }

    fn find(&self, name: &str) -> Option<&TensorInfo> {
        self.source.find(name)
    }

    fn stream(&self, name: &str, chunk: usize, sink: &mut Sink<'_>) -> Result<()> {
        self.source.stream(name, chunk, sink)
    }
}
