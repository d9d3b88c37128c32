//! Attention over whole pyramids, timed: useful arithmetic and percent of what the GPU allows.

use hmar_cuda::{AttentionForward, CudaFeatures};
use hmar_error::Result;
use hmar_ops::{Precision, Scores};

use crate::check::{Random, features, poisoned_features, uploaded, widened};
use crate::part::{Part, PartResult, World};
use crate::segments::{FACTOR, HEADS, Pyramid, over_pyramids};

/// Input sets that take turns; each is larger than the cache.
const SETS: usize = 2;

/// A part for every resolution and pattern.
pub fn parts() -> Vec<Part> {
    over_pyramids("attention_forward", bench)
}

fn bench(world: &World, pyramid: &Pyramid) -> Result<PartResult> {
    let ctx = world.ctx()?;
    let gpu = ctx.gpu(Precision::Bf16);
    let length = pyramid.length();
    let sets = (0..SETS)
        .map(|set| {
            let pool = Random::new(set as u64).normals((1 << 20) + 7);
            features(gpu, &pool.iter().copied().cycle().take(3 * length).collect::<Vec<_>>())
        })
        .collect::<Result<Vec<CudaFeatures>>>()?;
    let factors = uploaded(gpu, &[FACTOR; HEADS])?;
    let mut out = poisoned_features(gpu, length)?;
    let plan = AttentionForward::new(gpu, pyramid.images, HEADS, &pyramid.segments, pyramid.pattern)?;
    let microseconds = ctx.time(gpu, |index| {
        plan.run(gpu, &sets[index % SETS], Scores::Normalized(&factors), &mut out, None)
    })?;
    let sample = widened(gpu, &out, length.min(1 << 22))?;
    let unwritten = sample.iter().filter(|x| !x.is_finite()).count();
    // Queries, keys and values in; results out.
    Ok(pyramid.timed(microseconds, 4.0, 4.0, unwritten))
}
