//! The operations on the CPU: products through packed panels, everything else as loops the compiler vectorises,
//! all on one thread pool.

mod attention;
mod buffer;
mod convolution;
mod disjoint;
mod draw;
mod kernel;
mod matrix;
mod norm;
mod product;
mod reduce;
mod resize;
mod workspace;

use std::sync::{Mutex, PoisonError};

use bytemuck::Pod;
use hmar_error::{Code, Error, Result};
use rayon::prelude::*;

use self::attention::ScoreScale;
use self::convolution::Patches;
use self::kernel::Instructions;
use self::product::{PlainRows, product};
use crate::math::{gelu, silu};
use crate::*;

pub use self::buffer::CpuBuffer;
pub use self::matrix::{CpuMatrix, CpuMatrixBuilder};

/// Elements of a task in element-wise loops.
const ELEMENTS: usize = 16 * 1024;

/// Pixels that are normalised for a convolution at a time: enough for many threads, few enough to stay in the last cache.
const STRIP_PIXELS: usize = 16 * 1024;

/// The CPU as a device: one thread pool and what the processor can.
pub struct CpuBackend {
    pool: rayon::ThreadPool,
    instructions: Instructions,
    /// Strips of normalised pictures that no call uses.
    strips: Mutex<Vec<CpuBuffer<f32>>>,
}

impl CpuBackend {
    /// A backend with its own threads.
    ///
    /// `threads`: how many; defaults to the number of cores this process may use.
    ///
    /// # Errors
    /// `DEVICE_UNAVAILABLE` when the threads cannot be started.
    pub fn new(threads: Option<usize>) -> Result<Self> {
        Self::with_instructions(threads, Instructions::detect())
    }

    /// A backend that multiplies through the `gemm` crate, as on processors without AVX-512.
    ///
    /// # Errors
    /// As [`CpuBackend::new`].
    pub fn portable(threads: Option<usize>) -> Result<Self> {
        Self::with_instructions(threads, Instructions::Portable)
    }

    fn with_instructions(threads: Option<usize>, instructions: Instructions) -> Result<Self> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads.unwrap_or(0))
            .thread_name(|index| format!("hmar-cpu-{index}"))
            .build()
            .map_err(|error| {
                Error::new(Code::DeviceUnavailable, "The CPU's worker threads could not be started.")
                    .found(error)
                    .remedy("Ask for fewer threads.")
            })?;
        Ok(CpuBackend { pool, instructions, strips: Mutex::default() })
    }

    /// Worker threads.
    pub fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// Vector extensions in use, in the processor's own words.
    pub fn features(&self) -> &'static [&'static str] {
        match self.instructions {
            Instructions::Avx512Bf16 => &["avx512f", "avx512bf16"],
            Instructions::Avx512 => &["avx512f"],
            Instructions::Portable => &[],
        }
    }

    /// Calls `store(row, first output, products, their place in out)`, as vector code, for all of
    /// `input · weightᵀ`.
    fn multiply(
        &self,
        rows: usize,
        input: &CpuBuffer<f32>,
        weight: &CpuMatrix,
        out: &mut CpuBuffer<f32>,
        store: impl Fn(usize, usize, &[f32], &mut [f32]) + Sync,
    ) {
        let inputs = PlainRows { values: input.as_slice(), width: weight.shape.inputs };
        let arch = pulp::Arch::new();
        self.pool.install(|| {
            product(
                self.instructions,
                rows,
                &inputs,
                weight,
                out.as_mut_slice(),
                |row, first, products, out| {
                    arch.dispatch(
                        #[inline(always)]
                        || store(row, first, products, out),
                    );
                },
            );
        });
    }

    /// Convolves `patches`, of as many pixels as `rows`, into `out [rows, outputs]`.
    fn convolve(
        &self,
        rows: usize,
        patches: &Patches<'_>,
        weight: &CpuMatrix,
        bias: &[f32],
        ending: Ending,
        out: &mut [f32],
    ) {
        let store = |_: usize, first: usize, products: &[f32], out: &mut [f32]| {
            let biased = products.iter().zip(&bias[first..]);
            match ending {
                Ending::Store => out.iter_mut().zip(biased).for_each(|(out, (x, bias))| *out = x + bias),
                Ending::Add => out.iter_mut().zip(biased).for_each(|(out, (x, bias))| *out += x + bias),
            }
        };
        self.pool.install(|| product(self.instructions, rows, patches, weight, out, store));
    }

    /// Memory for normalised pixels. It is taken out, not locked: a thread that waits may start another call's work.
    fn take_strip(&self, length: usize) -> Result<CpuBuffer<f32>> {
        let kept = self.strips.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match kept.filter(|strip| strip.as_slice().len() >= length) {
            Some(strip) => Ok(strip),
            None => self.allocate(length),
        }
    }

    fn give_strip_back(&self, strip: CpuBuffer<f32>) {
        self.strips.lock().unwrap_or_else(PoisonError::into_inner).push(strip);
    }

    /// Splits `out` into equal parts of `size` and runs `work(index, part)` on all threads, as vector code.
    fn each_part<T: Send>(&self, out: &mut [T], size: usize, work: impl Fn(usize, &mut [T]) + Sync) {
        self.pool.install(|| {
            out.par_chunks_mut(size).enumerate().for_each(|(index, part)| {
                pulp::Arch::new().dispatch(
                    #[inline(always)]
                    || work(index, part),
                );
            });
        });
    }
}

fn out_of_memory(what: &str, bytes: usize) -> Error {
    Error::new(Code::OutOfMemory, format!("There is not enough memory for {what}."))
        .expected(format!("{bytes} bytes"))
}

fn vector(modulation: &Modulation<'_, CpuBackend>, slot: u32, width: usize) -> std::ops::Range<usize> {
    let start = slot as usize * modulation.stride + modulation.offset;
    start..start + width
}

impl Backend for CpuBackend {
    type Buffer<T: Pod + Send + Sync> = CpuBuffer<T>;
    type Features = CpuBuffer<f32>;
    type Matrix = CpuMatrix;
    type Bias = CpuBuffer<f32>;
    type Builder = CpuMatrixBuilder;
    type Recording = ();
    type Mark = ();
    /// A picture is summed when it is normalised.
    type GroupSums = ();
    type Memory = ();

    const SHARES_PLACES: bool = false;

    fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.pool.install(work)
    }

    /// One at a time keeps the memory small, and the threads are busy with one.
    fn images_at_once(&self) -> usize {
        1
    }

    fn replay(&self, _recording: &mut (), work: impl FnOnce() -> Result<()>) -> Result<()> {
        work()
    }

    fn mark(&self) -> Result<()> {
        Ok(())
    }

    fn is_done(&self, _mark: &()) -> Result<bool> {
        Ok(true)
    }

    fn wait(&self, _mark: ()) -> Result<()> {
        Ok(())
    }

    fn allocate_features(&self, length: usize) -> Result<CpuBuffer<f32>> {
        self.allocate(length)
    }

    fn reserve(&self, _bytes: usize) -> Result<()> {
        Ok(())
    }

    fn place<T: Pod + Send + Sync>(&self, _: &(), _start: usize, length: usize) -> Result<CpuBuffer<T>> {
        self.allocate(length)
    }

    fn place_features(&self, _: &(), _start: usize, length: usize) -> Result<CpuBuffer<f32>> {
        self.allocate(length)
    }

    fn feature_bytes(&self) -> usize {
        size_of::<f32>()
    }

    fn group_sums_length(&self, _images: usize, _side: usize) -> usize {
        0
    }

    fn group_sums(&self, _images: usize, _room: CpuBuffer<f32>) {}

    fn allocate<T: Pod + Send + Sync>(&self, length: usize) -> Result<CpuBuffer<T>> {
        CpuBuffer::zeroed(length).ok_or_else(|| {
            out_of_memory("a buffer", length.saturating_mul(size_of::<T>()))
                .remedy("Generate fewer images at a time.")
        })
    }

    fn upload<T: Pod + Send + Sync>(&self, data: &[T], buffer: &mut CpuBuffer<T>) -> Result<()> {
        buffer.as_mut_slice()[..data.len()].copy_from_slice(data);
        Ok(())
    }

    fn download<T: Pod + Send + Sync>(&self, buffer: &CpuBuffer<T>, data: &mut [T]) -> Result<()> {
        data.copy_from_slice(&buffer.as_slice()[..data.len()]);
        Ok(())
    }

    fn copy<T: Pod + Send + Sync>(
        &self,
        length: usize,
        from: &CpuBuffer<T>,
        to: &mut CpuBuffer<T>,
        at: usize,
    ) -> Result<()> {
        to.as_mut_slice()[at..at + length].copy_from_slice(&from.as_slice()[..length]);
        Ok(())
    }

    fn fill_bytes<T: Pod + Send + Sync>(
        &self,
        length: usize,
        byte: u8,
        out: &mut CpuBuffer<T>,
    ) -> Result<()> {
        bytemuck::cast_slice_mut::<T, u8>(&mut out.as_mut_slice()[..length]).fill(byte);
        Ok(())
    }

    fn narrow(&self, length: usize, input: &CpuBuffer<f32>, out: &mut CpuBuffer<f32>) -> Result<()> {
        out.as_mut_slice()[..length].copy_from_slice(&input.as_slice()[..length]);
        Ok(())
    }

    fn widen(&self, length: usize, input: &CpuBuffer<f32>, out: &mut CpuBuffer<f32>) -> Result<()> {
        self.narrow(length, input, out)
    }

    fn matrix(&self, shape: MatrixShape, precision: Precision) -> Result<CpuMatrixBuilder> {
        CpuMatrixBuilder::new(shape, precision).ok_or_else(|| {
            let size = match precision {
                Precision::F32 => size_of::<f32>(),
                Precision::Bf16 => size_of::<half::bf16>(),
            };
            out_of_memory("a weight matrix", shape.outputs * shape.inputs * shape.taps * size)
        })
    }

    fn bias(&self, values: &[f32]) -> Result<CpuBuffer<f32>> {
        let mut bias = self.allocate(values.len())?;
        self.upload(values, &mut bias)?;
        Ok(bias)
    }

    fn linear(
        &self,
        rows: usize,
        input: &CpuBuffer<f32>,
        weight: &CpuMatrix,
        bias: &CpuBuffer<f32>,
        out: LinearOutput<'_, Self>,
    ) -> Result<()> {
        let outputs = weight.shape.outputs;
        let bias = bias.as_slice();
        match out {
            LinearOutput::Features(out) | LinearOutput::Float32(out) => {
                self.multiply(rows, input, weight, out, |_, first, products, out| {
                    let products = products.iter().zip(&bias[first..]);
                    out.iter_mut().zip(products).for_each(|(out, (x, bias))| *out = x + bias);
                });
            }
            LinearOutput::Gelu(LayerInput { features: out, .. }) => {
                self.multiply(rows, input, weight, out, |_, first, products, out| {
                    let products = products.iter().zip(&bias[first..]);
                    out.iter_mut().zip(products).for_each(|(out, (x, bias))| *out = gelu(x + bias));
                });
            }
            LinearOutput::GatedResidual { residual, gate, rows: grouping, next } => {
                self.multiply(rows, input, weight, residual, |row, first, products, out| {
                    let slot = grouping.slots.as_slice()[row / grouping.per_sequence];
                    let gates = &gate.table.as_slice()[vector(&gate, slot, outputs)];
                    let products = products.iter().zip(&bias[first..]).zip(&gates[first..]);
                    out.iter_mut()
                        .zip(products)
                        .for_each(|(out, ((x, bias), gate))| *out += gate * (x + bias));
                });
                if let Some(Normalized { scale, shift, out }) = next {
                    self.modulated_norm(grouping, outputs, residual, scale, shift, out)?;
                }
            }
        }
        Ok(())
    }

    fn project(
        &self,
        rows: usize,
        input: &CpuBuffer<f32>,
        weight: &CpuMatrix,
        out: &mut CpuBuffer<f32>,
    ) -> Result<()> {
        self.multiply(rows, input, weight, out, |_, _, products, out| out.copy_from_slice(products));
        Ok(())
    }

    fn silu(&self, length: usize, input: &CpuBuffer<f32>, out: &mut CpuBuffer<f32>) -> Result<()> {
        let input = &input.as_slice()[..length];
        self.each_part(&mut out.as_mut_slice()[..length], ELEMENTS, |part, out| {
            for (out, &x) in out.iter_mut().zip(&input[part * ELEMENTS..]) {
                *out = silu(x);
            }
        });
        Ok(())
    }

    fn add_to_each(
        &self,
        slots: usize,
        width: usize,
        addend: &CpuBuffer<f32>,
        out: &mut CpuBuffer<f32>,
    ) -> Result<()> {
        for slot in out.as_mut_slice()[..slots * width].chunks_exact_mut(width) {
            slot.iter_mut().zip(addend.as_slice()).for_each(|(out, x)| *out += x);
        }
        Ok(())
    }

    fn modulated_norm(
        &self,
        rows: Rows<'_, Self>,
        width: usize,
        input: &CpuBuffer<f32>,
        scale: Modulation<'_, Self>,
        shift: Modulation<'_, Self>,
        LayerInput { features: out, .. }: LayerInput<'_, Self>,
    ) -> Result<()> {
        let length = rows.count() * width;
        let modulation = |row: usize| {
            let slot = rows.slots.as_slice()[row / rows.per_sequence];
            (
                &scale.table.as_slice()[vector(&scale, slot, width)],
                &shift.table.as_slice()[vector(&shift, slot, width)],
            )
        };
        self.pool.install(|| {
            let (input, out) = (&input.as_slice()[..length], &mut out.as_mut_slice()[..length]);
            norm::modulated_norm(width, input, modulation, out);
        });
        Ok(())
    }

    fn attention(
        &self,
        shape: AttentionShape<'_>,
        qkv: &CpuBuffer<f32>,
        keys_values: KeysValues<'_, Self>,
        scores: Scores<'_, Self>,
        out: &mut CpuBuffer<f32>,
    ) -> Result<()> {
        let scale = match scores {
            Scores::Normalized(factors) => ScoreScale::Normalized(factors.as_slice()),
            Scores::Scaled(factor) => ScoreScale::Scaled(factor),
        };
        let qkv = qkv.as_slice();
        let cached = match keys_values {
            KeysValues::BesideQueries => None,
            KeysValues::Cached { rows, capacity } => Some((rows.as_slice(), capacity)),
        };
        self.pool.install(|| {
            attention::attention(self.instructions, &shape, qkv, cached, scale, out.as_mut_slice());
        });
        Ok(())
    }

    fn copy_rows(&self, copy: RowsCopy, source: &CpuBuffer<f32>, target: &mut CpuBuffer<f32>) -> Result<()> {
        let RowsCopy { sequences, rows, columns, from, to } = copy;
        let (source, target) = (source.as_slice(), target.as_mut_slice());
        let start = |place: RowsPlace, sequence: usize, row: usize| {
            (sequence * place.rows + place.row + row) * place.columns + place.column
        };
        for sequence in 0..sequences {
            for row in 0..rows {
                let (read, write) = (start(from, sequence, row), start(to, sequence, row));
                target[write..write + columns].copy_from_slice(&source[read..read + columns]);
            }
        }
        Ok(())
    }

    fn embed_start(
        &self,
        rows: Rows<'_, Self>,
        width: usize,
        class: &CpuBuffer<f32>,
        start: &CpuBuffer<f32>,
        out: &mut CpuBuffer<f32>,
    ) -> Result<()> {
        let sequences = out.as_mut_slice().chunks_exact_mut(rows.per_sequence * width);
        for (out, &slot) in sequences.zip(&rows.slots.as_slice()[..rows.sequences]) {
            let class = &class.as_slice()[slot as usize * width..][..width];
            for ((out, class), start) in out.iter_mut().zip(class).zip(start.as_slice()) {
                *out = class + start;
            }
        }
        Ok(())
    }

    fn embed_scale(&self, scale: EmbedScale<'_, Self>, out: &mut CpuBuffer<f32>) -> Result<()> {
        let EmbedScale { images, sequences, positions, width, per_sequence, at, first, .. } = scale;
        let length = sequences * per_sequence * width;
        self.each_part(&mut out.as_mut_slice()[..length], per_sequence * width, |sequence, out| {
            let image = sequence % images;
            let out = &mut out[at * width..(at + positions) * width];
            for (position, out) in out.chunks_exact_mut(width).enumerate() {
                let row = image * positions + position;
                let embedded = &scale.embedded.as_slice()[row * width..][..width];
                let positional = &scale.positional.as_slice()[(first + position) * width..][..width];
                for ((out, x), y) in out.iter_mut().zip(embedded).zip(positional) {
                    *out = x + y;
                }
                if let Some(Masking { mask, embedding }) = &scale.masked
                    && mask.as_slice()[row] != 0
                {
                    out.iter_mut().zip(embedding.as_slice()).for_each(|(out, x)| *out += x);
                }
            }
        });
        Ok(())
    }

    fn draw_tokens(
        &self,
        draw: TokenDraw,
        settings: &CpuBuffer<DrawSettings>,
        logits: &mut CpuBuffer<f32>,
        only: Option<&CpuBuffer<u8>>,
        tokens: &mut CpuBuffer<u32>,
        confidence: &mut CpuBuffer<f32>,
    ) -> Result<()> {
        self.pool.install(|| {
            draw::draw_tokens(
                draw,
                &settings.as_slice()[0],
                logits.as_mut_slice(),
                only.map(CpuBuffer::as_slice),
                tokens.as_mut_slice(),
                confidence.as_mut_slice(),
            );
        });
        Ok(())
    }

    fn keep_least_confident(
        &self,
        images: usize,
        positions: usize,
        settings: &CpuBuffer<DrawSettings>,
        confidence: &CpuBuffer<f32>,
        mask: &mut CpuBuffer<u8>,
    ) -> Result<()> {
        let count = settings.as_slice()[0].open as usize;
        let confidences = confidence.as_slice().chunks_exact(positions);
        for (mask, confidence) in
            mask.as_mut_slice().chunks_exact_mut(positions).zip(confidences).take(images)
        {
            draw::keep_least_confident(count, confidence, mask);
        }
        Ok(())
    }

    fn open_least_confident(
        &self,
        images: usize,
        positions: usize,
        settings: &CpuBuffer<DrawSettings>,
        confidence: &CpuBuffer<f32>,
        mask: &mut CpuBuffer<u8>,
    ) -> Result<()> {
        let count = settings.as_slice()[0].revises as usize;
        let confidences = confidence.as_slice().chunks_exact(positions);
        for (mask, confidence) in
            mask.as_mut_slice().chunks_exact_mut(positions).zip(confidences).take(images)
        {
            draw::open_least_confident(count, confidence, mask);
        }
        Ok(())
    }

    fn add_logarithm(&self, length: usize, input: &CpuBuffer<f32>, out: &mut CpuBuffer<f32>) -> Result<()> {
        for (out, &x) in out.as_mut_slice()[..length].iter_mut().zip(input.as_slice()) {
            *out = (f64::from(*out) + f64::from(x).ln()) as f32;
        }
        Ok(())
    }

    fn soften(
        &self,
        draw: TokenDraw,
        settings: &CpuBuffer<DrawSettings>,
        logits: &mut CpuBuffer<f32>,
        codebook: &CpuBuffer<f32>,
        width: usize,
        out: &mut CpuBuffer<f32>,
    ) -> Result<()> {
        self.pool.install(|| {
            let settings = &settings.as_slice()[0];
            let (logits, out) = (logits.as_mut_slice(), out.as_mut_slice());
            draw::soften(draw, settings, logits, codebook.as_slice(), width, out);
        });
        Ok(())
    }

    fn look_up(
        &self,
        count: usize,
        width: usize,
        codebook: &CpuBuffer<f32>,
        tokens: &CpuBuffer<u32>,
        out: &mut CpuBuffer<f32>,
    ) -> Result<()> {
        let vectors = out.as_mut_slice().chunks_exact_mut(width);
        for (out, &token) in vectors.zip(&tokens.as_slice()[..count]) {
            out.copy_from_slice(&codebook.as_slice()[token as usize * width..][..width]);
        }
        Ok(())
    }

    fn enlarge(
        &self,
        latent: Latent,
        side: usize,
        input: &CpuBuffer<f32>,
        out: &mut CpuBuffer<f32>,
    ) -> Result<()> {
        let Latent { images, side: full, width } = latent;
        let (small, large) = (side * side * width, full * full * width);
        self.each_part(&mut out.as_mut_slice()[..images * large], large, |image, out| {
            resize::bicubic(side, full, width, &input.as_slice()[image * small..][..small], out);
        });
        Ok(())
    }

    fn area_pool(
        &self,
        latent: Latent,
        side: usize,
        input: &CpuBuffer<f32>,
        visible_in: Option<&CpuBuffer<u8>>,
        out: &mut CpuBuffer<f32>,
    ) -> Result<()> {
        let Latent { images, side: full, width } = latent;
        let (small, large) = (side * side * width, full * full * width);
        self.each_part(&mut out.as_mut_slice()[..images * small], small, |image, out| {
            let input = &input.as_slice()[image * large..][..large];
            resize::area(full, side, width, input, |cell, average| {
                let out = &mut out[cell * width..(cell + 1) * width];
                match visible_in {
                    None => out.copy_from_slice(average),
                    Some(mask) if mask.as_slice()[image * side * side + cell] == 0 => {
                        out.iter_mut().zip(average).for_each(|(out, x)| *out += x);
                    }
                    Some(_) => {}
                }
            });
        });
        Ok(())
    }

    fn blend_phi(
        &self,
        latent: Latent,
        blend: Blend,
        input: &CpuBuffer<f32>,
        convolved: &CpuBuffer<f32>,
        out: &mut CpuBuffer<f32>,
    ) -> Result<()> {
        let length = latent.images * latent.side * latent.side * latent.width;
        let both = input.as_slice().iter().zip(convolved.as_slice());
        for (out, (x, y)) in out.as_mut_slice()[..length].iter_mut().zip(both) {
            let phi = 0.5 * x + 0.5 * y;
            match blend {
                Blend::Store => *out = phi,
                Blend::Add => *out += phi,
                Blend::Subtract => *out -= phi,
            }
        }
        Ok(())
    }

    fn nearest_code(
        &self,
        count: usize,
        vocabulary: usize,
        width: usize,
        vectors: &CpuBuffer<f32>,
        codebook: &CpuBuffer<f32>,
        tokens: &mut CpuBuffer<u32>,
    ) -> Result<()> {
        let codes = &codebook.as_slice()[..vocabulary * width];
        self.each_part(&mut tokens.as_mut_slice()[..count], 16, |part, tokens| {
            for (i, token) in tokens.iter_mut().enumerate() {
                let vector = &vectors.as_slice()[(part * 16 + i) * width..][..width];
                let mut nearest = (f32::INFINITY, 0);
                for (index, code) in codes.chunks_exact(width).enumerate() {
                    let distance: f32 = reduce::squared_distance(vector, code);
                    if distance < nearest.0 {
                        nearest = (distance, index as u32);
                    }
                }
                *token = nearest.1;
            }
        });
        Ok(())
    }

    fn store_tokens(
        &self,
        images: usize,
        positions: usize,
        tokens: &CpuBuffer<u32>,
        maps: &mut CpuBuffer<u32>,
        stride: usize,
        at: usize,
    ) -> Result<()> {
        let tokens = tokens.as_slice()[..images * positions].chunks_exact(positions);
        for (map, tokens) in maps.as_mut_slice().chunks_exact_mut(stride).zip(tokens) {
            map[at..at + positions].copy_from_slice(tokens);
        }
        Ok(())
    }

    fn exact_convolution(
        &self,
        shape: ConvolutionShape,
        input: &CpuBuffer<f32>,
        weight: &CpuMatrix,
        bias: &CpuBuffer<f32>,
        out: &mut CpuBuffer<f32>,
    ) -> Result<()> {
        self.convolution(shape, input, weight, bias, Ending::Store, out, None)
    }

    fn convolution(
        &self,
        shape: ConvolutionShape,
        input: &CpuBuffer<f32>,
        weight: &CpuMatrix,
        bias: &CpuBuffer<f32>,
        ending: Ending,
        out: &mut CpuBuffer<f32>,
        _sums: Option<&mut ()>,
    ) -> Result<()> {
        let MatrixShape { inputs: channels, taps, .. } = weight.shape;
        let patches =
            Patches { shape, taps, channels, values: input.as_slice(), first_pixel: 0, first_row: 0 };
        let rows = shape.images * shape.output_side() * shape.output_side();
        self.convolve(rows, &patches, weight, bias.as_slice(), ending, out.as_mut_slice());
        Ok(())
    }

    fn normed_convolution(
        &self,
        norm: GroupNorm<'_, Self>,
        input: &CpuBuffer<f32>,
        _room: &mut CpuBuffer<f32>,
        weight: &CpuMatrix,
        bias: &CpuBuffer<f32>,
        ending: Ending,
        out: &mut CpuBuffer<f32>,
        _sums: Option<&mut ()>,
    ) -> Result<()> {
        let GroupNorm { images, pixels, channels, activate, .. } = norm;
        let (side, MatrixShape { outputs, taps, .. }) = (pixels.isqrt(), weight.shape);
        let shape = ConvolutionShape { images: 1, side, walk: Walk::Same };
        let margin = if taps == 1 { 0 } else { 1 };
        let strip_rows = STRIP_PIXELS.div_ceil(side).min(side);
        let mut strip = self.take_strip(channels * side * (strip_rows + 2 * margin).min(side))?;
        for image in 0..images {
            let picture = &input.as_slice()[image * pixels * channels..][..pixels * channels];
            let affine = self.pool.install(|| {
                norm::factors_and_offsets(channels, norm.weight.as_slice(), norm.bias.as_slice(), picture)
            });
            for begin in (0..side).step_by(strip_rows) {
                let end = (begin + strip_rows).min(side);
                let read = begin.saturating_sub(margin) * side..(end + margin).min(side) * side;
                let values = &mut strip.as_mut_slice()[..read.len() * channels];
                let from = &picture[read.start * channels..read.end * channels];
                self.pool.install(|| norm::apply(channels, &affine, activate, from, values));
                let (first_pixel, first_row) = (read.start, begin * side);
                let patches = Patches { shape, taps, channels, values, first_pixel, first_row };
                let rows = (end - begin) * side;
                let out = &mut out.as_mut_slice()[(image * pixels + first_row) * outputs..][..rows * outputs];
                self.convolve(rows, &patches, weight, bias.as_slice(), ending, out);
            }
        }
        self.give_strip_back(strip);
        Ok(())
    }

    fn group_norm(
        &self,
        norm: GroupNorm<'_, Self>,
        input: &CpuBuffer<f32>,
        out: &mut CpuBuffer<f32>,
    ) -> Result<()> {
        let length = norm.images * norm.pixels * norm.channels;
        self.pool.install(|| {
            norm::group_norm(
                norm.pixels,
                norm.channels,
                norm.weight.as_slice(),
                norm.bias.as_slice(),
                norm.activate,
                &input.as_slice()[..length],
                &mut out.as_mut_slice()[..length],
            );
        });
        Ok(())
    }

    fn to_bytes(&self, length: usize, input: &CpuBuffer<f32>, out: &mut CpuBuffer<u8>) -> Result<()> {
        let input = &input.as_slice()[..length];
        self.each_part(&mut out.as_mut_slice()[..length], ELEMENTS, |part, out| {
            for (out, x) in out.iter_mut().zip(&input[part * ELEMENTS..]) {
                *out = (255.0 * ((x.clamp(-1.0, 1.0) + 1.0) / 2.0) + 0.5) as u8;
            }
        });
        Ok(())
    }
}
