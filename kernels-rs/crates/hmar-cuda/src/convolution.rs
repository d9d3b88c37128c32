//! Convolutions.

mod boxes;

use std::ops::Range;

use hmar_error::Result;
use hmar_ops::{ConvolutionShape, Ending, GroupNorm, MatrixShape, Walk};

use self::boxes::Boxes;
use crate::backend::{CudaBackend, SCRATCH};
use crate::bias::CudaBias;
use crate::buffer::CudaBuffer;
use crate::features::{self, CudaFeatures};
use crate::group_norm::{PICTURES, Sums};
use crate::group_sums::CudaGroupSums;
use crate::kernels::{DevicePointer, Launch, Place, Within};
use crate::matrix::{CudaMatrix, Elements};
use crate::product::Tile;
use crate::strips::{Strip, strips};

/// For pictures of a few channels: the decoder's last layer.
const NARROW: Tile = Tile { outputs: 16, rows: 128, threads: 128, stages: 4 };

/// For few pixels.
const SMALL: Tile = Tile { outputs: 64, rows: 64, threads: 128, stages: 4 };

/// For many: 160 channels are the released tokenizer's unit.
const LARGE: Tile = Tile { outputs: 160, rows: 128, threads: 256, stages: 4 };

/// Bytes of a strip of normalised pictures that has its room in the scratch memory: one picture of 256 px, or some rows of a
/// larger one.
const STRIP: usize = 22 << 20;

/// Pixels of a block of `convolution_exact`, where they are few and where they are many; its outputs and threads.
const EXACT_PIXELS: [usize; 2] = [2, 8];
const EXACT_OUTPUTS: usize = 32;
const EXACT_THREADS: usize = 256;

/// See [`hmar_ops::Backend::exact_convolution`].
pub(crate) fn exact_convolution(
    backend: &CudaBackend,
    shape: ConvolutionShape,
    input: &CudaBuffer<f32>,
    weight: &CudaMatrix,
    bias: &CudaBias,
    out: &mut CudaBuffer<f32>,
) -> Result<()> {
    let MatrixShape { outputs, inputs, taps } = weight.shape();
    let rows = rows(shape);
    let [few, many] = EXACT_PIXELS;
    let pixels = if rows <= few * backend.context.multiprocessors * 2 { few } else { many };
    let shared = pixels * inputs * taps * size_of::<f32>();
    let open = taps == 9 && shape.walk == Walk::Same && inputs.is_multiple_of(4);
    if !open || shared > backend.context.shared_limit {
        let name = "convolution_plain_f32";
        let pixels = Pixels { first: 0, count: rows, held: 0 };
        return plain(backend, name, shape, pixels, input, weight, bias, None::<&Place>, out);
    }
    let grid = (rows.div_ceil(pixels), outputs.div_ceil(EXACT_OUTPUTS));
    let launch = backend.launch(&format!("convolution_exact_{pixels}"), grid, EXACT_THREADS)?;
    let launch = launch.shared(shared).overlapping().read(input).read(weight).read(bias).write(out);
    // SAFETY: the pictures hold `inputs` and `outputs` numbers a pixel; nothing but uploads writes weights.
    unsafe { launch.count(rows).count(shape.side).count(inputs).count(outputs).submit() }
}

/// What a convolution reads.
pub(crate) struct Operands<'a> {
    pub(crate) input: Place,
    /// What of the pictures the input holds: what is convolved, with its margin.
    pub(crate) held: Strip,
    pub(crate) weight: &'a CudaMatrix,
    pub(crate) bias: &'a CudaBias,
}

/// What it writes or adds to, and makes on the way where it can.
pub(crate) struct Results<'a> {
    pub(crate) ending: Ending,
    pub(crate) out: &'a mut CudaFeatures,
    pub(crate) sums: Option<&'a mut CudaGroupSums>,
}

impl Results<'_> {
    /// What the results are added to, from byte `start` on: kernels read it where they write afterwards.
    fn residual(&self, start: usize) -> Option<Place> {
        (self.ending == Ending::Add).then(|| self.out.at(start))
    }
}

/// What a convolution of a strip is called in profiles.
fn name_of_strip(shape: ConvolutionShape, strip: &Strip, weight: &CudaMatrix) -> impl FnOnce() -> String {
    let (whole, rows) = (name(shape, weight), strip.rows.len());
    move || if rows == shape.side { whole() } else { format!("{} ({rows} rows)", whole()) }
}

/// What a convolution is called in profiles.
pub(crate) fn name(shape: ConvolutionShape, weight: &CudaMatrix) -> impl FnOnce() -> String {
    let MatrixShape { outputs, inputs, taps } = weight.shape();
    let ConvolutionShape { images, side, walk } = shape;
    move || format!("convolution {images}×{side}² {inputs}→{outputs} {taps} taps {walk:?}")
}

/// The kernels there are.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    /// Any shape and precision.
    Plain,
    /// Patches gathered by all threads; so many blocks share a sum.
    Patches { tile: Tile, cluster: usize },
    /// Boxes brought by the copy engine.
    Boxes(Boxes),
}

impl Way {
    /// The fastest kernel for a convolution, whose sums may be split where the pictures are one strip. A function of the device
    /// and the shapes alone.
    fn choose(backend: &CudaBackend, shape: ConvolutionShape, weight: &CudaMatrix, may_split: bool) -> Way {
        let matrix = weight.shape();
        if weight.elements() == Elements::F32 || !matrix.inputs.is_multiple_of(8) {
            return Way::Plain;
        }
        let shape = ConvolutionShape { images: backend.planned_images(shape.images), ..shape };
        if backend.context.capability == (9, 0) && shape.walk != Walk::Downsample {
            return Way::Boxes(Boxes::choose(backend.context.multiprocessors, shape, matrix, may_split));
        }
        let MatrixShape { outputs, inputs, taps } = matrix;
        let rows = rows(shape);
        let tile = match outputs {
            0..=16 => NARROW,
            _ if LARGE.blocks(rows, outputs) * 2 >= backend.context.multiprocessors => LARGE,
            _ => SMALL,
        };
        let cluster = if tile == LARGE { 1 } else { tile.cluster(backend, rows, outputs, taps * inputs) };
        Way::Patches { tile, cluster }
    }
}

/// See [`hmar_ops::Backend::convolution`].
pub(crate) fn convolution(
    backend: &CudaBackend,
    shape: ConvolutionShape,
    operands: Operands<'_>,
    mut results: Results<'_>,
) -> Result<()> {
    let way = Way::choose(backend, shape, operands.weight, true);
    way.convolve(backend, shape, &Strip::whole(shape.images, shape.side), operands, &mut results)
}

/// See [`hmar_ops::Backend::room_for_normed`]. Each strip costs its kernels' beginnings and ends, some 13 µs: so many pictures
/// should be two strips at most. Of a large one, rows are enough.
pub(crate) fn room_for_normed(images: usize, length: usize, width: usize) -> Range<usize> {
    let bytes = |images: usize| images * length * width;
    let half = images.div_ceil(2);
    let least = if bytes(1) > STRIP || bytes(half) <= STRIP { 0 } else { half * length };
    least..if bytes(images) <= STRIP { 0 } else { images * length }
}

/// See [`hmar_ops::Backend::normed_convolution`].
pub(crate) fn normed(
    backend: &CudaBackend,
    norm: GroupNorm<'_, CudaBackend>,
    input: &CudaFeatures,
    room: &CudaFeatures,
    weight: &CudaMatrix,
    bias: &CudaBias,
    mut results: Results<'_>,
) -> Result<()> {
    let (side, channels) = (norm.side(), norm.channels);
    let shape = ConvolutionShape { images: norm.images, side, walk: Walk::Same };
    let width = features::width(backend.precision());
    let pixel_bytes = channels * width;
    let margin = usize::from(weight.shape().taps > 1);
    let scratch = backend.scratch();
    let of_room = room.len() * width;
    let (normed, bytes, limit) = if of_room > STRIP {
        (room.at(0), of_room, of_room)
    } else {
        (scratch.at(PICTURES), STRIP, SCRATCH - PICTURES)
    };
    let strips = strips(norm.images, side, side * pixel_bytes, margin, boxes::ROWS, bytes);
    let way = Way::choose(backend, shape, weight, strips.len() == 1);
    let sums = Sums::of(backend, &norm, input, &scratch)?;
    for strip in &strips {
        let read = strip.with_margin(margin, side);
        assert!(read.pixels(side) * pixel_bytes <= limit, "a strip has room");
        let name = || format!("group_norm {}×{channels}", read.pixels(side));
        backend.measured(name, || sums.normalise(backend, &norm, input, &read, &mut normed.at(0)))?;
        let operands = Operands { input: normed, held: read, weight, bias };
        let of_strip = ConvolutionShape { images: strip.images.len(), ..shape };
        backend.measured(name_of_strip(of_strip, strip, weight), || {
            way.convolve(backend, shape, strip, operands, &mut results)
        })?;
    }
    Ok(())
}

impl Way {
    /// Makes the results of a strip.
    fn convolve(
        &self,
        backend: &CudaBackend,
        shape: ConvolutionShape,
        strip: &Strip,
        operands: Operands<'_>,
        results: &mut Results<'_>,
    ) -> Result<()> {
        if let Way::Boxes(boxes) = self {
            return boxes.convolve(backend, shape, strip, operands, results);
        }
        if let Some(sums) = &mut results.sums {
            sums.expect(0);
        }
        let Operands { input, held, weight, bias } = operands;
        let MatrixShape { outputs, inputs, taps } = weight.shape();
        let pixels = match shape.walk {
            Walk::Same => Pixels {
                first: strip.first_pixel(shape.side),
                count: strip.pixels(shape.side),
                held: held.first_pixel(shape.side),
            },
            _ => Pixels { first: 0, count: rows(shape), held: 0 },
        };
        let start = pixels.first * outputs * features::width(backend.precision());
        let (residual, mut out) = (results.residual(start), results.out.at(start));
        let Way::Patches { tile, cluster } = *self else {
            let name = backend.named_for_features("convolution_plain");
            return plain(backend, &name, shape, pixels, &input, weight, bias, residual.as_ref(), &mut out);
        };
        let name = format!("convolution_{tile}_bf16");
        let launch = backend.launch(&name, tile.grid(pixels.count, outputs, cluster), tile.threads)?;
        let launch = launch.shared(tile.shared(taps * inputs, cluster)).cluster(cluster).overlapping();
        let launch =
            launch.read(&input).read(weight).read(bias).read_optional(residual.as_ref()).write(&mut out);
        // SAFETY: the pictures hold `inputs` and `outputs` channels of the shape's pixels; others are not touched.
        unsafe { dimensions(launch, shape, pixels, weight.shape()).count(cluster).submit() }
    }
}

/// Some of the pixels of the results, and the first pixel that the input holds.
#[derive(Clone, Copy)]
struct Pixels {
    first: usize,
    count: usize,
    held: usize,
}

#[allow(clippy::too_many_arguments, reason = "those of a convolution, and the kernel's name")]
fn plain(
    backend: &CudaBackend,
    name: &str,
    shape: ConvolutionShape,
    pixels: Pixels,
    input: &impl DevicePointer,
    weight: &CudaMatrix,
    bias: &CudaBias,
    residual: Option<&impl DevicePointer>,
    out: &mut impl DevicePointer,
) -> Result<()> {
    let grid = (pixels.count.div_ceil(8), weight.shape().outputs.div_ceil(32));
    let launch = backend.launch(name, grid, 256)?;
    let launch = launch.read(input).read(weight).read(bias).read_optional(residual).write(out);
    // SAFETY: as above.
    unsafe { dimensions(launch, shape, pixels, weight.shape()).submit() }
}

/// Pixels of the results.
fn rows(shape: ConvolutionShape) -> usize {
    shape.images * shape.output_side() * shape.output_side()
}

/// The arguments after the pointers.
fn dimensions(
    launch: Launch<'_>,
    shape: ConvolutionShape,
    pixels: Pixels,
    matrix: MatrixShape,
) -> Launch<'_> {
    let walk = match shape.walk {
        Walk::Same => 0,
        Walk::Upsample => 1,
        Walk::Downsample => 2,
    };
    let launch = launch
        .count(pixels.first)
        .count(pixels.count)
        .count(pixels.held)
        .count(shape.side)
        .count(shape.output_side());
    launch.count(matrix.inputs).count(matrix.taps).value(walk).count(matrix.outputs)
}

#[cfg(test)]
mod tests {
    use super::room_for_normed;

    #[test]
    fn many_pictures_have_room_for_half_of_them_and_large_ones_for_rows() {
        let room = |images: usize, side: usize| {
            let length = side * side * 160;
            let room = room_for_normed(images, length, 2);
            (room.start / length, room.end / length)
        };
        assert_eq!(room(1, 256), (0, 0));
        assert_eq!(room(2, 256), (0, 2));
        assert_eq!(room(16, 256), (8, 16));
        assert_eq!(room(5, 256), (3, 5));
        assert_eq!(room(16, 16), (0, 0));
        assert_eq!(room(4, 512), (0, 4));
        assert_eq!(room(1, 1024), (0, 1));
    }
}
