//! Attention over whole pyramids, timed: useful arithmetic and percent of what the GPU allows.

use hmar_cuda::{AttentionForward, CudaFeatures, Pattern};
use hmar_error::Result;
use hmar_ops::{Precision, Scores};

use super::PYRAMID_512;
use crate::check::{Outcome, Random, Timing, features, poisoned_features, uploaded, widened};
use crate::floor::Work;
use crate::part::{Part, PartResult, World};

const HEADS: usize = 16;
const HEAD_WIDTH: usize = 64;

/// Sides of the scales; those of 512 px are a model's too.
const PYRAMID_256: [usize; 10] = [1, 2, 3, 4, 5, 6, 8, 10, 13, 16];
const PYRAMID_1024: [usize; 14] = [1, 2, 3, 4, 5, 7, 9, 12, 16, 21, 27, 36, 48, 64];

/// Of all heads: HMAR's before training.
const FACTOR: f32 = 4.0;

/// Input sets that take turns; each is larger than the cache.
const SETS: usize = 2;

/// A part for every resolution and pattern.
pub fn parts() -> Vec<Part> {
    let rows = [(256, 64, &PYRAMID_256[..]), (512, 16, &PYRAMID_512[..]), (1024, 4, &PYRAMID_1024[..])];
    rows.into_iter()
        .flat_map(|(pixels, images, sides)| {
            [Pattern::Diagonal, Pattern::Causal].map(move |pattern| {
                let name = format!("bench/attention_forward/{pattern:?} {pixels} px ×{images}");
                Part::new(name, 60, move |world| bench(world, images, sides, pattern))
            })
        })
        .collect()
}

fn bench(world: &World, images: usize, sides: &[usize], pattern: Pattern) -> Result<PartResult> {
    let ctx = world.ctx()?;
    let gpu = ctx.gpu(Precision::Bf16);
    let segments: Vec<usize> = sides.iter().map(|side| side * side).collect();
    let length = images * segments.iter().sum::<usize>() * HEADS * HEAD_WIDTH;
    let sets = (0..SETS)
        .map(|set| {
            let pool = Random::new(set as u64).normals((1 << 20) + 7);
            features(gpu, &pool.iter().copied().cycle().take(3 * length).collect::<Vec<_>>())
        })
        .collect::<Result<Vec<CudaFeatures>>>()?;
    let factors = uploaded(gpu, &[FACTOR; HEADS])?;
    let mut out = poisoned_features(gpu, length)?;
    let plan = AttentionForward::new(gpu, images, HEADS, &segments, pattern)?;
    let microseconds = ctx.time(gpu, |index| {
        plan.run(gpu, &sets[index % SETS], Scores::Normalized(&factors), &mut out, None)
    })?;
    let sample = widened(gpu, &out, length.min(1 << 22))?;
    let unwritten = sample.iter().filter(|x| !x.is_finite()).count();

    // Queries, keys and values in; results out.
    let bytes = 4.0 * 2.0 * length as f64;
    let flops = 4.0 * (images * HEADS * HEAD_WIDTH * pairs(&segments, pattern)) as f64;
    let outcome = Outcome::new(unwritten as f64, 0.0).timed(Timing { microseconds, bytes, flops });
    let percent = 100.0 * Work { bytes, flops }.floor() * 1e3 / microseconds;
    let mut result = PartResult::of(&outcome.note(format!("{percent:.0}% of an H200's cap")));
    result.data["percentOfCap"] = percent.into();
    Ok(result)
}

/// Queries and keys that meet.
fn pairs(segments: &[usize], pattern: Pattern) -> usize {
    let mut before = 0;
    let seen = segments.iter().map(|length| {
        before += length;
        length * if pattern == Pattern::Causal { before } else { *length }
    });
    seen.sum()
}
