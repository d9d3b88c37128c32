//! GroupNorm with SiLU.

use hmar_error::Result;
use hmar_ops::GroupNorm;

use crate::backend::{CudaBackend, SCRATCH};
use crate::features::CudaFeatures;
use crate::kernels::Within;

const GROUPS: usize = 32;
const THREADS: usize = 512;

/// Numbers of a picture that a block sums or normalises, at least.
const PART: usize = 8 * 1024;

/// Parts of a picture at most: every block that normalises reads the sums of all.
const MOST_PARTS: usize = 128;

/// Blocks of all pictures together that keep a large GPU busy.
const BLOCKS: usize = 512;

/// Bytes of a pair of float32.
const PAIR: usize = 8;

/// See [`hmar_ops::Backend::group_norm`].
pub(crate) fn group_norm(
    backend: &CudaBackend,
    norm: GroupNorm<'_, CudaBackend>,
    input: &CudaFeatures,
    out: &mut CudaFeatures,
) -> Result<()> {
    let GroupNorm { images, pixels, channels, weight, bias, activate } = norm;
    let enough = (pixels * channels).div_ceil(PART);
    let part_pixels = pixels.div_ceil(enough.min((BLOCKS / images.max(1)).clamp(16, MOST_PARTS))).max(1);
    let parts = pixels.div_ceil(part_pixels);
    let block_pixels = pixels.div_ceil(enough.min((2 * BLOCKS / images.max(1)).max(32))).max(1);
    let scratch = backend.scratch();
    let mut sums = scratch.at(0);

    // As many rows of threads as there is room for, but one at least.
    let of_a_thread = 16 / crate::features::width(backend.precision());
    let across = channels / of_a_thread;
    let threads = (THREADS / across).max(1) * across;
    let threads = threads.next_multiple_of(32);
    let launch = backend.launch_features("group_norm_sums", (parts, images), threads)?.overlapping();
    let launch = launch.shared(threads / across * channels * PAIR).read(input).write(&mut sums);
    assert!(images * GROUPS * parts * PAIR <= SCRATCH, "the sums fit in the scratch memory");
    // SAFETY: the input holds the pictures, the scratch memory a pair for every part of every group.
    unsafe { launch.count(pixels).count(channels).count(part_pixels).submit()? };

    let grid = (pixels.div_ceil(block_pixels), images);
    let launch = backend.launch_features("group_norm_apply", grid, threads)?.overlapping();
    let launch = launch.read(input).read(&sums).read(weight).read(bias).write(out);
    let launch = launch.count(parts).count(pixels).count(channels).count(block_pixels);
    // SAFETY: as above; the output holds as many numbers as the input.
    unsafe { launch.value(i32::from(activate)).submit() }
}
