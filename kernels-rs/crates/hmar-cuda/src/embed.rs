//! The transformer's inputs.

use hmar_error::Result;
use hmar_ops::{EmbedScale, Rows};

use crate::backend::CudaBackend;
use crate::buffer::CudaBuffer;
use crate::kernels::Within;

const THREADS: usize = 256;

/// See [`hmar_ops::Backend::embed_start`].
pub(crate) fn embed_start(
    backend: &CudaBackend,
    rows: Rows<'_, CudaBackend>,
    width: usize,
    class: &CudaBuffer<f32>,
    start: &CudaBuffer<f32>,
    out: &mut CudaBuffer<f32>,
) -> Result<()> {
    let (row_length, length) = (rows.per_sequence * width, rows.count() * width);
    let launch = backend.launch("embed_start", length.div_ceil(THREADS), THREADS)?.overlapping();
    let launch = launch.read(class).read(rows.slots).read(start).write(out);
    // SAFETY: `out` holds `length` elements, `start` a sequence's, `class` a row for every slot.
    unsafe { launch.count(row_length).count(width).count(length).submit() }
}

/// See [`hmar_ops::Backend::embed_scale`].
pub(crate) fn embed_scale(
    backend: &CudaBackend,
    scale: EmbedScale<'_, CudaBackend>,
    out: &mut CudaBuffer<f32>,
) -> Result<()> {
    let EmbedScale { images, sequences, positions, width, per_sequence, at, first, .. } = scale;
    let launch = backend.launch("embed_scale", (positions, sequences), THREADS)?.overlapping();
    let masked = scale.masked.as_ref();
    let launch = launch.read(scale.embedded).read(&scale.positional.at(first * width * size_of::<f32>()));
    let launch = launch.read_optional(masked.map(|masked| masked.mask));
    let launch = launch.read_optional(masked.map(|masked| masked.embedding)).write(out);
    let launch = launch.count(images).count(width).count(per_sequence).count(at);
    // SAFETY: `embedded` holds the images' rows, `out` the sequences', the mask one number a position.
    unsafe { launch.submit() }
}
