//! NVIDIA GPUs as a device: what one is opened with, and where each operation is found.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytemuck::Pod;
use hmar_error::Result;
use hmar_ops::*;

use crate::bias::CudaBias;
use crate::buffer::{CudaBuffer, CudaMemory};
use crate::context::{Context, MemoryUse};
use crate::features::{CudaFeatures, Held};
use crate::graph::{CudaMark, CudaRecording};
use crate::group_sums::CudaGroupSums;
use crate::kernels::{DevicePointer, Kernels, Within};
use crate::library::Library;
use crate::matrix::{CudaMatrix, CudaMatrixBuilder};
use crate::profile::Profile;
use crate::staging::Staging;
use crate::strips::Strip;
use crate::{
    attention, convolution, embed, features, group_norm, linear, norm, path, picture, quantizer, sampling,
};

/// Bytes of scratch memory that operations of several kernels share.
pub(crate) const SCRATCH: usize = 64 << 20;

/// Pictures the tokenizer's networks take together: enough to fill a large GPU, few enough to stay small.
const IMAGES_AT_ONCE: usize = 16;

/// An NVIDIA GPU.
pub struct CudaBackend {
    precision: Precision,
    /// Results of a picture do not depend on the pictures beside it.
    pub(crate) batch_invariant: bool,
    images_at_once: usize,
    pub(crate) profile: Profile,
    /// Plans of attention, where it may follow them.
    pub(crate) attention_plans: Option<attention::Plans>,
    scratch: Mutex<CudaBuffer<u8>>,
    /// For products of many rows, where it is installed.
    pub(crate) library: Option<Library>,
    pub(crate) staging: Arc<Staging>,
    pub(crate) kernels: Arc<Kernels>,
    pub(crate) context: Arc<Context>,
}

impl CudaBackend {
    /// Opens GPU number `ordinal`. Activations and weights are bfloat16, or float32 where `precision` says so.
    ///
    /// # Errors
    /// `DEVICE_UNAVAILABLE` with the reason; `OUT_OF_MEMORY`.
    pub fn open(ordinal: usize, precision: Precision) -> Result<Self> {
        let context = Context::open(ordinal)?;
        Ok(CudaBackend {
            precision,
            batch_invariant: false,
            images_at_once: IMAGES_AT_ONCE,
            profile: Profile::default(),
            attention_plans: Some(attention::Plans::default()),
            scratch: Mutex::new(CudaBuffer::zeroed(&context, SCRATCH)?),
            library: Library::open(&context)?,
            staging: Arc::new(Staging::new(context.clone())),
            kernels: Arc::new(Kernels::load(&context)?),
            context,
        })
    }

    /// Lets the tokenizer's networks take so many pictures together: more are faster, and take more memory.
    #[must_use]
    pub fn with_images_at_once(mut self, images: usize) -> Self {
        self.images_at_once = images.max(1);
        self
    }

    /// Makes a picture's bits the same whatever is generated beside it: every layer then has one way to multiply, chosen as
    /// for many pictures, and paths of few rows are not run as one kernel.
    #[must_use]
    pub fn with_batch_invariance(mut self) -> Self {
        self.batch_invariant = true;
        self
    }

    /// Has attention at head width 64 in bfloat16 made as on GPUs before Hopper, which do not have the kernels of
    /// [`AttentionForward`](crate::AttentionForward).
    #[must_use]
    pub fn without_planned_attention(mut self) -> Self {
        self.attention_plans = None;
        self
    }

    /// The pictures that an operation on so many is planned for.
    pub(crate) fn planned_images(&self, images: usize) -> usize {
        if self.batch_invariant { self.images_at_once } else { images }
    }

    /// What activations are.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Device memory this backend's buffers and weights take.
    pub fn memory(&self) -> MemoryUse {
        self.context.memory()
    }

    /// Counts the peak of [`CudaBackend::memory`] from now on.
    pub fn restart_peak(&self) {
        self.context.restart_peak();
    }

    /// Waits until all queued work is done.
    ///
    /// # Errors
    /// `DEVICE_UNAVAILABLE` when the device died of it.
    pub fn synchronize(&self) -> Result<()> {
        self.context.synchronize()
    }

    /// [`SCRATCH`] bytes for kernels that hand results to one another. Held until the last of them is queued, so that
    /// no other thread's kernels come in between.
    pub(crate) fn scratch(&self) -> MutexGuard<'_, CudaBuffer<u8>> {
        self.scratch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backend for CudaBackend {
    type Buffer<T: Pod + Send + Sync> = CudaBuffer<T>;
    type Features = CudaFeatures;
    type Matrix = CudaMatrix;
    type Bias = CudaBias;
    type Builder = CudaMatrixBuilder;
    type Recording = CudaRecording;
    type Mark = CudaMark;
    type GroupSums = CudaGroupSums;
    type Memory = CudaMemory;

    const SHARES_PLACES: bool = true;

    fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        work()
    }

    fn images_at_once(&self) -> usize {
        self.images_at_once
    }

    fn replay(&self, recording: &mut CudaRecording, work: impl FnOnce() -> Result<()>) -> Result<()> {
        self.replay_recording(recording, work)
    }

    fn mark(&self) -> Result<CudaMark> {
        self.new_mark()
    }

    fn is_done(&self, mark: &CudaMark) -> Result<bool> {
        self.mark_is_done(mark)
    }

    fn wait(&self, mark: CudaMark) -> Result<()> {
        self.wait_for_mark(mark)
    }

    fn allocate<T: Pod + Send + Sync>(&self, length: usize) -> Result<CudaBuffer<T>> {
        CudaBuffer::zeroed(&self.context, length)
    }

    fn allocate_features(&self, length: usize) -> Result<CudaFeatures> {
        self.new_features(length)
    }

    fn reserve(&self, bytes: usize) -> Result<CudaMemory> {
        CudaMemory::zeroed(&self.context, bytes)
    }

    fn place<T: Pod + Send + Sync>(
        &self,
        memory: &CudaMemory,
        start: usize,
        length: usize,
    ) -> Result<CudaBuffer<T>> {
        Ok(CudaBuffer::placed(memory, start, length))
    }

    fn place_features(&self, memory: &CudaMemory, start: usize, length: usize) -> Result<CudaFeatures> {
        Ok(self.placed_features(memory, start, length))
    }

    fn free_bytes(&self) -> Option<u64> {
        // What was given back is free when the queue has come by.
        self.synchronize().ok()?;
        self.context.free().map(|bytes| bytes as u64)
    }

    fn feature_bytes(&self) -> usize {
        self.bytes_of_feature()
    }

    fn group_sums_length(&self, images: usize, side: usize) -> usize {
        CudaGroupSums::length(images, side)
    }

    fn group_sums(&self, images: usize, room: CudaBuffer<f32>) -> CudaGroupSums {
        CudaGroupSums::new(images, room)
    }

    fn upload<T: Pod + Send + Sync>(&self, data: &[T], buffer: &mut CudaBuffer<T>) -> Result<()> {
        assert!(data.len() <= buffer.len(), "the data fits into the buffer");
        self.send(bytemuck::cast_slice(data), buffer.pointer())
    }

    fn download<T: Pod + Send + Sync>(&self, buffer: &CudaBuffer<T>, data: &mut [T]) -> Result<()> {
        assert!(data.len() <= buffer.len(), "the buffer holds so much");
        self.receive(buffer.pointer(), bytemuck::cast_slice_mut(data))
    }

    fn copy<T: Pod + Send + Sync>(
        &self,
        length: usize,
        from: &CudaBuffer<T>,
        to: &mut CudaBuffer<T>,
        at: usize,
    ) -> Result<()> {
        assert!(length <= from.len() && at + length <= to.len(), "both are as long");
        self.copy_bytes(from.pointer(), to.at(at * size_of::<T>()).pointer(), length * size_of::<T>())
    }

    fn fill_bytes<T: Pod + Send + Sync>(
        &self,
        length: usize,
        byte: u8,
        out: &mut CudaBuffer<T>,
    ) -> Result<()> {
        assert!(length <= out.len(), "the buffer is as long");
        self.fill(out.pointer(), length * size_of::<T>(), byte)
    }

    fn narrow(&self, length: usize, input: &CudaBuffer<f32>, out: &mut CudaFeatures) -> Result<()> {
        features::narrow(self, length, input, out)
    }

    fn widen(&self, length: usize, input: &CudaFeatures, out: &mut CudaBuffer<f32>) -> Result<()> {
        features::widen(self, length, input, out)
    }

    fn matrix(&self, shape: MatrixShape, precision: Precision) -> Result<CudaMatrixBuilder> {
        self.new_matrix(shape, precision)
    }

    fn fp8_matrix(&self, shape: MatrixShape) -> Result<CudaMatrixBuilder> {
        self.new_fp8_matrix(shape)
    }

    fn bias(&self, values: &[f32]) -> Result<CudaBias> {
        self.new_bias(values)
    }

    fn linear(
        &self,
        rows: usize,
        input: &CudaFeatures,
        weight: &CudaMatrix,
        bias: &CudaBias,
        out: LinearOutput<'_, Self>,
    ) -> Result<()> {
        let what = match &out {
            LinearOutput::Features(_) => "to features",
            LinearOutput::Gelu(_) => "with GELU",
            LinearOutput::Float32(_) => "to float32",
            LinearOutput::GatedResidual { .. } => "gated",
        };
        let MatrixShape { outputs, inputs, .. } = weight.shape();
        let name = || format!("linear {rows}×{inputs}→{outputs} {what}");
        self.measured(name, || linear::linear(self, rows, input, weight, bias, out))
    }

    fn run_path(&self, path: &Path<'_, Self>, buffers: PathBuffers<'_, Self>) -> Result<bool> {
        if !path::takes(self, path) {
            return Ok(false);
        }
        let name = || format!("path of {} rows", path.rows.count());
        self.measured(name, || path::run(self, path, buffers))?;
        Ok(true)
    }

    fn project(
        &self,
        rows: usize,
        input: &CudaBuffer<f32>,
        weight: &CudaMatrix,
        out: &mut CudaBuffer<f32>,
    ) -> Result<()> {
        let name = || format!("project {rows}");
        self.measured(name, || linear::project(self, rows, input, weight, out))
    }

    fn silu(&self, length: usize, input: &CudaBuffer<f32>, out: &mut CudaFeatures) -> Result<()> {
        let name = || format!("silu {length}");
        self.measured(name, || norm::silu(self, length, input, out))
    }

    fn add_to_each(
        &self,
        slots: usize,
        width: usize,
        addend: &CudaBuffer<f32>,
        out: &mut CudaBuffer<f32>,
    ) -> Result<()> {
        let name = || format!("add_to_each {slots}×{width}");
        self.measured(name, || norm::add_to_each(self, slots, width, addend, out))
    }

    fn modulated_norm(
        &self,
        rows: Rows<'_, Self>,
        width: usize,
        input: &CudaBuffer<f32>,
        scale: Modulation<'_, Self>,
        shift: Modulation<'_, Self>,
        out: LayerInput<'_, Self>,
    ) -> Result<()> {
        let name = || format!("modulated_norm {}×{width}", rows.count());
        self.measured(name, || norm::modulated_norm(self, rows, width, input, scale, shift, out))
    }

    fn attention(
        &self,
        shape: AttentionShape<'_>,
        qkv: &CudaFeatures,
        keys_values: KeysValues<'_, Self>,
        scores: Scores<'_, Self>,
        out: &mut CudaFeatures,
    ) -> Result<()> {
        let AttentionShape { sequences, rows, heads, head_width, .. } = shape;
        out.hold(Held::Features);
        let name = || format!("attention {sequences}×{rows} of {heads}×{head_width}");
        self.measured(name, || attention::attention(self, shape, qkv, keys_values, scores, out))
    }

    fn copy_rows(&self, copy: RowsCopy, source: &CudaFeatures, target: &mut CudaFeatures) -> Result<()> {
        let name = || format!("copy_rows {}×{} of {}", copy.sequences, copy.rows, copy.columns);
        self.measured(name, || attention::copy_rows(self, copy, source, target))
    }

    fn embed_start(
        &self,
        rows: Rows<'_, Self>,
        width: usize,
        class: &CudaBuffer<f32>,
        start: &CudaBuffer<f32>,
        out: &mut CudaBuffer<f32>,
    ) -> Result<()> {
        let name = || format!("embed_start {}", rows.count());
        self.measured(name, || embed::embed_start(self, rows, width, class, start, out))
    }

    fn embed_scale(&self, scale: EmbedScale<'_, Self>, out: &mut CudaBuffer<f32>) -> Result<()> {
        let (sequences, positions) = (scale.sequences, scale.positions);
        let name = || format!("embed_scale {sequences}×{positions}");
        self.measured(name, || embed::embed_scale(self, scale, out))
    }

    fn draw_tokens(
        &self,
        draw: TokenDraw,
        settings: &CudaBuffer<DrawSettings>,
        logits: &mut CudaBuffer<f32>,
        only: Option<&CudaBuffer<u8>>,
        tokens: &mut CudaBuffer<u32>,
        confidence: &mut CudaBuffer<f32>,
    ) -> Result<()> {
        let name = || format!("draw_tokens {}×{}", draw.images, draw.positions);
        self.measured(name, || sampling::draw_tokens(self, draw, settings, logits, only, tokens, confidence))
    }

    fn keep_least_confident(
        &self,
        images: usize,
        positions: usize,
        settings: &CudaBuffer<DrawSettings>,
        confidence: &CudaBuffer<f32>,
        mask: &mut CudaBuffer<u8>,
    ) -> Result<()> {
        let name = || format!("keep_least_confident {images}×{positions}");
        self.measured(name, || {
            sampling::keep_least_confident(self, images, positions, settings, confidence, mask)
        })
    }

    fn open_least_confident(
        &self,
        images: usize,
        positions: usize,
        settings: &CudaBuffer<DrawSettings>,
        confidence: &CudaBuffer<f32>,
        mask: &mut CudaBuffer<u8>,
    ) -> Result<()> {
        let name = || format!("open_least_confident {images}×{positions}");
        self.measured(name, || {
            sampling::open_least_confident(self, images, positions, settings, confidence, mask)
        })
    }

    fn add_logarithm(&self, length: usize, input: &CudaBuffer<f32>, out: &mut CudaBuffer<f32>) -> Result<()> {
        let name = || format!("add_logarithm {length}");
        self.measured(name, || sampling::add_logarithm(self, length, input, out))
    }

    fn soften(
        &self,
        draw: TokenDraw,
        settings: &CudaBuffer<DrawSettings>,
        logits: &mut CudaBuffer<f32>,
        codebook: &CudaBuffer<f32>,
        width: usize,
        out: &mut CudaBuffer<f32>,
    ) -> Result<()> {
        let name = || format!("soften {}×{}", draw.images, draw.positions);
        self.measured(name, || sampling::soften(self, draw, settings, logits, codebook, width, out))
    }

    fn look_up(
        &self,
        count: usize,
        width: usize,
        codebook: &CudaBuffer<f32>,
        tokens: &CudaBuffer<u32>,
        out: &mut CudaBuffer<f32>,
    ) -> Result<()> {
        let name = || format!("look_up {count}");
        self.measured(name, || quantizer::look_up(self, count, width, codebook, tokens, out))
    }

    fn enlarge(
        &self,
        latent: Latent,
        side: usize,
        input: &CudaBuffer<f32>,
        out: &mut CudaBuffer<f32>,
    ) -> Result<()> {
        let name = || format!("enlarge {}×{side}", latent.images);
        self.measured(name, || quantizer::enlarge(self, latent, side, input, out))
    }

    fn area_pool(
        &self,
        latent: Latent,
        side: usize,
        input: &CudaBuffer<f32>,
        visible_in: Option<&CudaBuffer<u8>>,
        out: &mut CudaBuffer<f32>,
    ) -> Result<()> {
        let name = || format!("area_pool {}×{side}", latent.images);
        self.measured(name, || quantizer::area_pool(self, latent, side, input, visible_in, out))
    }

    fn blend_phi(
        &self,
        latent: Latent,
        blend: Blend,
        input: &CudaBuffer<f32>,
        convolved: &CudaBuffer<f32>,
        out: &mut CudaBuffer<f32>,
    ) -> Result<()> {
        let name = || format!("blend_phi {}", latent.images);
        self.measured(name, || quantizer::blend_phi(self, latent, blend, input, convolved, out))
    }

    fn nearest_code(
        &self,
        count: usize,
        vocabulary: usize,
        width: usize,
        vectors: &CudaBuffer<f32>,
        codebook: &CudaBuffer<f32>,
        tokens: &mut CudaBuffer<u32>,
    ) -> Result<()> {
        let name = || format!("nearest_code {count}");
        self.measured(name, || {
            quantizer::nearest_code(self, count, vocabulary, width, vectors, codebook, tokens)
        })
    }

    fn store_tokens(
        &self,
        images: usize,
        positions: usize,
        tokens: &CudaBuffer<u32>,
        maps: &mut CudaBuffer<u32>,
        stride: usize,
        at: usize,
    ) -> Result<()> {
        let name = || format!("store_tokens {images}×{positions}");
        self.measured(name, || sampling::store_tokens(self, images, positions, tokens, maps, stride, at))
    }

    fn exact_convolution(
        &self,
        shape: ConvolutionShape,
        input: &CudaBuffer<f32>,
        weight: &CudaMatrix,
        bias: &CudaBias,
        out: &mut CudaBuffer<f32>,
    ) -> Result<()> {
        let name = || format!("exact_convolution {}×{}²", shape.images, shape.side);
        self.measured(name, || convolution::exact_convolution(self, shape, input, weight, bias, out))
    }

    fn room_for_normed(&self, images: usize, length: usize) -> Range<usize> {
        convolution::room_for_normed(images, length, self.bytes_of_feature())
    }

    fn convolution(
        &self,
        shape: ConvolutionShape,
        input: &CudaFeatures,
        weight: &CudaMatrix,
        bias: &CudaBias,
        ending: Ending,
        out: &mut CudaFeatures,
        sums: Option<&mut CudaGroupSums>,
    ) -> Result<()> {
        let held = Strip::whole(shape.images, shape.side);
        let operands = convolution::Operands { input: input.at(0), held, weight, bias };
        let results = convolution::Results { ending, out, sums };
        self.measured(convolution::name(shape, weight), || {
            convolution::convolution(self, shape, operands, results)
        })
    }

    fn normed_convolution(
        &self,
        norm: GroupNorm<'_, Self>,
        input: &CudaFeatures,
        room: &mut CudaFeatures,
        weight: &CudaMatrix,
        bias: &CudaBias,
        ending: Ending,
        out: &mut CudaFeatures,
        sums: Option<&mut CudaGroupSums>,
    ) -> Result<()> {
        let results = convolution::Results { ending, out, sums };
        convolution::normed(self, norm, input, room, weight, bias, results)
    }

    fn group_norm(
        &self,
        norm: GroupNorm<'_, Self>,
        input: &CudaFeatures,
        out: &mut CudaFeatures,
    ) -> Result<()> {
        let GroupNorm { images, pixels, channels, .. } = norm;
        let name = || format!("group_norm {images}×{pixels}×{channels}");
        self.measured(name, || group_norm::group_norm(self, &norm, input, out))
    }

    fn to_bytes(&self, length: usize, input: &CudaFeatures, out: &mut CudaBuffer<u8>) -> Result<()> {
        let name = || format!("to_bytes {length}");
        self.measured(name, || picture::to_bytes(self, length, input, out))
    }
}
