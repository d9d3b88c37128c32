//! Normalisation, modulation and activation.

use hmar_error::{Code, Error, Result};
use hmar_ops::{Modulation, Rows};

use crate::backend::CudaBackend;
use crate::buffer::CudaBuffer;
use crate::features::CudaFeatures;

/// See [`hmar_ops::Backend::silu`].
pub(crate) fn silu(
    backend: &CudaBackend,
    length: usize,
    input: &CudaBuffer<f32>,
    out: &mut CudaFeatures,
) -> Result<()> {
    let _ = (backend, length, input, out);
    Err(Error::new(Code::Internal, "`silu` is not there yet."))
}

/// See [`hmar_ops::Backend::add_to_each`].
pub(crate) fn add_to_each(
    backend: &CudaBackend,
    slots: usize,
    width: usize,
    addend: &CudaBuffer<f32>,
    out: &mut CudaBuffer<f32>,
) -> Result<()> {
    let _ = (backend, slots, width, addend, out);
    Err(Error::new(Code::Internal, "`add_to_each` is not there yet."))
}

/// See [`hmar_ops::Backend::modulated_norm`].
pub(crate) fn modulated_norm(
    backend: &CudaBackend,
    rows: Rows<'_, CudaBackend>,
    width: usize,
    input: &CudaBuffer<f32>,
    scale: Modulation<'_, CudaBackend>,
    shift: Modulation<'_, CudaBackend>,
    out: &mut CudaFeatures,
) -> Result<()> {
    let _ = (backend, rows, width, input, scale, shift, out);
    Err(Error::new(Code::Internal, "`modulated_norm` is not there yet."))
}
