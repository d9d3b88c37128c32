//! Weights: `[outputs, taps, inputs]` row by row, uploaded while the file is read.

use std::sync::{Arc, OnceLock};

use cudarc::driver::sys::CUdeviceptr;
use hmar_error::Result;
use hmar_ops::{MatrixBuilder, MatrixShape, Precision};

use crate::backend::CudaBackend;
use crate::context::Memory;
use crate::features::E4m3Rows;
use crate::fp8;
use crate::kernels::{DevicePointer, Kernels, Place, Within};
use crate::staging::{BLOCK, Staging};

/// What a matrix is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elements {
    /// Float32.
    F32,
    /// Bfloat16.
    Bf16,
    /// E4m3, relative to a scale an output.
    E4m3,
}

impl From<Precision> for Elements {
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::F32 => Elements::F32,
            Precision::Bf16 => Elements::Bf16,
        }
    }
}

impl Elements {
    /// Bytes of one.
    fn width(self) -> usize {
        match self {
            Elements::F32 => 4,
            Elements::Bf16 => 2,
            Elements::E4m3 => 1,
        }
    }
}

/// What belongs to weights in e4m3.
pub(crate) struct E4m3Weights {
    /// What each output's weights are relative to.
    pub(crate) scales: Place,
    /// The largest Euclidean norm of an output's weights.
    pub(crate) largest_norm: Place,
}

/// A weight matrix `[outputs, taps, inputs]` on the GPU.
pub struct CudaMatrix {
    memory: Memory,
    shape: MatrixShape,
    elements: Elements,
    /// Of each output, where elements are relative to it; then the largest Euclidean norm of an output's weights.
    scales: Option<Memory>,
    /// The same weights for convolutions of enlarged pictures, once there was one.
    folded: OnceLock<Memory>,
    /// The same weights in the order that a convolution uses them in, once there was one that needs it.
    packed: OnceLock<Memory>,
}

impl CudaMatrix {
    /// Its dimensions.
    pub fn shape(&self) -> MatrixShape {
        self.shape
    }

    /// What it is made of.
    pub fn elements(&self) -> Elements {
        self.elements
    }

    /// What belongs to weights in e4m3, if these are.
    pub(crate) fn e4m3(&self) -> Option<E4m3Weights> {
        let scales = self.scales.as_ref()?;
        Some(E4m3Weights {
            scales: scales.at(0),
            largest_norm: scales.at(self.shape.outputs * size_of::<f32>()),
        })
    }

    pub(crate) fn folded(&self) -> &OnceLock<Memory> {
        &self.folded
    }

    pub(crate) fn packed(&self) -> &OnceLock<Memory> {
        &self.packed
    }

    /// Bytes the weights take.
    pub fn bytes(&self) -> usize {
        self.memory.bytes() + self.scales.as_ref().map_or(0, Memory::bytes)
    }

    /// The same weights in e4m3.
    fn quantized(self, kernels: &Kernels) -> Result<Self> {
        let MatrixShape { outputs, inputs, .. } = self.shape;
        let context = self.memory.context();
        let memory = Memory::zeroed(context, outputs * inputs * Elements::E4m3.width())?;
        let scales = Memory::zeroed(context, (outputs + 1) * size_of::<f32>())?;
        let largest_norm = scales.at(outputs * size_of::<f32>());
        let rows = E4m3Rows { numbers: memory.at(0), scales: scales.at(0), norms: None };
        fp8::quantize_rows(kernels, [outputs, inputs], &self, &rows, Some(&largest_norm))?;
        Ok(CudaMatrix { memory, scales: Some(scales), elements: Elements::E4m3, ..self })
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
    /// What turns it into e4m3 in the end, if that is asked for.
    quantizer: Option<Arc<Kernels>>,
}

impl CudaBackend {
    /// A backend of float32 activations multiplies in float32, whatever is asked.
    pub(crate) fn new_matrix(&self, shape: MatrixShape, precision: Precision) -> Result<CudaMatrixBuilder> {
        let precision = if self.precision() == Precision::F32 { Precision::F32 } else { precision };
        let elements = Elements::from(precision);
        let length = shape.outputs * shape.inputs * shape.taps;
        let memory = Memory::zeroed(&self.context, length * elements.width())?;
        let (folded, packed) = (OnceLock::new(), OnceLock::new());
        let matrix = CudaMatrix { memory, shape, elements, scales: None, folded, packed };
        Ok(CudaMatrixBuilder { matrix, staging: self.staging.clone(), sent: 0, quantizer: None })
    }

    /// Weights go up in bfloat16, and are quantised there.
    pub(crate) fn new_fp8_matrix(&self, shape: MatrixShape) -> Result<CudaMatrixBuilder> {
        fp8::check(self, shape)?;
        let builder = self.new_matrix(shape, Precision::Bf16)?;
        Ok(CudaMatrixBuilder { quantizer: Some(self.kernels.clone()), ..builder })
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
        let outputs = BLOCK / (self.depth() * self.matrix.elements.width()).max(1);
        outputs.clamp(1, self.matrix.shape.outputs.max(1)) * self.depth()
    }

    fn push(&mut self, elements: &[f32]) -> Result<()> {
        let MatrixShape { inputs, taps, .. } = self.matrix.shape;
        let mut lease = self.staging.lease()?;
        let bytes = elements.len() * self.matrix.elements.width();
        match self.matrix.elements {
            Elements::F32 => {
                let out: &mut [f32] = bytemuck::cast_slice_mut(&mut lease.bytes()[..bytes]);
                arrange(elements, inputs, taps, out, |x| x);
            }
            Elements::Bf16 | Elements::E4m3 => {
                let out: &mut [u16] = bytemuck::cast_slice_mut(&mut lease.bytes()[..bytes]);
                arrange(elements, inputs, taps, out, rounded);
            }
        }
        lease.send(0, bytes, self.matrix.pointer() + self.sent as CUdeviceptr)?;
        self.sent += bytes;
        Ok(())
    }

    fn finish(self) -> Result<CudaMatrix> {
        debug_assert_eq!(self.sent, self.matrix.shape.outputs * self.depth() * self.matrix.elements.width());
        match self.quantizer {
            Some(kernels) => self.matrix.quantized(&kernels),
            None => Ok(self.matrix),
        }
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
