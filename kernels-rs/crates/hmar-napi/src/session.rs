//! A session: a batch that is stepped through its plan from JavaScript.

use std::sync::{Arc, Mutex, PoisonError};

use hmar_cuda::CudaBackend;
use hmar_engine::{Cancel, Request, ScaleView, Stepper, Tokenizer, saved_description};
use hmar_error::Result;
use hmar_ops::{Backend, CpuBackend};
use napi::bindgen_prelude::{Float32Array, Int32Array, Uint8Array};
use napi_derive::napi;

use crate::CancelToken;
use crate::error::{closed, to_js};
use crate::job::{Promised, start, start_converted};
use crate::on_device::{OnDevice, on_device};
use crate::sampler::{GenerateRequest, NativeSampler, Parts};
use crate::tokenizer::{signed, unsigned};

/// Where a session is, and what the pass done last left of its scale.
#[napi(object)]
pub struct SessionState {
    /// The pass that comes next; the number of passes when all are done.
    pub next: u32,
    /// `[images, p²]`; empty before the first pass, as are the two that follow.
    pub tokens: Int32Array,
    /// The probability with which each token was drawn; infinite where it is kept.
    pub confidence: Float32Array,
    /// 1 where a token was drawn, or will be, by choice.
    pub open: Uint8Array,
}

/// A stepper, and what its pictures are decoded with.
pub struct Stepping<B: Backend> {
    /// JavaScript takes one call at a time; the lock is for what it does not promise.
    stepper: Mutex<Stepper<B>>,
    tokenizer: Arc<Tokenizer<B>>,
}

impl<B: Backend> Stepping<B> {
    fn open(parts: &Parts<B>, request: Request) -> Result<Arc<Self>> {
        Ok(Self::new(parts, Stepper::open(Arc::clone(&parts.model), request)?))
    }

    fn resume(
        parts: &Parts<B>,
        request: Request,
        saved: &[u8],
        next: Option<u32>,
        cancel: &Cancel,
    ) -> Result<Arc<Self>> {
        let (model, next) = (Arc::clone(&parts.model), next.map(|next| next as usize));
        Ok(Self::new(parts, Stepper::resume(model, request, saved, next, cancel)?))
    }

    fn new(parts: &Parts<B>, stepper: Stepper<B>) -> Arc<Self> {
        Arc::new(Stepping { stepper: Mutex::new(stepper), tokenizer: Arc::clone(&parts.tokenizer) })
    }

    fn with<T>(&self, work: impl FnOnce(&mut Stepper<B>, &Tokenizer<B>) -> T) -> T {
        work(&mut self.stepper.lock().unwrap_or_else(PoisonError::into_inner), &self.tokenizer)
    }
}

type AnyStepping = OnDevice<Arc<Stepping<CpuBackend>>, Arc<Stepping<CudaBackend>>>;

/// A batch, stopped before a pass.
#[napi]
pub struct NativeSession {
    inner: Option<AnyStepping>,
}

#[napi]
impl NativeSampler {
    /// Starts a session; all of the request's images are one batch.
    #[napi(catch_unwind)]
    pub fn open_session(
        &self,
        request: GenerateRequest,
    ) -> napi::Result<Promised<AnyStepping, NativeSession>> {
        let parts = self.open()?;
        let request = parts.request(request).map_err(|error| to_js(&error))?;
        let open = move || {
            Ok(match &parts {
                OnDevice::Cpu(parts) => OnDevice::Cpu(Stepping::open(parts, request)?),
                OnDevice::Cuda(parts) => OnDevice::Cuda(Stepping::open(parts, request)?),
            })
        };
        Ok(start_converted(open, session_for_js))
    }

    /// Goes on from what a session was saved as, before pass `next` where its plan is another one.
    #[napi(catch_unwind)]
    pub fn resume_session(
        &self,
        request: GenerateRequest,
        saved: Uint8Array,
        next: Option<u32>,
        token: &CancelToken,
    ) -> napi::Result<Promised<AnyStepping, NativeSession>> {
        let parts = self.open()?;
        let request = parts.request(request).map_err(|error| to_js(&error))?;
        let (saved, cancel) = (saved.to_vec(), token.cancel.clone());
        let resume = move || {
            Ok(match &parts {
                OnDevice::Cpu(parts) => {
                    OnDevice::Cpu(Stepping::resume(parts, request, &saved, next, &cancel)?)
                }
                OnDevice::Cuda(parts) => {
                    OnDevice::Cuda(Stepping::resume(parts, request, &saved, next, &cancel)?)
                }
            })
        };
        Ok(start_converted(resume, session_for_js))
    }
}

#[napi]
impl NativeSession {
    /// Where it is.
    #[napi(catch_unwind)]
    pub fn state(&self) -> napi::Result<SessionState> {
        Ok(on_device!(self.inner()?, it => it.with(|stepper, _| state(stepper))))
    }

    /// Runs the next pass.
    #[napi(catch_unwind)]
    pub fn step(&self, token: &CancelToken) -> napi::Result<Promised<SessionState>> {
        let (stepping, cancel) = (self.inner()?, token.cancel.clone());
        let step = move || {
            on_device!(&stepping, it => it.with(|stepper, _| {
                stepper.step(&cancel)?;
                Ok(state(stepper))
            }))
        };
        Ok(start(step))
    }

    /// The guided logits of the next pass, `[images, p², V]`.
    #[napi(catch_unwind)]
    pub fn logits(&self, token: &CancelToken) -> napi::Result<Promised<Vec<f32>, Float32Array>> {
        let (stepping, cancel) = (self.inner()?, token.cancel.clone());
        let logits = move || on_device!(&stepping, it => it.with(|stepper, _| stepper.logits(&cancel)));
        Ok(start_converted(logits, Float32Array::new))
    }

    /// Replaces the tokens of the pass done last and, where given, their confidence.
    #[napi(catch_unwind)]
    pub fn replace_tokens(
        &self,
        tokens: Int32Array,
        confidence: Option<Float32Array>,
    ) -> napi::Result<Promised<SessionState>> {
        let stepping = self.inner()?;
        let (tokens, confidence) = (unsigned(&tokens), confidence.map(|values| values.to_vec()));
        let replace = move || {
            on_device!(&stepping, it => it.with(|stepper, _| {
                stepper.replace_tokens(&tokens, confidence.as_deref())?;
                Ok(state(stepper))
            }))
        };
        Ok(start(replace))
    }

    /// Says which tokens the next pass, a masked one, draws.
    #[napi(catch_unwind)]
    pub fn open_positions(&self, open: Uint8Array) -> napi::Result<Promised<SessionState>> {
        let (stepping, open) = (self.inner()?, open.to_vec());
        let choose = move || {
            on_device!(&stepping, it => it.with(|stepper, _| {
                stepper.open_positions(&open)?;
                Ok(state(stepper))
            }))
        };
        Ok(start(choose))
    }

    /// The tokens of all scales so far, `[images, N]`; 0 for those to come.
    #[napi(catch_unwind)]
    pub fn tokens(&self) -> napi::Result<Int32Array> {
        Ok(on_device!(self.inner()?, it => it.with(|stepper, _| signed(stepper.tokens().to_vec()))))
    }

    /// The pictures of the finished scales, `[images, side, side, 3]`.
    #[napi(catch_unwind)]
    pub fn pictures(&self, token: &CancelToken) -> napi::Result<Promised<Vec<u8>, Uint8Array>> {
        let (stepping, cancel) = (self.inner()?, token.cancel.clone());
        let decode = move || on_device!(&stepping, it => it.with(|stepper, tokenizer| stepper.pictures(tokenizer, &cancel)));
        Ok(start_converted(decode, Uint8Array::new))
    }

    /// What it can be resumed from, with a description of the caller's own.
    #[napi(catch_unwind)]
    pub fn save(&self, description: String) -> napi::Result<Promised<Vec<u8>, Uint8Array>> {
        let stepping = self.inner()?;
        let save = move || on_device!(&stepping, it => it.with(|stepper, _| stepper.save(&description)));
        Ok(start_converted(save, Uint8Array::new))
    }

    /// Lets the buffers go, once the call under way is done with them.
    #[napi(catch_unwind)]
    pub fn close(&mut self) {
        self.inner = None;
    }

    fn inner(&self) -> napi::Result<AnyStepping> {
        self.inner.clone().ok_or_else(|| closed("session"))
    }
}

/// The description that a session was saved with.
#[napi(catch_unwind)]
pub fn session_description(saved: Uint8Array) -> napi::Result<String> {
    saved_description(&saved).map_err(|error| to_js(&error))
}

fn session_for_js(stepping: AnyStepping) -> NativeSession {
    NativeSession { inner: Some(stepping) }
}

fn state<B: Backend>(stepper: &Stepper<B>) -> SessionState {
    let ScaleView { tokens, confidence, open } = stepper.view();
    SessionState {
        next: stepper.next() as u32,
        tokens: signed(tokens.to_vec()),
        confidence: Float32Array::new(confidence.to_vec()),
        open: Uint8Array::new(open.to_vec()),
    }
}
