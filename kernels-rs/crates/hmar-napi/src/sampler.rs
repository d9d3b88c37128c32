//! The sampler: a model, a tokenizer and the buffers of a batch.

use std::sync::{Arc, Mutex, PoisonError};

use hmar_checkpoint::ModelConfig;
use hmar_cuda::CudaBackend;
use hmar_engine::{
    Cancel, Event, Generated, Kept, Model, Pass, PassKind, Plan, PositionOrder, Request, Session, Timings,
    Tokenizer,
};
use hmar_error::{Code, Error, Result};
use hmar_ops::sampling::TokenSampling;
use hmar_ops::{Backend, CpuBackend};
use napi::Status;
use napi::bindgen_prelude::{BigInt, Float32Array, Int32Array, Uint8Array};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode, UnknownReturnValue};
use napi_derive::napi;

use crate::CancelToken;
use crate::error::{closed, to_js};
use crate::job::{Promised, start_converted};
use crate::measure::between_events;
use crate::model::NativeModel;
use crate::on_device::{OnDevice, on_device};
use crate::tokenizer::{NativeTokenizer, signed, unsigned};

/// Which tokens a pass commits, where it leaves others open.
#[napi(object)]
pub struct PositionOptions {
    /// `least-confident`, `gumbel`, `random` or `order`.
    pub kind: String,
    /// Of `gumbel`: what the noise is multiplied by.
    pub temperature: Option<f64>,
    /// Of `order`: every position of the scale, the first to be committed first.
    pub order: Option<Vec<u32>>,
}

/// One pass of a plan.
#[napi(object)]
pub struct PassOptions {
    /// `next-scale` or `masked`.
    pub kind: String,
    /// The scale, counted from 1.
    pub scale: u32,
    /// Tokens that this pass fixes.
    pub commits: u32,
    /// Tokens fixed earlier that are open again before this pass. Defaults to 0.
    pub revises: Option<u32>,
    /// Defaults to `least-confident`.
    pub positions: Option<PositionOptions>,
    /// t of `(1+t)·cond − t·uncond`.
    pub guidance: f64,
    /// Divides the logits.
    pub temperature: f64,
    /// 0 is off.
    pub top_k: u32,
    /// 0 is off.
    pub top_p: f64,
    /// 0 is off.
    pub min_p: f64,
    /// Soft decoding.
    pub smooth: bool,
}

/// What to generate.
#[napi(object)]
pub struct GenerateRequest {
    /// The plan.
    pub passes: Vec<PassOptions>,
    /// One class an image.
    pub labels: Vec<u32>,
    /// Below 2⁶⁴.
    pub seed: BigInt,
    /// The first image's index within the whole job.
    pub first_image: u32,
    /// Images generated together.
    pub batch_size: u32,
    /// Skip the unconditional half of masked passes whose guidance is below 1e-4.
    pub skip_negligible_guidance: bool,
    /// Return the token maps after every pass.
    pub trace: bool,
    /// What every image keeps of another.
    pub keep: Option<KeepOptions>,
}

/// The tokens of a picture, and which of them to keep.
#[napi(object)]
pub struct KeepOptions {
    /// The whole pyramid's.
    pub tokens: Int32Array,
    /// `[S, S]`, 1 where the picture is kept.
    pub mask: Option<Float32Array>,
    /// So many of the first scales are kept whole.
    pub scales: u32,
}

/// Something that has been done.
#[napi(object)]
pub struct GenerateEvent {
    /// `pass` or `decode`.
    pub kind: String,
    /// The first image, within the request.
    pub first_image: u32,
    /// How many images.
    pub images: u32,
    /// The pass.
    pub pass: Option<u32>,
    /// Passes of the plan.
    pub passes: Option<u32>,
}

/// Where the time went.
#[napi(object)]
pub struct GenerateTimings {
    /// AdaLN's modulations.
    pub condition_ms: f64,
    /// Each pass, over all batches.
    pub pass_ms: Vec<f64>,
    /// The decoder.
    pub decode_ms: f64,
    /// Everything.
    pub total_ms: f64,
    /// Everything, between two events of the device; none on the CPU.
    pub device_ms: Option<f64>,
}

/// What was generated.
#[napi(object)]
pub struct GenerateResult {
    /// `[images, side, side, 3]`
    pub pixels: Uint8Array,
    /// `[images, N]`
    pub tokens: Int32Array,
    /// `[images, Σ p² over passes]`
    pub trace: Option<Int32Array>,
    /// Where the time went.
    pub timings: GenerateTimings,
}

type OnEvent = ThreadsafeFunction<GenerateEvent, UnknownReturnValue, GenerateEvent, Status, false, true>;

/// A model and a tokenizer on one device, and the buffers of a batch there.
pub(crate) struct Parts<B: Backend> {
    pub(crate) model: Arc<Model<B>>,
    pub(crate) tokenizer: Arc<Tokenizer<B>>,
    /// One request at a time uses the buffers.
    session: Mutex<Session<B>>,
}

impl<B: Backend> Parts<B> {
    fn new(model: Arc<Model<B>>, tokenizer: Arc<Tokenizer<B>>) -> Arc<Self> {
        Arc::new(Parts { model, tokenizer, session: Mutex::default() })
    }

    pub(crate) fn generate(
        &self,
        request: &Request,
        cancel: &Cancel,
        on_event: &(dyn Fn(Event) + Sync),
    ) -> Result<Generated> {
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        session.generate(&self.model, &self.tokenizer, request, cancel, on_event)
    }
}

pub(crate) type AnyParts = OnDevice<Arc<Parts<CpuBackend>>, Arc<Parts<CudaBackend>>>;

impl AnyParts {
    /// A request as the engine takes it.
    pub(crate) fn request(&self, request: GenerateRequest) -> Result<Request> {
        engine_request(request, on_device!(self, parts => parts.model.config()))
    }
}

/// A model and a tokenizer, generating.
#[napi]
pub struct NativeSampler {
    inner: Option<AnyParts>,
}

#[napi]
impl NativeSampler {
    /// A sampler over a loaded model and tokenizer. It keeps both alive.
    #[napi(constructor, catch_unwind)]
    pub fn new(model: &NativeModel, tokenizer: &NativeTokenizer) -> napi::Result<Self> {
        let inner = match (model.open()?, tokenizer.open()?) {
            (OnDevice::Cpu(model), OnDevice::Cpu(tokenizer)) => OnDevice::Cpu(Parts::new(model, tokenizer)),
            (OnDevice::Cuda(model), OnDevice::Cuda(tokenizer)) => {
                OnDevice::Cuda(Parts::new(model, tokenizer))
            }
            _ => {
                let error = Error::new(
                    Code::ArgumentOutOfRange,
                    "The model and the tokenizer are on different devices.",
                );
                return Err(to_js(&error.remedy("Load both with the same device.")));
            }
        };
        Ok(NativeSampler { inner: Some(inner) })
    }

    /// Generates images.
    #[napi(catch_unwind)]
    pub fn generate(
        &self,
        request: GenerateRequest,
        token: &CancelToken,
        on_event: Option<OnEvent>,
    ) -> napi::Result<Promised<(Generated, Option<f64>), GenerateResult>> {
        let parts = self.open()?;
        let cancel = token.cancel.clone();
        let request = parts.request(request).map_err(|error| to_js(&error))?;
        let passes = request.plan.passes.len() as u32;
        let work = move || {
            let report = |event: Event| {
                if let Some(listener) = &on_event {
                    listener.call(event_for_js(event, passes), ThreadsafeFunctionCallMode::NonBlocking);
                }
            };
            match parts {
                OnDevice::Cpu(parts) => Ok((parts.generate(&request, &cancel, &report)?, None)),
                OnDevice::Cuda(parts) => {
                    between_events(&parts.model, || parts.generate(&request, &cancel, &report))
                }
            }
        };
        Ok(start_converted(work, result_for_js))
    }

    /// Lets the buffers go, once the call under way is done with them.
    #[napi(catch_unwind)]
    pub fn close(&mut self) {
        self.inner = None;
    }
}

impl NativeSampler {
    pub(crate) fn open(&self) -> napi::Result<AnyParts> {
        self.inner.clone().ok_or_else(|| closed("sampler"))
    }
}

fn engine_request(request: GenerateRequest, config: &ModelConfig) -> Result<Request> {
    let (negative, seed, lossless) = request.seed.get_u64();
    if negative || !lossless {
        return Err(Error::new(Code::ArgumentOutOfRange, "The seed is out of range.").expected("0 … 2⁶⁴ − 1"));
    }
    let keep = request.keep.map(|KeepOptions { tokens, mask, scales }| {
        Kept::new(config, unsigned(&tokens), mask.as_deref(), scales as usize)
    });
    Ok(Request {
        labels: request.labels,
        plan: Plan { passes: request.passes.into_iter().map(pass).collect::<Result<_>>()? },
        seed,
        first_image: request.first_image,
        batch: request.batch_size as usize,
        skip_negligible_guidance: request.skip_negligible_guidance,
        trace: request.trace,
        keep: keep.transpose()?,
    })
}

fn pass(options: PassOptions) -> Result<Pass> {
    let kind = match options.kind.as_str() {
        "next-scale" => PassKind::NextScale,
        "masked" => PassKind::Masked,
        other => {
            return Err(Error::new(Code::PlanInvalid, "A pass is of an unknown kind.")
                .found(other)
                .expected("next-scale or masked"));
        }
    };
    let scale = (options.scale as usize).checked_sub(1);
    Ok(Pass {
        kind,
        scale: scale.ok_or_else(|| Error::new(Code::PlanInvalid, "Scales are counted from 1.").found(0))?,
        commits: options.commits as usize,
        revises: options.revises.unwrap_or(0) as usize,
        positions: options.positions.map(position_order).transpose()?.unwrap_or_default(),
        guidance: options.guidance,
        sampling: TokenSampling {
            temperature: options.temperature as f32,
            top_k: options.top_k,
            top_p: options.top_p,
            min_p: options.min_p,
        },
        smooth: options.smooth,
    })
}

fn position_order(options: PositionOptions) -> Result<PositionOrder> {
    let incomplete =
        || Error::new(Code::PlanInvalid, "A pass chooses positions by halves.").found(&options.kind);
    match options.kind.as_str() {
        "least-confident" => Ok(PositionOrder::LeastConfident),
        "gumbel" => Ok(PositionOrder::Gumbel { temperature: options.temperature.ok_or_else(incomplete)? }),
        "random" => Ok(PositionOrder::Random),
        "order" => Ok(PositionOrder::Fixed(options.order.as_deref().ok_or_else(incomplete)?.into())),
        other => Err(Error::new(Code::PlanInvalid, "A pass chooses positions in an unknown way.")
            .found(other)
            .expected("least-confident, gumbel, random or order")),
    }
}

fn event_for_js(event: Event, passes: u32) -> GenerateEvent {
    match event {
        Event::Pass { first_image, images, pass } => GenerateEvent {
            kind: "pass".into(),
            first_image: first_image as u32,
            images: images as u32,
            pass: Some(pass as u32),
            passes: Some(passes),
        },
        Event::Decode { first_image, images } => GenerateEvent {
            kind: "decode".into(),
            first_image: first_image as u32,
            images: images as u32,
            pass: None,
            passes: None,
        },
    }
}

fn result_for_js((generated, device_ms): (Generated, Option<f64>)) -> GenerateResult {
    let Timings { condition, passes, decode, total } = generated.timings;
    GenerateResult {
        pixels: Uint8Array::new(generated.pixels),
        tokens: signed(generated.tokens),
        trace: (!generated.trace.is_empty()).then(|| signed(generated.trace)),
        timings: GenerateTimings {
            condition_ms: condition,
            pass_ms: passes,
            decode_ms: decode,
            total_ms: total,
            device_ms,
        },
    }
}
