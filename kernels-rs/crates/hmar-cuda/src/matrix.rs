//! Weights: `[outputs, taps, inputs]` row by row, bfloat16 or float32, uploaded while the file is read.

use std::sync::{Arc, OnceLock};

use cudarc::driver::sys::CUdeviceptr;
use hmar_error::Result;
use hmar_ops::{MatrixBuilder, MatrixShape, Precision};

use crate::backend::CudaBackend;
use crate::context::Memory;
use crate::features;
use crate::kernels::DevicePointer;
use crate::staging::{BLOCK, Staging};

/// A weight matrix `[outputs, taps, inputs]` on the GPU.
pub struct CudaMatrix {
    memory: Memory,
    shape: MatrixShape,
    precision: Precision,
    /// The same weights for convolutions of enlarged pictures, once there was one.
    folded: OnceLock<Memory>,
}

impl CudaMatrix {
    /// Its dimensions.
    pub fn shape(&self) -> MatrixShape {
        self.shape
    }

    /// What its elements are.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    pub(crate) fn folded(&self) -> &OnceLock<Memory> {
        &self.folded
    }

    /// Bytes the weights take.
    pub fn bytes(&self) -> usize {
        self.memory.bytes()
    }
}

impl DevicePointer for CudaMatrix {
    fn pointer(&self) -> CUdeviceptr {
        self.memory.pointer()
    }
}

/// Uploads a [`CudaMatrix`] part by part.
pub struct CudaMatrixBuilder {
    matrix: CudaMatrix,
    staging: Arc<Staging>,
    /// Bytes on their way already.
    sent: usize,
}

impl CudaBackend {
    /// A backend of float32 activations multiplies in float32, whatever is asked.
    pub(crate) fn new_matrix(&self, shape: MatrixShape, precision: Precision) -> Result<CudaMatrixBuilder> {
        let precision = if self.precision() == Precision::F32 { Precision::F32 } else { precision };
        let elements = shape.outputs * shape.inputs * shape.taps;
        let memory = Memory::zeroed(&self.context, elements * features::width(precision))?;
        let matrix = CudaMatrix { memory, shape, precision, folded: OnceLock::new() };
        Ok(CudaMatrixBuilder { matrix, staging: self.staging.clone(), sent: 0 })
    }
}

impl CudaMatrixBuilder {
    /// Elements of an output.
    fn depth(&self) -> usize {
        self.matrix.shape.inputs * self.matrix.shape.taps
    }
}

impl MatrixBuilder for CudaMatrixBuilder {
    type Matrix = CudaMatrix;

    fn chunk(&self) -> usize {
        // As many outputs as a block of staging memory takes.
        let outputs = BLOCK / (self.depth() * features::width(self.matrix.precision)).max(1);
        outputs.clamp(1, self.matrix.shape.outputs.max(1)) * self.depth()
    }

    fn push(&mut self, elements: &[f32]) -> Result<()> {
        let MatrixShape { inputs, taps, .. } = self.matrix.shape;
        let mut lease = self.staging.lease()?;
        let bytes = elements.len() * features::width(self.matrix.precision);
        match self.matrix.precision {
            Precision::F32 => {
                let out: &mut [f32] = bytemuck::cast_slice_mut(&mut lease.bytes()[..bytes]);
                arrange(elements, inputs, taps, out, |x| x);
            }
            Precision::Bf16 => {
                let out: &mut [u16] = bytemuck::cast_slice_mut(&mut lease.bytes()[..bytes]);
                arrange(elements, inputs, taps, out, rounded);
            }
        }
        lease.send(0, bytes, self.matrix.pointer() + self.sent as CUdeviceptr)?;
        self.sent += bytes;
        Ok(())
    }

    fn finish(self) -> Result<CudaMatrix> {
        debug_assert_eq!(
            self.sent,
            self.matrix.shape.outputs * self.depth() * features::width(self.matrix.precision)
        );
        Ok(self.matrix)
    }
}

/// `[outputs, inputs, taps]` to `[outputs, taps, inputs]`, converted.
#[inline(always)]
fn arrange<T>(elements: &[f32], inputs: usize, taps: usize, out: &mut [T], convert: impl Fn(f32) -> T) {
    if taps == 1 {
        out.iter_mut().zip(elements).for_each(|(out, &x)| *out = convert(x));
        return;
    }
    let depth = inputs * taps;
    for (out, row) in out.chunks_exact_mut(depth).zip(elements.chunks_exact(depth)) {
        for (tap, out) in out.chunks_exact_mut(inputs).enumerate() {
            out.iter_mut().zip(row[tap..].iter().step_by(taps)).for_each(|(out, &x)| *out = convert(x));
        }
    }
}

/// The bits of the nearest bfloat16, ties to even: [`half::bf16::from_f32`] without its branch, so that it vectorises.
#[inline(always)]
fn rounded(x: f32) -> u16 {
    let bits = x.to_bits();
    let nearest = (bits.wrapping_add(0x7FFF + (bits >> 16 & 1)) >> 16) as u16;
    let quiet = (bits >> 16) as u16 | 0x40;
    if x.is_nan() { quiet } else { nearest }
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;

    #[test]
    fn rounding_is_that_of_the_half_crate() {
        let mut bits = 1u32;
        for _ in 0..1 << 20 {
            bits = bits.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let x = f32::from_bits(bits);
            assert_eq!(rounded(x), bf16::from_f32(x).to_bits(), "{x}");
        }
        for x in [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::NAN] {
            assert_eq!(rounded(x), bf16::from_f32(x).to_bits(), "{x}");
        }
    }

    #[test]
    fn taps_come_before_inputs() {
        // Two outputs, three inputs, two taps.
        let elements: Vec<f32> = (0..12u8).map(f32::from).collect();
        let mut out = [0.0; 12];
        arrange(&elements, 3, 2, &mut out, |x| x);
        assert_eq!(out, [0.0, 2.0, 4.0, 1.0, 3.0, 5.0, 6.0, 8.0, 10.0, 7.0, 9.0, 11.0]);
    }
}
