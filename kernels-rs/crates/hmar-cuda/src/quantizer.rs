//! The latent grid: codes, resizing, φ.

use hmar_error::{Code, Error, Result};
use hmar_ops::{Blend, Latent};

use crate::backend::CudaBackend;
use crate::buffer::CudaBuffer;

/// See [`hmar_ops::Backend::look_up`].
pub(crate) fn look_up(
    backend: &CudaBackend,
    count: usize,
    width: usize,
    codebook: &CudaBuffer<f32>,
    tokens: &CudaBuffer<u32>,
    out: &mut CudaBuffer<f32>,
) -> Result<()> {
    let _ = (backend, count, width, codebook, tokens, out);
    Err(Error::new(Code::Internal, "`look_up` is not there yet."))
}

/// See [`hmar_ops::Backend::enlarge`].
pub(crate) fn enlarge(
    backend: &CudaBackend,
    latent: Latent,
    side: usize,
    input: &CudaBuffer<f32>,
    out: &mut CudaBuffer<f32>,
) -> Result<()> {
    let _ = (backend, latent, side, input, out);
    Err(Error::new(Code::Internal, "`enlarge` is not there yet."))
}

/// See [`hmar_ops::Backend::area_pool`].
pub(crate) fn area_pool(
    backend: &CudaBackend,
    latent: Latent,
    side: usize,
    input: &CudaBuffer<f32>,
    visible_in: Option<&CudaBuffer<u8>>,
    out: &mut CudaBuffer<f32>,
) -> Result<()> {
    let _ = (backend, latent, side, input, visible_in, out);
    Err(Error::new(Code::Internal, "`area_pool` is not there yet."))
}

/// See [`hmar_ops::Backend::blend_phi`].
pub(crate) fn blend_phi(
    backend: &CudaBackend,
    latent: Latent,
    blend: Blend,
    input: &CudaBuffer<f32>,
    convolved: &CudaBuffer<f32>,
    out: &mut CudaBuffer<f32>,
) -> Result<()> {
    let _ = (backend, latent, blend, input, convolved, out);
    Err(Error::new(Code::Internal, "`blend_phi` is not there yet."))
}

/// See [`hmar_ops::Backend::nearest_code`].
pub(crate) fn nearest_code(
    backend: &CudaBackend,
    count: usize,
    vocabulary: usize,
    width: usize,
    vectors: &CudaBuffer<f32>,
    codebook: &CudaBuffer<f32>,
    tokens: &mut CudaBuffer<u32>,
) -> Result<()> {
    let _ = (backend, count, vocabulary, width, vectors, codebook, tokens);
    Err(Error::new(Code::Internal, "`nearest_code` is not there yet."))
}
