//! Attention's gradients over whole pyramids, timed: useful arithmetic and percent of what the GPU allows.

use hmar_cuda::{AttentionBackward, AttentionGradients, AttentionInputs, CudaBackend};
use hmar_error::Result;
use hmar_ops::{Backend, Precision, Scores};

use crate::check::{Random, features, poisoned, poisoned_features, uploaded, widened};
use crate::part::{Part, PartResult, World};
use crate::segments::{FACTOR, HEAD_WIDTH, HEADS, Pyramid, over_pyramids};

/// Input sets that take turns; each is larger than the cache.
const SETS: usize = 2;

/// A part for every resolution and pattern.
pub fn parts() -> Vec<Part> {
    over_pyramids("attention_backward", bench)
}

fn bench(world: &World, pyramid: &Pyramid) -> Result<PartResult> {
    let ctx = world.ctx()?;
    let gpu = ctx.gpu(Precision::Bf16);
    let length = pyramid.length();
    let sets = (0..SETS).map(|set| Set::new(gpu, pyramid, set)).collect::<Result<Vec<_>>>()?;
    let factors = uploaded(gpu, &[FACTOR; HEADS])?;
    let mut d_qkv = poisoned_features(gpu, 3 * length)?;
    let mut d_factors = poisoned(gpu, HEADS)?;
    let mut plan = AttentionBackward::new(gpu, pyramid.images, HEADS, &pyramid.segments, pyramid.pattern)?;
    let mut run = |index: usize| {
        let Set { qkv, out, lse, d_out } = &sets[index % SETS];
        let inputs = AttentionInputs { qkv, scores: Scores::Normalized(&factors), out, lse, d_out };
        plan.run(gpu, inputs, AttentionGradients { d_qkv: &mut d_qkv, d_factors: Some(&mut d_factors) })
    };
    let microseconds = ctx.time(gpu, &mut run)?;
    let sample = widened(gpu, &d_qkv, (3 * length).min(1 << 22))?;
    let unwritten = sample.iter().filter(|x| !x.is_finite()).count();
    // Queries, keys, values, outputs and their gradients in; the gradients of the first three out.
    Ok(pyramid.timed(microseconds, 10.0, 8.0, unwritten))
}

struct Set {
    qkv: <CudaBackend as Backend>::Features,
    out: <CudaBackend as Backend>::Features,
    lse: <CudaBackend as Backend>::Buffer<f32>,
    d_out: <CudaBackend as Backend>::Features,
}

impl Set {
    /// Random queries, keys, values and gradients; outputs and sums as these have on average: the cosine of random
    /// directions has mean 0 and variance 1/64, so that the mean of e^score is e^(factor² / 128).
    fn new(gpu: &CudaBackend, pyramid: &Pyramid, set: usize) -> Result<Self> {
        let pool = Random::new(set as u64).normals((1 << 20) + 7);
        let (length, seen) = (pyramid.length(), pyramid.seen());
        let many = |length: usize| pool.iter().copied().cycle().take(length).collect::<Vec<_>>();
        let mean = FACTOR * FACTOR / (2 * HEAD_WIDTH) as f32;
        let lse: Vec<f32> = seen.iter().map(|&keys| (keys as f32).ln() + mean).collect();
        let out: Vec<f32> = many(length)
            .iter()
            .enumerate()
            .map(|(i, x)| x / (seen[i / (HEADS * HEAD_WIDTH) % seen.len()] as f32).sqrt())
            .collect();
        Ok(Set {
            qkv: features(gpu, &many(3 * length))?,
            out: features(gpu, &out)?,
            lse: uploaded(gpu, &lse.repeat(pyramid.images * HEADS))?,
            d_out: features(gpu, &many(length))?,
        })
    }
}
