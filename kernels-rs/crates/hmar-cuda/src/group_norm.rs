//! GroupNorm with SiLU.

use hmar_error::Result;
use hmar_ops::GroupNorm;

use crate::backend::{CudaBackend, SCRATCH};
use crate::features::CudaFeatures;
use crate::group_sums::{GROUPS, PAIR};
use crate::kernels::{DevicePointer, Place, Within};

const THREADS: usize = 512;

/// Numbers of a picture that a block sums, at least.
const PART: usize = 8 * 1024;

/// Parts of a picture that are summed at most.
const MOST_PARTS: usize = 128;

/// Blocks of all pictures together that keep a large GPU busy with sums.
const BLOCKS: usize = 512;

/// Parts whose sums every block that normalises adds up for itself: more are added up before.
const FEW_PARTS: usize = 128;

/// Blocks that normalise, for each multiprocessor: as many as it takes at once, or twice as many where a thread would have
/// more pixels than this, so that all end at about the same time.
const TURNS: [usize; 2] = [2, 4];
const FEW_PIXELS: usize = 32;

/// Threads of a block that adds up the sums of many parts.
const GATHERING: usize = 256;

/// See [`hmar_ops::Backend::group_norm`].
pub(crate) fn group_norm(
    backend: &CudaBackend,
    norm: GroupNorm<'_, CudaBackend>,
    input: &CudaFeatures,
    out: &mut CudaFeatures,
) -> Result<()> {
    let GroupNorm { images, pixels, channels, weight, bias, activate, sums } = norm;
    // As many rows of threads as there is room for, but one at least.
    let across = channels / (16 / crate::features::width(backend.precision()));
    let rows = (THREADS / across).max(1);
    let threads = (rows * across).next_multiple_of(32);
    let scratch = backend.scratch();
    let made = sums.and_then(|sums| Some((sums.at(0), sums.parts()?)));
    let (sums, parts) = match made {
        Some(made) => made,
        None => sum(backend, images, pixels, channels, threads, input, scratch.at(0))?,
    };
    let (sums, parts) = match parts {
        0..=FEW_PARTS => (sums, parts),
        _ => (gather(backend, images, parts, &sums, scratch.at(SCRATCH / 2))?, 1),
    };

    let [at_once, many] = TURNS.map(|turns| {
        (images * pixels).div_ceil(turns * backend.context.multiprocessors).next_multiple_of(rows)
    });
    let block_pixels = if at_once <= FEW_PIXELS * rows { at_once } else { many };
    let grid = (pixels.div_ceil(block_pixels), images);
    let launch = backend.launch_features("group_norm_apply", grid, threads)?.overlapping();
    let launch = launch.shared(channels * PAIR).read(input).read(&sums).read(weight).read(bias).write(out);
    let launch = launch.count(parts).count(pixels).count(channels).count(block_pixels);
    let share = 1.0 / (pixels * (channels / GROUPS)) as f64;
    // SAFETY: input and output hold the pictures, the sums a pair for every part of every group.
    unsafe { launch.value(share).value(i32::from(activate)).submit() }
}

/// Sums parts of the pictures.
fn sum(
    backend: &CudaBackend,
    images: usize,
    pixels: usize,
    channels: usize,
    threads: usize,
    input: &CudaFeatures,
    mut sums: Place,
) -> Result<(Place, usize)> {
    let enough = (pixels * channels).div_ceil(PART);
    let part_pixels = pixels
        .div_ceil(enough.min((BLOCKS / backend.planned_images(images).max(1)).clamp(16, MOST_PARTS)))
        .max(1);
    let parts = pixels.div_ceil(part_pixels);
    assert!(images * GROUPS * parts * PAIR <= SCRATCH / 2, "the sums fit in the scratch memory");
    let across = channels / (16 / crate::features::width(backend.precision()));
    let launch = backend.launch_features("group_norm_sums", (parts, images), threads)?.overlapping();
    let launch = launch.shared(threads / across * channels * PAIR).read(input).write(&mut sums);
    // SAFETY: the input holds the pictures, the scratch memory a pair for every part of every group.
    unsafe { launch.count(pixels).count(channels).count(part_pixels).submit()? };
    Ok((sums, parts))
}

/// Adds up the sums of many parts.
fn gather(
    backend: &CudaBackend,
    images: usize,
    parts: usize,
    sums: &impl DevicePointer,
    mut out: Place,
) -> Result<Place> {
    let launch = backend.launch("group_norm_gather", (GROUPS, images), GATHERING)?.overlapping();
    // SAFETY: there is a pair for every part of every group, and room for one for every group.
    unsafe { launch.read(sums).write(&mut out).count(parts).submit()? };
    Ok(out)
}
