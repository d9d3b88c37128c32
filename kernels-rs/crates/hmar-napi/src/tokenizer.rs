//! The tokenizer.

use std::path::PathBuf;
use std::sync::Arc;

use hmar_checkpoint::TokenizerCheckpoint;
use hmar_engine::{LoadOptions, Tokenizer};
use hmar_error::Result;
use napi::bindgen_prelude::{Float32Array, Int32Array, Uint8Array};
use napi_derive::napi;

use crate::CancelToken;
use crate::checkpoint::json;
use crate::device::{dtype, open_device};
use crate::error::{closed, to_js};
use crate::job::{OnProgress, Promised, report, start_converted};
use crate::on_device::{AnyTokenizer, OnDevice, on_device};

/// How a tokenizer is loaded.
#[napi(object)]
pub struct TokenizerOptions {
    /// A file, or the folder it is in.
    pub path: String,
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

/// A loaded tokenizer.
#[napi]
pub struct NativeTokenizer {
    inner: Option<AnyTokenizer>,
}

impl NativeTokenizer {
    pub(crate) fn open(&self) -> napi::Result<AnyTokenizer> {
        self.inner.clone().ok_or_else(|| closed("tokenizer"))
    }
}

#[napi]
impl NativeTokenizer {
    /// Loads a tokenizer.
    #[napi(catch_unwind)]
    pub fn load(
        options: TokenizerOptions,
        token: &CancelToken,
        on_progress: Option<OnProgress>,
    ) -> Promised<AnyTokenizer, NativeTokenizer> {
        let cancel = token.cancel.clone();
        let load = move || -> Result<_> {
            let TokenizerCheckpoint { config, source, .. } =
                TokenizerCheckpoint::open(&PathBuf::from(&options.path), None)?;
            let batch_invariant = options.batch_invariant.unwrap_or(false);
            let (precision, fp8_blocks) = dtype(&options.dtype)?;
            let load = LoadOptions {
                precision,
                fp8_blocks,
                allow_non_finite: options.allow_non_finite.unwrap_or(false),
                cancel,
                progress: &report(on_progress),
            };
            Ok(match open_device(&options.device, precision, batch_invariant, options.threads)? {
                OnDevice::Cpu(cpu) => OnDevice::Cpu(Arc::new(Tokenizer::load(cpu, config, &*source, &load)?)),
                OnDevice::Cuda(gpu) => {
                    OnDevice::Cuda(Arc::new(Tokenizer::load(gpu, config, &*source, &load)?))
                }
            })
        };
        start_converted(load, |tokenizer| NativeTokenizer { inner: Some(tokenizer) })
    }

    /// Its configuration as JSON.
    #[napi(catch_unwind)]
    pub fn config_json(&self) -> napi::Result<String> {
        on_device!(self.open()?, tokenizer => json(tokenizer.config())).map_err(|error| to_js(&error))
    }

    /// Bytes its weights take.
    #[napi(catch_unwind)]
    pub fn weight_bytes(&self) -> napi::Result<f64> {
        Ok(on_device!(self.open()?, tokenizer => tokenizer.weight_bytes()) as f64)
    }

    /// Bytes of the activations it keeps.
    #[napi(catch_unwind)]
    pub fn working_bytes(&self) -> napi::Result<f64> {
        Ok(on_device!(self.open()?, tokenizer => tokenizer.working_bytes()) as f64)
    }

    /// The tokens of `pixels [3, side, side]` in [−1, 1].
    #[napi(catch_unwind)]
    pub fn encode(
        &self,
        pixels: Float32Array,
        pyramid: Vec<u32>,
        token: &CancelToken,
    ) -> napi::Result<Promised<Vec<u32>, Int32Array>> {
        let (tokenizer, cancel) = (self.open()?, token.cancel.clone());
        let (pixels, pyramid) = (pixels.to_vec(), sides(&pyramid));
        let encode =
            move || on_device!(&tokenizer, tokenizer => tokenizer.encode(&pixels, &pyramid, &cancel));
        Ok(start_converted(encode, signed))
    }

    /// The picture of tokens, or the reconstruction after each scale: bytes `[side, side, 3]`.
    #[napi(catch_unwind)]
    pub fn decode(
        &self,
        tokens: Int32Array,
        pyramid: Vec<u32>,
        every_scale: bool,
        token: &CancelToken,
    ) -> napi::Result<Promised<Vec<u8>, Uint8Array>> {
        let (tokenizer, cancel) = (self.open()?, token.cancel.clone());
        let (tokens, pyramid) = (unsigned(&tokens), sides(&pyramid));
        let decode = move || on_device!(&tokenizer, it => it.decode(&tokens, &pyramid, every_scale, &cancel));
        Ok(start_converted(decode, Uint8Array::new))
    }

    /// The tokens of what lies between two pictures, up to a scale.
    #[napi(catch_unwind)]
    pub fn interpolate(
        &self,
        first: Int32Array,
        second: Int32Array,
        weight: f64,
        scales: u32,
        pyramid: Vec<u32>,
    ) -> napi::Result<Promised<Vec<u32>, Int32Array>> {
        let tokenizer = self.open()?;
        let (first, second, pyramid) = (unsigned(&first), unsigned(&second), sides(&pyramid));
        let interpolate = move || {
            let pictures = [&*first, &*second];
            on_device!(&tokenizer, it => it.interpolate(pictures, weight as f32, scales as usize, &pyramid))
        };
        Ok(start_converted(interpolate, signed))
    }

    /// Lets the weights go, once the calls under way are done with them.
    #[napi(catch_unwind)]
    pub fn close(&mut self) {
        self.inner = None;
    }
}

fn sides(pyramid: &[u32]) -> Vec<usize> {
    pyramid.iter().map(|&side| side as usize).collect()
}

/// Token indices as the engine counts them; negative ones become too large and are refused there.
pub(crate) fn unsigned(tokens: &[i32]) -> Vec<u32> {
    tokens.iter().map(|&token| token as u32).collect()
}

/// Token indices as JavaScript gets them.
pub(crate) fn signed(tokens: Vec<u32>) -> Int32Array {
    Int32Array::new(tokens.into_iter().map(|token| token as i32).collect())
}
