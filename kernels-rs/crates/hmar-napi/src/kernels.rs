//! Kernels one by one, for benchmarks and experiments: a GPU's queue, typed buffers there, attention over segments.

use std::sync::{Arc, Mutex, MutexGuard, TryLockError};

use hmar_cuda::{
    AttentionBackward, AttentionForward, AttentionGradients, AttentionInputs, CudaBackend, CudaBuffer,
    CudaFeatures, CudaInstant, Pattern,
};
use hmar_error::{Code, Error, Result};
use hmar_ops::{Backend, Precision, Scores};
use napi::bindgen_prelude::{ClassInstance, Float32Array, Uint16Array};
use napi_derive::napi;

use crate::device::open_device;
use crate::error::{closed, to_js};
use crate::job::{Promised, start, start_converted};
use crate::on_device::OnDevice;

/// A GPU's queue. Work is done in the order it was queued.
#[napi]
pub struct NativeQueue {
    backend: Option<Arc<CudaBackend>>,
}

/// Numbers in a GPU's memory.
enum Numbers {
    Bfloat16(CudaFeatures),
    Float32(CudaBuffer<f32>),
}

/// Numbers in a GPU's memory, until they are closed.
#[napi]
pub struct NativeDeviceBuffer {
    backend: Arc<CudaBackend>,
    numbers: Option<Arc<Mutex<Numbers>>>,
}

/// A point in a queue that knows when the GPU came by.
#[napi]
pub struct NativeInstant {
    backend: Arc<CudaBackend>,
    instant: Arc<CudaInstant>,
}

/// Attention over one list of segments, planned.
#[napi]
pub struct NativeAttention {
    backend: Arc<CudaBackend>,
    plans: Option<Plans>,
}

/// The plan of the forward attention, and that of its gradients once they are asked for.
struct Plans {
    images: usize,
    heads: usize,
    segments: Vec<usize>,
    pattern: Pattern,
    forward: AttentionForward,
    backward: Option<AttentionBackward>,
}

impl Plans {
    fn backward(&mut self, backend: &CudaBackend) -> Result<&mut AttentionBackward> {
        if self.backward.is_none() {
            let Plans { images, heads, segments, pattern, .. } = self;
            self.backward = Some(AttentionBackward::new(backend, *images, *heads, segments, *pattern)?);
        }
        Ok(self.backward.as_mut().expect("it was made above"))
    }
}

/// Dimensions of an attention.
#[napi(object)]
pub struct AttentionShape {
    /// Images.
    pub images: u32,
    /// Heads of 64.
    pub heads: u32,
    /// Lengths in tokens, in order.
    pub segments: Vec<u32>,
    /// Whether a segment sees those before it as well.
    pub causal: bool,
}

#[napi]
impl NativeQueue {
    /// Opens a GPU: `cuda:n`.
    #[napi(catch_unwind)]
    pub fn open(device: String) -> Promised<Arc<CudaBackend>, NativeQueue> {
        let open = move || match open_device(&device, Precision::Bf16, false, None)? {
            OnDevice::Cuda(backend) => Ok(backend),
            OnDevice::Cpu(_) => Err(Error::new(Code::ArgumentOutOfRange, "The CPU has no kernels to queue.")
                .found("cpu")
                .expected("cuda or cuda:n")),
        };
        start_converted(open, |backend| NativeQueue { backend: Some(backend) })
    }

    /// So many zeros, in bfloat16 or float32.
    #[napi(catch_unwind)]
    pub fn allocate(&self, bfloat16: bool, length: u32) -> napi::Result<NativeDeviceBuffer> {
        let backend = self.backend()?;
        let numbers = if bfloat16 {
            backend.allocate_features(length as usize).map(Numbers::Bfloat16)
        } else {
            backend.allocate(length as usize).map(Numbers::Float32)
        };
        let numbers = numbers.map_err(|error| to_js(&error))?;
        Ok(NativeDeviceBuffer { backend, numbers: Some(Arc::new(Mutex::new(numbers))) })
    }

    /// Marks the end of what is queued.
    #[napi(catch_unwind)]
    pub fn mark(&self) -> napi::Result<NativeInstant> {
        let backend = self.backend()?;
        let instant = Arc::new(backend.instant().map_err(|error| to_js(&error))?);
        Ok(NativeInstant { backend, instant })
    }

    /// Plans an attention.
    #[napi(catch_unwind)]
    pub fn plan_attention(&self, shape: AttentionShape) -> napi::Result<NativeAttention> {
        let backend = self.backend()?;
        let segments: Vec<_> = shape.segments.iter().map(|&length| length as usize).collect();
        let pattern = if shape.causal { Pattern::Causal } else { Pattern::Diagonal };
        let (images, heads) = (shape.images as usize, shape.heads as usize);
        let forward = AttentionForward::new(&backend, images, heads, &segments, pattern);
        let forward = forward.map_err(|error| to_js(&error))?;
        let plans = Plans { images, heads, segments, pattern, forward, backward: None };
        Ok(NativeAttention { backend, plans: Some(plans) })
    }

    /// Waits until all that is queued is done.
    #[napi(catch_unwind)]
    pub fn synchronize(&self) -> napi::Result<Promised<()>> {
        let backend = self.backend()?;
        Ok(start(move || backend.synchronize()))
    }

    /// Gives the GPU back.
    #[napi(catch_unwind)]
    pub fn close(&mut self) {
        self.backend = None;
    }

    fn backend(&self) -> napi::Result<Arc<CudaBackend>> {
        self.backend.clone().ok_or_else(|| closed("queue"))
    }
}

#[napi]
impl NativeDeviceBuffer {
    /// Copies bfloat16 there.
    #[napi(catch_unwind)]
    pub fn write_bfloat16(&self, data: Uint16Array) -> napi::Result<Promised<()>> {
        let (backend, numbers, data) = (self.backend.clone(), self.numbers()?, data.to_vec());
        Ok(start(move || match &mut *used(&numbers)? {
            Numbers::Bfloat16(features) => backend.upload_bfloat16(bytemuck::cast_slice(&data), features),
            Numbers::Float32(_) => Err(other_type("float32")),
        }))
    }

    /// Copies float32 there, rounded where the buffer is bfloat16.
    #[napi(catch_unwind)]
    pub fn write_float32(&self, data: Float32Array) -> napi::Result<Promised<()>> {
        let (backend, numbers, data) = (self.backend.clone(), self.numbers()?, data.to_vec());
        Ok(start(move || match &mut *used(&numbers)? {
            Numbers::Bfloat16(features) => backend.upload_features(&data, features),
            Numbers::Float32(buffer) => backend.upload(&data, buffer),
        }))
    }

    /// All of it as float32.
    #[napi(catch_unwind)]
    pub fn read(&self) -> napi::Result<Promised<Vec<f32>, Float32Array>> {
        let (backend, numbers) = (self.backend.clone(), self.numbers()?);
        let read = move || match &*used(&numbers)? {
            Numbers::Bfloat16(features) => {
                let mut data = vec![0.0; features.len()];
                backend.download_features(features, &mut data).map(|()| data)
            }
            Numbers::Float32(buffer) => {
                let mut data = vec![0.0; buffer.len()];
                backend.download(buffer, &mut data).map(|()| data)
            }
        };
        Ok(start_converted(read, Float32Array::new))
    }

    /// Sets every byte.
    #[napi(catch_unwind)]
    pub fn fill(&self, byte: u8) -> napi::Result<()> {
        let numbers = self.numbers()?;
        let fill = || match &mut *used(&numbers)? {
            Numbers::Bfloat16(features) => self.backend.fill_features(byte, features),
            Numbers::Float32(buffer) => self.backend.fill_bytes(buffer.len(), byte, buffer),
        };
        fill().map_err(|error| to_js(&error))
    }

    /// Frees it in the queue's order.
    #[napi(catch_unwind)]
    pub fn close(&mut self) {
        self.numbers = None;
    }

    fn numbers(&self) -> napi::Result<Arc<Mutex<Numbers>>> {
        self.numbers.clone().ok_or_else(|| closed("buffer"))
    }

    /// Its numbers, for work in the queue of `backend`, which alone orders what happens to them.
    fn numbers_on(&self, backend: &Arc<CudaBackend>) -> napi::Result<Arc<Mutex<Numbers>>> {
        check_queue("A buffer", &self.backend, backend)?;
        self.numbers()
    }
}

#[napi]
impl NativeInstant {
    /// Milliseconds from an earlier point to this one, once the GPU has come by.
    #[napi(catch_unwind)]
    pub fn milliseconds_since(&self, earlier: &NativeInstant) -> napi::Result<Promised<f64>> {
        check_queue("An instant", &earlier.backend, &self.backend)?;
        let (backend, begin, end) = (self.backend.clone(), earlier.instant.clone(), self.instant.clone());
        Ok(start(move || backend.milliseconds_between(&begin, &end)))
    }
}

#[napi]
impl NativeAttention {
    /// Queues attention: `out` and, where it is given, `lse` of `qkv`. Scores are made with `factors`, a number a head, or
    /// without them with `scale`.
    #[napi(catch_unwind)]
    pub fn forward(
        &self,
        qkv: &NativeDeviceBuffer,
        factors: Option<ClassInstance<'_, NativeDeviceBuffer>>,
        scale: f64,
        out: &NativeDeviceBuffer,
        lse: Option<ClassInstance<'_, NativeDeviceBuffer>>,
    ) -> napi::Result<()> {
        let Plans { forward, .. } = self.plans.as_ref().ok_or_else(|| closed("attention"))?;
        let (qkv, out) = (qkv.numbers_on(&self.backend)?, out.numbers_on(&self.backend)?);
        let factors = factors.map(|factors| factors.numbers_on(&self.backend)).transpose()?;
        let lse = lse.map(|lse| lse.numbers_on(&self.backend)).transpose()?;
        let run = || {
            let (qkv, mut out) = (used(&qkv)?, used(&out)?);
            let factors = factors.as_ref().map(used).transpose()?;
            let mut lse = lse.as_ref().map(used).transpose()?;
            let scores = match &factors {
                Some(factors) => Scores::Normalized(float32(factors)?),
                None => Scores::Scaled(scale as f32),
            };
            let lse = lse.as_mut().map(|lse| float32_to_write(lse)).transpose()?;
            forward.run(&self.backend, bfloat16(&qkv)?, scores, bfloat16_to_write(&mut out)?, lse)
        };
        run().map_err(|error| to_js(&error))
    }

    /// Queues the gradients of what `forward` made, given that of `out`: of `qkv` and, where it is given, of `factors`.
    #[napi(catch_unwind)]
    #[allow(clippy::too_many_arguments, reason = "each a buffer of its own")]
    pub fn backward(
        &mut self,
        qkv: &NativeDeviceBuffer,
        factors: Option<ClassInstance<'_, NativeDeviceBuffer>>,
        scale: f64,
        out: &NativeDeviceBuffer,
        lse: &NativeDeviceBuffer,
        d_out: &NativeDeviceBuffer,
        d_qkv: &NativeDeviceBuffer,
        d_factors: Option<ClassInstance<'_, NativeDeviceBuffer>>,
    ) -> napi::Result<()> {
        let plans = self.plans.as_mut().ok_or_else(|| closed("attention"))?;
        let (qkv, out, lse) =
            (qkv.numbers_on(&self.backend)?, out.numbers_on(&self.backend)?, lse.numbers_on(&self.backend)?);
        let (d_out, d_qkv) = (d_out.numbers_on(&self.backend)?, d_qkv.numbers_on(&self.backend)?);
        let factors = factors.map(|factors| factors.numbers_on(&self.backend)).transpose()?;
        let d_factors = d_factors.map(|d_factors| d_factors.numbers_on(&self.backend)).transpose()?;
        let mut run = || {
            let (qkv, out, lse, d_out) = (used(&qkv)?, used(&out)?, used(&lse)?, used(&d_out)?);
            let mut d_qkv = used(&d_qkv)?;
            let factors = factors.as_ref().map(used).transpose()?;
            let mut d_factors = d_factors.as_ref().map(used).transpose()?;
            let scores = match &factors {
                Some(factors) => Scores::Normalized(float32(factors)?),
                None => Scores::Scaled(scale as f32),
            };
            let (qkv, out, d_out) = (bfloat16(&qkv)?, bfloat16(&out)?, bfloat16(&d_out)?);
            let inputs = AttentionInputs { qkv, scores, out, lse: float32(&lse)?, d_out };
            let d_factors = d_factors.as_mut().map(|d_factors| float32_to_write(d_factors)).transpose()?;
            let gradients = AttentionGradients { d_qkv: bfloat16_to_write(&mut d_qkv)?, d_factors };
            plans.backward(&self.backend)?.run(&self.backend, inputs, gradients)
        };
        run().map_err(|error| to_js(&error))
    }

    /// Frees the plans.
    #[napi(catch_unwind)]
    pub fn close(&mut self) {
        self.plans = None;
    }
}

fn check_queue(what: &str, found: &Arc<CudaBackend>, expected: &Arc<CudaBackend>) -> napi::Result<()> {
    if Arc::ptr_eq(found, expected) {
        return Ok(());
    }
    let error = Error::new(Code::ArgumentOutOfRange, format!("{what} belongs to another GPU's queue."));
    Err(to_js(&error.expected("all of one queue")))
}

/// A buffer's numbers, which nobody else may use meanwhile.
fn used(numbers: &Arc<Mutex<Numbers>>) -> Result<MutexGuard<'_, Numbers>> {
    match numbers.try_lock() {
        Ok(numbers) => Ok(numbers),
        Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => {
            Err(Error::new(Code::ArgumentOutOfRange, "A buffer is used twice at the same time.")
                .expected("a buffer for each input and output, and copies that are awaited"))
        }
    }
}

fn other_type(found: &str) -> Error {
    Error::new(Code::ArgumentOutOfRange, "A buffer holds another type of numbers.").found(found)
}

fn bfloat16(numbers: &Numbers) -> Result<&CudaFeatures> {
    match numbers {
        Numbers::Bfloat16(features) => Ok(features),
        Numbers::Float32(_) => Err(other_type("float32")),
    }
}

fn bfloat16_to_write(numbers: &mut Numbers) -> Result<&mut CudaFeatures> {
    match numbers {
        Numbers::Bfloat16(features) => Ok(features),
        Numbers::Float32(_) => Err(other_type("float32")),
    }
}

fn float32(numbers: &Numbers) -> Result<&CudaBuffer<f32>> {
    match numbers {
        Numbers::Float32(buffer) => Ok(buffer),
        Numbers::Bfloat16(_) => Err(other_type("bfloat16")),
    }
}

fn float32_to_write(numbers: &mut Numbers) -> Result<&mut CudaBuffer<f32>> {
    match numbers {
        Numbers::Float32(buffer) => Ok(buffer),
        Numbers::Bfloat16(_) => Err(other_type("bfloat16")),
    }
}
