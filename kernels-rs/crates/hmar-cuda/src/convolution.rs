//! Convolutions.

mod boxes;

use hmar_error::Result;
use hmar_ops::{ConvolutionShape, MatrixShape, Walk};

use self::boxes::Boxes;
use crate::backend::CudaBackend;
use crate::bias::CudaBias;
use crate::buffer::CudaBuffer;
use crate::features::CudaFeatures;
use crate::group_sums::CudaGroupSums;
use crate::kernels::{DevicePointer, Launch, Place};
use crate::matrix::{CudaMatrix, Elements};
use crate::product::Tile;

/// For pictures of a few channels: the decoder's last layer.
const NARROW: Tile = Tile { outputs: 16, rows: 128, threads: 128, stages: 4 };

/// For few pixels.
const SMALL: Tile = Tile { outputs: 64, rows: 64, threads: 128, stages: 4 };

/// For many: 160 channels are the released tokenizer's unit.
const LARGE: Tile = Tile { outputs: 160, rows: 128, threads: 256, stages: 4 };

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
        return plain(backend, name, shape, input, weight, bias, None::<&Place>, out);
    }
    let grid = (rows.div_ceil(pixels), outputs.div_ceil(EXACT_OUTPUTS));
    let launch = backend.launch(&format!("convolution_exact_{pixels}"), grid, EXACT_THREADS)?;
    let launch = launch.shared(shared).overlapping().read(input).read(weight).read(bias).write(out);
    // SAFETY: the pictures hold `inputs` and `outputs` numbers a pixel; nothing but uploads writes weights.
    unsafe { launch.count(rows).count(shape.side).count(inputs).count(outputs).submit() }
}

/// What a convolution reads.
#[derive(Clone, Copy)]
pub(crate) struct Operands<'a> {
    pub(crate) input: &'a CudaFeatures,
    pub(crate) weight: &'a CudaMatrix,
    pub(crate) bias: &'a CudaBias,
}

/// What it adds, writes, and makes on the way where it can.
pub(crate) struct Results<'a> {
    pub(crate) residual: Option<&'a CudaFeatures>,
    pub(crate) out: &'a mut CudaFeatures,
    pub(crate) sums: Option<&'a mut CudaGroupSums>,
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
    /// The fastest kernel for a convolution. A function of the device and the shapes alone.
    fn choose(backend: &CudaBackend, shape: ConvolutionShape, weight: &CudaMatrix) -> Way {
        let matrix = weight.shape();
        if weight.elements() == Elements::F32 || !matrix.inputs.is_multiple_of(8) {
            return Way::Plain;
        }
        let shape = ConvolutionShape { images: backend.planned_images(shape.images), ..shape };
        if backend.context.capability == (9, 0) && shape.walk != Walk::Downsample {
            return Way::Boxes(Boxes::choose(backend.context.multiprocessors, shape, matrix));
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
    let way = Way::choose(backend, shape, operands.weight);
    if let Way::Boxes(boxes) = way {
        return boxes.convolve(backend, shape, operands, results);
    }
    if let Some(sums) = &mut results.sums {
        sums.expect(0);
    }
    let Operands { input, weight, bias } = operands;
    let Results { residual, out, .. } = results;
    let Way::Patches { tile, cluster } = way else {
        let name = backend.named_for_features("convolution_plain");
        return plain(backend, &name, shape, input, weight, bias, residual, out);
    };
    let MatrixShape { outputs, inputs, taps } = weight.shape();
    let name = format!("convolution_{tile}_bf16");
    let launch = backend.launch(&name, tile.grid(rows(shape), outputs, cluster), tile.threads)?;
    let launch = launch.shared(tile.shared(taps * inputs, cluster)).cluster(cluster).overlapping();
    let launch = launch.read(input).read(weight).read(bias).read_optional(residual).write(out);
    // SAFETY: the pictures hold `inputs` and `outputs` channels of the shape's pixels; others are not touched.
    unsafe { dimensions(launch, shape, weight.shape()).count(cluster).submit() }
}

#[allow(clippy::too_many_arguments, reason = "those of a convolution, and the kernel's name")]
fn plain(
    backend: &CudaBackend,
    name: &str,
    shape: ConvolutionShape,
    input: &impl DevicePointer,
    weight: &CudaMatrix,
    bias: &CudaBias,
    residual: Option<&impl DevicePointer>,
    out: &mut impl DevicePointer,
) -> Result<()> {
    let grid = (rows(shape).div_ceil(8), weight.shape().outputs.div_ceil(32));
    let launch = backend.launch(name, grid, 256)?;
    let launch = launch.read(input).read(weight).read(bias).read_optional(residual).write(out);
    // SAFETY: as above.
    unsafe { dimensions(launch, shape, weight.shape()).submit() }
}

/// Pixels of the results.
fn rows(shape: ConvolutionShape) -> usize {
    shape.images * shape.output_side() * shape.output_side()
}

/// The arguments after the pointers.
fn dimensions(launch: Launch<'_>, shape: ConvolutionShape, matrix: MatrixShape) -> Launch<'_> {
    let walk = match shape.walk {
        Walk::Same => 0,
        Walk::Upsample => 1,
        Walk::Downsample => 2,
    };
    let launch = launch.count(rows(shape)).count(shape.side).count(shape.output_side());
    launch.count(matrix.inputs).count(matrix.taps).value(walk).count(matrix.outputs)
}
