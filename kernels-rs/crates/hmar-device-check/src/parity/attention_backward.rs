//! Attention's gradients against float64: at most twice the error of plain bfloat16 ones, FlashAttention's criterion, and
//! the same bits every time.

use std::thread;

use hmar_cuda::{AttentionBackward, AttentionGradients, AttentionInputs, CudaBackend, Pattern};
use hmar_error::Result;
use hmar_ops::{Precision, Scores};

use crate::check::{
    Check, Ctx, Outcome, Random, as_held, downloaded, features, poisoned, poisoned_features, rounding,
    uploaded, widened,
};
use crate::segments::{Case, HEAD_WIDTH, SCALE};

/// The checks.
pub fn checks() -> Vec<Check> {
    let wide = Some((0.5, 100.0));
    let case = |images, heads, segments: &[usize], factors| (images, heads, segments.to_vec(), factors);
    let lists = [
        case(2, 3, &[1, 4, 9, 16, 25, 36, 64, 100, 169, 256], wide),
        case(1, 2, &[1, 4, 9, 16, 25, 36, 64, 100, 169, 256], None),
        case(2, 1, &[1, 1, 200, 3, 127, 129, 1, 700, 65], Some((10.0, 10.0))),
        case(1, 16, &[1, 4, 9, 16, 25, 36], wide),
        case(3, 30, &[1, 63, 64, 65], wide),
        case(2, 2, &[1], wide),
        case(2, 2, &[1, 1, 1], wide),
        case(1, 1, &[128], Some((100.0, 100.0))),
        case(5, 2, &[385, 129], wide),
        case(1, 5, &[1, 4, 9, 16, 36, 81, 169, 324, 576, 1024], wide),
        case(2, 1, &[1000], None),
        // A block does all of a chain: of many sequences; and cannot, of many tiles.
        case(25, 16, &[1, 260], wide),
        case(1, 2, &[33; 24], wide),
    ];
    lists
        .into_iter()
        .flat_map(|(images, heads, segments, factors)| {
            [Pattern::Diagonal, Pattern::Causal].map(|pattern| {
                let case = Case { images, heads, segments: segments.clone(), pattern, factors };
                Check::new(case.name(), move |ctx| parity(ctx, &case))
            })
        })
        .collect()
}

/// What goes in, as bfloat16 holds it.
struct Inputs {
    qkv: Vec<f32>,
    d_out: Vec<f32>,
    factors: Vec<f32>,
}

/// Everything attention and its gradients make.
#[derive(Default)]
struct Results {
    out: Vec<f64>,
    lse: Vec<f64>,
    d_qkv: Vec<f64>,
    d_factors: Vec<f64>,
    /// The variance of each head's `d_factors` that the rounding of `out` makes.
    variances: Vec<f64>,
}

/// What the GPU made.
struct Found {
    d_qkv: Vec<f32>,
    d_factors: Vec<f32>,
}

fn parity(ctx: &Ctx, case: &Case) -> Result<Outcome> {
    let mut random = Random::new(case.tokens() as u64);
    let rows = case.images * case.tokens() * case.width();
    let inputs = Inputs {
        qkv: as_held(Precision::Bf16, &random.normals(3 * rows)),
        d_out: as_held(Precision::Bf16, &random.normals(rows)),
        factors: (0..case.heads).map(|head| case.factor(head)).collect(),
    };
    let exact = reference(case, &inputs, |x| x);
    let plain = reference(case, &inputs, |x| f64::from(half::bf16::from_f64(x).to_f32()));

    let gpu = ctx.gpu(Precision::Bf16);
    let Case { images, heads, ref segments, pattern, .. } = *case;
    let plans = [AttentionBackward::new, AttentionBackward::plain];
    let mut worst = Outcome::new(0.0, 1.0);
    for (plan, kernels) in plans.into_iter().zip(["", "plain "]) {
        let mut plan = plan(gpu, images, heads, segments, pattern)?;
        let found = differentiate(gpu, &mut plan, case, &inputs, &exact)?;
        let again = differentiate(gpu, &mut plan, case, &inputs, &exact)?;
        let same = Outcome::equal(&bits(&found), &bits(&again));
        if !same.passed() {
            return Ok(same.note(format!("{kernels}numbers that differ from run to run")));
        }
        for compared in compare(case, &inputs, &found, &exact, &plain) {
            if compared.error > worst.error || compared.error.is_nan() {
                let note = compared.note.clone().unwrap_or_default();
                worst = compared.note(format!("{kernels}{note}"));
            }
        }
    }
    Ok(worst)
}

/// Errors relative to what is allowed: twice those of the plain reference, the rounding of the result, and that of float32
/// sums where all of a gradient cancels.
fn compare(case: &Case, inputs: &Inputs, found: &Found, exact: &Results, plain: &Results) -> Vec<Outcome> {
    let compared = |name: &str, found: &[f64], exact: &[f64], plain: &[f64], sums: f64| {
        let largest = exact.iter().fold(0.0f64, |most, x| most.max(x.abs()));
        let bound = 2.0 * distance(plain, exact) + rounding(Precision::Bf16) * largest + sums;
        let error = distance(found, exact);
        Outcome::new(error / bound, 1.0).note(format!("{name}: {error:.2e} of {bound:.2e}"))
    };
    let of_rows = |values: &[f32], part: usize, parts: usize, pick: fn(f64, f64) -> f64, start: f64| {
        let rows = values.chunks(HEAD_WIDTH).enumerate();
        let rows = rows.filter(|(index, _)| index / case.heads % parts == part);
        let norms = rows.map(|(_, row)| row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt());
        norms.fold(start, pick)
    };
    // A score's gradient is a difference of two sums of 64 products, whose roundings add up like a random walk.
    let difference = f64::from(f32::EPSILON)
        * (HEAD_WIDTH as f64).sqrt()
        * of_rows(&inputs.qkv, 2, 3, f64::max, 0.0)
        * of_rows(&inputs.d_out, 0, 1, f64::max, 0.0);
    let factor = inputs.factors.iter().fold(0.0f64, |most, &x| most.max(x.into()));
    let shortest = |part| of_rows(&inputs.qkv, part, 3, f64::min, f64::MAX);
    let longest = |part| of_rows(&inputs.qkv, part, 3, f64::max, 0.0);
    let normalized = case.factors.is_some();
    let of_queries = factor * if normalized { 1.0 / shortest(0) } else { longest(1) };
    let of_keys = factor * if normalized { 1.0 / shortest(1) } else { longest(0) };
    let wide: Vec<f64> = found.d_qkv.iter().map(|&x| x.into()).collect();
    let mut all: Vec<_> = [("dq", difference * of_queries), ("dk", difference * of_keys), ("dv", 0.0)]
        .into_iter()
        .enumerate()
        .map(|(part, (name, sums))| {
            let of = |values: &[f64]| part_of(case, values, part);
            compared(name, &of(&wide), &of(&exact.d_qkv), &of(&plain.d_qkv), sums)
        })
        .collect();
    if normalized {
        let wide: Vec<f64> = found.d_factors.iter().map(|&x| x.into()).collect();
        // A factor's gradient is one sum, so the plain reference's own error may be small by chance. All kernels get the
        // outputs rounded, which alone makes an error of four deviations at most.
        let deviation = exact.variances.iter().fold(0.0, |most: f64, &x| most.max(x)).sqrt();
        let sums = difference * ((case.images * case.tokens()) as f64).sqrt() + 4.0 * deviation;
        all.push(compared("d_factors", &wide, &exact.d_factors, &plain.d_factors, sums));
    }
    all
}

fn bits(found: &Found) -> Vec<u32> {
    found.d_qkv.iter().chain(&found.d_factors).map(|x| x.to_bits()).collect()
}

fn distance(values: &[f64], exact: &[f64]) -> f64 {
    let errors = values.iter().zip(exact).map(|(x, y)| (x - y).abs());
    errors.fold(0.0, |most, error| if error <= most { most } else { error })
}

/// Queries', keys' or values' part of `[…, 3, heads, 64]`.
fn part_of(case: &Case, all: &[f64], part: usize) -> Vec<f64> {
    all.chunks(case.width()).skip(part).step_by(3).flatten().copied().collect()
}

fn differentiate(
    gpu: &CudaBackend,
    plan: &mut AttentionBackward,
    case: &Case,
    inputs: &Inputs,
    exact: &Results,
) -> Result<Found> {
    let narrow = |values: &[f64]| values.iter().map(|&x| x as f32).collect::<Vec<_>>();
    let rows = case.images * case.tokens() * case.width();
    let (mut d_qkv, mut d_factors) = (poisoned_features(gpu, 3 * rows)?, poisoned(gpu, case.heads)?);
    let factors = uploaded(gpu, &inputs.factors)?;
    let scores = if case.factors.is_some() { Scores::Normalized(&factors) } else { Scores::Scaled(SCALE) };
    let read = AttentionInputs {
        qkv: &features(gpu, &inputs.qkv)?,
        scores,
        out: &features(gpu, &narrow(&exact.out))?,
        lse: &uploaded(gpu, &narrow(&exact.lse))?,
        d_out: &features(gpu, &inputs.d_out)?,
    };
    plan.run(gpu, read, AttentionGradients { d_qkv: &mut d_qkv, d_factors: Some(&mut d_factors) })?;
    Ok(Found { d_qkv: widened(gpu, &d_qkv, 3 * rows)?, d_factors: downloaded(gpu, &d_factors, case.heads)? })
}

/// In float64; `round` is applied where PyTorch's fused attention, given bfloat16, has bfloat16: to normalised queries
/// (with their factor) and keys, to weights and scores' gradients where they are multiplied, and to all results.
fn reference(case: &Case, inputs: &Inputs, round: impl Fn(f64) -> f64 + Sync) -> Results {
    let (tokens, width) = (case.tokens(), case.width());
    let rows = case.images * tokens * width;
    let mut all = Results {
        out: vec![0.0; rows],
        lse: vec![0.0; case.images * case.heads * tokens],
        d_qkv: vec![0.0; 3 * rows],
        d_factors: vec![0.0; case.heads],
        variances: vec![0.0; case.heads],
    };
    let sequences: Vec<_> =
        (0..case.images).flat_map(|image| (0..case.heads).map(move |head| (image, head))).collect();
    let made: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = sequences
            .iter()
            .map(|&(image, head)| {
                let round = &round;
                scope.spawn(move || Sequence::new(case, inputs, image, head).differentiate(case, round))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("the reference does not panic")).collect()
    });
    for ((image, head), one) in sequences.into_iter().zip(made) {
        for token in 0..tokens {
            let row = image * tokens + token;
            all.lse[(image * case.heads + head) * tokens + token] = one.lse[token];
            let put = |to: &mut [f64], from: &[[f64; HEAD_WIDTH]], part: usize, parts: usize| {
                let at = (row * parts + part) * width + head * HEAD_WIDTH;
                to[at..at + HEAD_WIDTH].copy_from_slice(&from[token]);
            };
            put(&mut all.out, &one.out, 0, 1);
            for (part, gradients) in one.d_qkv.iter().enumerate() {
                put(&mut all.d_qkv, gradients, part, 3);
            }
        }
        all.d_factors[head] += one.d_factor;
        all.variances[head] += one.variance;
    }
    all
}

type Rows = Vec<[f64; HEAD_WIDTH]>;

/// One head of one image.
struct Sequence {
    queries: Rows,
    keys: Rows,
    values: Rows,
    d_out: Rows,
    factor: f64,
}

struct SequenceResults {
    out: Rows,
    lse: Vec<f64>,
    d_qkv: [Rows; 3],
    d_factor: f64,
    variance: f64,
}

impl Sequence {
    fn new(case: &Case, inputs: &Inputs, image: usize, head: usize) -> Self {
        let rows = |from: &[f32], part: usize, parts: usize| -> Rows {
            let row = |token: usize| {
                let at = ((image * case.tokens() + token) * parts + part) * case.width() + head * HEAD_WIDTH;
                std::array::from_fn(|i| f64::from(from[at + i]))
            };
            (0..case.tokens()).map(row).collect()
        };
        Sequence {
            queries: rows(&inputs.qkv, 0, 3),
            keys: rows(&inputs.qkv, 1, 3),
            values: rows(&inputs.qkv, 2, 3),
            d_out: rows(&inputs.d_out, 0, 1),
            factor: f64::from(inputs.factors[head]),
        }
    }

    fn differentiate(&self, case: &Case, round: &impl Fn(f64) -> f64) -> SequenceResults {
        let tokens = case.tokens();
        let normalized = case.factors.is_some();
        let times = |row: &[f64; HEAD_WIDTH], factor: f64| row.map(|x| round(x * factor));
        let norm = |row: &[f64; HEAD_WIDTH]| if normalized { dot(row, row).sqrt().max(1e-12) } else { 1.0 };
        let queries: Rows = self.queries.iter().map(|row| times(row, self.factor / norm(row))).collect();
        let keys: Rows = self.keys.iter().map(|row| times(row, 1.0 / norm(row))).collect();
        let zeros = || vec![[0.0; HEAD_WIDTH]; tokens];
        let (mut out, mut lse) = (zeros(), vec![0.0; tokens]);
        let (mut d_queries, mut d_keys, mut d_values) = (zeros(), zeros(), zeros());
        let mut variance = 0.0;
        for (query, seen) in case.seen().into_iter().enumerate() {
            let scores: Vec<f64> = keys[seen.clone()].iter().map(|key| dot(&queries[query], key)).collect();
            let largest = scores.iter().copied().fold(f64::MIN, f64::max);
            lse[query] = largest + scores.iter().map(|score| (score - largest).exp()).sum::<f64>().ln();
            let weights: Vec<f64> = scores.iter().map(|score| (score - lse[query]).exp()).collect();
            for (key, &weight) in seen.clone().zip(&weights) {
                add(&mut out[query], round(weight), &self.values[key]);
            }
            // As fused kernels do, from the output that is stored.
            out[query] = out[query].map(round);
            let mean = dot(&self.d_out[query], &out[query]);
            let score: f64 = weights.iter().zip(&scores).map(|(weight, score)| weight * score).sum();
            variance += (score / self.factor).powi(2) * rounded_dot_variance(&out[query], &self.d_out[query]);
            for (key, weight) in seen.zip(weights) {
                let d_score = round(weight * (dot(&self.d_out[query], &self.values[key]) - mean));
                add(&mut d_values[key], round(weight), &self.d_out[query]);
                add(&mut d_queries[query], d_score, &keys[key]);
                add(&mut d_keys[key], d_score, &queries[query]);
            }
        }
        for rows in [&mut d_queries, &mut d_keys, &mut d_values] {
            rows.iter_mut().flatten().for_each(|x| *x = round(*x));
        }
        let mut d_factor = 0.0;
        for (gradient, query) in d_queries.iter_mut().zip(&self.queries) {
            if normalized {
                d_factor += dot(gradient, query) / norm(query);
                through_norm(gradient, query, norm(query));
            }
            *gradient = times(gradient, self.factor);
        }
        for (gradient, key) in d_keys.iter_mut().zip(&self.keys) {
            if normalized {
                through_norm(gradient, key, norm(key));
            }
            *gradient = times(gradient, 1.0);
        }
        SequenceResults { out, lse, d_qkv: [d_queries, d_keys, d_values], d_factor, variance }
    }
}

fn dot(a: &[f64; HEAD_WIDTH], b: &[f64; HEAD_WIDTH]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// The variance of a product of rows that rounding the first to bfloat16 makes: each number's error is uniform within
/// half the distance between neighbours, at most 1/256 of it.
fn rounded_dot_variance(rounded: &[f64; HEAD_WIDTH], row: &[f64; HEAD_WIDTH]) -> f64 {
    let spread = |x: &f64| 2f64.powi(x.abs().max(f64::MIN_POSITIVE).log2().floor() as i32 - 8);
    rounded.iter().zip(row).map(|(x, y)| (spread(x) * y).powi(2) / 3.0).sum()
}

fn add(to: &mut [f64; HEAD_WIDTH], factor: f64, row: &[f64; HEAD_WIDTH]) {
    to.iter_mut().zip(row).for_each(|(to, x)| *to += factor * x);
}

/// The gradient of a row from that of the row over its norm.
fn through_norm(gradient: &mut [f64; HEAD_WIDTH], row: &[f64; HEAD_WIDTH], norm: f64) {
    let along = dot(gradient, row) / (norm * norm);
    gradient.iter_mut().zip(row).for_each(|(gradient, x)| *gradient = (*gradient - along * x) / norm);
}
