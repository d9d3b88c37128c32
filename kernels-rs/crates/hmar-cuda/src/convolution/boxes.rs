//! Convolutions on Hopper, from boxes that the copy engine brings.

use hmar_error::Result;
use hmar_ops::{ConvolutionShape, MatrixShape, Walk};

use super::{Operands, Results};
use crate::backend::CudaBackend;
use crate::context::Memory;
use crate::group_sums::GROUPS;
use crate::kernels::{DevicePointer, Place, Within};
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

/// Blocks of a cluster that make neighbouring rectangles with the same weights.
const SHARE: usize = 2;

/// Blocks that divide what is summed, at most: as many as every GPU with clusters takes.
const LARGEST_SPLIT: usize = 8;

/// What a block makes, and what it keeps in shared memory.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Block {
    outputs: usize,
    groups: usize,
    input_slots: usize,
    weight_slots: usize,
    /// Time of a multiprocessor for a block, relative to others: large ones read less, small ones more.
    cost: f64,
}

const NARROW: Block = Block { outputs: 16, groups: 1, input_slots: 2, weight_slots: 6, cost: 0.2 };
const SMALL: Block = Block { outputs: 80, groups: 1, input_slots: 2, weight_slots: 6, cost: 0.6 };
const LARGE: Block = Block { outputs: 160, groups: 1, input_slots: 2, weight_slots: 3, cost: 1.0 };

/// How a convolution is cut into blocks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Boxes {
    block: Block,
    /// Blocks that divide what is summed; where it is 1, [`SHARE`] have the same weights.
    split: usize,
}

impl Boxes {
    /// The cut that does a convolution soonest on so many multiprocessors. A function of the shape alone.
    pub(super) fn choose(multiprocessors: usize, shape: ConvolutionShape, matrix: MatrixShape) -> Boxes {
        let whole = |block: Block| Boxes { block, split: 1 };
        if matrix.outputs <= NARROW.outputs {
            return whole(NARROW);
        }
        let rounds = |block: Block| {
            whole(block).count(shape, matrix.outputs).div_ceil(multiprocessors) as f64 * block.cost
        };
        let best = if rounds(SMALL) < rounds(LARGE) { SMALL } else { LARGE };
        let split = split(multiprocessors, shape, matrix);
        if split > 1 { Boxes { block: SMALL, split } } else { whole(best) }
    }

    /// Rectangles of a picture, and places of an enlarged one's pixels.
    fn parts(&self, shape: ConvolutionShape) -> usize {
        let places = if shape.walk == Walk::Upsample { 4 } else { 1 };
        places * shape.side.div_ceil(COLUMNS) * shape.side.div_ceil(ROWS * self.block.groups)
    }

    /// Blocks of a convolution that are not split.
    fn count(&self, shape: ConvolutionShape, outputs: usize) -> usize {
        shape.images * self.parts(shape) * outputs.div_ceil(self.block.outputs)
    }

    /// All blocks, in whole clusters.
    fn grid(&self, shape: ConvolutionShape, outputs: usize) -> usize {
        if self.split > 1 {
            return self.count(shape, outputs) * self.split;
        }
        let places = if shape.walk == Walk::Upsample { 4 } else { 1 };
        let rectangles = shape.images * self.parts(shape) / places;
        rectangles.next_multiple_of(SHARE) * places * outputs.div_ceil(self.block.outputs)
    }

    /// Parts in which the sums of a picture's groups of channels are made; 0 where blocks do not make whole groups.
    fn sum_parts(&self, shape: ConvolutionShape, outputs: usize) -> usize {
        let whole = outputs.is_multiple_of(GROUPS)
            && (outputs <= self.block.outputs || self.block.outputs.is_multiple_of(outputs / GROUPS));
        if whole { self.parts(shape) * self.split } else { 0 }
    }

    /// Bytes of shared memory, which begins at a multiple of 1,024 inside of it.
    fn shared(&self) -> usize {
        let Block { outputs, groups, input_slots, weight_slots, .. } = self.block;
        let row = DEPTH * size_of::<half::bf16>();
        let inputs = input_slots * (ROWS * groups + 2) * COLUMNS * row;
        inputs + weight_slots * outputs * row + 1024
    }

    pub(super) fn convolve(
        &self,
        backend: &CudaBackend,
        shape: ConvolutionShape,
        operands: Operands<'_>,
        results: Results<'_>,
    ) -> Result<()> {
        let Operands { input, weight, bias } = operands;
        let Results { residual, out, sums } = results;
        let ConvolutionShape { images, side, walk } = shape;
        let MatrixShape { outputs, inputs, taps } = weight.shape();
        let rows = ROWS * self.block.groups;
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
        let (name, cluster) = match self.split {
            1 => (format!("convolution_boxes_{}x{}", self.block.outputs, self.block.groups), SHARE),
            split => (format!("convolution_split_{}", self.block.outputs), split),
        };
        let brought_by_one = if self.split > 1 { self.block.outputs } else { self.block.outputs / SHARE };
        let weight_box = [DEPTH, 1, brought_by_one];
        let weights = if walk == Walk::Upsample {
            let folded = folded(backend, weight)?;
            TensorMap::new(&backend.context, folded, [inputs, FOLDED_TAPS, outputs], weight_box)?
        } else {
            TensorMap::new(&backend.context, weight, [inputs, taps, outputs], weight_box)?
        };
        let parts = self.sum_parts(shape, outputs);
        let mut sums: Option<Place> = sums.and_then(|sums| sums.expect(parts).then(|| sums.at(0)));
        let launch = backend.launch(&name, self.grid(shape, outputs), (self.block.groups + 1) * 128)?;
        let launch = launch.shared(self.shared()).cluster(cluster).overlapping();
        let launch = launch.value(pictures).value(weights).read(bias).read_optional(residual).write(out);
        let launch =
            launch.write_optional(sums.as_mut()).count(images).count(side).count(inputs).count(outputs);
        let launch = launch.count(kernel).count(side.div_ceil(COLUMNS)).count(side.div_ceil(rows));
        let launch = if self.split > 1 { launch.count(self.split) } else { launch };
        // SAFETY: the pictures hold `inputs` and `outputs` channels of the shape's pixels; others are neither read nor
        // written, and the maps end with their tensors. The sums have room for every part.
        unsafe { launch.submit() }
    }
}

/// Blocks that divide what is summed, so that few pixels give work to all multiprocessors.
fn split(multiprocessors: usize, shape: ConvolutionShape, matrix: MatrixShape) -> usize {
    let MatrixShape { outputs, inputs, taps } = matrix;
    let columns = match (shape.walk, taps) {
        (Walk::Upsample, _) => 2,
        (_, 1) => 1,
        _ => 3,
    };
    let units = inputs.div_ceil(DEPTH) * columns;
    let blocks = Boxes { block: SMALL, split: 1 }.count(shape, outputs);
    // The results are stored in fours.
    let open = outputs.is_multiple_of(4);
    let mut split = 1;
    while open && split < LARGEST_SPLIT && blocks * split * 2 <= multiprocessors && split * 2 <= units {
        split *= 2;
    }
    split
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
    // Convolutions read weights before the kernels before them are done.
    backend.synchronize()?;
    Ok(weight.folded().get_or_init(|| folded))
}

impl DevicePointer for Memory {
    fn pointer(&self) -> cudarc::driver::sys::CUdeviceptr {
        Memory::pointer(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(images: usize, side: usize, walk: Walk, inputs: usize, outputs: usize, taps: usize) -> Boxes {
        let shape = ConvolutionShape { images, side, walk };
        Boxes::choose(132, shape, MatrixShape { outputs, inputs, taps })
    }

    #[test]
    fn small_pictures_are_split_until_all_multiprocessors_work() {
        assert_eq!(choice(1, 16, Walk::Same, 640, 640, 9).split, 8);
        assert_eq!(choice(1, 32, Walk::Same, 320, 320, 9).split, 4);
        assert_eq!(choice(1, 16, Walk::Upsample, 640, 640, 9).split, 2);
        assert_eq!(choice(1, 16, Walk::Same, 640, 1920, 1).split, 2);
        assert_eq!(choice(1, 64, Walk::Same, 320, 320, 9).split, 1);
        assert_eq!(choice(8, 16, Walk::Same, 640, 640, 9).split, 1);
    }

    #[test]
    fn no_block_is_left_without_a_unit() {
        // 32 channels under three columns are three units.
        assert_eq!(choice(1, 16, Walk::Same, 32, 640, 9).split, 2);
        assert_eq!(choice(1, 16, Walk::Same, 64, 640, 1).split, 1);
    }

    #[test]
    fn large_pictures_take_the_block_that_leaves_fewest_idle() {
        assert_eq!(choice(1, 256, Walk::Same, 160, 160, 9).block, LARGE);
        assert_eq!(choice(1, 64, Walk::Same, 320, 320, 9).block, SMALL);
        assert_eq!(choice(4, 256, Walk::Same, 160, 3, 9).block, NARROW);
    }

    #[test]
    fn sums_are_made_where_blocks_make_whole_groups() {
        let parts = |boxes: Boxes, side, outputs| {
            boxes.sum_parts(ConvolutionShape { images: 1, side, walk: Walk::Same }, outputs)
        };
        assert_eq!(parts(choice(1, 256, Walk::Same, 160, 160, 9), 256, 160), 16 * 32);
        assert_eq!(parts(choice(1, 16, Walk::Same, 640, 640, 9), 16, 640), 2 * 8);
        // Groups of three channels do not end where 80 do.
        assert_eq!(parts(choice(1, 16, Walk::Same, 64, 96, 9), 16, 96), 0);
        assert_eq!(parts(choice(1, 16, Walk::Same, 64, 48, 9), 16, 48), 0);
    }

    #[test]
    fn clusters_are_whole() {
        let shape = |images| ConvolutionShape { images, side: 24, walk: Walk::Upsample };
        let boxes = Boxes { block: LARGE, split: 1 };
        // Three images of 2×3 rectangles, four places, two blocks of outputs; one image is already even.
        assert_eq!(boxes.grid(shape(3), 320), 18 * 4 * 2);
        assert_eq!(boxes.grid(ConvolutionShape { side: 8, ..shape(3) }, 320), 4 * 4 * 2);
    }
}
