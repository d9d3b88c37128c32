//! GroupNorm with SiLU.

use hmar_error::Result;
use hmar_ops::GroupNorm;

use crate::backend::CudaBackend;
use crate::buffer::CudaBuffer;
use crate::features::{self, CudaFeatures};
use crate::group_sums::{GROUPS, PAIR};
use crate::kernels::{DevicePointer, Place, Within};
use crate::strips::Strip;

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

/// Where in the scratch memory sums of parts are made, where they are added up, and where normalised pictures have room.
const GATHERED: usize = 4 << 20;
pub(crate) const PICTURES: usize = 8 << 20;

/// See [`hmar_ops::Backend::group_norm`].
pub(crate) fn group_norm(
    backend: &CudaBackend,
    norm: &GroupNorm<'_, CudaBackend>,
    input: &CudaFeatures,
    out: &mut CudaFeatures,
) -> Result<()> {
    let scratch = backend.scratch();
    let sums = Sums::of(backend, norm, input, &scratch)?;
    let all = Strip::whole(norm.images, norm.side());
    sums.normalise(backend, norm, input, &all, &mut out.at(0))
}

/// Sums and sums of squares of the groups of pictures, in parts: `[images, groups, parts]`.
pub(crate) struct Sums {
    at: Place,
    parts: usize,
}

impl Sums {
    /// Those that the convolution before made, or made now, in the scratch memory.
    pub(crate) fn of(
        backend: &CudaBackend,
        norm: &GroupNorm<'_, CudaBackend>,
        input: &CudaFeatures,
        scratch: &CudaBuffer<u8>,
    ) -> Result<Self> {
        let made = norm.sums.and_then(|sums| Some(Sums { at: sums.at(0), parts: sums.parts()? }));
        let sums = match made {
            Some(made) => made,
            None => sum(backend, norm, input, scratch.at(0))?,
        };
        match sums.parts {
            0..=FEW_PARTS => Ok(sums),
            parts => {
                let at = gather(backend, norm.images, parts, &sums.at, scratch.at(GATHERED))?;
                Ok(Sums { at, parts: 1 })
            }
        }
    }

    /// Normalises a strip of `input` into `out`, which begins with it.
    pub(crate) fn normalise(
        &self,
        backend: &CudaBackend,
        norm: &GroupNorm<'_, CudaBackend>,
        input: &CudaFeatures,
        strip: &Strip,
        out: &mut Place,
    ) -> Result<()> {
        let &GroupNorm { channels, weight, bias, activate, .. } = norm;
        let (rows, threads) = rows_and_threads(backend, channels);
        let (images, side) = (strip.images.len(), norm.side());
        let pixels = strip.pixels(side) / images.max(1);
        let input = input.at(strip.first_pixel(side) * channels * features::width(backend.precision()));
        let sums = self.at.at(strip.images.start * GROUPS * self.parts * PAIR);
        let [at_once, many] = TURNS.map(|turns| {
            let block_pixels = (images * pixels).div_ceil(turns * backend.context.multiprocessors);
            block_pixels.next_multiple_of(rows).max(rows)
        });
        let block_pixels = if at_once <= FEW_PIXELS * rows { at_once } else { many };
        let grid = (pixels.div_ceil(block_pixels), images);
        let launch = backend.launch_features("group_norm_apply", grid, threads)?.overlapping();
        let launch =
            launch.shared(channels * PAIR).read(&input).read(&sums).read(weight).read(bias).write(out);
        let launch = launch.count(self.parts).count(pixels).count(channels).count(block_pixels);
        let share = 1.0 / (norm.pixels * (channels / GROUPS)) as f64;
        // SAFETY: input and output hold the strip, the sums a pair for every part of every group of its pictures.
        unsafe { launch.value(share).value(i32::from(activate)).submit() }
    }
}

/// Rows of threads of a block, as many as there is room for but one at least, and all threads.
fn rows_and_threads(backend: &CudaBackend, channels: usize) -> (usize, usize) {
    let across = channels / (16 / features::width(backend.precision()));
    let rows = (THREADS / across).max(1);
    (rows, (rows * across).next_multiple_of(32))
}

/// Sums parts of the pictures.
fn sum(
    backend: &CudaBackend,
    norm: &GroupNorm<'_, CudaBackend>,
    input: &CudaFeatures,
    mut at: Place,
) -> Result<Sums> {
    let &GroupNorm { images, pixels, channels, .. } = norm;
    let (_, threads) = rows_and_threads(backend, channels);
    let enough = (pixels * channels).div_ceil(PART);
    let part_pixels = pixels
        .div_ceil(enough.min((BLOCKS / backend.planned_images(images).max(1)).clamp(16, MOST_PARTS)))
        .max(1);
    let parts = pixels.div_ceil(part_pixels);
    assert!(images * GROUPS * parts * PAIR <= GATHERED, "the sums fit in the scratch memory");
    let across = channels / (16 / features::width(backend.precision()));
    let launch = backend.launch_features("group_norm_sums", (parts, images), threads)?.overlapping();
    let launch = launch.shared(threads / across * channels * PAIR).read(input).write(&mut at);
    // SAFETY: the input holds the pictures, the scratch memory a pair for every part of every group.
    unsafe { launch.count(pixels).count(channels).count(part_pixels).submit()? };
    Ok(Sums { at, parts })
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
