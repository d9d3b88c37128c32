//! Whole paths of few rows in one kernel, whose clusters hand results to one another without barriers between layers.

mod shares;

use bytemuck::{Pod, Zeroable};
use hmar_error::Result;
use hmar_ops::{Linear, Path, PathBlock, PathBuffers, Precision, Scores};

use self::shares::{Division, MOST_CLUSTERS, Shares};
use crate::backend::{CudaBackend, SCRATCH};
use crate::kernels::{Argument, DevicePointer};
use crate::matrix::{CudaMatrix, Elements};
use crate::tensor_map::TensorMap;

/// Blocks of a cluster: each sums an eighth of the depth.
const CLUSTER: usize = 8;

/// Threads of a block: eight warps multiply, one asks for weights, one cleans.
const THREADS: usize = 320;

/// Rows at most. Of more, products layer by layer are faster: here the sums of all rows go from block to block.
const MOST_ROWS: usize = 32;

/// Rows that the kernels are made for.
const ROWS: [usize; 3] = [8, 16, MOST_ROWS];

/// Sequences at most.
const MOST_SEQUENCES: usize = 16;

/// Numbers of a row at most.
const MOST_WIDTH: usize = 2048;

const HEAD_WIDTH: usize = 64;

/// Rows that a warp can attend to at the same time.
const QUERIES: usize = 16;

/// As many as arguments of a launch have room for.
const MOST_BLOCKS: usize = 36;

/// Outputs of a tile, and numbers of the depth of a chunk: what a slot of the ring of weights holds.
const TILE: usize = 64;
const CHUNK: usize = 64;
const SLOT: usize = TILE * CHUNK * 2;

/// Slots of the ring at most, and so many that more are worth more than receiving sums of many tiles.
const MOST_SLOTS: usize = 24;
const MANY_SLOTS: usize = 8;

/// Tiles whose sums are received at the same time, at most.
const MOST_RECEIVERS: usize = 8;

/// Shared memory of fixed size.
const FIXED: usize = 2 << 10;

#[repr(C, align(64))]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Block {
    /// Of qkv, proj, fc1, fc2.
    weights: [TensorMap; 4],
    biases: [u64; 4],
    modulations: u64,
    factors: u64,
    padding: [u64; 2],
}

/// The kernel's argument.
#[repr(C, align(64))]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Arguments {
    /// The head's layer is the first of the one after the last.
    blocks: [Block; MOST_BLOCKS + 1],
    slots: u64,
    residual: u64,
    logits: u64,
    exchange: u64,
    scale: f32,
    count: i32,
    rows: i32,
    per_sequence: i32,
    width: i32,
    vocabulary: i32,
    ring: i32,
    receivers: i32,
    /// Rows that a warp attends to at the same time.
    queries: i32,
    shares: [Shares; 5],
    padding: [u16; 25],
}

impl Argument for Arguments {}

// As large as the kernel's.
const _: () = assert!(size_of::<Arguments>() == (MOST_BLOCKS + 1) * 576 + 448);

/// How a block's shared memory is divided.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Memory {
    /// Weights on their way or in use.
    slots: usize,
    /// Tiles whose sums are received at the same time.
    receivers: usize,
    bytes: usize,
}

impl Memory {
    fn divide(
        limit: usize,
        width: usize,
        rows: usize,
        sequences: usize,
        back: usize,
        most: usize,
    ) -> Option<Self> {
        let padded = padded(rows);
        let slice = width / CLUSTER;
        let chunk = padded * CHUNK * 2;
        let rows = (2 * slice.div_ceil(CHUNK) + 4 * slice / CHUNK) * chunk;
        // A tile's sums that a block ends: of two in sixteen rows.
        let tile = padded.div_ceil(16) * 2 * TILE * 4;
        // Sums of all rows of a tile, which one half of a block's warps hands to the other.
        let half = padded * TILE * 4;
        let rest = rows + back * tile + half + sequences * 2 * slice * 4;
        let with = |receivers: usize| {
            let bytes = rest + receivers * CLUSTER * tile;
            let slots = (limit.checked_sub(FIXED + bytes)? / SLOT).min(MOST_SLOTS);
            Some(Memory { slots, receivers, bytes: bytes + slots * SLOT })
        };
        let all = most.next_multiple_of(2).min(MOST_RECEIVERS);
        [all, 4, 2].into_iter().filter_map(with).find(|memory| memory.slots >= MANY_SLOTS)
    }
}

/// A path that there is a kernel for: how its work and a block's memory are divided.
struct Way {
    name: String,
    clusters: usize,
    division: Division,
    memory: Memory,
}

impl Way {
    fn find(backend: &CudaBackend, path: &Path<'_, CudaBackend>) -> Option<Self> {
        let rows = path.rows.count();
        let name = format!("path_{}", padded(rows) / 8);
        let tiles = path.width / TILE;
        let memory = |clusters: usize| {
            let division = Division::new(clusters, tiles, path.vocabulary / TILE);
            let most =
                [&division.qkv, &division.fc1, &division.logit].map(Division::most).into_iter().max()?;
            let back = Division::most(&division.back);
            let limit = backend.context.shared_limit;
            let memory = Memory::divide(limit, path.width, rows, path.rows.sequences, back, most)?;
            Some((division, memory))
        };
        // As many clusters as run at once, and have work.
        let (_, first) = memory(1.max(backend.context.multiprocessors / CLUSTER).min(tiles))?;
        let launch = backend.launch(&name, CLUSTER, THREADS).ok()?;
        let at_once = launch.shared(first.bytes).cluster(CLUSTER).clusters_at_once().ok()?;
        let clusters = at_once.min(tiles).min(MOST_CLUSTERS);
        if clusters == 0 {
            return None;
        }
        let (division, memory) = memory(clusters)?;
        Some(Way { name, clusters, division, memory })
    }
}

/// Whether there is a kernel for the path. It was seen to work on Hopper alone.
pub(crate) fn takes(backend: &CudaBackend, path: &Path<'_, CudaBackend>) -> bool {
    let layers = |block: &PathBlock<'_, CudaBackend>| {
        [&block.qkv, &block.proj, &block.fc1, &block.fc2]
            .iter()
            .all(|layer| layer.weight.elements() == Elements::Bf16)
    };
    let rows = &path.rows;
    backend.precision() == Precision::Bf16
        && !backend.batch_invariant
        && backend.context.capability == (9, 0)
        && path.width.is_multiple_of(CLUSTER * 16)
        && path.width <= MOST_WIDTH
        && path.heads * HEAD_WIDTH == path.width
        && (1..=MOST_ROWS).contains(&rows.count())
        && rows.sequences <= MOST_SEQUENCES
        && path.vocabulary.is_multiple_of(TILE)
        && path.blocks.len() <= MOST_BLOCKS
        && 2 * exchange_bytes(path) <= SCRATCH
        && path.blocks.iter().all(layers)
        && path.head.weight.elements() == Elements::Bf16
        && Way::find(backend, path).is_some()
}

/// Rows of the kernel that takes so many.
fn padded(rows: usize) -> usize {
    *ROWS.iter().find(|&&most| rows <= most).expect("there are not more rows than kernels take")
}

/// Rows that a warp attends to at the same time: of as many whole sequences as it has room for.
fn queries(per_sequence: usize) -> usize {
    if per_sequence > QUERIES { QUERIES } else { QUERIES / per_sequence * per_sequence }
}

/// Bytes of what the layers of a transformer block hand to one another, and of moments of the residual stream.
fn exchange_bytes(path: &Path<'_, CudaBackend>) -> usize {
    path.rows.count() * (path.width * 22 + path.width / TILE * 16)
}

/// See [`hmar_ops::Backend::run_path`].
pub(crate) fn run(
    backend: &CudaBackend,
    path: &Path<'_, CudaBackend>,
    buffers: PathBuffers<'_, CudaBackend>,
) -> Result<()> {
    let Way { name, clusters, division, memory } =
        Way::find(backend, path).expect("`takes` was asked before");
    let map = |weight: &CudaMatrix| {
        let shape = weight.shape();
        TensorMap::new(&backend.context, weight, [shape.inputs, shape.outputs], [CHUNK, TILE])
    };
    let mut blocks = [Block::zeroed(); MOST_BLOCKS + 1];
    let mut scale = 1.0;
    for (to, block) in blocks.iter_mut().zip(&path.blocks) {
        let layers = [&block.qkv, &block.proj, &block.fc1, &block.fc2];
        for (map_to, Linear { weight, .. }) in to.weights.iter_mut().zip(layers) {
            *map_to = map(weight)?;
        }
        to.biases = layers.map(|layer| layer.bias.pointer());
        to.modulations = block.modulations.pointer();
        to.factors = match block.scores {
            Scores::Normalized(factors) => factors.pointer(),
            Scores::Scaled(factor) => {
                scale = factor;
                0
            }
        };
    }
    let head = &mut blocks[path.blocks.len()];
    head.weights[0] = map(path.head.weight)?;
    head.biases[0] = path.head.bias.pointer();
    head.modulations = path.head_modulations.pointer();
    let exchange = backend.scratch();
    let arguments = Arguments {
        blocks,
        slots: path.rows.slots.pointer(),
        residual: buffers.residual.pointer(),
        logits: buffers.logits.pointer(),
        exchange: exchange.pointer(),
        scale,
        count: path.blocks.len() as i32,
        rows: path.rows.count() as i32,
        per_sequence: path.rows.per_sequence as i32,
        width: path.width as i32,
        vocabulary: path.vocabulary as i32,
        ring: memory.slots as i32,
        receivers: memory.receivers as i32,
        queries: queries(path.rows.per_sequence) as i32,
        shares: [division.qkv, division.back, division.fc1, division.back, division.logit],
        padding: [0; 25],
    };
    // Nothing was handed over yet.
    backend.fill(exchange.pointer(), 2 * exchange_bytes(path), 0xFF)?;
    let launch = backend.launch(&name, clusters * CLUSTER, THREADS)?.shared(memory.bytes).cluster(CLUSTER);
    // SAFETY: the buffers hold the path's rows; all clusters are resident at once, as the launch demands.
    unsafe { launch.all_at_once().value(arguments).submit() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of an H200.
    const LIMIT: usize = 227 << 10;

    #[test]
    fn memory_is_divided_for_all_rows_and_released_widths() {
        for width in [1024, 1280, 1536, 1920] {
            for rows in 1..=MOST_ROWS {
                for sequences in (1..=MOST_SEQUENCES).filter(|sequences| rows.is_multiple_of(*sequences)) {
                    let memory = Memory::divide(LIMIT, width, rows, sequences, 3, 9).expect("there is room");
                    assert!(memory.bytes + FIXED <= LIMIT, "{width}×{rows}: {memory:?}");
                }
            }
        }
    }
}
