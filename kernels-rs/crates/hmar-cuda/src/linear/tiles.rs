//! Products of many rows on Hopper by our own kernels: their endings are exact, and leave what the next layer multiplies.

use half::bf16;
use hmar_error::Result;
use hmar_ops::{LayerInput, LinearOutput, MatrixShape};

use super::ending;
use crate::backend::{CudaBackend, SCRATCH};
use crate::bias::CudaBias;
use crate::features::{CudaFeatures, E4m3Rows};
use crate::fp8;
use crate::kernels::{Place, Within};
use crate::matrix::{CudaMatrix, Elements};
use crate::tensor_map::TensorMap;

/// Rows of a block's tile.
const ROWS: usize = 128;

/// Blocks of a cluster, which have the same weights.
const SHARE: usize = 2;

/// Bytes of a row in a step.
const STEP: usize = 128;

const THREADS: usize = 384;

/// Part of the results a round makes that has to be of use: the library is faster below. Where the product is added to the
/// residual stream, it saves the least.
const USEFUL: f64 = 0.9;
const USEFUL_GATED: f64 = 0.94;

/// The same of products in e4m3: what ours leave, no kernel has to round.
const USEFUL_E4M3: f64 = 0.7;

/// How much more has to be of use for the kernel that is else the slower one.
const CLEARLY: f64 = 0.05;

/// A kernel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Tiles {
    /// Outputs of a tile.
    outputs: usize,
    /// Steps whose operands a block holds.
    slots: usize,
}

const NARROW: Tiles = Tiles { outputs: 160, slots: 6 };
const WIDE: Tiles = Tiles { outputs: 192, slots: 5 };

impl Tiles {
    /// The kernel for a product, where one of ours is fastest. A function of the device and the sizes alone.
    pub(super) fn choose(
        backend: &CudaBackend,
        rows: usize,
        input: &CudaFeatures,
        weight: &CudaMatrix,
        out: &LinearOutput<'_, CudaBackend>,
    ) -> Option<Self> {
        let shape = weight.shape();
        let gated = matches!(out, LinearOutput::GatedResidual { .. });
        let open = backend.context.capability == (9, 0)
            && !backend.batch_invariant
            && shape.outputs.is_multiple_of(8)
            && match weight.elements() {
                Elements::F32 => false,
                Elements::Bf16 => true,
                Elements::E4m3 => takes_e4m3(rows, input, shape, out),
            };
        let multiprocessors = backend.context.multiprocessors;
        match weight.elements() {
            _ if !open => None,
            Elements::E4m3 => {
                (NARROW.useful(multiprocessors, rows, shape.outputs) >= USEFUL_E4M3).then_some(NARROW)
            }
            _ => Tiles::of(multiprocessors, rows, shape, gated),
        }
    }

    fn of(
        multiprocessors: usize,
        rows: usize,
        MatrixShape { outputs, .. }: MatrixShape,
        gated: bool,
    ) -> Option<Self> {
        let useful = |tiles: &Tiles| tiles.useful(multiprocessors, rows, outputs);
        // Wider tiles read less for as many products.
        let best = if useful(&NARROW) > useful(&WIDE) + CLEARLY { NARROW } else { WIDE };
        (useful(&best) >= if gated { USEFUL_GATED } else { USEFUL }).then_some(best)
    }

    /// The part of the results made in all rounds that is of use.
    fn useful(&self, multiprocessors: usize, rows: usize, outputs: usize) -> f64 {
        let made = self.shares(rows, outputs).next_multiple_of(multiprocessors / SHARE)
            * SHARE
            * ROWS
            * self.outputs;
        (rows * outputs) as f64 / made as f64
    }

    /// What clusters take one after another.
    fn shares(&self, rows: usize, outputs: usize) -> usize {
        rows.div_ceil(ROWS * SHARE) * outputs.div_ceil(self.outputs)
    }

    /// Bytes of shared memory, which begins at a multiple of 1,024 inside of it.
    fn shared(&self) -> usize {
        self.slots * (ROWS + self.outputs) * STEP + 1024
    }

    pub(super) fn multiply(
        &self,
        backend: &CudaBackend,
        rows: usize,
        input: &CudaFeatures,
        weight: &CudaMatrix,
        bias: &CudaBias,
        out: LinearOutput<'_, CudaBackend>,
    ) -> Result<()> {
        let MatrixShape { outputs, inputs, .. } = weight.shape();
        let context = &backend.context;
        let scratch = backend.scratch();
        let e4m3 = match (weight.e4m3(), input.e4m3(inputs)) {
            (None, _) => None,
            (Some(weights), Some(rows)) => Some((weights, rows)),
            (Some(weights), None) => {
                let rounded = E4m3Rows::at(&*scratch, [rows, inputs], false);
                fp8::quantize_rows(&backend.kernels, [rows, inputs], input, &rounded, None)?;
                Some((weights, rounded))
            }
        };
        let tensor = |numbers: &Place, rows: usize, tile: usize| match e4m3 {
            None => TensorMap::new(context, numbers, [inputs, rows], [STEP / size_of::<bf16>(), tile]),
            Some(_) => TensorMap::of_bytes(context, numbers, [inputs, rows], [STEP, tile]),
        };
        let (kind, numbers) = match &e4m3 {
            None => ("tiles", input.at(0)),
            Some((_, rounded)) => ("e4m3", rounded.numbers.at(0)),
        };
        let name = format!("linear_{kind}_{}", self.outputs);
        let blocks = (context.multiprocessors / SHARE).min(self.shares(rows, outputs)) * SHARE;
        let launch =
            backend.launch(&name, blocks, THREADS)?.shared(self.shared()).cluster(SHARE).overlapping();
        let launch = launch.value(tensor(&numbers, rows, ROWS)?);
        let launch = launch.value(tensor(&weight.at(0), outputs, self.outputs / SHARE)?);
        let launch = match &e4m3 {
            None => launch,
            Some((weights, rounded)) => {
                let launch = launch.read(&rounded.scales).read(&weights.scales);
                launch.read_optional(rounded.norms.as_ref()).read(&weights.largest_norm).value(bias.largest())
            }
        };
        // SAFETY: the input holds `rows` rows of `inputs` numbers, the output of `outputs`; the gates lie in their table,
        // scales and norms are the rows' and the outputs'. What lies beyond is neither read nor written.
        unsafe { ending(launch.read(bias), rows, weight, out).submit() }
    }
}

/// Whether our kernel for e4m3 ends in such a way: what it leaves in e4m3 is for a layer that takes it so, and needs the norms
/// of its own rows; other rows have to fit where they are rounded.
fn takes_e4m3(
    rows: usize,
    input: &CudaFeatures,
    MatrixShape { inputs, .. }: MatrixShape,
    out: &LinearOutput<'_, CudaBackend>,
) -> bool {
    let rounded = input.e4m3(inputs);
    match out {
        LinearOutput::Gelu(LayerInput { reader, .. }) => {
            fp8::is_e4m3(*reader) && rounded.is_some_and(|rows| rows.norms.is_some())
        }
        LinearOutput::Features(_) | LinearOutput::GatedResidual { .. } => {
            rounded.is_some() || rows * (inputs + size_of::<f32>()) <= SCRATCH
        }
        LinearOutput::Float32(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(rows: usize, outputs: usize, gated: bool) -> Option<Tiles> {
        Tiles::of(132, rows, MatrixShape { outputs, inputs: 1024, taps: 1 }, gated)
    }

    #[test]
    fn tiles_are_taken_where_little_of_a_round_is_lost() {
        assert_eq!(choice(32_768, 7680, false), Some(WIDE));
        assert_eq!(choice(32_768, 4096, false), Some(WIDE));
        assert_eq!(choice(4608, 5760, false), Some(NARROW));
        assert_eq!(choice(12_800, 1920, true), Some(WIDE));
        assert_eq!(choice(32_768, 1024, true), None);
        assert_eq!(choice(512, 4096, false), None);
    }
}
