//! Attention's gradients over whole pyramids, timed: useful arithmetic and percent of what the GPU allows.

use hmar_cuda::{AttentionBackward, AttentionGradients, AttentionInputs, CudaBackend, Pattern};
use hmar_error::Result;
use hmar_ops::{Backend, Precision, Scores};

use super::PYRAMID_512;
use crate::check::{Outcome, Random, Timing, features, poisoned, poisoned_features, uploaded, widened};
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

/// An H200's copy engine and its products of large bfloat16 matrices, measured on random data.
const BYTES_PER_SECOND: f64 = 4.27e12;
const FLOPS_PER_SECOND: f64 = 790e12;

/// A part for every resolution and pattern.
pub fn parts() -> Vec<Part> {
    let rows = [(256, 64, &PYRAMID_256[..]), (512, 16, &PYRAMID_512[..]), (1024, 4, &PYRAMID_1024[..])];
    rows.into_iter()
        .flat_map(|(pixels, images, sides)| {
            [Pattern::Diagonal, Pattern::Causal].map(move |pattern| {
                let name = format!("bench/attention_backward/{pattern:?} {pixels} px ×{images}");
                Part::new(name, 60, move |world| bench(world, images, sides, pattern))
            })
        })
        .collect()
}

fn bench(world: &World, images: usize, sides: &[usize], pattern: Pattern) -> Result<PartResult> {
    let ctx = world.ctx()?;
    let gpu = ctx.gpu(Precision::Bf16);
    let segments: Vec<usize> = sides.iter().map(|side| side * side).collect();
    let tokens: usize = segments.iter().sum();
    let seen = seen(&segments, pattern);
    let pairs: usize = seen.iter().sum();
    let length = images * tokens * HEADS * HEAD_WIDTH;

    let sets = (0..SETS).map(|set| Set::new(gpu, images, &seen, set)).collect::<Result<Vec<_>>>()?;
    let factors = uploaded(gpu, &[FACTOR; HEADS])?;
    let mut d_qkv = poisoned_features(gpu, 3 * length)?;
    let mut d_factors = poisoned(gpu, HEADS)?;
    let mut plan = AttentionBackward::new(gpu, images, HEADS, &segments, pattern)?;
    let mut run = |index: usize| {
        let Set { qkv, out, lse, d_out } = &sets[index % SETS];
        let inputs = AttentionInputs { qkv, scores: Scores::Normalized(&factors), out, lse, d_out };
        plan.run(gpu, inputs, AttentionGradients { d_qkv: &mut d_qkv, d_factors: Some(&mut d_factors) })
    };
    let microseconds = ctx.time(gpu, &mut run)?;
    let sample = widened(gpu, &d_qkv, (3 * length).min(1 << 22))?;
    let unwritten = sample.iter().filter(|x| !x.is_finite()).count();

    // Queries, keys, values, outputs and their gradients in; the gradients of the first three out.
    let bytes = 8.0 * 2.0 * length as f64;
    let flops = 10.0 * (images * HEADS * HEAD_WIDTH * pairs) as f64;
    let floor = (bytes / BYTES_PER_SECOND).max(flops / FLOPS_PER_SECOND);
    let outcome = Outcome::new(unwritten as f64, 0.0).timed(Timing { microseconds, bytes, flops });
    let percent = 100.0 * floor * 1e6 / microseconds;
    let mut result = PartResult::of(&outcome.note(format!("{percent:.0}% of the cap")));
    result.data["percentOfCap"] = percent.into();
    Ok(result)
}

/// How many keys each token sees.
fn seen(segments: &[usize], pattern: Pattern) -> Vec<usize> {
    let mut seen = Vec::new();
    for &length in segments {
        let keys = if pattern == Pattern::Causal { seen.len() + length } else { length };
        seen.resize(seen.len() + length, keys);
    }
    seen
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
    fn new(gpu: &CudaBackend, images: usize, seen: &[usize], set: usize) -> Result<Self> {
        let pool = Random::new(set as u64).normals((1 << 20) + 7);
        let length = images * seen.len() * HEADS * HEAD_WIDTH;
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
            lse: uploaded(gpu, &lse.repeat(images * HEADS))?,
            d_out: features(gpu, &many(length))?,
        })
    }
}
