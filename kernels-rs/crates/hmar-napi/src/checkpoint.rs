//! Checkpoint files: describing, converting, making them.

use std::path::PathBuf;

use hmar_checkpoint::{Convert, Layout, Part, StoreAs, Synthesize, convert, inspect, synthesize};
use hmar_error::{Code, Error, Result};
use napi_derive::napi;

use crate::CancelToken;
use crate::device::precision;
use crate::job::{OnProgress, Promised, report, start};

/// What [`convert_checkpoint`] does.
#[napi(object)]
pub struct ConvertOptions {
    /// One file, or two training files.
    pub inputs: Vec<String>,
    /// The file to write.
    pub output: String,
    /// `f32` or `bf16`.
    pub dtype: String,
    /// `next-scale` or `var`, where the file does not say.
    pub mode: Option<String>,
    /// `model` or `tokenizer`, of a training file.
    pub part: Option<String>,
    /// The licence to write.
    pub license: Option<String>,
    /// Keep NaN and infinite weights.
    pub allow_non_finite: Option<bool>,
}

/// What [`synthesize_checkpoint`] does.
#[napi(object)]
pub struct SynthesizeOptions {
    /// D.
    pub depth: u32,
    /// `hmar`, `next-scale` or `var`.
    pub layout: String,
    /// 256, 512 or 1024.
    pub resolution: u32,
    /// The folder.
    pub output: String,
    /// `f32` or `bf16`.
    pub dtype: String,
}

/// Describes a file, as JSON.
#[napi(catch_unwind)]
pub fn inspect_checkpoint(path: String, mode: Option<String>) -> Promised<String> {
    start(move || json(&inspect(&PathBuf::from(path), self::mode(mode.as_deref())?)?))
}

/// Converts a file to safetensors; resolves to a summary as JSON.
#[napi(catch_unwind)]
pub fn convert_checkpoint(
    options: ConvertOptions,
    token: &CancelToken,
    on_progress: Option<OnProgress>,
) -> Promised<String> {
    let cancel = token.cancel.clone();
    start(move || {
        let options = Convert {
            inputs: options.inputs.into_iter().map(PathBuf::from).collect(),
            output: options.output.into(),
            store: store_as(&options.dtype)?,
            part: match options.part.as_deref() {
                None => None,
                Some("model") => Some(Part::Model),
                Some("tokenizer") => Some(Part::Tokenizer),
                Some(other) => return Err(unknown("part", other, "model or tokenizer")),
            },
            mode: mode(options.mode.as_deref())?,
            config: None,
            license: options.license,
            allow_non_finite: options.allow_non_finite.unwrap_or(false),
        };
        json(&convert(&options, &report(on_progress), cancel.flag())?)
    })
}

/// Writes a folder of synthetic weights.
#[napi(catch_unwind)]
pub fn synthesize_checkpoint(
    options: SynthesizeOptions,
    token: &CancelToken,
    on_progress: Option<OnProgress>,
) -> Promised<()> {
    let cancel = token.cancel.clone();
    start(move || {
        let options = Synthesize {
            depth: options.depth as usize,
            layout: match options.layout.as_str() {
                "hmar" => Layout::Combined,
                "next-scale" => Layout::NextScale,
                "var" => Layout::Var,
                other => return Err(unknown("layout", other, "hmar, next-scale or var")),
            },
            resolution: options.resolution as usize,
            output: options.output.into(),
            store: store_as(&options.dtype)?,
        };
        synthesize(&options, &report(on_progress), cancel.flag())
    })
}

/// The layout a caller names where a file does not tell.
pub(crate) fn mode(mode: Option<&str>) -> Result<Option<Layout>> {
    match mode {
        None => Ok(None),
        Some("next-scale") => Ok(Some(Layout::NextScale)),
        Some("var") => Ok(Some(Layout::Var)),
        Some(other) => Err(unknown("mode", other, "next-scale or var")),
    }
}

fn store_as(dtype: &str) -> Result<StoreAs> {
    Ok(match precision(dtype)? {
        hmar_ops::Precision::F32 => StoreAs::F32,
        hmar_ops::Precision::Bf16 => StoreAs::Bf16,
    })
}

fn unknown(what: &str, found: &str, expected: &str) -> Error {
    Error::new(Code::ArgumentOutOfRange, format!("The {what} is unknown.")).found(found).expected(expected)
}

pub(crate) fn json<T: serde::Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|error| Error::new(Code::Internal, "A result could not be written as JSON.").found(error))
}
