//! The latent grid: codes, resizing, φ.

use hmar_error::Result;
use hmar_ops::{Blend, Latent};

use crate::backend::CudaBackend;
use crate::buffer::CudaBuffer;
use crate::kernels::Launch;

const THREADS: usize = 256;

/// A launch with a thread for each of `length` numbers.
fn launch<'a>(backend: &'a CudaBackend, name: &str, length: usize) -> Result<Launch<'a>> {
    Ok(backend.launch(name, length.div_ceil(THREADS), THREADS)?.overlapping())
}

/// See [`hmar_ops::Backend::look_up`].
pub(crate) fn look_up(
    backend: &CudaBackend,
    count: usize,
    width: usize,
    codebook: &CudaBuffer<f32>,
    tokens: &CudaBuffer<u32>,
    out: &mut CudaBuffer<f32>,
) -> Result<()> {
    let length = count * width;
    let launch = launch(backend, "look_up", length)?.read(codebook).read(tokens).write(out);
    // SAFETY: `out` holds `length` numbers, `tokens` `count` codes of the codebook.
    unsafe { launch.count(width).count(length).submit() }
}

/// See [`hmar_ops::Backend::enlarge`].
pub(crate) fn enlarge(
    backend: &CudaBackend,
    latent: Latent,
    side: usize,
    input: &CudaBuffer<f32>,
    out: &mut CudaBuffer<f32>,
) -> Result<()> {
    let Latent { images, side: full, width } = latent;
    let length = images * full * full * width;
    let launch = launch(backend, "enlarge", length)?.read(input).write(out);
    // SAFETY: `out` holds the grids' numbers, `input` the maps'.
    unsafe { launch.count(side).count(full).count(width).count(length).submit() }
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
    let Latent { images, side: full, width } = latent;
    let length = images * side * side * width;
    let launch = launch(backend, "area_pool", length)?.read(input).read_optional(visible_in).write(out);
    // SAFETY: `out` holds the maps' numbers, `input` the grids', the mask one number a cell.
    unsafe { launch.count(side).count(full).count(width).count(length).submit() }
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
    let length = latent.images * latent.side * latent.side * latent.width;
    let how = match blend {
        Blend::Store => 0,
        Blend::Add => 1,
        Blend::Subtract => 2,
    };
    let launch = launch(backend, "blend_phi", length)?.read(input).read(convolved).write(out);
    // SAFETY: all three hold the grids' numbers.
    unsafe { launch.value(how).count(length).submit() }
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
    let launch = backend.launch("nearest_code", count, THREADS)?.shared(width * size_of::<f32>());
    let launch = launch.read(vectors).read(codebook).write(tokens);
    // SAFETY: there are `count` vectors and tokens; the shared memory holds one vector.
    unsafe { launch.count(vocabulary).count(width).submit() }
}
