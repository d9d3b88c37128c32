//! A folder of synthetic weights of released size.

use crate::config::{ConfigFile, ModelConfig, TokenizerConfig};
use crate::convert::describe;
use crate::safetensors::{Progress, StoreAs, WriteOptions, stored_bytes, unwritable, write_safetensors};
use crate::{Layout, PYRAMID_256, PYRAMID_512, PYRAMID_1024, Synthetic, TensorSource};
use hmar_error::{Code, Error, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

/// Nobody owns pseudo-random numbers; the files say so in the terms of the project that made them.
const LICENSE: &str = "MIT OR Apache-2.0";

const MODEL: &str = "model.safetensors";
const TOKENIZER: &str = "tokenizer.safetensors";
const CONFIG: &str = "config.json";

/// Which synthetic weights to write, and where.
#[derive(Clone, Debug)]
pub struct Synthesize {
    /// D, 1 to 64; the width is 64 · D.
    pub depth: usize,
    /// Which blocks the model has.
    pub layout: Layout,
    /// Pixels along a side of its pictures, 256, 512 or 1024: which of the released pyramids it has.
    pub resolution: usize,
    /// The folder, made if it is missing.
    pub output: PathBuf,
    /// How weights are stored.
    pub store: StoreAs,
}

/// Writes `model.safetensors`, `tokenizer.safetensors` and `config.json`: the released configuration at any depth, with
/// reproducible weights (see [`Synthetic`]). Files of these names are replaced. After a failure
/// what stood there before still does.
///
/// # Errors
/// `ARGUMENT_OUT_OF_RANGE` for the depth or the resolution, `FILE_UNWRITABLE`, `CANCELLED`.
pub fn synthesize(options: &Synthesize, progress: &Progress<'_>, cancel: &AtomicBool) -> Result<()> {
    if !(1..=64).contains(&options.depth) {
        return Err(Error::new(Code::ArgumentOutOfRange, "A synthetic model cannot have this depth.")
            .found(options.depth)
            .expected("1 to 64"));
    }
    let pyramid = pyramid(options.resolution)?;
    fs::create_dir_all(&options.output).map_err(|error| unwritable(&options.output, &error))?;
    // Beside what may stand there already, which is replaced when all three are complete.
    let temporary = tempfile::Builder::new()
        .prefix(".hmar-")
        .tempdir_in(&options.output)
        .map_err(|error| unwritable(&options.output, &error))?;
    write_all(options, &pyramid, temporary.path(), progress, cancel)?;
    for name in [MODEL, TOKENIZER, CONFIG] {
        let path = options.output.join(name);
        fs::rename(temporary.path().join(name), &path).map_err(|error| unwritable(&path, &error))?;
    }
    Ok(())
}

fn pyramid(resolution: usize) -> Result<Vec<usize>> {
    match resolution {
        256 => Ok(PYRAMID_256.to_vec()),
        512 => Ok(PYRAMID_512.to_vec()),
        1024 => Ok(PYRAMID_1024.to_vec()),
        other => Err(Error::new(Code::ArgumentOutOfRange, "A synthetic model cannot have this resolution.")
            .found(other)
            .expected("256, 512 or 1024")),
    }
}

fn write_all(
    options: &Synthesize,
    pyramid: &[usize],
    folder: &Path,
    progress: &Progress<'_>,
    cancel: &AtomicBool,
) -> Result<()> {
    let name = format!("synthetic-d{}", options.depth);
    let model = ModelConfig {
        name: Some(name.clone()),
        pyramid: pyramid.to_vec(),
        ..ModelConfig::released(options.depth, options.layout)
    };
    let tokenizer = TokenizerConfig { pyramid: Some(pyramid.to_vec()), ..TokenizerConfig::released() };
    let model_source = Synthetic::model(&model);
    let tokenizer_source = Synthetic::tokenizer(&tokenizer);
    let model_config = ConfigFile::of_model(&model);
    let tokenizer_config = ConfigFile::of_tokenizer(&tokenizer);
    let first = stored_bytes(model_source.tensors(), options.store);
    let total = first + stored_bytes(tokenizer_source.tensors(), options.store);

    let write = |path: &Path, source: &dyn TensorSource, config: &ConfigFile, before: u64| {
        let mut metadata = describe(config)?;
        metadata.insert("license".into(), LICENSE.into());
        let write = WriteOptions {
            store: options.store,
            metadata: &metadata,
            allow_non_finite: false,
            progress: &|done, _| progress(before + done, total),
            cancel,
        };
        write_safetensors(path, source, &write)
    };
    write(&folder.join(MODEL), &model_source, &model_config, 0)?;
    write(&folder.join(TOKENIZER), &tokenizer_source, &tokenizer_config, first)?;

    let mut config = ConfigFile {
        name: Some(name),
        resolution: Some(options.resolution),
        tokenizer: tokenizer_config.tokenizer,
        ..model_config
    };
    if let (Some(model), Some(tokenizer)) = (&mut config.model, &mut config.tokenizer) {
        model.file = Some(MODEL.into());
        tokenizer.file = Some(TOKENIZER.into());
    }
    let json = serde_json::to_string_pretty(&config).map_err(|error| {
        Error::new(Code::Internal, format!("A configuration cannot be written: {error}."))
    })?;
    let config_path = folder.join(CONFIG);
    fs::write(&config_path, json + "\n").map_err(|error| unwritable(&config_path, &error))
}
