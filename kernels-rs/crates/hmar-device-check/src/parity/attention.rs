//! Attention: at most twice the error of a plain bfloat16 one, FlashAttention's criterion.

use hmar_cuda::{CudaBackend, CudaBuffer, CudaFeatures};
use hmar_error::Result;
use hmar_ops::{AttentionShape, Backend, KeysValues, Precision, Scores, Span};

use crate::check::{
    Check, Ctx, Outcome, PRECISIONS, Random, Timing, as_held, features, poisoned_features, rounding,
    uploaded, widened,
};

/// An attention to check.
#[derive(Clone)]
struct Case {
    sequences: usize,
    rows: usize,
    heads: usize,
    head_width: usize,
    normalized: bool,
    spans: Vec<Span>,
    /// Rows a sequence of a cache that has the keys and values; the buffer of queries begins with the first span's.
    cached: Option<usize>,
}

impl Case {
    /// All rows attend to all.
    fn whole(sequences: usize, rows: usize, heads: usize, head_width: usize, normalized: bool) -> Self {
        let spans = vec![Span { queries: 0..rows, keys: 0..rows }];
        Case { sequences, rows, heads, head_width, normalized, spans, cached: None }
    }

    /// One scale's queries over a cache.
    fn cached(sequences: usize, queries: std::ops::Range<usize>, capacity: usize, heads: usize) -> Self {
        let rows = queries.end;
        let spans = vec![Span { queries, keys: 0..rows }];
        Case { spans, cached: Some(capacity), ..Case::whole(sequences, rows, heads, 64, true) }
    }

    fn queries(&self) -> usize {
        self.spans.iter().map(|span| span.queries.len()).sum()
    }

    fn name(&self) -> String {
        let Case { sequences, rows, heads, head_width, normalized, .. } = self;
        let spans = self.spans.len();
        let cached = if self.cached.is_some() { ", cached" } else { "" };
        let how = if *normalized { "normalized" } else { "scaled" };
        format!("{sequences}×{rows} rows, {heads} heads of {head_width}, {how}, {spans} spans{cached}")
    }
}

/// The checks.
pub fn checks() -> Vec<Check> {
    let mut cases: Vec<Case> = [1, 2, 3, 5, 6, 8, 10, 13, 16]
        .into_iter()
        .flat_map(|side| [true, false].map(|normalized| Case::whole(2, side * side, 3, 64, normalized)))
        .collect();
    cases.push(Case::whole(1, 577, 2, 64, true));
    // A pyramid at once, its scales apart; and the same block-causal.
    let scales = [0..1, 1..5, 5..14, 14..39, 39..103];
    let apart = scales.iter().map(|scale| Span { queries: scale.clone(), keys: scale.clone() });
    let causal = scales.iter().map(|scale| Span { queries: scale.clone(), keys: 0..scale.end });
    cases.push(Case { spans: apart.collect(), ..Case::whole(2, 103, 2, 64, true) });
    cases.push(Case { spans: causal.collect(), ..Case::whole(2, 103, 2, 64, true) });
    // A scale with a cache of more rows than are in use.
    cases.push(Case::cached(2, 30..94, 200, 2));
    cases.push(Case::cached(3, 0..1, 7, 3));
    cases.push(Case::cached(1, 561..730, 730, 2));
    for (rows, width) in [(256, 640), (77, 640), (300, 128), (500, 640), (50, 24), (33, 7)] {
        cases.push(Case::whole(2, rows, 1, width, false));
    }
    // Enough for the large tiles of Hopper's kernels for wide heads; several of those heads.
    cases.push(Case::whole(7, 385, 1, 640, false));
    cases.push(Case::whole(2, 130, 3, 128, false));
    let narrow = cases.iter().filter(|case| case.head_width == 64).cloned();
    let unplanned: Vec<_> = narrow
        .map(|case| {
            let name = format!("attention unplanned, {}", case.name());
            Check::new(name, move |ctx| parity(&ctx.unplanned, &case))
        })
        .collect();
    let checks = cases.into_iter().flat_map(|case| {
        PRECISIONS.map(|precision| {
            let (name, case) = (format!("attention, {}, {precision:?}", case.name()), case.clone());
            Check::new(name, move |ctx| parity(ctx.gpu(precision), &case))
        })
    });
    let real = [(2, 16), (128, 16), (2, 30), (128, 30)]
        .into_iter()
        .flat_map(|(sequences, heads)| {
            [4, 36, 100, 169, 256].map(|rows| Case::whole(sequences, rows, heads, 64, true))
        })
        .chain([Case::whole(2, 1024, 24, 64, true), Case::whole(1, 256, 1, 640, false)])
        .chain(
            [(16, 256), (1, 1024), (1, 4096)].map(|(images, rows)| Case::whole(images, rows, 1, 640, false)),
        )
        .chain([Case::cached(2, 424..680, 680, 16), Case::cached(2, 5355..9451, 9451, 24)]);
    let timed = real.flat_map(|case| {
        [("timed", true), ("unplanned, timed", false)].map(|(how, planned)| {
            let case = case.clone();
            Check::new(format!("attention {how}, {}", case.name()), move |ctx| {
                timed(ctx, if planned { ctx.gpu(Precision::Bf16) } else { &ctx.unplanned }, &case)
            })
        })
    });
    let by_parts = Check::new("attention by parts as of each sequence alone", by_parts);
    checks.chain(unplanned).chain([by_parts]).chain(timed).collect()
}

/// A case's inputs on the GPU.
struct OnGpu<'a> {
    gpu: &'a CudaBackend,
    case: &'a Case,
    qkv: CudaFeatures,
    cache: Option<CudaFeatures>,
    spans: Vec<Span>,
    factors: CudaBuffer<f32>,
}

impl<'a> OnGpu<'a> {
    fn new(gpu: &'a CudaBackend, case: &'a Case, Inputs { qkv, factors }: &Inputs) -> Result<Self> {
        let factors = uploaded(gpu, factors)?;
        let Some(capacity) = case.cached else {
            let (qkv, spans) = (features(gpu, qkv)?, case.spans.clone());
            return Ok(OnGpu { gpu, case, qkv, cache: None, spans, factors });
        };
        let (start, columns) = (case.spans[0].queries.start, case.heads * case.head_width);
        let spans = case.spans.iter().map(|span| Span {
            queries: span.queries.start - start..span.queries.end - start,
            keys: span.keys.clone(),
        });
        let sequences = qkv.chunks_exact(case.rows * 3 * columns);
        let queries: Vec<f32> =
            sequences.clone().flat_map(|rows| &rows[start * 3 * columns..]).copied().collect();
        // Rows of the cache beyond the last key are not read.
        let mut cache = vec![f32::NAN; case.sequences * capacity * 2 * columns];
        for (cache, rows) in cache.chunks_exact_mut(capacity * 2 * columns).zip(sequences) {
            for (cached, row) in cache.chunks_exact_mut(2 * columns).zip(rows.chunks_exact(3 * columns)) {
                cached.copy_from_slice(&row[columns..]);
            }
        }
        let (qkv, cache) = (features(gpu, &queries)?, Some(features(gpu, &cache)?));
        Ok(OnGpu { gpu, case, qkv, cache, spans: spans.collect(), factors })
    }

    fn attend(&self, out: &mut CudaFeatures) -> Result<()> {
        let Case { sequences, rows, heads, head_width, normalized, cached, .. } = *self.case;
        let rows = if cached.is_some() { self.case.queries() } else { rows };
        let shape = AttentionShape { sequences, rows, heads, head_width, spans: &self.spans };
        let keys_values = match (&self.cache, cached) {
            (Some(rows), Some(capacity)) => KeysValues::Cached { rows, capacity },
            _ => KeysValues::BesideQueries,
        };
        let scores =
            if normalized { Scores::Normalized(&self.factors) } else { Scores::Scaled(scaled(self.case)) };
        self.gpu.attention(shape, &self.qkv, keys_values, scores, out)
    }
}

struct Inputs {
    qkv: Vec<f32>,
    factors: Vec<f32>,
}

fn inputs(case: &Case, precision: Precision) -> Inputs {
    let mut random = Random::new(case.rows as u64);
    let width = 3 * case.heads * case.head_width;
    let qkv = as_held(precision, &random.normals(case.sequences * case.rows * width));
    Inputs { qkv, factors: (0..case.heads).map(|head| 4.0 + 3.0 * head as f32).collect() }
}

fn scaled(case: &Case) -> f32 {
    1.0 / (case.head_width as f32).sqrt()
}

fn parity(gpu: &CudaBackend, case: &Case) -> Result<Outcome> {
    let precision = gpu.precision();
    let inputs = inputs(case, precision);
    let length = case.sequences * case.queries() * case.heads * case.head_width;
    let mut out = poisoned_features(gpu, length)?;
    OnGpu::new(gpu, case, &inputs)?.attend(&mut out)?;
    let found = widened(gpu, &out, length)?;
    let Inputs { qkv, factors } = inputs;

    let exact = reference(case, &qkv, &factors, |x| x);
    let held = |x: f64| f64::from(as_held(precision, &[x as f32])[0]);
    let plain = reference(case, &qkv, &factors, held);
    let error = |values: &mut dyn Iterator<Item = f64>| {
        values
            .zip(&exact)
            .map(|(x, y)| (x - y).abs())
            .fold(0.0, |most: f64, e| if e <= most { most } else { e })
    };
    let largest = exact.iter().fold(0.0f64, |most, x| most.max(x.abs()));
    let of_plain = error(&mut plain.iter().copied());
    let found_error = error(&mut found.iter().map(|&x| f64::from(x)));
    // In float32 the plain one has no error of its own: sums of so many terms have.
    let sums = f64::from(f32::EPSILON) * (case.rows + case.head_width) as f64;
    Ok(Outcome::new(found_error, 2.0 * of_plain + (rounding(precision) + sums) * largest))
}

/// The weights of these sequences have no room together: what they get is what each gets alone, to the bit.
fn by_parts(ctx: &Ctx) -> Result<Outcome> {
    let gpu = ctx.gpu(Precision::Bf16);
    let all = Case::whole(3, 2900, 1, 128, false);
    let attended = |case: &Case, inputs: &Inputs| {
        let length = case.sequences * case.rows * case.head_width;
        let mut out = poisoned_features(gpu, length)?;
        OnGpu::new(gpu, case, inputs)?.attend(&mut out)?;
        widened(gpu, &out, length)
    };
    let inputs = inputs(&all, Precision::Bf16);
    let together = attended(&all, &inputs)?;
    let mut different = 0;
    for (qkv, together) in inputs.qkv.chunks(inputs.qkv.len() / 3).zip(together.chunks(together.len() / 3)) {
        let inputs = Inputs { qkv: qkv.to_vec(), factors: inputs.factors.clone() };
        let alone = attended(&Case { sequences: 1, ..all.clone() }, &inputs)?;
        different += alone.iter().zip(together).filter(|(x, y)| x.to_bits() != y.to_bits()).count();
    }
    Ok(Outcome::new(different as f64, 0.0))
}

/// In float64; `round` is applied to queries and keys after their normalisation, to weights and to the result.
fn reference(case: &Case, qkv: &[f32], factors: &[f32], round: impl Fn(f64) -> f64) -> Vec<f64> {
    let Case { sequences, rows, heads, head_width, .. } = *case;
    let width = heads * head_width;
    let start = case.spans[0].queries.start;
    let mut out = vec![0.0; sequences * case.queries() * width];
    let part = |sequence: usize, row: usize, head: usize, which: usize| -> Vec<f64> {
        let at = (sequence * rows + row) * 3 * width + which * width + head * head_width;
        qkv[at..at + head_width].iter().map(|&x| f64::from(x)).collect()
    };
    let divided = |mut vector: Vec<f64>, factor: f64| {
        if case.normalized {
            let norm = vector.iter().map(|x| x * x).sum::<f64>().sqrt().max(1e-12);
            vector.iter_mut().for_each(|x| *x = round(*x * factor / norm));
        }
        vector
    };
    for sequence in 0..sequences {
        for (head, &factor) in factors.iter().enumerate() {
            for span in &case.spans {
                let keys: Vec<_> =
                    span.keys.clone().map(|row| divided(part(sequence, row, head, 1), 1.0)).collect();
                let values: Vec<_> = span.keys.clone().map(|row| part(sequence, row, head, 2)).collect();
                for row in span.queries.clone() {
                    let query = divided(part(sequence, row, head, 0), f64::from(factor));
                    let scale = if case.normalized { 1.0 } else { f64::from(scaled(case)) };
                    let scores: Vec<f64> = keys
                        .iter()
                        .map(|key| scale * query.iter().zip(key).map(|(x, y)| x * y).sum::<f64>())
                        .collect();
                    let largest = scores.iter().copied().fold(f64::MIN, f64::max);
                    let weights: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
                    let sum: f64 = weights.iter().sum();
                    let at = ((sequence * case.queries() + row - start) * heads + head) * head_width;
                    for (weight, value) in weights.iter().zip(&values) {
                        let weight = round(weight / sum);
                        out[at..at + head_width]
                            .iter_mut()
                            .zip(value)
                            .for_each(|(out, x)| *out += weight * x);
                    }
                    out[at..at + head_width].iter_mut().for_each(|x| *x = round(*x));
                }
            }
        }
    }
    out
}

fn timed(ctx: &Ctx, gpu: &CudaBackend, case: &Case) -> Result<Outcome> {
    let length = case.sequences * case.queries() * case.heads * case.head_width;
    let on_gpu = OnGpu::new(gpu, case, &inputs(case, Precision::Bf16))?;
    let mut out = poisoned_features(gpu, length)?;
    on_gpu.attend(&mut out)?;
    let finite = widened(gpu, &out, length)?.iter().filter(|x| !x.is_finite()).count();
    let outcome = Outcome::new(finite as f64, 0.0);
    if !ctx.timed {
        return Ok(outcome);
    }
    let microseconds = ctx.time(gpu, |_| on_gpu.attend(&mut out))?;
    let keys = case.sequences * case.rows * case.heads * case.head_width;
    let (bytes, flops) = ((4 * length + 4 * keys) as f64, 4.0 * (length * case.rows) as f64);
    Ok(outcome.timed(Timing { microseconds, bytes, flops }))
}
