//! Attention over any list of segments: bfloat16, head width 64.

use bytemuck::{Pod, Zeroable};
use hmar_error::{Code, Error, Result};
use hmar_ops::{Backend, KeysValues, Precision, Scores};

use super::Keys;
use super::plain::PlainPlan;
use super::schedule::Schedule;
use super::tiles::{Pattern, Sight, TILE};
use crate::backend::CudaBackend;
use crate::buffer::CudaBuffer;
use crate::features::CudaFeatures;
use crate::kernels::{Argument, DevicePointer, Place, Within};
use crate::tensor_map::TensorMap;

/// The one head width there are such kernels for.
pub(super) const HEAD_WIDTH: usize = 64;

/// Tiles of a launch from which on blocks of three groups keep the multiprocessors busy, for each of these.
const TILES_FOR_GROUPS: usize = 5;

/// A kernel: its groups of queries and what it takes.
struct Kind {
    name: &'static str,
    groups: usize,
    threads: usize,
    stages: usize,
    /// Blocks that a multiprocessor holds.
    blocks: usize,
}

const WIDE: Kind = Kind { name: "attention_segments_3", groups: 3, threads: 512, stages: 10, blocks: 1 };
const NARROW: Kind = Kind { name: "attention_segments_1", groups: 1, threads: 256, stages: 5, blocks: 2 };

impl Kind {
    /// The kernels' `Shared`: two tiles of queries a group with their tasks and barriers, tiles of keys and values a stage
    /// with its barriers, and 16 rows of ones.
    fn shared(&self) -> usize {
        let tile = TILE * HEAD_WIDTH * 2;
        2 * self.groups * (tile + 48 + 2 * 8) + self.stages * (2 * tile + 3 * 8) + 16 * HEAD_WIDTH * 2
    }
}

/// The kernels' `Attention`.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Arguments {
    factors: u64,
    out: u64,
    lse: u64,
    bounds: u64,
    assignments: u64,
    items: u64,
    starts: u64,
    scale: f32,
    heads: i32,
    sequences: i32,
    query_column: i32,
    key_column: i32,
    value_column: i32,
    out_rows: i32,
    out_start: i32,
}

impl Argument for Arguments {}

/// What one attention reads and writes.
pub(super) struct Inputs<'a> {
    /// `[sequences, rows, 3, heads, 64]`.
    pub qkv: &'a CudaFeatures,
    /// Of each sequence.
    pub rows: usize,
    /// Beside the queries, or elsewhere.
    pub keys: Keys,
    /// A number a head; none where scores are `scale` times the product.
    pub factors: Option<&'a CudaBuffer<f32>>,
    pub scale: f32,
    /// `[sequences, queries, heads, 64]`.
    pub out: &'a mut CudaFeatures,
    /// `[sequences, heads, queries]`.
    pub lse: Option<&'a mut CudaBuffer<f32>>,
}

impl<'a> Inputs<'a> {
    /// # Panics
    /// Where something is shorter than its shape.
    pub fn new(
        [sequences, rows, queries, heads]: [usize; 4],
        qkv: &'a CudaFeatures,
        keys: Keys,
        scores: Scores<'a, CudaBackend>,
        out: &'a mut CudaFeatures,
        lse: Option<&'a mut CudaBuffer<f32>>,
    ) -> Self {
        let (factors, scale) = match scores {
            Scores::Normalized(factors) => (Some(factors), 1.0),
            Scores::Scaled(scale) => (None, scale),
        };
        let width = heads * HEAD_WIDTH;
        assert!(qkv.len() >= sequences * rows * 3 * width, "all rows are there");
        assert!(out.len() >= sequences * queries * width, "there is a place for every query's result");
        assert!(lse.as_ref().is_none_or(|lse| lse.len() >= sequences * heads * queries), "one a query");
        assert!(factors.is_none_or(|factors| factors.len() >= heads), "one a head");
        Inputs { qkv, rows, keys, factors, scale, out, lse }
    }
}

/// What blocks do in a launch of one shape, on the device.
pub(super) struct Plan {
    kind: &'static Kind,
    sequences: usize,
    heads: usize,
    /// The first query, which is row 0 of the results, and how many there are.
    start: usize,
    queries: usize,
    /// The last row of keys that is read, and one.
    keys: usize,
    bounds: Option<CudaBuffer<[i32; 2]>>,
    assignments: CudaBuffer<i32>,
    items: CudaBuffer<[i32; 4]>,
    starts: CudaBuffer<i32>,
}

impl Plan {
    pub(super) fn new(backend: &CudaBackend, sight: &Sight, sequences: usize, heads: usize) -> Result<Self> {
        let chains = sight.chains();
        let tiles = chains.iter().map(Vec::len).sum::<usize>() * sequences * heads;
        let multiprocessors = backend.context.multiprocessors;
        let kind = if tiles >= TILES_FOR_GROUPS * multiprocessors { &WIDE } else { &NARROW };
        let blocks = kind.blocks * multiprocessors;
        let schedule = Schedule::new(&chains, sequences, heads, kind.groups, blocks);
        let table = if sight.is_uniform() { None } else { Some(uploaded(backend, &sight.table())?) };
        let keys = sight.keys.iter().map(|keys| keys.end).max().unwrap_or(0);
        let plan = Plan {
            kind,
            sequences,
            heads,
            start: sight.start,
            queries: sight.keys.len(),
            keys,
            bounds: table,
            assignments: uploaded(backend, &schedule.words())?,
            items: uploaded(backend, &schedule.items)?,
            starts: uploaded(backend, &schedule.starts)?,
        };
        // Kernels that start early read their tables before they wait for what is queued before them.
        backend.synchronize()?;
        Ok(plan)
    }

    /// Sequences, queries, heads.
    pub(super) fn shape(&self) -> [usize; 3] {
        [self.sequences, self.queries, self.heads]
    }

    pub(super) fn run(&self, backend: &CudaBackend, inputs: Inputs<'_>) -> Result<()> {
        let Plan { kind, sequences, heads, queries, .. } = *self;
        let width = heads * HEAD_WIDTH;
        let Keys { keys, rows: key_rows, stride: key_stride } = inputs.keys;
        assert!(self.start + queries <= inputs.rows && self.keys <= key_rows, "all lie within the rows");
        let map = |start: &Place, columns: usize, rows: usize| {
            TensorMap::new(&backend.context, start, [columns, rows, sequences], [HEAD_WIDTH, TILE, 1])
        };
        let query_map = map(&inputs.qkv.at(0), 3 * width, inputs.rows)?;
        let key_map = map(&keys, key_stride, key_rows)?;
        let arguments = Arguments {
            factors: inputs.factors.map_or(0, DevicePointer::pointer),
            out: inputs.out.pointer(),
            lse: inputs.lse.map_or(0, |lse| lse.pointer()),
            bounds: self.bounds.as_ref().map_or(0, DevicePointer::pointer),
            assignments: self.assignments.pointer(),
            items: self.items.pointer(),
            starts: self.starts.pointer(),
            scale: inputs.scale,
            heads: heads as i32,
            sequences: sequences as i32,
            query_column: 0,
            key_column: 0,
            value_column: width as i32,
            out_rows: queries as i32,
            out_start: self.start as i32,
        };
        let launch = backend.launch(kind.name, self.starts.len() - 1, kind.threads)?.shared(kind.shared());
        let launch = launch.overlapping().value(query_map).value(key_map).value(key_map).value(arguments);
        // SAFETY: of the maps' columns those of queries, keys and values are read, which there are; items name
        // assignments, and those rows, that there are; `Inputs` has looked at all lengths.
        unsafe { launch.submit() }
    }
}

/// Attention for one list of segments, planned: which block does which tiles.
///
/// A result's bits depend on its own segment's tokens alone (and on those before, where they are seen), never on the
/// images or heads beside it.
pub struct AttentionForward {
    images: usize,
    heads: usize,
    tokens: usize,
    planned: Planned,
}

enum Planned {
    Hopper(Plan),
    Plain(PlainPlan),
}

impl AttentionForward {
    /// Plans attention for `images` of `segments` (their lengths in tokens, in order) with so many heads of 64.
    ///
    /// # Errors
    /// `ARGUMENT_OUT_OF_RANGE` for an empty segment or none, `CONFIG_INVALID` where the backend's precision is not bfloat16,
    /// `OUT_OF_MEMORY`.
    pub fn new(
        backend: &CudaBackend,
        images: usize,
        heads: usize,
        segments: &[usize],
        pattern: Pattern,
    ) -> Result<Self> {
        check(backend, segments)?;
        let sight = Sight::of_segments(segments, pattern);
        let planned = if is_there(backend) {
            Planned::Hopper(Plan::new(backend, &sight, images, heads)?)
        } else {
            Planned::Plain(PlainPlan::new(backend, &sight, images, heads)?)
        };
        Ok(AttentionForward { images, heads, tokens: segments.iter().sum(), planned })
    }

    /// Queues one attention: `qkv` is `[images, tokens, 3, heads, 64]`, queries, keys and values before any normalisation;
    /// `out` becomes `[images, tokens, heads, 64]`, `lse`, where it is asked for, `[images, heads, tokens]`: ln Σ exp(score)
    /// over the keys that a query sees.
    ///
    /// # Errors
    /// `DEVICE_UNAVAILABLE` when the device died.
    ///
    /// # Panics
    /// Where a buffer is shorter than its shape.
    pub fn run(
        &self,
        backend: &CudaBackend,
        qkv: &CudaFeatures,
        scores: Scores<'_, CudaBackend>,
        out: &mut CudaFeatures,
        lse: Option<&mut CudaBuffer<f32>>,
    ) -> Result<()> {
        let AttentionForward { images, heads, tokens, ref planned } = *self;
        let keys = Keys::of(backend, qkv, tokens, heads * HEAD_WIDTH, KeysValues::BesideQueries);
        let inputs = Inputs::new([images, tokens, tokens, heads], qkv, keys, scores, out, lse);
        let name = || format!("attention {images}×{tokens} in segments, {heads} heads");
        backend.measured(name, || match planned {
            Planned::Hopper(plan) => plan.run(backend, inputs),
            Planned::Plain(plan) => plan.run(backend, inputs),
        })
    }
}

/// Whether there are Hopper's kernels for segments.
pub(super) fn is_there(backend: &CudaBackend) -> bool {
    backend.context.capability == (9, 0) && backend.precision() == Precision::Bf16
}

fn check(backend: &CudaBackend, segments: &[usize]) -> Result<()> {
    if backend.precision() != Precision::Bf16 {
        return Err(Error::new(Code::ConfigInvalid, "Attention over segments is made in bfloat16.")
            .found("float32")
            .remedy("Choose dtype 'bf16'."));
    }
    let empty = |found: String| {
        Err(Error::new(Code::ArgumentOutOfRange, "A segment of attention is empty.")
            .found(found)
            .expected("at least one segment, of at least 1 token each"))
    };
    match segments.iter().position(|&length| length == 0) {
        Some(index) => empty(format!("segment {index} of 0 tokens")),
        None if segments.is_empty() => empty("no segments".into()),
        None => Ok(()),
    }
}

pub(super) fn uploaded<T: Pod + Send + Sync>(backend: &CudaBackend, data: &[T]) -> Result<CudaBuffer<T>> {
    let mut buffer = backend.allocate(data.len())?;
    backend.upload(data, &mut buffer)?;
    Ok(buffer)
}
