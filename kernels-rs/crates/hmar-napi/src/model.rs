//! The model.

use std::path::PathBuf;
use std::sync::Arc;

use hmar_checkpoint::{ModelCheckpoint, OpenModel, TokenizerCheckpoint};
use hmar_engine::{LoadOptions, Model};
use hmar_error::Result;
use napi::bindgen_prelude::{Float32Array, Int32Array};
use napi_derive::napi;

use crate::CancelToken;
use crate::checkpoint::{json, mode};
use crate::device::{dtype, open_device};
use crate::error::{closed, to_js};
use crate::job::{OnProgress, Promised, report, start, start_converted};
use crate::on_device::{AnyModel, OnDevice, on_device};
use crate::tokenizer::unsigned;

/// How a model is loaded.
#[napi(object)]
pub struct ModelOptions {
    /// One file (or the folder it is in), or two training files: next-scale and masked.
    pub paths: Vec<String>,
    /// The tokenizer's file, for codebook and φ.
    pub quantizer: String,
    /// A configuration as JSON, before any beside the file.
    pub config: Option<String>,
    /// `next-scale` or `var`, where the file does not say.
    pub mode: Option<String>,
    /// `cpu`, or `cuda:n`.
    pub device: String,
    /// `f32`, `bf16` or `fp8`.
    pub dtype: String,
    /// A picture's bits do not depend on the pictures beside it.
    pub batch_invariant: Option<bool>,
    /// Worker threads; as many as cores by default.
    pub threads: Option<u32>,
    /// Keep NaN and infinite weights.
    pub allow_non_finite: Option<bool>,
}

/// Which logits to compute.
#[napi(object)]
pub struct LogitsRequest {
    /// The whole pyramid's tokens.
    pub tokens: Int32Array,
    /// The class; the one after the last is the null class.
    pub label: u32,
    /// `next-scale` or `masked`.
    pub pass: String,
    /// Positions of the pyramid that a masked pass is to predict.
    pub masked_positions: Option<Int32Array>,
}

/// A loaded model.
#[napi]
pub struct NativeModel {
    inner: Option<AnyModel>,
}

impl NativeModel {
    pub(crate) fn open(&self) -> napi::Result<AnyModel> {
        self.inner.clone().ok_or_else(|| closed("model"))
    }
}

#[napi]
impl NativeModel {
    /// Loads a model.
    #[napi(catch_unwind)]
    pub fn load(
        options: ModelOptions,
        token: &CancelToken,
        on_progress: Option<OnProgress>,
    ) -> Promised<AnyModel, NativeModel> {
        let cancel = token.cancel.clone();
        let load = move || -> Result<_> {
            let ModelCheckpoint { config, source, .. } = ModelCheckpoint::open(&OpenModel {
                paths: options.paths.iter().map(PathBuf::from).collect(),
                config: options.config,
                mode: mode(options.mode.as_deref())?,
            })?;
            let quantizer = TokenizerCheckpoint::open(&PathBuf::from(&options.quantizer), None)?;
            let batch_invariant = options.batch_invariant.unwrap_or(false);
            let (precision, fp8_blocks) = dtype(&options.dtype)?;
            let load = LoadOptions {
                precision,
                fp8_blocks,
                allow_non_finite: options.allow_non_finite.unwrap_or(false),
                cancel,
                progress: &report(on_progress),
            };
            let (codes, from) = (&quantizer.config, &*quantizer.source);
            Ok(match open_device(&options.device, precision, batch_invariant, options.threads)? {
                OnDevice::Cpu(cpu) => {
                    OnDevice::Cpu(Arc::new(Model::load(cpu, config, &*source, codes, from, &load)?))
                }
                OnDevice::Cuda(gpu) => {
                    OnDevice::Cuda(Arc::new(Model::load(gpu, config, &*source, codes, from, &load)?))
                }
            })
        };
        start_converted(load, |model| NativeModel { inner: Some(model) })
    }

    /// Its configuration as JSON.
    #[napi(catch_unwind)]
    pub fn config_json(&self) -> napi::Result<String> {
        on_device!(self.open()?, model => json(model.config())).map_err(|error| to_js(&error))
    }

    /// A digest that tells its weights from those of other models, 64 hexadecimal digits.
    #[napi(catch_unwind)]
    pub fn fingerprint(&self) -> napi::Result<Promised<String>> {
        let model = self.open()?;
        Ok(start(move || on_device!(&model, model => model.fingerprint().map(str::to_owned))))
    }

    /// Bytes its weights take.
    #[napi(catch_unwind)]
    pub fn weight_bytes(&self) -> napi::Result<f64> {
        Ok(on_device!(self.open()?, model => model.weight_bytes()) as f64)
    }

    /// Bytes of the buffers that samplers and sessions hold for it.
    #[napi(catch_unwind)]
    pub fn batch_bytes(&self) -> napi::Result<f64> {
        Ok(on_device!(self.open()?, model => model.batch_bytes()) as f64)
    }

    /// Teacher-forced logits `[N, V]`, before guidance.
    #[napi(catch_unwind)]
    pub fn logits(
        &self,
        request: LogitsRequest,
        token: &CancelToken,
    ) -> napi::Result<Promised<Vec<f32>, Float32Array>> {
        let (model, cancel) = (self.open()?, token.cancel.clone());
        let tokens = unsigned(&request.tokens);
        let masked = (request.pass == "masked")
            .then(|| request.masked_positions.as_deref().map(unsigned).unwrap_or_default());
        let label = request.label;
        let compute =
            move || on_device!(&model, model => model.logits(&tokens, label, masked.as_deref(), &cancel));
        Ok(start_converted(compute, Float32Array::new))
    }

    /// Lets the weights go, once the calls under way are done with them.
    #[napi(catch_unwind)]
    pub fn close(&mut self) {
        self.inner = None;
    }
}
