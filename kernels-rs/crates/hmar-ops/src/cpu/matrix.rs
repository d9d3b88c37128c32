//! Weights, laid out once at load in the order the products read them.
//!
//! A matrix is cut into panels of [`PANEL`] outputs. Within a panel, the weights of one input (or, in bfloat16,
//! of two) for all its outputs stand side by side: `[panels][depth][PANEL]`, or `[panels][depth/2][PANEL][2]`.
//! Outputs beyond the last are zero, and so is the input that makes an odd depth even.

use half::bf16;
use hmar_error::Result;

use super::buffer::CpuBuffer;
use crate::{MatrixBuilder, MatrixShape, Precision};

/// Outputs of a panel: two AVX-512 registers.
pub(super) const PANEL: usize = 32;

pub(super) enum Panels {
    F32(CpuBuffer<f32>),
    Bf16(CpuBuffer<bf16>),
}

/// A weight matrix in panels.
pub struct CpuMatrix {
    pub(super) shape: MatrixShape,
    /// Inputs times taps, made even.
    pub(super) depth: usize,
    pub(super) panels: Panels,
}

impl CpuMatrix {
    pub(super) fn panel_count(&self) -> usize {
        self.shape.outputs.div_ceil(PANEL)
    }

    /// Bytes the weights take.
    pub fn bytes(&self) -> usize {
        let elements = self.panel_count() * self.depth * PANEL;
        match self.panels {
            Panels::F32(_) => elements * size_of::<f32>(),
            Panels::Bf16(_) => elements * size_of::<bf16>(),
        }
    }
}

/// Fills a [`CpuMatrix`] panel by panel.
pub struct CpuMatrixBuilder {
    matrix: CpuMatrix,
    panel: usize,
}

impl CpuMatrixBuilder {
    /// Room for a matrix; `None` when memory runs out.
    pub(super) fn new(shape: MatrixShape, precision: Precision) -> Option<Self> {
        let depth = (shape.inputs * shape.taps).next_multiple_of(2);
        let elements = shape.outputs.div_ceil(PANEL) * PANEL * depth;
        let panels = match precision {
            Precision::F32 => Panels::F32(CpuBuffer::zeroed(elements)?),
            Precision::Bf16 => Panels::Bf16(CpuBuffer::zeroed(elements)?),
        };
        Some(CpuMatrixBuilder { matrix: CpuMatrix { shape, depth, panels }, panel: 0 })
    }
}

impl MatrixBuilder for CpuMatrixBuilder {
    type Matrix = CpuMatrix;

    fn chunk(&self) -> usize {
        PANEL * self.matrix.shape.inputs * self.matrix.shape.taps
    }

    fn push(&mut self, elements: &[f32]) -> Result<()> {
        let CpuMatrix { shape, depth, panels } = &mut self.matrix;
        let size = *depth * PANEL;
        let range = self.panel * size..(self.panel + 1) * size;
        match panels {
            Panels::F32(all) => {
                let panel = &mut all.as_mut_slice()[range];
                scatter(elements, *shape, |k, output, value| panel[k * PANEL + output] = value);
            }
            Panels::Bf16(all) => {
                let panel = &mut all.as_mut_slice()[range];
                scatter(elements, *shape, |k, output, value| {
                    panel[(k / 2 * PANEL + output) * 2 + k % 2] = bf16::from_f32(value);
                });
            }
        }
        self.panel += 1;
        Ok(())
    }

    fn finish(self) -> Result<CpuMatrix> {
        debug_assert_eq!(self.panel, self.matrix.panel_count());
        Ok(self.matrix)
    }
}

/// Calls `put(k, output, value)` for rows `[outputs][inputs][taps]`, where k = tap·inputs + input. Goes by strips
/// of a cache line, since both sides of a transposition cannot be read in order.
#[inline(always)]
fn scatter(elements: &[f32], shape: MatrixShape, mut put: impl FnMut(usize, usize, f32)) {
    const STRIP: usize = 16;
    let MatrixShape { inputs, taps, .. } = shape;
    let depth = inputs * taps;
    for start in (0..depth).step_by(STRIP) {
        let end = (start + STRIP).min(depth);
        for (output, row) in elements.chunks_exact(depth).enumerate() {
            for (i, &value) in row[start..end].iter().enumerate() {
                let source = start + i;
                let k = if taps == 1 { source } else { source % taps * inputs + source / taps };
                put(k, output, value);
            }
        }
    }
}
