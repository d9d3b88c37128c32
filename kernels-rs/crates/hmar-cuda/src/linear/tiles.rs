//! Products of many rows on Hopper by our own kernel: its endings hide behind its products, and are exact.

use hmar_error::Result;
use hmar_ops::{LinearOutput, MatrixShape};

use super::ending;
use crate::backend::CudaBackend;
use crate::bias::CudaBias;
use crate::features::CudaFeatures;
use crate::matrix::{CudaMatrix, Elements};
use crate::tensor_map::TensorMap;

/// Rows of a block's tile.
const ROWS: usize = 128;

/// Blocks of a cluster, which have the same weights.
const SHARE: usize = 2;

/// Inputs of a step.
const DEPTH: usize = 64;

const THREADS: usize = 384;

/// Part of the results a round makes that has to be of use: the library is faster below. Where the product is added to the
/// residual stream, it saves the least.
const USEFUL: f64 = 0.9;
const USEFUL_GATED: f64 = 0.95;

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
const WIDE: Tiles = Tiles { outputs: 192, slots: 4 };

impl Tiles {
    /// The kernel for a product, where one of ours is fastest. A function of the device and the sizes alone.
    pub(super) fn choose(
        backend: &CudaBackend,
        rows: usize,
        weight: &CudaMatrix,
        out: &LinearOutput<'_, CudaBackend>,
    ) -> Option<Self> {
        let open = backend.context.capability == (9, 0)
            && !backend.batch_invariant
            && weight.elements() == Elements::Bf16
            && weight.shape().outputs.is_multiple_of(8);
        let gated = matches!(out, LinearOutput::GatedResidual { .. });
        if open { Tiles::of(backend.context.multiprocessors, rows, weight.shape(), gated) } else { None }
    }

    fn of(
        multiprocessors: usize,
        rows: usize,
        MatrixShape { outputs, .. }: MatrixShape,
        gated: bool,
    ) -> Option<Self> {
        let useful = |tiles: &Tiles| {
            let clusters = multiprocessors / SHARE;
            let made = tiles.shares(rows, outputs).next_multiple_of(clusters) * SHARE * ROWS * tiles.outputs;
            (rows * outputs) as f64 / made as f64
        };
        // Wider tiles read less, which helps where much is added to; narrower ones let more steps come ahead.
        let [usual, other] = if gated { [WIDE, NARROW] } else { [NARROW, WIDE] };
        let best = if useful(&other) > useful(&usual) + CLEARLY { other } else { usual };
        (useful(&best) >= if gated { USEFUL_GATED } else { USEFUL }).then_some(best)
    }

    /// What clusters take one after another.
    fn shares(&self, rows: usize, outputs: usize) -> usize {
        rows.div_ceil(ROWS * SHARE) * outputs.div_ceil(self.outputs)
    }

    /// Bytes of shared memory, which begins at a multiple of 1,024 inside of it.
    fn shared(&self) -> usize {
        self.slots * (ROWS + self.outputs) * DEPTH * size_of::<half::bf16>() + 1024
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
        let input_map = TensorMap::new(context, input, [inputs, rows], [DEPTH, ROWS])?;
        let weight_map = TensorMap::new(context, weight, [inputs, outputs], [DEPTH, self.outputs])?;
        let blocks = (context.multiprocessors / SHARE).min(self.shares(rows, outputs)) * SHARE;
        let launch = backend.launch(&format!("linear_tiles_{}", self.outputs), blocks, THREADS)?;
        let launch = launch.shared(self.shared()).cluster(SHARE).overlapping();
        let launch = launch.value(input_map).value(weight_map).read(bias);
        // SAFETY: the input holds `rows` rows of `inputs` numbers, the output of `outputs`; the gates lie in their table.
        // What lies beyond is neither read nor written.
        unsafe { ending(launch, rows, weight.shape(), out).submit() }
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
        assert_eq!(choice(32_768, 7680, false), Some(NARROW));
        assert_eq!(choice(32_768, 4096, false), Some(NARROW));
        assert_eq!(choice(32_768, 1920, true), Some(WIDE));
        assert_eq!(choice(32_768, 1024, true), None);
        assert_eq!(choice(512, 4096, false), None);
    }
}
