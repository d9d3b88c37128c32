//! The vocabulary every device speaks: the fused operations the tokenizer and the transformer are made of.
//!
//! Shapes are row-major. A *sequence* is one image in one half of guidance; a *row* is one token of one
//! sequence; a *slot* is one distinct class of the generation (its AdaLN modulations are computed once).
//! Pictures are `[images, height, width, channels]`.

use std::ops::Range;

use bytemuck::{Pod, Zeroable};
use hmar_error::{Code, Error, Result};

use crate::{Path, PathBuffers};

/// What a weight matrix is multiplied in. Sums are always float32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Precision {
    /// Weights and inputs in float32.
    F32,
    /// Weights stored in bfloat16; inputs rounded to bfloat16 where the processor multiplies it natively.
    Bf16,
}

/// Dimensions of a weight matrix `[outputs, inputs, taps]`: a linear layer has one tap, a 3×3 convolution nine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MatrixShape {
    /// Output features or channels.
    pub outputs: usize,
    /// Input features or channels.
    pub inputs: usize,
    /// Kernel positions, row-major: 1 or 9.
    pub taps: usize,
}

/// Receives a weight matrix in order and lays it out for the device.
pub trait MatrixBuilder {
    /// What [`MatrixBuilder::finish`] makes.
    type Matrix;

    /// Elements of one [`MatrixBuilder::push`]; the last may be shorter.
    fn chunk(&self) -> usize;

    /// Takes the next elements of `[outputs, inputs, taps]`.
    ///
    /// # Errors
    /// Those of the device.
    fn push(&mut self, elements: &[f32]) -> Result<()>;

    /// The matrix, ready to multiply with.
    ///
    /// # Errors
    /// Those of the device.
    fn finish(self) -> Result<Self::Matrix>;
}

/// One of AdaLN's six vectors (a gate, scale or shift), chosen row by row through its sequence's class slot.
pub struct Modulation<'a, B: Backend> {
    /// `[slots, stride]`: the modulations of one block or head.
    pub table: &'a B::Buffer<f32>,
    /// Elements between two slots' modulations.
    pub stride: usize,
    /// Where the vector starts within a slot.
    pub offset: usize,
}

impl<B: Backend> Clone for Modulation<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B: Backend> Copy for Modulation<'_, B> {}

/// How rows belong to sequences, and sequences to class slots.
pub struct Rows<'a, B: Backend> {
    /// Sequences in the batch.
    pub sequences: usize,
    /// Rows of each sequence.
    pub per_sequence: usize,
    /// `[sequences]`: the class slot of each.
    pub slots: &'a B::Buffer<u32>,
}

impl<B: Backend> Clone for Rows<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B: Backend> Copy for Rows<'_, B> {}

impl<B: Backend> Rows<'_, B> {
    /// All rows of the batch.
    pub fn count(&self) -> usize {
        self.sequences * self.per_sequence
    }
}

/// What becomes of a linear layer's result, bias included.
pub enum LinearOutput<'a, B: Backend> {
    /// `out = x`: the input of another operation.
    Features(&'a mut B::Features),
    /// `out = gelu(x)`, GELU in its tanh form.
    Gelu(LayerInput<'a, B>),
    /// `out = x` in float32: logits and modulations.
    Float32(&'a mut B::Buffer<f32>),
    /// `residual += gate · x`: the residual stream of AdaLN's blocks.
    GatedResidual {
        /// `[rows, outputs]`
        residual: &'a mut B::Buffer<f32>,
        /// Which gate each row takes.
        gate: Modulation<'a, B>,
        /// The rows' sequences.
        rows: Rows<'a, B>,
        /// What the next layer reads: the sums, normalised.
        next: Option<Normalized<'a, B>>,
    },
}

/// Where rows of the residual stream go through [`Backend::modulated_norm`].
pub struct Normalized<'a, B: Backend> {
    /// s of `norm(x) · (1 + s) + b`.
    pub scale: Modulation<'a, B>,
    /// b of it.
    pub shift: Modulation<'a, B>,
    /// `[rows, width]`
    pub out: LayerInput<'a, B>,
}

/// Activations that a layer will read: a device may leave them as that layer multiplies them, for which alone they are
/// of use then.
pub struct LayerInput<'a, B: Backend> {
    /// Where they go.
    pub features: &'a mut B::Features,
    /// The layer's weights; without them, any operation may read the activations.
    pub reader: Option<&'a B::Matrix>,
}

impl<'a, B: Backend> LayerInput<'a, B> {
    /// Activations that any operation may read.
    pub fn of_any(features: &'a mut B::Features) -> Self {
        LayerInput { features, reader: None }
    }

    /// Activations that the layer with these weights reads.
    pub fn of(features: &'a mut B::Features, reader: &'a B::Matrix) -> Self {
        LayerInput { features, reader: Some(reader) }
    }
}

/// How queries and keys become scores.
pub enum Scores<'a, B: Backend> {
    /// q and k divided by their norms (at least 1e-12), q times its head's factor: `[heads]`.
    Normalized(&'a B::Buffer<f32>),
    /// q·k times one factor.
    Scaled(f32),
}

impl<B: Backend> Clone for Scores<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B: Backend> Copy for Scores<'_, B> {}

/// Where an attention finds its keys and values.
pub enum KeysValues<'a, B: Backend> {
    /// Beside the queries, in the `qkv` buffer.
    BesideQueries,
    /// Here, those of earlier rows and of the queries' own.
    Cached {
        /// `[sequences, capacity, 2, heads, head_width]`: keys, then values.
        rows: &'a B::Features,
        /// Rows of each sequence.
        capacity: usize,
    },
}

impl<B: Backend> Clone for KeysValues<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B: Backend> Copy for KeysValues<'_, B> {}

/// A run of queries and the keys they may attend to, as rows of a sequence.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    /// Query rows, of the `qkv` buffer. Spans follow one another without a gap.
    pub queries: Range<usize>,
    /// Key rows, of the buffer that has them.
    pub keys: Range<usize>,
}

/// Dimensions of an attention.
pub struct AttentionShape<'a> {
    /// Sequences in the batch.
    pub sequences: usize,
    /// Rows of each sequence in the `qkv` buffer.
    pub rows: usize,
    /// Heads.
    pub heads: usize,
    /// Width of a head.
    pub head_width: usize,
    /// Who attends to whom.
    pub spans: &'a [Span],
}

/// Some columns of some rows of every sequence, which [`Backend::copy_rows`] copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowsCopy {
    /// Sequences in the batch.
    pub sequences: usize,
    /// Rows of each that are copied.
    pub rows: usize,
    /// Columns of each row that are copied. All columns here are counted in activations, and multiples of 8.
    pub columns: usize,
    /// Where they lie.
    pub from: RowsPlace,
    /// Where they go.
    pub to: RowsPlace,
}

/// Where the first of the copied rows and columns lies in a buffer `[sequences, rows, columns]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowsPlace {
    /// Rows of each sequence.
    pub rows: usize,
    /// Columns of each row.
    pub columns: usize,
    /// First row.
    pub row: usize,
    /// First column.
    pub column: usize,
}

/// How a convolution walks over its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walk {
    /// 3×3 or 1×1 (by the weight's taps), stride 1, zero padding that keeps the size.
    Same,
    /// 3×3 over the input enlarged ×2 by nearest neighbour, zero padding 1: twice the size.
    Upsample,
    /// 3×3, stride 2, over the input padded by one zero column right and one zero row below: half the size.
    Downsample,
}

/// Dimensions of a convolution's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvolutionShape {
    /// Pictures.
    pub images: usize,
    /// Rows and columns of the (square) input.
    pub side: usize,
    /// How the kernel walks.
    pub walk: Walk,
}

impl ConvolutionShape {
    /// Rows and columns of the output.
    pub fn output_side(&self) -> usize {
        match self.walk {
            Walk::Same => self.side,
            Walk::Upsample => self.side * 2,
            Walk::Downsample => self.side / 2,
        }
    }
}

/// Dimensions of the latent grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latent {
    /// Pictures.
    pub images: usize,
    /// S: rows and columns of the grid.
    pub side: usize,
    /// Z: the codes' dimension.
    pub width: usize,
}

/// Dimensions of a draw of tokens for a scale of every image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenDraw {
    /// Images.
    pub images: usize,
    /// Positions of the scale (p²).
    pub positions: usize,
    /// V: codebook size.
    pub vocabulary: usize,
    /// 2 where the logits have an unconditional half to guide with, else 1.
    pub halves: usize,
}

/// What a draw depends on besides its logits. It lies on the device, so that a recorded pass serves every request.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct DrawSettings {
    /// t of `(1+t)·cond − t·uncond`.
    pub guidance: f64,
    /// As [`crate::sampling::TokenSampling::top_p`].
    pub top_p: f64,
    /// As [`crate::sampling::TokenSampling::min_p`].
    pub min_p: f64,
    /// r = (k−1)/(K−1): how far soft decoding has come.
    pub ramp: f64,
    /// Philox key.
    pub seed: u64,
    /// As [`crate::sampling::TokenSampling::temperature`].
    pub temperature: f32,
    /// As [`crate::sampling::TokenSampling::top_k`].
    pub top_k: u32,
    /// Index of the pass in the plan.
    pub pass: u32,
    /// Index of the batch's first image within the whole job.
    pub first_image: u32,
    /// Positions of the scale that earlier passes leave open.
    pub open: u32,
    /// Committed positions of the scale that are opened again before the pass.
    pub revises: u32,
}

/// The operations of one device. Work is queued in call order; [`Backend::download`] waits for it.
///
/// Every result row depends on its own inputs alone: on the CPU the bits are the same whatever the batch size
/// and the thread count.
pub trait Backend: Send + Sync + Sized + 'static {
    /// Device memory of a fixed length.
    type Buffer<T: Pod + Send + Sync>: Send + Sync;
    /// Activations between layers, in what this device multiplies: float32 on the CPU.
    type Features: Send + Sync;
    /// A weight matrix laid out for this device.
    type Matrix: Send + Sync;
    /// A layer's bias, in what this device adds it in.
    type Bias: Send + Sync;
    /// Lays out a [`Backend::Matrix`].
    type Builder: MatrixBuilder<Matrix = Self::Matrix> + Send;
    /// Operations recorded to be queued again at once.
    type Recording: Default + Send;
    /// A point in the queue.
    type Mark: Send;
    /// What [`Backend::group_norm`] needs of activations, made by the convolution that made them, where the device can.
    type GroupSums: Send + Sync;
    /// Memory in which buffers have places: those whose times do not meet may have the same one.
    type Memory: Send + Sync;

    /// Whether buffers with the same place in a [`Backend::Memory`] do share it. Where they do not, each has its own memory,
    /// as Rust wants it of those that the processor reaches.
    const SHARES_PLACES: bool;

    /// Runs `work` where this device's operations are cheapest to call.
    fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R;

    /// Pictures that the tokenizer's networks best take together.
    fn images_at_once(&self) -> usize;

    /// Queues the operations of `work`; a device that can records them the first time and repeats the recording
    /// afterwards. The operations, their buffers and their dimensions must be the same every time; what varies they
    /// read from buffers. `work` neither allocates nor uploads nor downloads.
    fn replay(&self, recording: &mut Self::Recording, work: impl FnOnce() -> Result<()>) -> Result<()>;

    /// Marks the end of what is queued so far.
    fn mark(&self) -> Result<Self::Mark>;

    /// Whether everything before the mark is done.
    fn is_done(&self, mark: &Self::Mark) -> Result<bool>;

    /// Waits until everything before the mark is done.
    fn wait(&self, mark: Self::Mark) -> Result<()>;

    /// A zeroed buffer.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY` when the device has not enough left.
    fn allocate<T: Pod + Send + Sync>(&self, length: usize) -> Result<Self::Buffer<T>>;

    /// Zeroed activations.
    ///
    /// # Errors
    /// As [`Backend::allocate`].
    fn allocate_features(&self, length: usize) -> Result<Self::Features>;

    /// So many bytes, zeroed, for [`Backend::place`] and [`Backend::place_features`].
    ///
    /// # Errors
    /// As [`Backend::allocate`].
    fn reserve(&self, bytes: usize) -> Result<Self::Memory>;

    /// A buffer that begins `start` bytes, a multiple of [`ALIGNMENT`], into `memory`. It keeps the memory alive, and its
    /// place: what is recorded may use it. Buffers whose places overlap lose what they hold when another is written, so that
    /// whoever places them answers for their times not meeting.
    ///
    /// # Errors
    /// As [`Backend::allocate`].
    fn place<T: Pod + Send + Sync>(
        &self,
        memory: &Self::Memory,
        start: usize,
        length: usize,
    ) -> Result<Self::Buffer<T>>;

    /// Activations with a place in `memory`, as [`Backend::place`].
    ///
    /// # Errors
    /// As [`Backend::allocate`].
    fn place_features(&self, memory: &Self::Memory, start: usize, length: usize) -> Result<Self::Features>;

    /// Bytes of device memory that are free once all that is queued is done, where the device can tell.
    fn free_bytes(&self) -> Option<u64> {
        None
    }

    /// Bytes of one activation.
    fn feature_bytes(&self) -> usize;

    /// Numbers that the sums of `images` pictures with up to `side` rows and columns take.
    fn group_sums_length(&self, images: usize, side: usize) -> usize;

    /// Room for the sums of `images` pictures, of [`Backend::group_sums_length`] numbers.
    fn group_sums(&self, images: usize, room: Self::Buffer<f32>) -> Self::GroupSums;

    /// Copies `data` to the start of `buffer`.
    fn upload<T: Pod + Send + Sync>(&self, data: &[T], buffer: &mut Self::Buffer<T>) -> Result<()>;

    /// Copies the start of `buffer` to `data`.
    fn download<T: Pod + Send + Sync>(&self, buffer: &Self::Buffer<T>, data: &mut [T]) -> Result<()>;

    /// Copies the first `length` elements of `from` to `to`, from element `at` on.
    fn copy<T: Pod + Send + Sync>(
        &self,
        length: usize,
        from: &Self::Buffer<T>,
        to: &mut Self::Buffer<T>,
        at: usize,
    ) -> Result<()>;

    /// Sets every byte of the first `length` elements.
    fn fill_bytes<T: Pod + Send + Sync>(
        &self,
        length: usize,
        byte: u8,
        out: &mut Self::Buffer<T>,
    ) -> Result<()>;

    /// Rounds float32 to activations.
    fn narrow(&self, length: usize, input: &Self::Buffer<f32>, out: &mut Self::Features) -> Result<()>;

    /// Widens activations to float32.
    fn widen(&self, length: usize, input: &Self::Features, out: &mut Self::Buffer<f32>) -> Result<()>;

    /// Starts laying out a weight matrix.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY` when the device has not enough left.
    fn matrix(&self, shape: MatrixShape, precision: Precision) -> Result<Self::Builder>;

    /// Begins a matrix of a linear layer whose weights are kept in e4m3 with a scale an output, and whose inputs are rounded
    /// to e4m3 with a scale a row: half the bytes of bfloat16 and twice its speed, where the device has such products.
    ///
    /// # Errors
    /// `DEVICE_UNAVAILABLE` where it has none; `OUT_OF_MEMORY`.
    fn fp8_matrix(&self, shape: MatrixShape) -> Result<Self::Builder> {
        let _ = shape;
        Err(no_fp8("this device"))
    }

    /// A layer's bias.
    ///
    /// # Errors
    /// As [`Backend::allocate`].
    fn bias(&self, values: &[f32]) -> Result<Self::Bias>;

    /// A linear layer: `input[rows, inputs] · weightᵀ + bias`, `[rows, outputs]`.
    fn linear(
        &self,
        rows: usize,
        input: &Self::Features,
        weight: &Self::Matrix,
        bias: &Self::Bias,
        out: LinearOutput<'_, Self>,
    ) -> Result<()>;

    /// Runs a whole path of the transformer, from `residual` to `logits`, where this device has a faster way than layer by
    /// layer. Returns whether it did; otherwise nothing has changed.
    ///
    /// # Errors
    /// Those of the device.
    fn run_path(&self, path: &Path<'_, Self>, buffers: PathBuffers<'_, Self>) -> Result<bool> {
        let _ = (path, buffers);
        Ok(false)
    }

    /// `out[rows, outputs] = input[rows, inputs] · weightᵀ`, all in float32: the latent's few numbers a row, embedded.
    fn project(
        &self,
        rows: usize,
        input: &Self::Buffer<f32>,
        weight: &Self::Matrix,
        out: &mut Self::Buffer<f32>,
    ) -> Result<()>;

    /// `out = silu(input)`, element by element.
    fn silu(&self, length: usize, input: &Self::Buffer<f32>, out: &mut Self::Features) -> Result<()>;

    /// `out[slot, width] += addend[width]`: the blocks' own part of a shared AdaLN.
    fn add_to_each(
        &self,
        slots: usize,
        width: usize,
        addend: &Self::Buffer<f32>,
        out: &mut Self::Buffer<f32>,
    ) -> Result<()>;

    /// `out = LayerNorm(input)·(1 + scale) + shift`, eps 1e-6, no affine parameters; `[rows, width]`.
    fn modulated_norm(
        &self,
        rows: Rows<'_, Self>,
        width: usize,
        input: &Self::Buffer<f32>,
        scale: Modulation<'_, Self>,
        shift: Modulation<'_, Self>,
        out: LayerInput<'_, Self>,
    ) -> Result<()>;

    /// Multi-head attention over `qkv [sequences, rows, 3, heads, head_width]`, or of its queries over cached keys and
    /// values; `out [sequences, queries, heads·head_width]`, queries counted from the first span's start.
    fn attention(
        &self,
        shape: AttentionShape<'_>,
        qkv: &Self::Features,
        keys_values: KeysValues<'_, Self>,
        scores: Scores<'_, Self>,
        out: &mut Self::Features,
    ) -> Result<()>;

    /// Copies rows of one buffer to another.
    fn copy_rows(&self, copy: RowsCopy, source: &Self::Features, target: &mut Self::Features) -> Result<()>;

    /// The first scale's input: `out[s, row_offset] = class[slot(s)] + start`, `[sequences, per_sequence, width]`.
    fn embed_start(
        &self,
        rows: Rows<'_, Self>,
        width: usize,
        class: &Self::Buffer<f32>,
        start: &Self::Buffer<f32>,
        out: &mut Self::Buffer<f32>,
    ) -> Result<()>;

    /// A later scale's input. `embedded [images, positions, width]` (the latent, already in the model's width)
    /// plus the position table `[.., width]` from row `first` on, plus `mask_embed [width]` where `mask` says so;
    /// written for every sequence (sequence s shows image s mod images) to rows `at ..` of its `per_sequence`.
    fn embed_scale(&self, scale: EmbedScale<'_, Self>, out: &mut Self::Buffer<f32>) -> Result<()>;

    /// Guides, filters and draws a token at every position (4.1), or only where `only` is set.
    /// `logits [halves, images, positions, vocabulary]` is consumed; `tokens` and `confidence` are
    /// `[images, positions]`.
    fn draw_tokens(
        &self,
        draw: TokenDraw,
        settings: &Self::Buffer<DrawSettings>,
        logits: &mut Self::Buffer<f32>,
        only: Option<&Self::Buffer<u8>>,
        tokens: &mut Self::Buffer<u32>,
        confidence: &mut Self::Buffer<f32>,
    ) -> Result<()>;

    /// Of the positions set in `mask [images, positions]`, leaves the [`DrawSettings::open`] least confident set (4,
    /// step 2); all of them where fewer are set. `confidence` may be any score.
    fn keep_least_confident(
        &self,
        images: usize,
        positions: usize,
        settings: &Self::Buffer<DrawSettings>,
        confidence: &Self::Buffer<f32>,
        mask: &mut Self::Buffer<u8>,
    ) -> Result<()>;

    /// Of the positions not set in `mask [images, positions]`, sets the [`DrawSettings::revises`] least confident, never
    /// those of infinite confidence; all others where there are fewer.
    fn open_least_confident(
        &self,
        images: usize,
        positions: usize,
        settings: &Self::Buffer<DrawSettings>,
        confidence: &Self::Buffer<f32>,
        mask: &mut Self::Buffer<u8>,
    ) -> Result<()>;

    /// `out += ln(input)`, element by element.
    fn add_logarithm(
        &self,
        length: usize,
        input: &Self::Buffer<f32>,
        out: &mut Self::Buffer<f32>,
    ) -> Result<()>;

    /// Soft decoding (4.2): `out[images, positions, codes.width] = softmax(…)·codebook` from guided logits.
    fn soften(
        &self,
        draw: TokenDraw,
        settings: &Self::Buffer<DrawSettings>,
        logits: &mut Self::Buffer<f32>,
        codebook: &Self::Buffer<f32>,
        width: usize,
        out: &mut Self::Buffer<f32>,
    ) -> Result<()>;

    /// `out[images, positions, width] = codebook[tokens]`.
    fn look_up(
        &self,
        count: usize,
        width: usize,
        codebook: &Self::Buffer<f32>,
        tokens: &Self::Buffer<u32>,
        out: &mut Self::Buffer<f32>,
    ) -> Result<()>;

    /// Bicubic resizing (2.3) of `input [images, side, side, width]` to the latent grid.
    fn enlarge(
        &self,
        latent: Latent,
        side: usize,
        input: &Self::Buffer<f32>,
        out: &mut Self::Buffer<f32>,
    ) -> Result<()>;

    /// Area pooling (2.3) of the latent grid to `out [images, side, side, width]`: stored, or, where `visible_in`
    /// gives a mask `[images, side, side]`, added at the positions it leaves unmasked.
    fn area_pool(
        &self,
        latent: Latent,
        side: usize,
        input: &Self::Buffer<f32>,
        visible_in: Option<&Self::Buffer<u8>>,
        out: &mut Self::Buffer<f32>,
    ) -> Result<()>;

    /// φ (2.4) of `input`, whose convolution is `convolved`: `(input + convolved)/2`, blended into `out`.
    fn blend_phi(
        &self,
        latent: Latent,
        blend: Blend,
        input: &Self::Buffer<f32>,
        convolved: &Self::Buffer<f32>,
        out: &mut Self::Buffer<f32>,
    ) -> Result<()>;

    /// For each of `count` vectors the code nearest in squared Euclidean distance.
    fn nearest_code(
        &self,
        count: usize,
        vocabulary: usize,
        width: usize,
        vectors: &Self::Buffer<f32>,
        codebook: &Self::Buffer<f32>,
        tokens: &mut Self::Buffer<u32>,
    ) -> Result<()>;

    /// Copies `tokens [images, positions]` to column `at` of `maps [images, stride]`.
    fn store_tokens(
        &self,
        images: usize,
        positions: usize,
        tokens: &Self::Buffer<u32>,
        maps: &mut Self::Buffer<u32>,
        stride: usize,
        at: usize,
    ) -> Result<()>;

    /// A convolution with bias in float32: φ and the latent's convolutions.
    fn exact_convolution(
        &self,
        shape: ConvolutionShape,
        input: &Self::Buffer<f32>,
        weight: &Self::Matrix,
        bias: &Self::Bias,
        out: &mut Self::Buffer<f32>,
    ) -> Result<()>;

    /// A convolution with bias, stored or added to what `out` holds. Makes `sums`, where given, of what `out` holds then.
    #[allow(clippy::too_many_arguments, reason = "what is read, and what is written")]
    fn convolution(
        &self,
        shape: ConvolutionShape,
        input: &Self::Features,
        weight: &Self::Matrix,
        bias: &Self::Bias,
        ending: Ending,
        out: &mut Self::Features,
        sums: Option<&mut Self::GroupSums>,
    ) -> Result<()>;

    /// Lengths of a `room` for [`Backend::normed_convolution`] that serve so many pictures, of so many activations each: what
    /// it should have at least, and what it has use for at most.
    fn room_for_normed(&self, images: usize, length: usize) -> Range<usize> {
        let _ = (images, length);
        0..0
    }

    /// The convolution ([`Walk::Same`]) of square pictures that go through [`Backend::group_norm`] first. They do so strip by
    /// strip, as many as fit in `room` or in what the device has itself, whichever is more.
    #[allow(clippy::too_many_arguments, reason = "what is read, and what is written")]
    fn normed_convolution(
        &self,
        norm: GroupNorm<'_, Self>,
        input: &Self::Features,
        room: &mut Self::Features,
        weight: &Self::Matrix,
        bias: &Self::Bias,
        ending: Ending,
        out: &mut Self::Features,
        sums: Option<&mut Self::GroupSums>,
    ) -> Result<()>;

    /// GroupNorm, 32 groups, eps 1e-6, affine, then SiLU if `activate`.
    fn group_norm(
        &self,
        norm: GroupNorm<'_, Self>,
        input: &Self::Features,
        out: &mut Self::Features,
    ) -> Result<()>;

    /// Clamps to [−1, 1] and rounds to bytes: `⌊255·(x+1)/2 + 0.5⌋`.
    fn to_bytes(&self, length: usize, input: &Self::Features, out: &mut Self::Buffer<u8>) -> Result<()>;
}

/// What becomes of a convolution's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// `out = x`
    Store,
    /// `out += x`
    Add,
}

/// Where the φ of a scale goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blend {
    /// `out = φ`
    Store,
    /// `out += φ`: a new scale joins the latent.
    Add,
    /// `out −= φ`: what is left to encode.
    Subtract,
}

/// Arguments of [`Backend::embed_scale`].
pub struct EmbedScale<'a, B: Backend> {
    /// Images; sequences are one or two halves of them.
    pub images: usize,
    /// Sequences.
    pub sequences: usize,
    /// Positions of the scale.
    pub positions: usize,
    /// C.
    pub width: usize,
    /// Rows of a sequence in `out`.
    pub per_sequence: usize,
    /// First of them to write.
    pub at: usize,
    /// `[images, positions, width]`
    pub embedded: &'a B::Buffer<f32>,
    /// Positions and levels `[N, width]`.
    pub positional: &'a B::Buffer<f32>,
    /// Its row for the scale's first position.
    pub first: usize,
    /// What stands for masked positions, if there are any.
    pub masked: Option<Masking<'a, B>>,
}

/// Masked positions, and what their embedding becomes.
pub struct Masking<'a, B: Backend> {
    /// `[images, positions]`
    pub mask: &'a B::Buffer<u8>,
    /// `[width]`
    pub embedding: &'a B::Buffer<f32>,
}

/// What places in a [`Backend::Memory`] are aligned to, in bytes.
pub const ALIGNMENT: usize = 256;

/// Arguments of [`Backend::group_norm`].
pub struct GroupNorm<'a, B: Backend> {
    /// Pictures.
    pub images: usize,
    /// Pixels of each.
    pub pixels: usize,
    /// Channels, a multiple of 32.
    pub channels: usize,
    /// `[channels]`
    pub weight: &'a B::Buffer<f32>,
    /// `[channels]`
    pub bias: &'a B::Buffer<f32>,
    /// SiLU after it.
    pub activate: bool,
    /// What the convolution that made the input made of it on the way.
    pub sums: Option<&'a B::GroupSums>,
}

impl<B: Backend> GroupNorm<'_, B> {
    /// Rows and columns of square pictures.
    pub fn side(&self) -> usize {
        self.pixels.isqrt()
    }
}

/// The error of a device that does not multiply in FP8.
pub fn no_fp8(found: impl std::fmt::Display) -> Error {
    Error::new(Code::DeviceUnavailable, "The device does not multiply in FP8.")
        .found(found)
        .expected("an NVIDIA GPU of compute capability 9.0 with cuBLASLt 12.9 or later")
        .remedy("Choose dtype 'bf16'.")
}
