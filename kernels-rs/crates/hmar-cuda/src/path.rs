//! Whole paths of few rows in one kernel, whose blocks wait for one another between layers.

use bytemuck::{Pod, Zeroable};
use hmar_error::Result;
use hmar_ops::{Linear, Path, PathBlock, PathBuffers, Precision, Scores};

use crate::backend::CudaBackend;
use crate::kernels::{Argument, DevicePointer};

/// Threads of a block: eight warps multiply, one asks for weights.
const THREADS: usize = 288;

/// Widths there is a kernel for are these, times the numbers eight warps take in a step.
const STEPS: [usize; 4] = [8, 10, 12, 15];
const STEP: usize = 128;

/// Rows at most: a tile of the tensor cores. Of more, products layer by layer are as fast.
const MOST_ROWS: usize = 16;

const HEAD_WIDTH: usize = 64;

/// As many as arguments of a launch have room for.
const MOST_BLOCKS: usize = 36;

/// Outputs that a slot of the ring of weights holds, and bytes between rows in shared memory.
const UNIT: usize = 8;
const APART: usize = 32;

/// Most slots, and so many that a second buffer of rows is worth more.
const MOST_SLOTS: usize = 16;
const MANY_SLOTS: usize = 6;

/// Units that are multiplied together.
const TOGETHER: usize = 4;

/// Shared memory of fixed size.
const FIXED: usize = 19 << 10;

#[repr(C)]
#[derive(Clone, Copy, Default, Pod, Zeroable)]
struct Layer {
    weight: u64,
    bias: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Default, Pod, Zeroable)]
struct Block {
    qkv: Layer,
    proj: Layer,
    fc1: Layer,
    fc2: Layer,
    modulations: u64,
    factors: u64,
}

/// The kernel's argument.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Arguments {
    blocks: [Block; MOST_BLOCKS],
    head: Layer,
    head_modulations: u64,
    slots: u64,
    residual: u64,
    qkv: u64,
    attended: u64,
    hidden: u64,
    logits: u64,
    arrivals: u64,
    scale: f32,
    count: i32,
    rows: i32,
    per_sequence: i32,
    vocabulary: i32,
    ring: i32,
    buffers: i32,
    padding: i32,
}

impl Argument for Arguments {}

/// How a block's shared memory is divided.
struct Memory {
    /// Units of weights on their way or in use.
    slots: usize,
    /// Copies of the rows: with two, one is filled while the other is multiplied.
    buffers: usize,
    bytes: usize,
}

impl Memory {
    fn divide(backend: &CudaBackend, path: &Path<'_, CudaBackend>) -> Option<Self> {
        let row = path.width * 2 + APART;
        let buffer = MOST_ROWS * row;
        let with = |buffers: usize| {
            let free = backend.context.shared_limit.checked_sub(FIXED + buffers * buffer)?;
            let slots = (free / (UNIT * row)).min(MOST_SLOTS);
            Some(Memory { slots, buffers, bytes: buffers * buffer + slots * UNIT * row })
        };
        let enough = |least: usize| move |memory: &Memory| memory.slots >= least;
        with(2).filter(enough(MANY_SLOTS)).or_else(|| with(1).filter(enough(TOGETHER)))
    }
}

/// Whether there is a kernel for the path.
pub(crate) fn takes(backend: &CudaBackend, path: &Path<'_, CudaBackend>) -> bool {
    let layers = |block: &PathBlock<'_, CudaBackend>| {
        [&block.qkv, &block.proj, &block.fc1, &block.fc2]
            .iter()
            .all(|layer| layer.weight.precision() == Precision::Bf16)
    };
    backend.precision() == Precision::Bf16
        && backend.context.capability >= (9, 0)
        && STEPS.iter().any(|steps| steps * STEP == path.width)
        && path.heads * HEAD_WIDTH == path.width
        && path.rows.count() <= MOST_ROWS
        && path.vocabulary.is_multiple_of(UNIT)
        && path.blocks.len() <= MOST_BLOCKS
        && path.blocks.iter().all(layers)
        && path.head.weight.precision() == Precision::Bf16
        && Memory::divide(backend, path).is_some()
}

/// See [`hmar_ops::Backend::run_path`].
pub(crate) fn run(
    backend: &CudaBackend,
    path: &Path<'_, CudaBackend>,
    buffers: PathBuffers<'_, CudaBackend>,
) -> Result<()> {
    let memory = Memory::divide(backend, path).expect("`takes` was asked before");
    let mut blocks = [Block::default(); MOST_BLOCKS];
    let mut scale = 1.0;
    for (to, block) in blocks.iter_mut().zip(&path.blocks) {
        *to = Block {
            qkv: layer(&block.qkv),
            proj: layer(&block.proj),
            fc1: layer(&block.fc1),
            fc2: layer(&block.fc2),
            modulations: block.modulations.pointer(),
            factors: match block.scores {
                Scores::Normalized(factors) => factors.pointer(),
                Scores::Scaled(factor) => {
                    scale = factor;
                    0
                }
            },
        };
    }
    let arguments = Arguments {
        blocks,
        head: layer(&path.head),
        head_modulations: path.head_modulations.pointer(),
        slots: path.rows.slots.pointer(),
        residual: buffers.residual.pointer(),
        qkv: buffers.qkv.pointer(),
        attended: buffers.features.pointer(),
        hidden: buffers.hidden.pointer(),
        logits: buffers.logits.pointer(),
        arrivals: backend.arrivals.pointer(),
        scale,
        count: path.blocks.len() as i32,
        rows: path.rows.count() as i32,
        per_sequence: path.rows.per_sequence as i32,
        vocabulary: path.vocabulary as i32,
        ring: memory.slots as i32,
        buffers: memory.buffers as i32,
        padding: 0,
    };
    let name = format!("path_{}", path.width / STEP);
    let launch = backend.launch(&name, backend.context.multiprocessors, THREADS)?;
    // SAFETY: the buffers hold the path's rows; a block a multiprocessor is resident at once, as the launch demands.
    unsafe { launch.shared(memory.bytes).all_at_once().value(arguments).submit() }
}

fn layer(layer: &Linear<'_, CudaBackend>) -> Layer {
    Layer { weight: layer.weight.pointer(), bias: layer.bias.pointer() }
}
