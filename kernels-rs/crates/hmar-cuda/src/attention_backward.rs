//! Gradients of block-sparse attention: bfloat16, head width 64.

mod tiles;

use hmar_error::{Code, Error, Result};
use hmar_ops::{Backend, Precision, Scores};

use crate::attention::Pattern;
use crate::backend::CudaBackend;
use crate::buffer::CudaBuffer;
use crate::features::CudaFeatures;
use crate::tensor_map::TensorMap;

use self::tiles::{KeyTile, QUERIES, QueryTile, Schedule, Step, Tiling, Unit};

/// The one head width there are kernels for.
const HEAD_WIDTH: usize = 64;

/// Numbers of a query's row, and of a tile's sums.
const ROW_NUMBERS: usize = 3;
const TILE_SUMS: usize = QUERIES * HEAD_WIDTH;

const THREADS: usize = 512;
const ROW_THREADS: usize = 256;

/// Shared memory: five tiles of queries and of the output's gradients with their keys' ranges, the numbers of 17 tiles'
/// rows, two tiles of 128 keys, of their values and of gradients of scores, two of outputs, one of gradients on
/// their way out, and what is beside them.
const SHARED: usize =
    5 * (2 * 8192 + QUERIES * 8) + 17 * ROW_NUMBERS * QUERIES * 4 + (2 * 3 * 2 + 2 + 1) * 8192 + 4096;

/// What attention's gradients are made from. All in the layout of [`hmar_ops::Backend::attention`].
#[derive(Clone, Copy)]
pub struct AttentionInputs<'a> {
    /// `[images, tokens, 3, heads, 64]`: queries, keys, values before any normalisation.
    pub qkv: &'a CudaFeatures,
    /// How scores were made.
    pub scores: Scores<'a, CudaBackend>,
    /// `[images, tokens, heads, 64]`, what attention returned.
    pub out: &'a CudaFeatures,
    /// `[images, heads, tokens]`: ln Σ exp(score) over the keys that a query sees.
    pub lse: &'a CudaBuffer<f32>,
    /// `[images, tokens, heads, 64]`: the gradient of `out`.
    pub d_out: &'a CudaFeatures,
}

/// Where attention's gradients go.
pub struct AttentionGradients<'a> {
    /// `[images, tokens, 3, heads, 64]`: of queries, keys and values before any normalisation.
    pub d_qkv: &'a mut CudaFeatures,
    /// `[heads]`: of the heads' factors, where they are wanted and scores are normalized.
    pub d_factors: Option<&'a mut CudaBuffer<f32>>,
}

/// Which kernels make the gradients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kernels {
    /// Those for Hopper's tensor cores and copy engine.
    Hopper,
    /// Those for every GPU with bfloat16.
    Plain,
}

/// Attention's gradients for one list of segments, planned: tiles, which block does which, and memory between kernels.
///
/// Every run on a GPU model gives the same bits.
pub struct AttentionBackward {
    kernels: Kernels,
    images: usize,
    heads: usize,
    tokens: usize,
    query_tiles: CudaBuffer<QueryTile>,
    key_tiles: CudaBuffer<KeyTile>,
    steps: CudaBuffer<Step>,
    ranges: CudaBuffer<[i32; 2]>,
    units: CudaBuffer<Unit>,
    blocks: usize,
    own_sums: usize,
    /// Blocks add to the same sums.
    shares_sums: bool,
    rows: CudaBuffer<f32>,
    sums: CudaBuffer<f32>,
    progress: CudaBuffer<i32>,
    factor_parts: CudaBuffer<f32>,
}

impl AttentionBackward {
    /// Plans gradients for `images` of `segments` (their lengths in tokens, in order) with so many heads of 64.
    ///
    /// # Errors
    /// `ARGUMENT_OUT_OF_RANGE` for an empty segment, `CONFIG_INVALID` where the backend's precision is not bfloat16,
    /// `OUT_OF_MEMORY`.
    pub fn new(
        backend: &CudaBackend,
        images: usize,
        heads: usize,
        segments: &[usize],
        pattern: Pattern,
    ) -> Result<Self> {
        let kernels = if backend.context.capability == (9, 0) { Kernels::Hopper } else { Kernels::Plain };
        Self::with(kernels, backend, images, heads, segments, pattern)
    }

    /// The same with the kernels for every GPU, which are many times slower on Hopper: to compare with.
    ///
    /// # Errors
    /// As [`AttentionBackward::new`].
    pub fn plain(
        backend: &CudaBackend,
        images: usize,
        heads: usize,
        segments: &[usize],
        pattern: Pattern,
    ) -> Result<Self> {
        Self::with(Kernels::Plain, backend, images, heads, segments, pattern)
    }

    fn with(
        kernels: Kernels,
        backend: &CudaBackend,
        images: usize,
        heads: usize,
        segments: &[usize],
        pattern: Pattern,
    ) -> Result<Self> {
        check(backend, segments)?;
        let sequences = images * heads;
        // A block takes a whole multiprocessor.
        let blocks = backend.context.multiprocessors;
        let tiling = Tiling::new(segments, pattern, sequences, blocks);
        let schedule = match kernels {
            Kernels::Hopper => Schedule::new(&tiling, images, heads, blocks),
            Kernels::Plain => Schedule::of_query_tiles(&tiling, images, heads),
        };
        let row_tiles = sequences * tiling.queries.len();
        Ok(AttentionBackward {
            kernels,
            images,
            heads,
            tokens: segments.iter().sum(),
            query_tiles: uploaded(backend, &tiling.queries)?,
            key_tiles: uploaded(backend, &tiling.keys)?,
            steps: uploaded(backend, &tiling.steps)?,
            shares_sums: schedule.units.iter().any(|unit| unit.shared == 1),
            ranges: uploaded(backend, &tiling.ranges)?,
            units: uploaded(backend, &schedule.units)?,
            blocks,
            own_sums: schedule.own_sums,
            rows: backend.allocate(row_tiles * ROW_NUMBERS * QUERIES)?,
            sums: backend.allocate(schedule.sums * TILE_SUMS)?,
            progress: backend.allocate(1 + sequences * tiling.keys.len())?,
            factor_parts: backend.allocate(schedule.units.len() * 4)?,
        })
    }

    /// Queues the gradients of one attention.
    ///
    /// # Errors
    /// `DEVICE_UNAVAILABLE` when the device died.
    ///
    /// # Panics
    /// Where a buffer is shorter than its shape.
    pub fn run(
        &mut self,
        backend: &CudaBackend,
        inputs: AttentionInputs<'_>,
        gradients: AttentionGradients<'_>,
    ) -> Result<()> {
        let AttentionInputs { qkv, scores, out, lse, d_out } = inputs;
        let AttentionGradients { d_qkv, d_factors } = gradients;
        let length = self.images * self.tokens * self.heads * HEAD_WIDTH;
        assert!(qkv.len() >= 3 * length && d_qkv.len() >= 3 * length, "all tokens' queries, keys and values");
        assert!(out.len() >= length && d_out.len() >= length, "all tokens' outputs");
        assert!(lse.len() >= self.images * self.heads * self.tokens, "a number for every query");
        let (factors, _) = factors_of(scores);
        assert!(factors.is_none_or(|factors| factors.len() >= self.heads), "one a head");
        assert!(d_factors.as_ref().is_none_or(|d_factors| d_factors.len() >= self.heads), "one a head");
        if length == 0 {
            return Ok(());
        }

        // Where a block does all of a chain, it finds what rows bring itself.
        if self.shares_sums || self.kernels == Kernels::Plain {
            self.find_rows(backend, &inputs)?;
        }
        match self.kernels {
            Kernels::Hopper => self.differentiate(backend, &inputs, d_qkv)?,
            Kernels::Plain => self.differentiate_plainly(backend, &inputs, d_qkv)?,
        }
        let (Some(factors), Some(d_factors)) = (factors, d_factors) else { return Ok(()) };
        let launch = backend.launch("attention_backward_factors", self.heads, ROW_THREADS)?.overlapping();
        let launch = launch.read(&self.factor_parts).read(&self.units).count(self.units.len());
        // SAFETY: every unit has its four parts; there is a factor and a place for its gradient for every head.
        unsafe { launch.read(factors).write(d_factors).submit() }
    }

    /// What every query's row brings to its gradients.
    fn find_rows(&mut self, backend: &CudaBackend, inputs: &AttentionInputs<'_>) -> Result<()> {
        let (factors, scale) = factors_of(inputs.scores);
        let grid = (self.query_tiles.len(), self.heads, self.images);
        let launch = backend.launch("attention_backward_rows", grid, ROW_THREADS)?.overlapping();
        let launch = launch.read(inputs.qkv).read(inputs.out).read(inputs.d_out).read(inputs.lse);
        let launch = launch.read_optional(factors).value(scale).read(&self.query_tiles).count(self.tokens);
        let launch = launch.write(&mut self.rows).write(&mut self.progress).count(self.progress.len());
        let launch = launch.count((self.kernels == Kernels::Hopper).into());
        // SAFETY: `run` looked at the lengths; rows are as many as all heads' tiles.
        unsafe { launch.submit() }
    }

    fn differentiate(
        &mut self,
        backend: &CudaBackend,
        inputs: &AttentionInputs<'_>,
        d_qkv: &mut CudaFeatures,
    ) -> Result<()> {
        let map = |tensor, parts| {
            let sizes = [HEAD_WIDTH, parts * self.heads, self.tokens, self.images];
            TensorMap::new(&backend.context, tensor, sizes, [HEAD_WIDTH, 1, QUERIES, 1])
        };
        let (qkv, out, d_out) = (map(inputs.qkv, 3)?, map(inputs.out, 1)?, map(inputs.d_out, 1)?);
        let (factors, scale) = factors_of(inputs.scores);
        let launch = backend.launch("attention_backward", self.blocks, THREADS)?.shared(SHARED).overlapping();
        let launch = launch.value(qkv).value(out).value(d_out).read(&self.units).count(self.units.len());
        let launch = launch.read(&self.key_tiles).read(&self.steps).read(&self.ranges).read(&self.rows);
        let launch = launch.read(inputs.lse).read_optional(factors).write(d_qkv).write(&mut self.sums);
        let launch = launch.write(&mut self.progress).write(&mut self.factor_parts);
        let launch = launch.count(self.heads).count(self.tokens).count(self.query_tiles.len());
        let launch =
            launch.count(self.key_tiles.len()).count(self.own_sums).count(self.blocks * self.own_sums);
        // SAFETY: the maps end with their tensors; units name tiles and steps of the tables, these tokens that there are,
        // and sums are as many as the schedule counts.
        unsafe { launch.value(scale).submit() }
    }

    fn differentiate_plainly(
        &mut self,
        backend: &CudaBackend,
        inputs: &AttentionInputs<'_>,
        d_qkv: &mut CudaFeatures,
    ) -> Result<()> {
        let (factors, _) = factors_of(inputs.scores);
        let (queries, keys) = (self.query_tiles.len(), self.key_tiles.len());
        let grid = (queries, self.heads, self.images);
        let launch = backend.launch("attention_backward_plain_queries", grid, ROW_THREADS)?.overlapping();
        let launch = launch.read(inputs.qkv).read(inputs.d_out).read(&self.query_tiles).read(&self.ranges);
        let launch = launch.read(&self.rows).read_optional(factors).write(d_qkv);
        // SAFETY: tiles name tokens that there are; every tile of every head has its four parts.
        unsafe { launch.write(&mut self.factor_parts).count(self.tokens).submit()? };

        let grid = (2 * keys, self.heads, self.images);
        let launch = backend.launch("attention_backward_plain_keys", grid, ROW_THREADS)?.overlapping();
        let launch = launch.read(inputs.qkv).read(inputs.d_out).read(&self.key_tiles).read(&self.query_tiles);
        let launch = launch.read(&self.ranges).read(&self.rows).read_optional(factors).write(d_qkv);
        // SAFETY: as above.
        unsafe { launch.count(self.tokens).count(queries).submit() }
    }
}

/// The heads' factors, or the one of all scores.
fn factors_of(scores: Scores<'_, CudaBackend>) -> (Option<&CudaBuffer<f32>>, f32) {
    match scores {
        Scores::Normalized(factors) => (Some(factors), 1.0),
        Scores::Scaled(scale) => (None, scale),
    }
}

fn check(backend: &CudaBackend, segments: &[usize]) -> Result<()> {
    if backend.precision() != Precision::Bf16 {
        return Err(Error::new(Code::ConfigInvalid, "Attention's gradients are made in bfloat16.")
            .found("float32")
            .remedy("Choose dtype 'bf16'."));
    }
    match segments.iter().position(|&length| length == 0) {
        None => Ok(()),
        Some(index) => Err(Error::new(Code::ArgumentOutOfRange, "A segment of attention is empty.")
            .found(format!("segment {index} of 0 tokens"))
            .expected("at least 1")),
    }
}

fn uploaded<T: bytemuck::Pod + Send + Sync>(backend: &CudaBackend, data: &[T]) -> Result<CudaBuffer<T>> {
    let mut buffer = backend.allocate(data.len())?;
    backend.upload(data, &mut buffer)?;
    Ok(buffer)
}
