//! Convolutions of large pictures on Hopper, from boxes that the copy engine brings.

use hmar_error::Result;
use hmar_ops::{ConvolutionShape, MatrixShape, Walk};

use crate::backend::CudaBackend;
use crate::bias::CudaBias;
use crate::context::Memory;
use crate::features::CudaFeatures;
use crate::kernels::DevicePointer;
use crate::matrix::CudaMatrix;
use crate::tensor_map::TensorMap;

/// Columns of a block's rectangle of pixels; its rows are 8 for every group of warps that multiplies.
const COLUMNS: usize = 16;
const ROWS: usize = 8;

/// Channels of a step.
const DEPTH: usize = 64;

/// Kernels of 2×2 that stand for one of 3×3 on an enlarged picture: 4 taps for each of 4 places.
const FOLDED_TAPS: usize = 16;

const THREADS: usize = 256;

/// What a block makes, and what it keeps in shared memory.
#[derive(Clone, Copy)]
pub(super) struct Block {
    outputs: usize,
    groups: usize,
    input_slots: usize,
    weight_slots: usize,
    /// Time of a multiprocessor for a block, relative to others: large ones read less, small ones more.
    cost: f64,
}

const NARROW: Block = Block { outputs: 16, groups: 1, input_slots: 2, weight_slots: 6, cost: 0.2 };
const WIDE: [Block; 3] = [
    Block { outputs: 160, groups: 1, input_slots: 2, weight_slots: 3, cost: 1.0 },
    Block { outputs: 160, groups: 2, input_slots: 2, weight_slots: 6, cost: 1.9 },
    Block { outputs: 80, groups: 1, input_slots: 2, weight_slots: 6, cost: 0.6 },
];

impl Block {
    /// The block that does a convolution soonest. None where this way is not open, or would leave multiprocessors idle.
    pub(super) fn choose(
        backend: &CudaBackend,
        shape: ConvolutionShape,
        matrix: MatrixShape,
    ) -> Option<Block> {
        let multiprocessors = backend.context.multiprocessors;
        let open = backend.context.capability == (9, 0)
            && shape.walk != Walk::Downsample
            && matrix.inputs.is_multiple_of(8);
        let blocks: &[Block] = if matrix.outputs <= NARROW.outputs { &[NARROW] } else { &WIDE };
        let time =
            |block: &Block| block.count(shape, matrix.outputs).div_ceil(multiprocessors) as f64 * block.cost;
        let best = *blocks.iter().min_by(|a, b| time(a).total_cmp(&time(b)))?;
        (open && best.count(shape, matrix.outputs) * 2 >= multiprocessors).then_some(best)
    }

    /// Blocks of a convolution.
    fn count(&self, shape: ConvolutionShape, outputs: usize) -> usize {
        let places = if shape.walk == Walk::Upsample { 4 } else { 1 };
        let rectangles = shape.side.div_ceil(COLUMNS) * shape.side.div_ceil(ROWS * self.groups);
        shape.images * places * rectangles * outputs.div_ceil(self.outputs)
    }

    /// Bytes of shared memory, which begins at a multiple of 1,024 inside of it.
    fn shared(&self) -> usize {
        let row = DEPTH * size_of::<half::bf16>();
        let inputs = self.input_slots * (ROWS * self.groups + 2) * COLUMNS * row;
        inputs + self.weight_slots * self.outputs * row + 1024
    }

    #[allow(clippy::too_many_arguments, reason = "those of a convolution")]
    pub(super) fn convolve(
        &self,
        backend: &CudaBackend,
        shape: ConvolutionShape,
        input: &CudaFeatures,
        weight: &CudaMatrix,
        bias: &CudaBias,
        residual: Option<&CudaFeatures>,
        out: &mut CudaFeatures,
    ) -> Result<()> {
        let ConvolutionShape { images, side, walk } = shape;
        let MatrixShape { outputs, inputs, taps } = weight.shape();
        let rows = ROWS * self.groups;
        let kernel = match (walk, taps) {
            (Walk::Upsample, _) => 2,
            (_, 1) => 1,
            _ => 3,
        };
        let pictures = TensorMap::new(
            &backend.context,
            input,
            [inputs, side, side, images],
            [DEPTH, COLUMNS, rows + kernel - 1, 1],
        )?;
        let weight_box = [DEPTH, 1, self.outputs];
        let weights = if walk == Walk::Upsample {
            let folded = folded(backend, weight)?;
            TensorMap::new(&backend.context, folded, [inputs, FOLDED_TAPS, outputs], weight_box)?
        } else {
            TensorMap::new(&backend.context, weight, [inputs, taps, outputs], weight_box)?
        };
        let name = format!("convolution_boxes_{}x{}", self.outputs, self.groups);
        let launch = backend.launch(&name, self.count(shape, outputs), (self.groups + 1) * 128)?;
        let launch = launch.shared(self.shared()).overlapping().value(pictures).value(weights);
        let launch = launch.read(bias).read_optional(residual).write(out);
        let launch = launch.count(side).count(inputs).count(outputs).count(kernel);
        // SAFETY: the pictures hold `inputs` and `outputs` channels of the shape's pixels; others are neither read nor
        // written, and the maps end with their tensors.
        unsafe { launch.count(side.div_ceil(COLUMNS)).count(side.div_ceil(rows)).submit() }
    }
}

/// The weights for enlarged pictures, made when they are first asked for: before anything is recorded.
fn folded<'a>(backend: &CudaBackend, weight: &'a CudaMatrix) -> Result<&'a Memory> {
    if let Some(folded) = weight.folded().get() {
        return Ok(folded);
    }
    let MatrixShape { outputs, inputs, .. } = weight.shape();
    let length = outputs * FOLDED_TAPS * inputs;
    let mut folded = Memory::zeroed(&backend.context, length * size_of::<half::bf16>())?;
    let launch = backend.launch("convolution_fold", length.div_ceil(THREADS), THREADS)?;
    let launch = launch.read(weight).write(&mut folded).count(outputs).count(inputs);
    // SAFETY: the weights have nine taps; the result is as long as was allocated.
    unsafe { launch.submit()? };
    Ok(weight.folded().get_or_init(|| folded))
}

impl DevicePointer for Memory {
    fn pointer(&self) -> cudarc::driver::sys::CUdeviceptr {
        Memory::pointer(self)
    }
}
