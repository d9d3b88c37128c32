//! Convolutions.

use hmar_error::{Code, Error, Result};
use hmar_ops::ConvolutionShape;

use crate::backend::CudaBackend;
use crate::buffer::CudaBuffer;
use crate::features::CudaFeatures;
use crate::matrix::CudaMatrix;

/// See [`hmar_ops::Backend::exact_convolution`].
pub(crate) fn exact_convolution(
    backend: &CudaBackend,
    shape: ConvolutionShape,
    input: &CudaBuffer<f32>,
    weight: &CudaMatrix,
    bias: &CudaBuffer<f32>,
    out: &mut CudaBuffer<f32>,
) -> Result<()> {
    let _ = (backend, shape, input, weight, bias, out);
    Err(Error::new(Code::Internal, "`exact_convolution` is not there yet."))
}

/// See [`hmar_ops::Backend::convolution`].
pub(crate) fn convolution(
    backend: &CudaBackend,
    shape: ConvolutionShape,
    input: &CudaFeatures,
    weight: &CudaMatrix,
    bias: &CudaBuffer<f32>,
    residual: Option<&CudaFeatures>,
    out: &mut CudaFeatures,
) -> Result<()> {
    let _ = (backend, shape, input, weight, bias, residual, out);
    Err(Error::new(Code::Internal, "`convolution` is not there yet."))
}
