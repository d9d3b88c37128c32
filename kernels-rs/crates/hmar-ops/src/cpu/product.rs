//! Products of many rows with a matrix: packing, the walk over blocks and panels, threads.

use std::ops::Range;

use rayon::prelude::*;

use super::disjoint::Disjoint;
use super::kernel::{BLOCK_ROWS, Instructions, Packed, PanelSlice};
use super::matrix::{CpuMatrix, PANEL, Panels};
use super::workspace::Workspace;
use crate::Precision;

/// Panels that make packing a block of rows worth its while.
const PANELS_PER_PACKING: usize = 16;

/// Where the rows of a product come from: a plain matrix, or the patches of a picture.
pub(super) trait Inputs: Sync {
    /// Packs `depth` of row `row` as the block's row `at`.
    fn pack(&self, row: usize, depth: Range<usize>, at: usize, packed: &mut PackedRows<'_>);
}

/// What [`Inputs::pack`] writes to.
pub(super) struct PackedRows<'a> {
    packed: &'a mut Packed,
    weights: Precision,
}

impl PackedRows<'_> {
    /// Values from depth `at` of the packed range on.
    #[inline]
    pub(super) fn put(&mut self, row: usize, at: usize, values: &[f32]) {
        self.packed.put(self.weights, row, at, values);
    }

    /// Zeros from depth `at` of the packed range on.
    #[inline]
    pub(super) fn put_zeros(&mut self, row: usize, at: usize, count: usize) {
        self.packed.put_zeros(self.weights, row, at, count);
    }
}

/// Rows of a plain matrix `[.., width]`.
pub(super) struct PlainRows<'a> {
    pub(super) values: &'a [f32],
    pub(super) width: usize,
}

impl Inputs for PlainRows<'_> {
    #[inline]
    fn pack(&self, row: usize, depth: Range<usize>, at: usize, packed: &mut PackedRows<'_>) {
        let values = &self.values[row * self.width..(row + 1) * self.width];
        packed.put(at, 0, &values[depth.start..depth.end.min(self.width)]);
        // The zero that makes an odd depth even.
        if depth.end > self.width {
            packed.put_zeros(at, self.width - depth.start, depth.end - self.width);
        }
    }
}

/// Calls `store(row, first output, products, out)` for every row and panel of `inputs · weightᵀ`, where `out` are
/// the row's elements of `out [rows, outputs]` beside the products.
pub(super) fn product(
    instructions: Instructions,
    rows: usize,
    inputs: &impl Inputs,
    weight: &CpuMatrix,
    out: &mut [f32],
    store: impl Fn(usize, usize, &[f32], &mut [f32]) + Sync,
) {
    let outputs = weight.shape.outputs;
    let out = Disjoint::new(&mut out[..rows * outputs]);
    let grid = Grid::new(rows, weight.panel_count());
    (0..grid.tasks()).into_par_iter().for_each(|task| {
        Workspace::with(instructions, |workspace| {
            let (rows, panels) = grid.task(task);
            multiply_block(instructions, inputs, weight, rows, panels, workspace, |row, first, products| {
                // SAFETY: tasks cover rows and panels without overlap.
                let target = unsafe { out.slice(row * outputs + first, products.len()) };
                store(row, first, products, target);
            });
        });
    });
}

/// The tasks of a product: blocks of rows by groups of panels.
struct Grid {
    rows: usize,
    block: usize,
    blocks: usize,
    panels: usize,
    groups: usize,
}

impl Grid {
    fn new(rows: usize, panels: usize) -> Self {
        let threads = rayon::current_num_threads();
        let blocks = rows.div_ceil(BLOCK_ROWS);
        // Enough tasks to keep every thread busy to the end, but no more packing than needed for it.
        let wanted = (4 * threads).div_ceil(blocks);
        let groups = wanted.max(1).min(panels.div_ceil(PANELS_PER_PACKING).max(threads)).min(panels);
        Grid { rows, block: rows.div_ceil(blocks), blocks, panels, groups }
    }

    fn tasks(&self) -> usize {
        self.blocks * self.groups
    }

    fn task(&self, index: usize) -> (Range<usize>, Range<usize>) {
        let (block, group) = (index / self.groups, index % self.groups);
        let start = (block * self.block).min(self.rows);
        let rows = start..(start + self.block).min(self.rows);
        (rows, group * self.panels / self.groups..(group + 1) * self.panels / self.groups)
    }
}

fn multiply_block(
    instructions: Instructions,
    inputs: &impl Inputs,
    weight: &CpuMatrix,
    rows: Range<usize>,
    panels: Range<usize>,
    workspace: &mut Workspace,
    mut store: impl FnMut(usize, usize, &[f32]),
) {
    let precision = match weight.panels {
        Panels::F32(_) => Precision::F32,
        Panels::Bf16(_) => Precision::Bf16,
    };
    let step = instructions.depth_step(precision, weight.depth);
    let height = rows.len();
    let sums = workspace.sums.at_least(if step < weight.depth { panels.len() } else { 1 } * height * PANEL);
    for start in (0..weight.depth).step_by(step) {
        let depth = start..(start + step).min(weight.depth);
        let mut target = PackedRows { packed: &mut workspace.packed, weights: precision };
        for (at, row) in rows.clone().enumerate() {
            inputs.pack(row, depth.clone(), at, &mut target);
        }
        let last = depth.end == weight.depth;
        for (i, panel) in panels.clone().enumerate() {
            let at = (panel * weight.depth + depth.start) * PANEL;
            let slice = match &weight.panels {
                Panels::F32(all) => PanelSlice::F32(&all.as_slice()[at..at + depth.len() * PANEL]),
                Panels::Bf16(all) => PanelSlice::Bf16(&all.as_slice()[at..at + depth.len() * PANEL]),
            };
            let first = if step < weight.depth { i * height * PANEL } else { 0 };
            let sums = &mut sums[first..first + height * PANEL];
            workspace.packed.multiply(height, depth.len(), slice, start > 0, sums);
            if last {
                let width = PANEL.min(weight.shape.outputs - panel * PANEL);
                for (row, products) in rows.clone().zip(sums.chunks_exact(PANEL)) {
                    store(row, panel * PANEL, &products[..width]);
                }
            }
        }
    }
}
