//! The transformer's inputs.

use hmar_error::{Code, Error, Result};
use hmar_ops::{EmbedScale, Rows};

use crate::backend::CudaBackend;
use crate::buffer::CudaBuffer;

/// See [`hmar_ops::Backend::embed_start`].
pub(crate) fn embed_start(
    backend: &CudaBackend,
    rows: Rows<'_, CudaBackend>,
    width: usize,
    class: &CudaBuffer<f32>,
    start: &CudaBuffer<f32>,
    out: &mut CudaBuffer<f32>,
) -> Result<()> {
    let _ = (backend, rows, width, class, start, out);
    Err(Error::new(Code::Internal, "`embed_start` is not there yet."))
}

/// See [`hmar_ops::Backend::embed_scale`].
pub(crate) fn embed_scale(
    backend: &CudaBackend,
    scale: EmbedScale<'_, CudaBackend>,
    out: &mut CudaBuffer<f32>,
) -> Result<()> {
    let _ = (backend, scale, out);
    Err(Error::new(Code::Internal, "`embed_scale` is not there yet."))
}
