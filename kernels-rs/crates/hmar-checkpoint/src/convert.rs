//! Any checkpoint into one safetensors file.

use crate::checkpoint::{Part, open};
use crate::config::ConfigFile;
use crate::digest::sha256;
use crate::file::SharedFile;
use crate::locate::file_of;
use crate::model::{ModelCheckpoint, OpenModel};
use crate::safetensors::{Progress, StoreAs, WriteOptions, stored_bytes, write_safetensors};
use crate::tokenizer::TokenizerCheckpoint;
use crate::{Layout, TensorInfo, TensorSource};
use hmar_error::{Code, Error, Result};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// What to convert, and into what.
#[derive(Clone, Debug)]
pub struct Convert {
    /// One file (or the folder it is in), or two training files to be assembled.
    pub inputs: Vec<PathBuf>,
    /// The file to write; what stands there is replaced when all went well.
    pub output: PathBuf,
    /// How weights are stored.
    pub store: StoreAs,
    /// Which part of a training checkpoint; `None` where the inputs have only one.
    pub part: Option<Part>,
    /// For models that do not tell [`Layout::NextScale`] from [`Layout::Var`].
    pub mode: Option<Layout>,
    /// A configuration, as JSON; see [`OpenModel::config`].
    pub config: Option<String>,
    /// The licence to state instead of the one that the input states or released weights have.
    pub license: Option<String>,
    /// Whether weights that are NaN or infinite are kept rather than refused.
    pub allow_non_finite: bool,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Converted {
    /// The file.
    pub output: PathBuf,
    /// What is in it.
    pub part: Part,
    /// Number of tensors.
    pub tensors: usize,
    /// Numbers in all tensors together.
    pub parameters: u64,
    /// The file's size.
    pub bytes: u64,
    /// The licence stated in it.
    pub license: Option<String>,
    /// SHA-256 of the input, in hexadecimal; of both, separated by a comma.
    pub source_sha256: String,
    /// The configuration stated in it.
    pub config: ConfigFile,
}

/// Converts a checkpoint into one safetensors file with canonical names. Its metadata state `license`, `source_sha256`
/// and `config`, so that it can be opened without its surroundings. Progress counts the bytes hashed and those written.
///
/// # Errors
/// Those of [`ModelCheckpoint::open`] and [`write_safetensors`]; `CONFIG_AMBIGUOUS` when a training checkpoint has both
/// parts and `part` does not say which.
pub fn convert(options: &Convert, progress: &Progress<'_>, cancel: &AtomicBool) -> Result<Converted> {
    let part = part_of(options)?;
    let inputs = options.inputs.iter().map(|path| file_of(path, part)).collect::<Result<Vec<_>>>()?;
    let (source, config, license): (Arc<dyn TensorSource>, _, _) = match part {
        Part::Model => {
            let open =
                OpenModel { paths: inputs.clone(), config: options.config.clone(), mode: options.mode };
            let model = ModelCheckpoint::open(&open)?;
            (model.source, ConfigFile::of_model(&model.config), model.license)
        }
        Part::Tokenizer => {
            let [path] = &inputs[..] else {
                return Err(Error::new(Code::ArgumentOutOfRange, "A tokenizer is in one file.")
                    .found(format_args!("{} files", inputs.len())));
            };
            let tokenizer = TokenizerCheckpoint::open(path, options.config.as_deref())?;
            (tokenizer.source, ConfigFile::of_tokenizer(&tokenizer.config), tokenizer.license)
        }
    };
    let license = options.license.clone().or(license);

    let sizes = inputs.iter().map(|path| Ok(SharedFile::open(path)?.len())).collect::<Result<Vec<_>>>()?;
    let total = sizes.iter().sum::<u64>() + stored_bytes(source.tensors(), options.store);
    let mut done = 0;
    let mut hashes = Vec::new();
    for (path, size) in inputs.iter().zip(sizes) {
        hashes.push(sha256(path, &|hashed| progress(done + hashed, total), cancel)?);
        done += size;
    }
    let source_sha256 = hashes.join(",");
    let mut metadata = describe(&config)?;
    metadata.insert("source_sha256".into(), source_sha256.clone());
    metadata.extend(license.clone().map(|license| ("license".into(), license)));
    let write = WriteOptions {
        store: options.store,
        metadata: &metadata,
        allow_non_finite: options.allow_non_finite,
        progress: &|written, _| progress(done + written, total),
        cancel,
    };
    let bytes = write_safetensors(&options.output, &*source, &write)?;
    Ok(Converted {
        output: options.output.clone(),
        part,
        tensors: source.tensors().len(),
        parameters: parameters(source.tensors()),
        bytes,
        license,
        source_sha256,
        config,
    })
}

/// Numbers in all tensors together.
pub(crate) fn parameters(tensors: &[TensorInfo]) -> u64 {
    tensors.iter().map(|tensor| tensor.elements() as u64).sum()
}

/// The metadata that every file of ours has.
pub(crate) fn describe(config: &ConfigFile) -> Result<BTreeMap<String, String>> {
    let config = serde_json::to_string(config).map_err(|error| {
        Error::new(Code::Internal, format!("A configuration cannot be written: {error}."))
    })?;
    Ok(BTreeMap::from([("config".to_string(), config), ("format".to_string(), "pt".to_string())]))
}

fn part_of(options: &Convert) -> Result<Part> {
    let path = match (options.part, &options.inputs[..]) {
        (Some(part), _) => return Ok(part),
        (None, [path]) if !path.is_dir() => path,
        _ => return Ok(Part::Model),
    };
    let checkpoint = open(path)?;
    match (checkpoint.part(Part::Model), checkpoint.part(Part::Tokenizer)) {
        (Some(_), Some(_)) => Err(Error::new(
            Code::ConfigAmbiguous,
            format!("{} holds a model and a tokenizer.", path.display()),
        )
        .remedy("Say which part to convert: model or tokenizer.")),
        (None, Some(_)) => Ok(Part::Tokenizer),
        _ => Ok(Part::Model),
    }
}
