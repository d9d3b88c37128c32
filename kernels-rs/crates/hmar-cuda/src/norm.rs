//! Normalisation, modulation and activation.

use hmar_error::{Code, Error, Result};
use hmar_ops::{Modulation, Rows};

use crate::backend::CudaBackend;
use crate::buffer::CudaBuffer;
use crate::features::CudaFeatures;

const THREADS: usize = 256;

/// Rows of a block of `modulated_norm`: a warp each.
const ROWS: usize = 4;

/// Elements a warp holds in each of the kernel's registers of four.
const FOUR: usize = 128;

/// How many such registers there are kernels for.
const FOURS: [usize; 3] = [4, 8, 20];

/// See [`hmar_ops::Backend::silu`].
pub(crate) fn silu(
    backend: &CudaBackend,
    length: usize,
    input: &CudaBuffer<f32>,
    out: &mut CudaFeatures,
) -> Result<()> {
    let launch = backend.launch_features("silu", length.div_ceil(THREADS), THREADS)?;
    // SAFETY: both hold `length` elements.
    unsafe { launch.read(input).write(out).count(length).submit() }
}

/// See [`hmar_ops::Backend::add_to_each`].
pub(crate) fn add_to_each(
    backend: &CudaBackend,
    slots: usize,
    width: usize,
    addend: &CudaBuffer<f32>,
    out: &mut CudaBuffer<f32>,
) -> Result<()> {
    let length = slots * width;
    let launch = backend.launch("add_to_each", length.div_ceil(THREADS), THREADS)?;
    // SAFETY: `out` holds `length` elements, `addend` `width`.
    unsafe { launch.read(addend).write(out).count(width).count(length).submit() }
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
    let fours = FOURS.into_iter().find(|fours| width <= fours * FOUR && width.is_multiple_of(4));
    let Some(fours) = fours else {
        return Err(Error::new(Code::ConfigInvalid, "The model's width is not one the GPU's kernels take.")
            .found(width)
            .expected(format!("a multiple of 4, at most {}", FOURS[2] * FOUR))
            .remedy("Use the CPU."));
    };
    let (count, name) = (rows.count(), format!("modulated_norm_{fours}"));
    let launch = backend.launch_features(&name, count.div_ceil(ROWS), 32 * ROWS)?.overlapping();
    let launch = launch.read(input).read(scale.table).read(shift.table).read(rows.slots);
    let launch = launch.write(out).count(count).count(rows.per_sequence).count(width);
    // SAFETY: input and output hold `count` rows; every slot's vectors lie within the tables, whose strides are equal.
    unsafe { launch.count(scale.stride).count(scale.offset).count(shift.offset).submit() }
}
