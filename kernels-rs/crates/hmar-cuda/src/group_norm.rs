//! GroupNorm with SiLU.

use hmar_error::Result;
use hmar_ops::GroupNorm;

use crate::backend::CudaBackend;
use crate::features::CudaFeatures;
use crate::kernels::Within;

const GROUPS: usize = 32;
const THREADS: usize = 256;

/// Numbers of a picture that a block sums.
const PART: usize = 8 * 1024;

/// Parts of a picture at most, so that their sums fit in the scratch memory.
const MOST_PARTS: usize = 256;

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
    let part_pixels = (PART / channels).max(pixels.div_ceil(MOST_PARTS)).min(pixels);
    let parts = pixels.div_ceil(part_pixels);
    let scratch = backend.scratch();
    let (mut sums, mut factors) = (scratch.at(0), scratch.at(images * GROUPS * parts * PAIR));

    let of_a_thread = 16 / crate::features::width(backend.precision());
    // As many rows of threads as 256 threads make, but one at least.
    let across = channels / of_a_thread;
    let down = (THREADS / across).max(1);
    let threads = (across * down).next_multiple_of(32).max(THREADS);
    let launch = backend.launch_features("group_norm_sums", (parts, images), threads)?;
    let launch = launch.shared(threads / across * channels * PAIR);
    // SAFETY: the input holds the pictures, the scratch memory a pair for every part of every group.
    unsafe { launch.read(input).write(&mut sums).count(pixels).count(channels).count(part_pixels).submit()? };
    let launch = backend.launch("group_norm_factors", images, 32 * GROUPS)?;
    let launch = launch.read(&sums).read(weight).read(bias).write(&mut factors);
    // SAFETY: as above, and after them a pair for every channel of every picture.
    unsafe { launch.count(parts).count(pixels).count(channels).submit()? };

    // Channels are a multiple of 32: as many numbers as a thread takes belong to one picture.
    let length = images * pixels * channels;
    let blocks = (length / of_a_thread).div_ceil(THREADS);
    let launch = backend.launch_features("group_norm_apply", blocks, THREADS)?;
    let launch = launch.read(input).read(&factors).write(out).count(pixels * channels).count(channels);
    // SAFETY: input and output hold `length` numbers.
    unsafe { launch.value(i32::from(activate)).value(length as i64).submit() }
}
