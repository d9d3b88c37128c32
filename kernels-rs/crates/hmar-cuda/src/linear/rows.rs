//! Products of tens to hundreds of rows on Hopper by our own kernel: it asks for its weights before its rows are there.

use half::bf16;
use hmar_error::Result;
use hmar_ops::{LinearOutput, MatrixShape};

use super::ending;
use crate::backend::CudaBackend;
use crate::bias::CudaBias;
use crate::features::CudaFeatures;
use crate::matrix::{CudaMatrix, Elements};
use crate::tensor_map::TensorMap;

/// Outputs of a block.
const OUTPUTS: usize = 64;

/// Inputs of a step.
const DEPTH: usize = 64;

const THREADS: usize = 192;

/// Rows of a tile that there are kernels for.
const ROWS: [usize; 8] = [24, 32, 56, 72, 104, 128, 176, 208];

/// Rows from which on it is the fastest.
const FEWEST_ROWS: usize = 17;

/// Rows up to which it is, whatever the layer; where blocks share sums; and where the product is added to the residual
/// stream, too.
const MOST_ROWS: usize = 72;
const MOST_SHARED: usize = 128;
const MOST_GATED: usize = 208;

/// Inputs and outputs from which on the layers are that it was measured with.
const SMALLEST: usize = 512;

/// Rows up to which the next kernel may start at once. The weights of that would keep more of this one's rows waiting.
const PATIENT_ROWS: usize = 64;

/// Steps whose weights, and steps whose rows a block holds at most.
const MOST_SLOTS: usize = 16;

/// Steps whose rows it holds at least, if it has so many.
const ROW_SLOTS: usize = 4;

/// Steps whose weights are enough to begin with.
const ENOUGH: usize = 9;

/// Bytes of shared memory with which two blocks fit a multiprocessor: the next layer's may be there already.
const HALF: usize = 112 << 10;

/// Bytes of shared memory of a block alone.
const WHOLE: usize = 224 << 10;

/// A kernel and how its work is cut.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct RowTiles {
    /// Rows of the tile.
    rows: usize,
    /// Blocks that share a sum.
    cluster: usize,
    ring: Ring,
}

/// Steps whose operands a block holds.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Ring {
    weights: usize,
    rows: usize,
}

impl Ring {
    /// As many of `steps` as fit into `bytes`: weights first, which can come before the rows.
    fn within(bytes: usize, rows: usize, steps: usize) -> Self {
        let (of_weights, of_rows) = (OUTPUTS * DEPTH * size_of::<bf16>(), rows * DEPTH * size_of::<bf16>());
        // It begins at a multiple of 1,024 inside of the memory.
        let room = bytes - 1024;
        let weights = ((room - steps.min(ROW_SLOTS) * of_rows) / of_weights).min(steps).min(MOST_SLOTS);
        let rows = ((room - weights * of_weights) / of_rows).min(steps).min(MOST_SLOTS);
        Ring { weights, rows }
    }
}

impl RowTiles {
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
            && weight.shape().inputs.is_multiple_of(8)
            && weight.shape().outputs.is_multiple_of(8);
        let gated = matches!(out, LinearOutput::GatedResidual { .. });
        if open { RowTiles::of(backend.context.multiprocessors, rows, weight.shape(), gated) } else { None }
    }

    fn of(
        multiprocessors: usize,
        rows: usize,
        MatrixShape { outputs, inputs, .. }: MatrixShape,
        gated: bool,
    ) -> Option<Self> {
        // To share a sum takes as long as to bring a few steps' weights: only few outputs' are.
        let cluster = match outputs.div_ceil(OUTPUTS) {
            blocks if 4 * blocks <= multiprocessors => 4,
            blocks if 8 * blocks <= 3 * multiprocessors => 2,
            _ => 1,
        };
        let most = match cluster {
            1 => MOST_ROWS,
            4 if gated => MOST_GATED,
            _ => MOST_SHARED,
        };
        if !(FEWEST_ROWS..=most).contains(&rows) || inputs.min(outputs) < SMALLEST {
            return None;
        }
        let rows = *ROWS.iter().find(|&&tile| rows <= tile)?;
        let steps = inputs.div_ceil(DEPTH).div_ceil(cluster);
        let half = Ring::within(HALF, rows, steps);
        let fits = half.weights == steps;
        let begins = cluster > 1 && half.weights >= ENOUGH && 2 * half.weights >= steps;
        let ring = if fits || begins { half } else { Ring::within(WHOLE, rows, steps) };
        Some(RowTiles { rows, cluster, ring })
    }

    /// Bytes of shared memory: the rings, in whose place sums meet in the end.
    fn shared(&self) -> usize {
        let steps = self.ring.weights * OUTPUTS + self.ring.rows * self.rows;
        let sums = self.cluster * (self.rows / 8).div_ceil(self.cluster) * 8 * OUTPUTS;
        (steps * DEPTH * size_of::<bf16>()).max(sums * size_of::<f32>()) + 1024
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
        let input_map = TensorMap::new(&backend.context, input, [inputs, rows], [DEPTH, self.rows])?;
        let weight_map = TensorMap::new(&backend.context, weight, [inputs, outputs], [DEPTH, OUTPUTS])?;
        let grid = (outputs.div_ceil(OUTPUTS) * self.cluster, rows.div_ceil(self.rows));
        let launch = backend.launch(&format!("linear_rows_{}", self.rows), grid, THREADS)?;
        let launch = launch.shared(self.shared()).cluster(self.cluster).overlapping();
        let launch = launch.value(input_map).value(weight_map).read(bias);
        let launch = ending(launch, rows, weight, out);
        let launch = launch.count(self.cluster).count(self.ring.weights).count(self.ring.rows);
        // SAFETY: the input holds `rows` rows of `inputs` numbers, the output of `outputs`; the gates lie in their table.
        // What lies beyond is neither read nor written.
        unsafe { launch.value(i32::from(rows > PATIENT_ROWS)).submit() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(
        rows: usize,
        inputs: usize,
        outputs: usize,
        gated: bool,
    ) -> Option<(usize, usize, usize, usize)> {
        let tiles = RowTiles::of(132, rows, MatrixShape { outputs, inputs, taps: 1 }, gated)?;
        assert!(tiles.shared() <= WHOLE, "{tiles:?}");
        Some((tiles.rows, tiles.cluster, tiles.ring.weights, tiles.ring.rows))
    }

    #[test]
    fn work_is_cut_as_it_was_measured_to_be_fastest() {
        assert_eq!(choice(72, 1024, 3072, false), Some((72, 2, 8, 5)));
        assert_eq!(choice(72, 1024, 1024, true), Some((72, 4, 4, 4)));
        assert_eq!(choice(72, 1024, 4096, false), Some((72, 1, 16, 10)));
        assert_eq!(choice(72, 4096, 1024, true), Some((72, 4, 9, 4)));
        assert_eq!(choice(72, 7680, 1920, true), Some((72, 4, 16, 10)));
        assert_eq!(choice(128, 1024, 3072, false), Some((128, 2, 8, 8)));
        assert_eq!(choice(200, 7680, 1920, true), Some((208, 4, 14, 4)));
    }

    #[test]
    fn other_products_are_left_to_others() {
        assert_eq!(choice(16, 1024, 1024, true), None);
        assert_eq!(choice(128, 1024, 4096, false), None);
        assert_eq!(choice(200, 1024, 3072, false), None);
        assert_eq!(choice(338, 4096, 1024, true), None);
        assert_eq!(choice(72, 64, 1024, false), None);
    }

    #[test]
    fn every_product_has_room() {
        for rows in FEWEST_ROWS..=MOST_GATED {
            for width in (SMALLEST..=2048).step_by(8) {
                for (inputs, outputs) in
                    [(width, 3 * width), (width, width), (width, 4 * width), (4 * width, width)]
                {
                    choice(rows, inputs, outputs, inputs >= outputs);
                }
            }
        }
    }
}
