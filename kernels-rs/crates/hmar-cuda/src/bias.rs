//! A layer's bias: float32 for our own kernels, bfloat16 for the library's.

use cudarc::driver::sys::CUdeviceptr;
use half::bf16;
use hmar_error::Result;

use crate::backend::CudaBackend;
use crate::buffer::CudaBuffer;
use crate::kernels::DevicePointer;

/// A bias on the GPU.
pub struct CudaBias {
    exact: CudaBuffer<f32>,
    /// As the library adds it to results of bfloat16.
    rounded: CudaBuffer<bf16>,
    largest: f32,
}

impl CudaBias {
    /// The largest magnitude of its values.
    pub(crate) fn largest(&self) -> f32 {
        self.largest
    }

    /// Where its values rounded to bfloat16 are.
    pub(crate) fn rounded(&self) -> CUdeviceptr {
        self.rounded.pointer()
    }
}

impl DevicePointer for CudaBias {
    fn pointer(&self) -> CUdeviceptr {
        self.exact.pointer()
    }
}

impl CudaBackend {
    pub(crate) fn new_bias(&self, values: &[f32]) -> Result<CudaBias> {
        let exact = CudaBuffer::zeroed(&self.context, values.len())?;
        self.send(bytemuck::cast_slice(values), exact.pointer())?;
        let halves: Vec<bf16> = values.iter().map(|&x| bf16::from_f32(x)).collect();
        let rounded = CudaBuffer::zeroed(&self.context, values.len())?;
        self.send(bytemuck::cast_slice(&halves), rounded.pointer())?;
        let largest = values.iter().fold(0.0, |largest: f32, x| largest.max(x.abs()));
        Ok(CudaBias { exact, rounded, largest })
    }
}
