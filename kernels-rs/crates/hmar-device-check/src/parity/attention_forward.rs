//! Attention over segments against float64: at most twice the error of a plain bfloat16 one, FlashAttention's criterion,
//! whatever its neighbours hold, and the same bits for any number of images.

use std::thread;

use half::bf16;
use hmar_cuda::{AttentionForward, CudaBackend, Pattern};
use hmar_error::Result;
use hmar_ops::{Precision, Scores};

use crate::check::{
    Check, Ctx, Outcome, Random, as_held, downloaded, features, poisoned, poisoned_features, rounding,
    uploaded, widened,
};
use crate::segments::{Case, HEAD_WIDTH, SCALE};

/// The checks.
pub fn checks() -> Vec<Check> {
    // Factors on both sides of where a running maximum begins.
    let wide = Some((0.5, 100.0));
    let lists: [(usize, usize, &[usize], _); 12] = [
        (2, 3, &[1, 4, 9, 16, 25, 36, 64, 100, 169, 256], wide),
        (1, 2, &[1, 4, 9, 16, 25, 36, 64, 100, 169, 256], None),
        (2, 1, &[1, 1, 200, 3, 127, 129, 1, 700, 65], Some((10.0, 10.0))),
        (1, 16, &[1, 4, 9, 16, 25, 36], wide),
        (3, 30, &[1, 63, 64, 65], wide),
        (2, 2, &[1], wide),
        (2, 2, &[1, 1, 1], wide),
        (1, 1, &[128], Some((100.0, 100.0))),
        // Enough tiles for blocks of several groups, the last of which has heads left over.
        (40, 16, &[36], Some((0.5, 64.0))),
        (24, 16, &[1, 70, 4, 9, 16, 25], Some((0.5, 64.0))),
        (1, 2, &[1, 4, 9, 16, 36, 81, 169, 324, 576, 1024], wide),
        (2, 1, &[1000], None),
    ];
    let cases = lists.into_iter().flat_map(|(images, heads, segments, factors)| {
        [Pattern::Diagonal, Pattern::Causal].map(|pattern| Case {
            images,
            heads,
            segments: segments.to_vec(),
            pattern,
            factors,
        })
    });
    cases
        .map(|case| Check::new(case.name(), move |ctx| parity(ctx, &case)))
        .chain([
            Check::new("segments do not feel their neighbours' NaN", undisturbed),
            Check::new("images have the same bits alone and among others", alone),
        ])
        .collect()
}

/// What goes in, as bfloat16 holds it.
struct Inputs {
    qkv: Vec<f32>,
    factors: Vec<f32>,
}

fn inputs(case: &Case) -> Inputs {
    let mut random = Random::new(case.tokens() as u64);
    let count = case.images * case.tokens() * 3 * case.width();
    Inputs {
        qkv: as_held(Precision::Bf16, &random.normals(count)),
        factors: (0..case.heads).map(|head| case.factor(head)).collect(),
    }
}

/// Results and logarithms of sums.
struct Results<T> {
    out: Vec<T>,
    lse: Vec<T>,
}

fn attend(gpu: &CudaBackend, case: &Case, inputs: &Inputs) -> Result<Results<f32>> {
    let rows = case.images * case.tokens();
    let (mut out, mut lse) =
        (poisoned_features(gpu, rows * case.width())?, poisoned(gpu, rows * case.heads)?);
    let factors = uploaded(gpu, &inputs.factors)?;
    let scores = if case.factors.is_some() { Scores::Normalized(&factors) } else { Scores::Scaled(SCALE) };
    let plan = AttentionForward::new(gpu, case.images, case.heads, &case.segments, case.pattern)?;
    plan.run(gpu, &features(gpu, &inputs.qkv)?, scores, &mut out, Some(&mut lse))?;
    Ok(Results {
        out: widened(gpu, &out, rows * case.width())?,
        lse: downloaded(gpu, &lse, rows * case.heads)?,
    })
}

fn parity(ctx: &Ctx, case: &Case) -> Result<Outcome> {
    let inputs = inputs(case);
    let found = attend(ctx.gpu(Precision::Bf16), case, &inputs)?;
    let exact = reference(case, &inputs, |x| x);
    let plain = reference(case, &inputs, |x| f64::from(bf16::from_f64(x).to_f32()));
    let mut worst = Outcome::new(0.0, 1.0);
    for (name, found, exact, plain) in
        [("out", &found.out, &exact.out, &plain.out), ("lse", &found.lse, &exact.lse, &plain.lse)]
    {
        let found: Vec<f64> = found.iter().map(|&x| x.into()).collect();
        let largest = exact.iter().fold(0.0f64, |most, x| most.max(x.abs()));
        let bound = 2.0 * distance(plain, exact) + rounding(Precision::Bf16) * largest;
        let ratio = distance(&found, exact) / bound;
        if worst.note.is_none() || ratio.is_nan() || ratio > worst.error {
            worst = Outcome::new(ratio, 1.0).note(format!("{name}: {ratio:.2} of {bound:.2e}"));
        }
    }
    Ok(worst)
}

/// The largest difference; NaN is never small.
fn distance(values: &[f64], exact: &[f64]) -> f64 {
    let errors = values.iter().zip(exact).map(|(x, y)| (x - y).abs());
    errors.fold(0.0, |most, error| if error <= most { most } else { error })
}

/// In float64; `round` is applied where PyTorch stores bfloat16: to normalised queries (with their factor) and keys, to
/// weights and to results.
fn reference(case: &Case, inputs: &Inputs, round: impl Fn(f64) -> f64 + Sync) -> Results<f64> {
    let (tokens, width) = (case.tokens(), case.width());
    let mut results = Results {
        out: vec![0.0; case.images * tokens * width],
        lse: vec![0.0; case.images * case.heads * tokens],
    };
    let places: Vec<_> =
        (0..case.images).flat_map(|image| (0..case.heads).map(move |head| (image, head))).collect();
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let made: Vec<_> = thread::scope(|scope| {
        let round = &round;
        let of = |places| move || Vec::from_iter(attend_heads(case, inputs, places, round));
        let parts = places.chunks(places.len().div_ceil(threads));
        let running: Vec<_> = parts.map(|places| scope.spawn(of(places))).collect();
        running.into_iter().flat_map(|part| part.join().expect("the reference does not panic")).collect()
    });
    for (&(image, head), Results { out, lse }) in places.iter().zip(made) {
        for (token, row) in out.chunks(HEAD_WIDTH).enumerate() {
            let at = (image * tokens + token) * width + head * HEAD_WIDTH;
            results.out[at..at + HEAD_WIDTH].copy_from_slice(row);
        }
        let at = (image * case.heads + head) * tokens;
        results.lse[at..at + tokens].copy_from_slice(&lse);
    }
    results
}

/// Heads of images, one after another: `[tokens, 64]` and `[tokens]`.
fn attend_heads<'a>(
    case: &'a Case,
    inputs: &'a Inputs,
    places: &'a [(usize, usize)],
    round: &'a impl Fn(f64) -> f64,
) -> impl Iterator<Item = Results<f64>> + 'a {
    let (tokens, width, seen) = (case.tokens(), case.width(), case.seen());
    places.iter().map(move |&(image, head)| {
        let vector = |token: usize, part: usize, factor: f64| -> [f64; HEAD_WIDTH] {
            let at = ((image * tokens + token) * 3 + part) * width + head * HEAD_WIDTH;
            let values: [f64; HEAD_WIDTH] = std::array::from_fn(|i| inputs.qkv[at + i].into());
            if part == 2 {
                return values;
            }
            let norm = values.iter().map(|x| x * x).sum::<f64>().sqrt().max(1e-12);
            let norm = if case.factors.is_some() { norm } else { 1.0 };
            values.map(|x| round(x * factor / norm))
        };
        let keys: Vec<_> = (0..tokens).map(|token| vector(token, 1, 1.0)).collect();
        let values: Vec<_> = (0..tokens).map(|token| vector(token, 2, 1.0)).collect();
        let mut results = Results { out: Vec::new(), lse: Vec::new() };
        for (token, seen) in seen.iter().enumerate() {
            let query = vector(token, 0, case.factor(head).into());
            let dot = |key: &[f64; HEAD_WIDTH]| query.iter().zip(key).map(|(x, y)| x * y).sum::<f64>();
            let scores: Vec<f64> = keys[seen.clone()].iter().map(dot).collect();
            let largest = scores.iter().copied().fold(f64::MIN, f64::max);
            let sum: f64 = scores.iter().map(|score| (score - largest).exp()).sum();
            let mut out = [0.0; HEAD_WIDTH];
            for (score, value) in scores.iter().zip(&values[seen.clone()]) {
                let weight = round((score - largest).exp() / sum);
                out.iter_mut().zip(value).for_each(|(out, x)| *out += weight * x);
            }
            results.out.extend(out.map(round));
            results.lse.push(largest + sum.ln());
        }
        results
    })
}

/// A case of three segments that share tiles and boxes.
fn neighbours() -> Case {
    let segments = vec![20, 30, 100];
    Case { images: 2, heads: 2, segments, pattern: Pattern::Diagonal, factors: Some((4.0, 90.0)) }
}

fn undisturbed(ctx: &Ctx) -> Result<Outcome> {
    let (gpu, case) = (ctx.gpu(Precision::Bf16), neighbours());
    let mut inputs = inputs(&case);
    let expected = attend(gpu, &case, &inputs)?;
    // All of the last segment of both images.
    let row = 3 * case.width();
    for image in inputs.qkv.chunks_mut(case.tokens() * row) {
        image[50 * row..].fill(f32::NAN);
    }
    let found = attend(gpu, &case, &inputs)?;
    let first_two = |results: &Results<f32>| -> Vec<u32> {
        let images = results.out.chunks(case.tokens() * case.width());
        images.flat_map(|image| &image[..50 * case.width()]).map(|x| x.to_bits()).collect()
    };
    Ok(Outcome::equal(&first_two(&found), &first_two(&expected)))
}

fn alone(ctx: &Ctx) -> Result<Outcome> {
    let gpu = ctx.gpu(Precision::Bf16);
    let many = Case { images: 60, heads: 16, ..neighbours() };
    let one = Case { images: 1, ..many.clone() };
    let inputs = inputs(&many);
    let first = Inputs {
        qkv: inputs.qkv[..one.tokens() * 3 * one.width()].to_vec(),
        factors: inputs.factors.clone(),
    };
    let (found, expected) = (attend(gpu, &one, &first)?, attend(gpu, &many, &inputs)?);
    let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    Ok(Outcome::equal(&bits(&found.out), &bits(&expected.out[..found.out.len()])))
}
