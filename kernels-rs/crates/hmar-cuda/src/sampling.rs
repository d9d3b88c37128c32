//! Guidance, filters, the draw, and what is masked again.

use hmar_error::{Code, Error, Result};
use hmar_ops::{DrawSettings, TokenDraw};

use crate::backend::CudaBackend;
use crate::buffer::CudaBuffer;

/// See [`hmar_ops::Backend::draw_tokens`].
pub(crate) fn draw_tokens(
    backend: &CudaBackend,
    draw: TokenDraw,
    settings: &CudaBuffer<DrawSettings>,
    logits: &mut CudaBuffer<f32>,
    only: Option<&CudaBuffer<u8>>,
    tokens: &mut CudaBuffer<u32>,
    confidence: &mut CudaBuffer<f32>,
) -> Result<()> {
    let _ = (backend, draw, settings, logits, only, tokens, confidence);
    Err(Error::new(Code::Internal, "`draw_tokens` is not there yet."))
}

/// See [`hmar_ops::Backend::keep_least_confident`].
pub(crate) fn keep_least_confident(
    backend: &CudaBackend,
    images: usize,
    positions: usize,
    settings: &CudaBuffer<DrawSettings>,
    confidence: &CudaBuffer<f32>,
    mask: &mut CudaBuffer<u8>,
) -> Result<()> {
    let _ = (backend, images, positions, settings, confidence, mask);
    Err(Error::new(Code::Internal, "`keep_least_confident` is not there yet."))
}

/// See [`hmar_ops::Backend::soften`].
pub(crate) fn soften(
    backend: &CudaBackend,
    draw: TokenDraw,
    settings: &CudaBuffer<DrawSettings>,
    logits: &mut CudaBuffer<f32>,
    codebook: &CudaBuffer<f32>,
    width: usize,
    out: &mut CudaBuffer<f32>,
) -> Result<()> {
    let _ = (backend, draw, settings, logits, codebook, width, out);
    Err(Error::new(Code::Internal, "`soften` is not there yet."))
}

/// See [`hmar_ops::Backend::store_tokens`].
pub(crate) fn store_tokens(
    backend: &CudaBackend,
    images: usize,
    positions: usize,
    tokens: &CudaBuffer<u32>,
    maps: &mut CudaBuffer<u32>,
    stride: usize,
    at: usize,
) -> Result<()> {
    let _ = (backend, images, positions, tokens, maps, stride, at);
    Err(Error::new(Code::Internal, "`store_tokens` is not there yet."))
}
