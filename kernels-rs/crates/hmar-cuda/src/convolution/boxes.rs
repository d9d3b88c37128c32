//! Convolutions on Hopper, from boxes that the copy engine brings.

use std::ops::Range;

use hmar_error::Result;
use hmar_ops::{ConvolutionShape, MatrixShape, Walk};

use super::{Operands, Results};
use crate::backend::CudaBackend;
use crate::context::Memory;
use crate::group_sums::GROUPS;
use crate::kernels::{DevicePointer, Place, Within};
use crate::matrix::CudaMatrix;
use crate::strips::Strip;
use crate::tensor_map::TensorMap;

/// The rectangle of pixels that a block makes at a time.
const COLUMNS: usize = 16;
pub(super) const ROWS: usize = 8;

/// Channels of a step.
const DEPTH: usize = 64;

/// Kernels of 2×2 that stand for one of 3×3 on an enlarged picture: 4 taps for each of 4 places.
const FOLDED_TAPS: usize = 4;
const PLACES: usize = 4;

const THREADS: usize = 256;

/// Threads of `convolution_tiles`, and blocks of a cluster, which have the same weights.
const TILE_THREADS: usize = 384;
const SHARE: usize = 2;

/// Blocks that divide what is summed, at most: as many as every GPU with clusters takes.
const LARGEST_SPLIT: usize = 8;

/// What a block makes, and what it keeps in shared memory.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Block {
    outputs: usize,
    input_slots: usize,
    weight_slots: usize,
    /// Time of a multiprocessor for a rectangle, relative to others.
    cost: f64,
}

const NARROW: Block = Block { outputs: 16, input_slots: 6, weight_slots: 18, cost: 0.2 };
const SMALL: Block = Block { outputs: 80, input_slots: 4, weight_slots: 10, cost: 0.6 };
const LARGE: Block = Block { outputs: 160, input_slots: 2, weight_slots: 8, cost: 1.0 };

/// Where blocks divide what is summed, two share a multiprocessor.
const SPLIT: Block = Block { outputs: 80, input_slots: 2, weight_slots: 6, cost: 0.6 };

/// How a convolution is cut into blocks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Boxes {
    block: Block,
    /// Blocks that divide what is summed; where it is 1, blocks stay for many rectangles.
    split: usize,
}

/// The kernel that a convolution's kernel becomes: its rows and columns.
fn kernel(walk: Walk, taps: usize) -> usize {
    match (walk, taps) {
        (Walk::Upsample, _) => 2,
        (_, 1) => 1,
        _ => 3,
    }
}

impl Boxes {
    /// The cut that does a convolution soonest on so many multiprocessors. A function of the shape alone.
    pub(super) fn choose(
        multiprocessors: usize,
        shape: ConvolutionShape,
        matrix: MatrixShape,
        may_split: bool,
    ) -> Boxes {
        let whole = |block: Block| Boxes { block, split: 1 };
        if matrix.outputs <= NARROW.outputs {
            return whole(NARROW);
        }
        let split = split(multiprocessors, shape, matrix);
        if may_split && split > 1 {
            return Boxes { block: SPLIT, split };
        }
        let time = |block: Block| {
            let clusters = multiprocessors / SHARE;
            let rectangles = shape.images * rectangles(shape);
            whole(block).shares(shape, rectangles, matrix.outputs).div_ceil(clusters) as f64 * block.cost
        };
        whole(if time(SMALL) < time(LARGE) { SMALL } else { LARGE })
    }

    /// Rectangles of a picture, and places of an enlarged one's pixels.
    fn parts(shape: ConvolutionShape) -> usize {
        places(shape) * rectangles(shape)
    }

    /// Blocks of a convolution, each with a rectangle, that are not split.
    fn count(&self, shape: ConvolutionShape, outputs: usize) -> usize {
        shape.images * Boxes::parts(shape) * outputs.div_ceil(self.block.outputs)
    }

    /// What clusters take one after another of so many rectangles.
    fn shares(&self, shape: ConvolutionShape, rectangles: usize, outputs: usize) -> usize {
        rectangles.div_ceil(SHARE) * places(shape) * outputs.div_ceil(self.block.outputs)
    }

    /// Parts in which the sums of a picture's groups of channels are made; 0 where blocks do not make whole groups.
    fn sum_parts(&self, shape: ConvolutionShape, outputs: usize) -> usize {
        let whole = outputs.is_multiple_of(GROUPS)
            && (outputs <= self.block.outputs || self.block.outputs.is_multiple_of(outputs / GROUPS));
        if whole { Boxes::parts(shape) * self.split } else { 0 }
    }

    pub(super) fn convolve(
        &self,
        backend: &CudaBackend,
        shape: ConvolutionShape,
        strip: &Strip,
        operands: Operands<'_>,
        results: &mut Results<'_>,
    ) -> Result<()> {
        let Operands { input, held, weight, bias } = operands;
        let residual = results.residual(0);
        let Results { out, sums, .. } = results;
        let ConvolutionShape { images, side, walk } = shape;
        let MatrixShape { outputs, inputs, taps } = weight.shape();
        let Block { outputs: width, input_slots, weight_slots, .. } = self.block;
        let kernel = kernel(walk, taps);
        let splits = self.split > 1;

        // The whole margin where a rectangle is brought once, that above and below where it is brought for each column.
        let columns = if splits { COLUMNS } else { COLUMNS + kernel - 1 };
        let pictures = [inputs, side, held.rows.len(), held.images.len()];
        let pictures =
            TensorMap::new(&backend.context, &input, pictures, [DEPTH, columns, ROWS + kernel - 1, 1])?;
        let packs = !splits && kernel > 1 && (1..=DEPTH / 2).contains(&(inputs % DEPTH));
        let weights: Place = match walk {
            _ if packs => packed(backend, weight, walk)?.at(0),
            Walk::Upsample => folded(backend, weight)?.at(0),
            _ => weight.at(0),
        };
        let sizes = match (packs, walk) {
            (true, _) => [packed_steps(inputs, kernel * kernel) * DEPTH, places(shape), outputs],
            (_, Walk::Upsample) => [inputs, PLACES * FOLDED_TAPS, outputs],
            _ => [inputs, taps, outputs],
        };
        let weights = TensorMap::new(&backend.context, &weights, sizes, [DEPTH, 1, width])?;

        let parts = self.sum_parts(shape, outputs);
        let mut sums: Option<Place> =
            sums.as_deref_mut().and_then(|sums| sums.expect(parts).then(|| sums.at(0)));
        let taken = taken(shape, strip);
        let row = DEPTH * size_of::<half::bf16>();
        let rectangle = if splits { (ROWS + 2) * COLUMNS } else { (ROWS + 2) * (COLUMNS + 2) } * row;
        // It begins at a multiple of 1,024 inside of the shared memory, and so does each rectangle.
        let shared = input_slots * rectangle.next_multiple_of(1024) + weight_slots * width * row + 1024;
        let launch = if splits {
            let grid = self.count(shape, outputs) * self.split;
            backend.launch(&format!("convolution_split_{width}"), grid, THREADS)?.cluster(self.split)
        } else {
            let shares = self.shares(shape, taken.len(), outputs);
            let clusters = (backend.context.multiprocessors / SHARE).min(shares);
            let name = format!("convolution_tiles_{width}");
            backend.launch(&name, clusters * SHARE, TILE_THREADS)?.cluster(SHARE)
        };
        let launch = launch.shared(shared).overlapping().value(pictures).value(weights).read(bias);
        let launch = launch.read_optional(residual.as_ref()).write(*out).write_optional(sums.as_mut());
        let launch = if splits {
            launch.count(images)
        } else {
            launch.count(taken.start).count(taken.end).count(held.images.start).count(held.rows.start)
        };
        let launch = launch.count(side).count(inputs).count(outputs).count(kernel);
        let launch = if splits {
            launch.count(side.div_ceil(COLUMNS)).count(side.div_ceil(ROWS)).count(self.split)
        } else {
            launch.value(i32::from(packs))
        };
        // SAFETY: the pictures hold `inputs` and `outputs` channels of the shape's pixels; others are neither read nor
        // written, and the maps end with their tensors. The sums have room for every part.
        unsafe { launch.submit() }
    }
}

/// Rectangles of a picture.
fn rectangles(shape: ConvolutionShape) -> usize {
    shape.side.div_ceil(COLUMNS) * shape.side.div_ceil(ROWS)
}

/// Which of the rectangles of all pictures a strip is.
fn taken(shape: ConvolutionShape, strip: &Strip) -> Range<usize> {
    let across = shape.side.div_ceil(COLUMNS);
    let last = (strip.images.end - 1) * rectangles(shape) + strip.rows.end.div_ceil(ROWS) * across;
    strip.images.start * rectangles(shape) + strip.rows.start / ROWS * across..last
}

/// Places of a pixel in an enlarged picture.
fn places(shape: ConvolutionShape) -> usize {
    if shape.walk == Walk::Upsample { PLACES } else { 1 }
}

/// Blocks that divide what is summed, so that few pixels give work to all multiprocessors.
fn split(multiprocessors: usize, shape: ConvolutionShape, matrix: MatrixShape) -> usize {
    let MatrixShape { outputs, inputs, taps } = matrix;
    let units = inputs.div_ceil(DEPTH) * kernel(shape.walk, taps);
    let blocks = Boxes { block: SPLIT, split: 1 }.count(shape, outputs);
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
    let length = outputs * PLACES * FOLDED_TAPS * inputs;
    let mut folded = Memory::zeroed(&backend.context, length * size_of::<half::bf16>())?;
    let launch = backend.launch("convolution_fold", length.div_ceil(THREADS), THREADS)?;
    let launch = launch.read(weight).write(&mut folded).count(outputs).count(inputs);
    // SAFETY: the weights have nine taps; the result is as long as was allocated.
    unsafe { launch.submit()? };
    // Convolutions read weights before the kernels before them are done.
    backend.synchronize()?;
    Ok(weight.folded().get_or_init(|| folded))
}

/// Steps of a kernel's weights where 32 channels or fewer are left over: those of two taps are one.
fn packed_steps(inputs: usize, taps: usize) -> usize {
    inputs / DEPTH * taps + taps.div_ceil(2)
}

/// The weights in the order they are used in, made when they are first asked for.
fn packed<'a>(backend: &CudaBackend, weight: &'a CudaMatrix, walk: Walk) -> Result<&'a Memory> {
    if let Some(packed) = weight.packed().get() {
        return Ok(packed);
    }
    let MatrixShape { outputs, inputs, taps } = weight.shape();
    let (source, places, taps) = match walk {
        Walk::Upsample => (folded(backend, weight)?.at(0), PLACES, FOLDED_TAPS),
        _ => (weight.at(0), 1, taps),
    };
    let length = outputs * places * packed_steps(inputs, taps) * DEPTH;
    let mut packed = Memory::zeroed(&backend.context, length * size_of::<half::bf16>())?;
    let launch = backend.launch("convolution_pack", length.div_ceil(THREADS), THREADS)?;
    let launch = launch.read(&source).write(&mut packed);
    // SAFETY: the weights have so many places, taps and inputs; the result is as long as was allocated.
    unsafe { launch.count(outputs).count(places).count(taps).count(inputs).submit()? };
    // As above.
    backend.synchronize()?;
    Ok(weight.packed().get_or_init(|| packed))
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
        Boxes::choose(132, shape, MatrixShape { outputs, inputs, taps }, true)
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
        assert_eq!(choice(16, 64, Walk::Same, 320, 320, 9).block, LARGE);
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
        let shape = ConvolutionShape { images: 3, side: 24, walk: Walk::Upsample };
        let boxes = Boxes { block: LARGE, split: 1 };
        // Three images of 2×3 rectangles, four places, two blocks of outputs; an odd number leaves a block idle.
        assert_eq!(boxes.shares(shape, 3 * rectangles(shape), 320), 9 * 4 * 2);
        assert_eq!(boxes.shares(shape, 3, 320), 2 * 4 * 2);
    }

    #[test]
    fn strips_are_runs_of_rectangles() {
        let shape = ConvolutionShape { images: 3, side: 40, walk: Walk::Same };
        let taken = |images, rows| taken(shape, &Strip { images, rows });
        assert_eq!(taken(0..3, 0..40), 0..3 * 15);
        assert_eq!(taken(1..2, 8..24), 15 + 3..15 + 9);
        assert_eq!(taken(2..3, 32..40), 30 + 12..45);
    }
}
