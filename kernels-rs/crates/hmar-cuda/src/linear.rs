//! Linear layers: products with the endings of the blocks.

mod rows;
mod tiles;

use half::bf16;
use hmar_error::Result;
use hmar_ops::{LayerInput, LinearOutput, MatrixShape, Normalized};

use self::rows::RowTiles;
use self::tiles::Tiles;
use crate::backend::{CudaBackend, SCRATCH};
use crate::bias::CudaBias;
use crate::buffer::CudaBuffer;
use crate::features::{CudaFeatures, E4m3Rows, Held};
use crate::fp8;
use crate::kernels::{DevicePointer, Launch, Place, Within};
use crate::library::{Ending, Factors, Library, Operands, Size, WORKSPACE};
use crate::matrix::{CudaMatrix, Elements};
use crate::norm::{self, GatedRows};
use crate::product::Tile;

/// For few rows: the time is that of loading the weights.
const FEW: [Tile; 4] = [
    Tile { outputs: 64, rows: 16, threads: 128, stages: 8 },
    Tile { outputs: 64, rows: 32, threads: 128, stages: 6 },
    Tile { outputs: 64, rows: 64, threads: 128, stages: 6 },
    Tile { outputs: 64, rows: 128, threads: 256, stages: 4 },
];

/// For many: the time is that of multiplying. The first whose outputs divide the layer's.
const MANY: [Tile; 2] = [
    Tile { outputs: 128, rows: 128, threads: 256, stages: 4 },
    Tile { outputs: 160, rows: 128, threads: 256, stages: 4 },
];

/// Rows from which on the library is faster.
const LIBRARY_ROWS: usize = 40;

/// Weights from which on it is, however few the rows.
const LIBRARY_WEIGHTS: usize = 6_000_000;

/// Results of a block of the plain kernel along each side.
const PLAIN: usize = 32;

/// The tile for a product on so many multiprocessors.
fn tile(rows: usize, outputs: usize, multiprocessors: usize) -> &'static Tile {
    let few = FEW.iter().find(|tile| rows <= tile.rows).unwrap_or(&FEW[3]);
    let many = MANY.iter().find(|tile| outputs.is_multiple_of(tile.outputs)).unwrap_or(&MANY[0]);
    if rows > few.rows && 2 * many.blocks(rows, outputs) >= multiprocessors { many } else { few }
}

/// See [`hmar_ops::Backend::linear`].
pub(crate) fn linear(
    backend: &CudaBackend,
    rows: usize,
    input: &CudaFeatures,
    weight: &CudaMatrix,
    bias: &CudaBias,
    out: LinearOutput<'_, CudaBackend>,
) -> Result<()> {
    let shape = weight.shape();
    let MatrixShape { outputs, inputs, .. } = shape;
    let tensor_cores = weight.elements() != Elements::F32 && inputs % 8 == 0 && outputs % 2 == 0;
    let many = rows >= LIBRARY_ROWS || inputs * outputs >= LIBRARY_WEIGHTS;
    let tiles = Tiles::choose(backend, rows, input, weight, &out).filter(|_| tensor_cores);
    let row_tiles = RowTiles::choose(backend, rows, weight, &out).filter(|_| tensor_cores && tiles.is_none());
    if let Some(library) = &backend.library
        && tiles.is_none()
        && row_tiles.is_none()
        && tensor_cores
        && (many || backend.batch_invariant || weight.elements() == Elements::E4m3)
        && outputs.is_multiple_of(8)
    {
        return by_library(backend, library, rows, shape, input, weight, bias, out);
    }
    // Our own products end without the next layer's normalisation.
    if let LinearOutput::GatedResidual { residual, gate, rows: grouping, next: Some(next) } = out {
        let out = LinearOutput::GatedResidual { residual, gate, rows: grouping, next: None };
        linear(backend, rows, input, weight, bias, out)?;
        let Normalized { scale, shift, out } = next;
        return norm::modulated_norm(backend, grouping, outputs, residual, scale, shift, out);
    }
    if let Some(tiles) = tiles {
        return tiles.multiply(backend, rows, input, weight, bias, out);
    }
    if let Some(tiles) = row_tiles {
        return tiles.multiply(backend, rows, input, weight, bias, out);
    }
    if !tensor_cores {
        let grid = (outputs.div_ceil(PLAIN), rows.div_ceil(PLAIN));
        let launch = backend.launch_features("linear_plain", grid, 256)?;
        let launch = ending(launch.read(input).read(weight).read(bias), rows, weight, out);
        // SAFETY: the input holds `rows` rows of `inputs` numbers, the output of `outputs`; the gates lie in their table.
        return unsafe { launch.submit() };
    }
    let (tile, cluster) = if backend.batch_invariant {
        (&FEW[FEW.len() - 1], 1)
    } else {
        let tile = tile(rows, outputs, backend.context.multiprocessors);
        (tile, if MANY.contains(tile) { 1 } else { tile.cluster(backend, rows, outputs, inputs) })
    };
    let launch =
        backend.launch(&format!("linear_{tile}_bf16"), tile.grid(rows, outputs, cluster), tile.threads)?;
    let launch = launch.shared(tile.shared(inputs, cluster)).cluster(cluster);
    let launch = launch.overlapping().read(input).read(weight).read(bias);
    // SAFETY: as above; rows and outputs beyond the last are neither read nor written.
    unsafe { ending(launch, rows, weight, out).count(cluster).submit() }
}

/// The same by a library, whose products end in fewer ways: what gates are applied to is stored in bfloat16 between. In
/// FP8 the input is rounded to it first. Both happen in parts of the rows that fit into the scratch memory, whose end is the
/// library's workspace.
#[allow(clippy::too_many_arguments, reason = "those of a layer, and the library")]
fn by_library(
    backend: &CudaBackend,
    library: &Library,
    rows: usize,
    MatrixShape { outputs, inputs, .. }: MatrixShape,
    input: &CudaFeatures,
    weight: &CudaMatrix,
    bias: &CudaBias,
    mut out: LinearOutput<'_, CudaBackend>,
) -> Result<()> {
    let scratch = backend.scratch();
    let parts = Parts::divide(rows, inputs, outputs, weight, &out);
    for first in (0..rows).step_by(parts.rows) {
        let count = parts.rows.min(rows - first);
        let own_input = input.at(first * inputs * size_of::<bf16>());
        let (factors, input, scales) = match weight.e4m3() {
            None => (Factors::Bf16, own_input, None),
            Some(weights) => {
                let rows = match input.e4m3(inputs) {
                    Some(rows) => rows.from(first, inputs),
                    None => {
                        let size = [count, inputs];
                        let rows = E4m3Rows::at(&scratch.at(parts.quantized), size, false);
                        fp8::quantize_rows(&backend.kernels, size, &own_input, &rows, None)?;
                        rows
                    }
                };
                (Factors::E4m3, rows.numbers, Some([rows.scales.pointer(), weights.scales.pointer()]))
            }
        };
        let multiply = |ending, bias, out: Place| {
            let size = Size { rows: count, inputs, outputs, factors, ending };
            let (input, weight, out) = (input.pointer(), weight.pointer(), out.pointer());
            let workspace = scratch.at(Parts::ROOM).pointer();
            let operands = Operands { input, weight, bias, out, workspace, scales };
            library.multiply(size, &operands, backend.batch_invariant)
        };
        let done = first * outputs;
        match &mut out {
            LinearOutput::Float32(out) => {
                multiply(Ending::BiasedFloat32, bias.pointer(), out.at(done * size_of::<f32>()))?;
            }
            LinearOutput::Features(out) => {
                out.hold(Held::Features);
                multiply(Ending::Features, bias.rounded(), out.at(done * size_of::<bf16>()))?;
            }
            LinearOutput::Gelu(LayerInput { features: out, .. }) => {
                out.hold(Held::Features);
                multiply(Ending::Gelu, bias.rounded(), out.at(done * size_of::<bf16>()))?;
            }
            LinearOutput::GatedResidual { residual, gate, rows: grouping, next } => {
                multiply(Ending::Product, 0, scratch.at(0))?;
                let product = GatedRows { product: &scratch, bias, first, count, width: outputs };
                norm::add_gated(backend, product, *grouping, *gate, residual, next.as_mut())?;
            }
        }
    }
    Ok(())
}

/// How rows are taken in parts, and where in the scratch memory what is made of a part lies: products that gates are
/// applied to, from the start; after them rounded inputs and their scales.
struct Parts {
    rows: usize,
    quantized: usize,
}

impl Parts {
    /// The library likes parts to begin at a multiple of so many rows.
    const GRAIN: usize = 128;

    /// Bytes of a part: few enough for what gates are applied to to be in the cache still.
    const ROOM: usize = SCRATCH - WORKSPACE;

    /// Equal parts that fit.
    fn divide(
        rows: usize,
        inputs: usize,
        outputs: usize,
        weight: &CudaMatrix,
        out: &LinearOutput<'_, CudaBackend>,
    ) -> Self {
        let gated = matches!(out, LinearOutput::GatedResidual { .. });
        let product = if gated { outputs * size_of::<bf16>() } else { 0 };
        let quantized = if weight.elements() == Elements::E4m3 { inputs + size_of::<f32>() } else { 0 };
        let of_a_row = product + quantized;
        let parts = match of_a_row {
            0 => 1,
            bytes => rows.div_ceil((Self::ROOM / bytes / Self::GRAIN).max(1) * Self::GRAIN),
        };
        let rows = rows.div_ceil(parts.max(1)).next_multiple_of(Self::GRAIN);
        Parts { rows, quantized: rows * product }
    }
}

/// How our products end; the kernels' `Ending`.
#[derive(Clone, Copy)]
enum KernelEnding {
    Features,
    Gelu,
    Float32,
    Gated,
    GeluE4m3,
}

/// The arguments from the output on.
fn ending<'a>(
    launch: Launch<'a>,
    rows: usize,
    weight: &CudaMatrix,
    out: LinearOutput<'_, CudaBackend>,
) -> Launch<'a> {
    let MatrixShape { outputs, inputs, .. } = weight.shape();
    let none = None::<&Place>;
    let sizes = |launch: Launch<'a>, ending: KernelEnding| {
        launch.count(rows).count(inputs).count(outputs).value(ending as i32)
    };
    match out {
        LinearOutput::Features(out) => {
            out.hold(Held::Features);
            let launch = launch.write(out).read_optional(none).read_optional(none);
            sizes(launch, KernelEnding::Features).count(0).count(1)
        }
        LinearOutput::Gelu(LayerInput { features, .. }) => {
            let e4m3 = weight.elements() == Elements::E4m3;
            let (held, ending) = if e4m3 {
                (Held::E4m3 { rows, norms: false }, KernelEnding::GeluE4m3)
            } else {
                (Held::Features, KernelEnding::Gelu)
            };
            features.hold(held);
            let launch = launch.write(features).read_optional(none).read_optional(none);
            sizes(launch, ending).count(0).count(1)
        }
        LinearOutput::Float32(out) => {
            let launch = launch.write(out).read_optional(none).read_optional(none);
            sizes(launch, KernelEnding::Float32).count(0).count(1)
        }
        LinearOutput::GatedResidual { residual, gate, rows, .. } => {
            let gates = gate.table.at(gate.offset * size_of::<f32>());
            let launch = launch.write(residual).read(&gates).read(rows.slots);
            sizes(launch, KernelEnding::Gated).count(gate.stride).count(rows.per_sequence)
        }
    }
}

/// Outputs of a block of `project`.
const PROJECTED: usize = 256;

/// Its rows.
const TOGETHER: usize = 16;

/// See [`hmar_ops::Backend::project`].
pub(crate) fn project(
    backend: &CudaBackend,
    rows: usize,
    input: &CudaBuffer<f32>,
    weight: &CudaMatrix,
    out: &mut CudaBuffer<f32>,
) -> Result<()> {
    let MatrixShape { outputs, inputs, .. } = weight.shape();
    let grid = (rows.div_ceil(TOGETHER), outputs.div_ceil(PROJECTED));
    let launch = backend.launch("project", grid, PROJECTED)?.overlapping();
    let launch = launch.shared(TOGETHER * inputs * size_of::<f32>()).read(input).read(weight).write(out);
    // SAFETY: the input holds `rows` rows, the output too; the shared memory TOGETHER of the input's.
    unsafe { launch.count(rows).count(inputs).count(outputs).submit() }
}
