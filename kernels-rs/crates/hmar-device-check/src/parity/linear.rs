//! Linear layers against float64.

use hmar_error::Result;
use hmar_ops::{Backend, LayerInput, LinearOutput, MatrixShape, Modulation, Normalized, Precision, Rows};

use crate::check::{
    Check, Ctx, Outcome, PRECISIONS, Random, Timing, as_held, downloaded, features, matrix, poisoned,
    poisoned_features, rounding, uploaded, widened,
};

/// What becomes of the product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Features,
    Gelu,
    Float32,
    GatedResidual,
}

const ENDINGS: [Ending; 4] = [Ending::Features, Ending::Gelu, Ending::Float32, Ending::GatedResidual];

/// Widths and rows that are timed: those of passes of 256 px, of d24 at 512 px, and of batches' first passes.
const TIMED: [(usize, &[usize]); 3] = [
    (1024, &[2, 8, 18, 32, 50, 72, 128, 200, 338, 512, 576, 1152, 32_768]),
    (1536, &[162, 338, 648, 1152]),
    (1920, &[2, 8, 18, 32, 50, 72, 128, 200, 338, 512, 32_768]),
];

/// The checks.
pub fn checks() -> Vec<Check> {
    let mut checks = Vec::new();
    for precision in PRECISIONS {
        for ending in ENDINGS {
            for (rows, inputs, outputs) in [
                (1, 64, 64),
                (2, 1024, 3072),
                (7, 192, 90),
                (18, 4096, 1024),
                (50, 1920, 130),
                (72, 1024, 2304),
                (128, 96, 200),
                (338, 1024, 1024),
                (1000, 320, 2560),
                (9000, 64, 1024),
                (33, 30, 7),
            ] {
                let name = format!("linear {rows}×{inputs} → {outputs}, {ending:?}, {precision:?}");
                checks
                    .push(Check::new(name, move |ctx| parity(ctx, precision, ending, rows, inputs, outputs)));
            }
        }
        let name = format!("project 50×32 → 1024, {precision:?}");
        checks.push(Check::new(name, move |ctx| project(ctx, precision)));
    }
    // Several rounds of large tiles, of both widths, with edges.
    for ending in ENDINGS {
        for (rows, inputs, outputs) in [(5600, 72, 1920), (5590, 72, 1912), (8400, 72, 1920)] {
            let name = format!("linear {rows}×{inputs} → {outputs}, {ending:?}, tiles");
            let run = move |ctx: &Ctx| parity(ctx, Precision::Bf16, ending, rows, inputs, outputs);
            checks.push(Check::new(name, run));
        }
    }
    // Tens to hundreds of rows of the released models, whole tiles and odd ones, and depths that are split unevenly.
    for ending in ENDINGS {
        for (rows, inputs, outputs) in [
            (17, 520, 1544),
            (33, 1024, 3072),
            (50, 1280, 1280),
            (72, 1536, 1536),
            (72, 1024, 4096),
            (97, 1920, 1920),
            (128, 4096, 1024),
            (162, 1000, 1032),
            (207, 1024, 1024),
            (338, 1024, 1024),
            (1152, 584, 1024),
        ] {
            // No residual stream is as wide as a hidden layer.
            if ending == Ending::GatedResidual && outputs == 4096 {
                continue;
            }
            let name = format!("linear {rows}×{inputs} → {outputs}, {ending:?}, rows");
            let run = move |ctx: &Ctx| parity(ctx, Precision::Bf16, ending, rows, inputs, outputs);
            checks.push(Check::new(name, run));
        }
    }
    for (rows, inputs, outputs) in [(50, 7680, 1920), (72, 6144, 1536), (162, 5120, 1280)] {
        let name = format!("linear {rows}×{inputs} → {outputs}, GatedResidual, rows");
        let run = move |ctx: &Ctx| parity(ctx, Precision::Bf16, Ending::GatedResidual, rows, inputs, outputs);
        checks.push(Check::new(name, run));
    }
    for (width, rows) in TIMED {
        for &rows in rows {
            for (ending, inputs, outputs) in [
                (Ending::Features, width, 3 * width),
                (Ending::GatedResidual, width, width),
                (Ending::Gelu, width, 4 * width),
                (Ending::GatedResidual, 4 * width, width),
            ] {
                let name = format!("linear timed, {rows}×{inputs} → {outputs}, {ending:?}");
                checks.push(Check::timing(name, move |ctx| timed(ctx, ending, rows, inputs, outputs)));
            }
        }
    }
    checks
}

/// Rows of a sequence in the checks.
const PER_SEQUENCE: usize = 9;

fn parity(
    ctx: &Ctx,
    precision: Precision,
    ending: Ending,
    rows: usize,
    inputs: usize,
    outputs: usize,
) -> Result<Outcome> {
    let gpu = ctx.gpu(precision);
    let mut random = Random::new((rows * inputs + outputs) as u64);
    let input = as_held(precision, &random.normals(rows * inputs));
    let weights: Vec<f32> = random.uniforms(outputs * inputs).iter().map(|x| x / 16.0).collect();
    let weights = as_held(precision, &weights);
    // Of many rows a library makes the product, which takes the bias of bfloat16 results in bfloat16.
    let bias = as_held(precision, &random.normals(outputs));
    let sequences = rows.div_ceil(PER_SEQUENCE);
    let slots: Vec<u32> = (0..sequences).map(|_| random.below(3) as u32).collect();
    let (stride, offset) = (6 * outputs, 2 * outputs);
    let gates = random.normals(3 * stride);
    let before = random.normals(rows * outputs);

    let weight = matrix(gpu, MatrixShape { outputs, inputs, taps: 1 }, precision, &weights)?;
    let (on_gpu, bias_on_gpu) = (features(gpu, &input)?, gpu.bias(&bias)?);
    let found = match ending {
        Ending::Features | Ending::Gelu => {
            let mut out = poisoned_features(gpu, rows * outputs)?;
            let output = match ending {
                Ending::Features => LinearOutput::Features(&mut out),
                _ => LinearOutput::Gelu(LayerInput::of_any(&mut out)),
            };
            gpu.linear(rows, &on_gpu, &weight, &bias_on_gpu, output)?;
            widened(gpu, &out, rows * outputs)?
        }
        Ending::Float32 => {
            let mut out = poisoned(gpu, rows * outputs)?;
            gpu.linear(rows, &on_gpu, &weight, &bias_on_gpu, LinearOutput::Float32(&mut out))?;
            downloaded(gpu, &out, rows * outputs)?
        }
        Ending::GatedResidual => {
            let mut residual = uploaded(gpu, &before)?;
            let (table, slots_on_gpu) = (uploaded(gpu, &gates)?, uploaded(gpu, &slots)?);
            let part = |offset| Modulation { table: &table, stride, offset };
            let grouping = Rows { sequences, per_sequence: PER_SEQUENCE, slots: &slots_on_gpu };
            let mut normed = poisoned_features(gpu, rows * outputs)?;
            // Rows are normalised by whole sequences.
            let normalizes = rows.is_multiple_of(PER_SEQUENCE) && outputs.is_multiple_of(4);
            let next = normalizes.then(|| Normalized {
                scale: part(3 * outputs),
                shift: part(5 * outputs),
                out: LayerInput::of_any(&mut normed),
            });
            let output = LinearOutput::GatedResidual {
                residual: &mut residual,
                gate: part(offset),
                rows: grouping,
                next,
            };
            gpu.linear(rows, &on_gpu, &weight, &bias_on_gpu, output)?;
            let sums = downloaded(gpu, &residual, rows * outputs)?;
            if normalizes {
                let found = widened(gpu, &normed, rows * outputs)?;
                let exact = normalized(&sums, outputs, |row, i| {
                    let slot = slots[row / PER_SEQUENCE] as usize * stride;
                    (gates[slot + 3 * outputs + i], gates[slot + 5 * outputs + i])
                });
                let outcome =
                    Outcome::within(&found, &exact, |at| rounding(precision) * exact[at].abs() + 1e-5);
                if !outcome.passed() {
                    return Ok(outcome);
                }
            }
            sums
        }
    };

    let mut exact = vec![0.0; rows * outputs];
    // What float32 sums may be off by: a rounding of each of the terms' magnitudes.
    let mut magnitudes = vec![0.0; rows * outputs];
    // What gates make of the products, before a bias.
    let mut products = vec![0.0; rows * outputs];
    for row in 0..rows {
        for output in 0..outputs {
            let terms = input[row * inputs..][..inputs].iter().zip(&weights[output * inputs..][..inputs]);
            let (mut sum, mut magnitude) = (f64::from(bias[output]), f64::from(bias[output].abs()));
            for (x, w) in terms {
                let term = f64::from(*x) * f64::from(*w);
                sum += term;
                magnitude += term.abs();
            }
            let at = row * outputs + output;
            let gate = f64::from(gates[slots[row / PER_SEQUENCE] as usize * stride + offset + output]);
            products[at] = gate * (sum - f64::from(bias[output]));
            (exact[at], magnitudes[at]) = match ending {
                Ending::Features | Ending::Float32 => (sum, magnitude),
                Ending::Gelu => (gelu(sum), 1.2 * magnitude),
                Ending::GatedResidual => {
                    (f64::from(before[at]) + gate * sum, gate.abs() * magnitude + f64::from(before[at].abs()))
                }
            };
        }
    }
    let stored = match ending {
        Ending::Features | Ending::Gelu => rounding(precision),
        Ending::Float32 | Ending::GatedResidual => rounding(Precision::F32),
    };
    let sums = f64::from(f32::EPSILON) * ((inputs as f64).sqrt() + 8.0);
    Ok(Outcome::within(&found, &exact, |at| {
        // Gates are applied to a product that may have been stored in the meantime.
        let product = if ending == Ending::GatedResidual { products[at].abs() } else { 0.0 };
        stored * exact[at].abs() + rounding(precision) * product + sums * magnitudes[at] + 1e-6
    }))
}

/// LayerNorm of rows, with the scale and shift of each row and place.
fn normalized(sums: &[f32], width: usize, modulation: impl Fn(usize, usize) -> (f32, f32)) -> Vec<f64> {
    let rows = sums.chunks_exact(width).enumerate();
    rows.flat_map(|(row, values)| {
        let values: Vec<f64> = values.iter().map(|&x| f64::from(x)).collect();
        let mean = values.iter().sum::<f64>() / width as f64;
        let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / width as f64;
        let modulation = &modulation;
        let modulated = values.into_iter().enumerate().map(move |(i, x)| {
            let (scale, shift) = modulation(row, i);
            (x - mean) / (variance + 1e-6).sqrt() * (1.0 + f64::from(scale)) + f64::from(shift)
        });
        modulated.collect::<Vec<_>>()
    })
    .collect()
}

fn gelu(x: f64) -> f64 {
    let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
    0.5 * x * (1.0 + u.tanh())
}

fn project(ctx: &Ctx, precision: Precision) -> Result<Outcome> {
    let gpu = ctx.gpu(precision);
    let (rows, inputs, outputs) = (50, 32, 1024);
    let mut random = Random::new(8);
    let (input, weights) = (random.normals(rows * inputs), random.normals(outputs * inputs));
    let weight = matrix(gpu, MatrixShape { outputs, inputs, taps: 1 }, Precision::F32, &weights)?;
    let mut out = poisoned(gpu, rows * outputs)?;
    gpu.project(rows, &uploaded(gpu, &input)?, &weight, &mut out)?;
    let exact: Vec<f64> = (0..rows * outputs)
        .map(|at| {
            let terms =
                input[at / outputs * inputs..][..inputs].iter().zip(&weights[at % outputs * inputs..]);
            terms.map(|(x, w)| f64::from(*x) * f64::from(*w)).sum()
        })
        .collect();
    Ok(Outcome::within(&downloaded(gpu, &out, rows * outputs)?, &exact, |_| 32.0 * 3.0 * 1.2e-7 * 6.0))
}

/// Weights in turn, so that none is in the cache when its turn comes.
fn timed(ctx: &Ctx, ending: Ending, rows: usize, inputs: usize, outputs: usize) -> Result<Outcome> {
    let gpu = ctx.gpu(Precision::Bf16);
    let shape = MatrixShape { outputs, inputs, taps: 1 };
    let copies = (200_000_000 / (2 * inputs * outputs)).clamp(1, 20);
    let mut random = Random::new(9);
    let some = random.uniforms(outputs * inputs);
    let weights =
        (0..copies).map(|_| matrix(gpu, shape, Precision::Bf16, &some)).collect::<Result<Vec<_>>>()?;
    let input = features(gpu, &random.normals(rows * inputs))?;
    let bias = gpu.bias(&random.normals(outputs))?;
    let table = uploaded(gpu, &vec![0.001; 6 * outputs])?;
    let slots = uploaded(gpu, &vec![0u32; rows])?;
    let mut out = gpu.allocate_features(rows * outputs)?;
    let mut residual = gpu.allocate::<f32>(rows * outputs)?;
    let microseconds = ctx.time(gpu, |i| {
        let gate = Modulation { table: &table, stride: 6 * outputs, offset: 0 };
        let grouping = Rows { sequences: 1, per_sequence: rows, slots: &slots };
        let output = match ending {
            Ending::Features => LinearOutput::Features(&mut out),
            Ending::Gelu => LinearOutput::Gelu(LayerInput::of_any(&mut out)),
            Ending::Float32 => LinearOutput::Float32(&mut residual),
            Ending::GatedResidual => {
                let next = Some(Normalized { scale: gate, shift: gate, out: LayerInput::of_any(&mut out) });
                LinearOutput::GatedResidual { residual: &mut residual, gate, rows: grouping, next }
            }
        };
        gpu.linear(rows, &input, &weights[i % copies], &bias, output)
    })?;
    let of_output = if ending == Ending::GatedResidual { 10.0 } else { 2.0 };
    let bytes = 2.0 * (inputs * outputs + rows * inputs) as f64 + of_output * (rows * outputs) as f64;
    let flops = 2.0 * (rows * inputs * outputs) as f64;
    Ok(Outcome::default().timed(Timing { microseconds, bytes, flops }))
}
