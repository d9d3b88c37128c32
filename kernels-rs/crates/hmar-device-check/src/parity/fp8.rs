//! Linear layers in FP8 against float64: no worse than the rounding of their factors.

use hmar_error::Result;
use hmar_ops::{Backend, LayerInput, LinearOutput, MatrixBuilder, MatrixShape, Modulation, Precision, Rows};

use crate::check::{
    Check, Ctx, Outcome, Random, Timing, as_held, downloaded, features, poisoned_features, uploaded, widened,
};

/// What the products may add to the error that rounding the factors makes, in norm.
const MORE: f64 = 0.1;

/// The largest number of e4m3.
const LARGEST: f64 = 448.0;

/// The checks.
pub fn checks() -> Vec<Check> {
    let mut checks = Vec::new();
    for (rows, inputs, outputs) in [
        (1, 64, 64),
        (7, 1024, 2304),
        (18, 4096, 1024),
        (338, 1920, 1920),
        (9001, 64, 1024),
        (8390, 80, 1008),
        (6650, 80, 1904),
    ] {
        for gated in [false, true] {
            let name = format!("linear {rows}×{inputs} → {outputs}{}", if gated { ", gated" } else { "" });
            checks.push(Check::new(name, move |ctx| parity(ctx, rows, inputs, outputs, gated)));
        }
    }
    for (rows, width) in [(7, 64), (701, 192), (16_880, 64)] {
        let name = format!("feed-forward {rows}×{width}");
        checks.push(Check::new(name, move |ctx| feed_forward(ctx, rows, width)));
    }
    for (inputs, outputs) in [(1920, 5760), (1920, 7680), (7680, 1920)] {
        let name = format!("linear timed, 32768×{inputs} → {outputs}");
        checks.push(Check::timing(name, move |ctx| timed(ctx, 32_768, inputs, outputs)));
    }
    checks
}

fn parity(ctx: &Ctx, rows: usize, inputs: usize, outputs: usize, gated: bool) -> Result<Outcome> {
    let gpu = ctx.gpu(Precision::Bf16);
    let mut random = Random::new((rows * inputs + outputs) as u64);
    let input = as_held(Precision::Bf16, &random.normals(rows * inputs));
    let weights: Vec<f32> = random.uniforms(outputs * inputs).iter().map(|x| x / 16.0).collect();
    let weights = as_held(Precision::Bf16, &weights);
    let bias = as_held(Precision::Bf16, &random.normals(outputs));
    let weight = weight(ctx, inputs, outputs, &weights)?;
    let (on_gpu, bias_on_gpu) = (features(gpu, &input)?, gpu.bias(&bias)?);
    let found = if gated {
        // Gates of one and nothing before: what is left is the product.
        let mut residual = uploaded(gpu, &vec![0.0; rows * outputs])?;
        let (table, slots) = (uploaded(gpu, &vec![1.0; outputs])?, uploaded(gpu, &[0u32])?);
        let gate = Modulation { table: &table, stride: outputs, offset: 0 };
        let grouping = Rows { sequences: 1, per_sequence: rows, slots: &slots };
        let out = LinearOutput::GatedResidual { residual: &mut residual, gate, rows: grouping, next: None };
        gpu.linear(rows, &on_gpu, &weight, &bias_on_gpu, out)?;
        downloaded(gpu, &residual, rows * outputs)?
    } else {
        let mut out = poisoned_features(gpu, rows * outputs)?;
        gpu.linear(rows, &on_gpu, &weight, &bias_on_gpu, LinearOutput::Features(&mut out))?;
        widened(gpu, &out, rows * outputs)?
    };

    let exact = product(&input, &weights, &bias, inputs);
    let rounded = product(&quantized(&input, inputs), &quantized(&weights, inputs), &bias, inputs);
    Ok(compared(&found, &exact, &rounded))
}

/// A normalisation, two layers and GELU between them: what is rounded on the way is no worse than by its largest number.
fn feed_forward(ctx: &Ctx, rows: usize, width: usize) -> Result<Outcome> {
    let gpu = ctx.gpu(Precision::Bf16);
    let hidden = 4 * width;
    let mut random = Random::new((rows + width) as u64);
    let input: Vec<f32> = random.normals(rows * width).iter().map(|x| 3.0 * x + 1.0).collect();
    let mut weights = |inputs: usize, outputs: usize| {
        let weights: Vec<f32> =
            random.normals(outputs * inputs).iter().map(|x| x / (inputs as f32).sqrt()).collect();
        as_held(Precision::Bf16, &weights)
    };
    let (of_first, of_second) = (weights(width, hidden), weights(hidden, width));
    let bias = as_held(Precision::Bf16, &random.normals(hidden));
    let modulation: Vec<f32> = random.normals(2 * width).iter().map(|x| x / 2.0).collect();

    let (first, second) = (weight(ctx, width, hidden, &of_first)?, weight(ctx, hidden, width, &of_second)?);
    let (of_hidden, of_out) = (gpu.bias(&bias)?, gpu.bias(&vec![0.0; width])?);
    let (table, slots) = (uploaded(gpu, &modulation)?, uploaded(gpu, &[0u32])?);
    let part = |offset| Modulation { table: &table, stride: 2 * width, offset };
    let grouping = Rows { sequences: 1, per_sequence: rows, slots: &slots };
    let mut normed = poisoned_features(gpu, rows * width)?;
    let mut between = poisoned_features(gpu, rows * hidden)?;
    let mut out = poisoned_features(gpu, rows * width)?;
    let to_first = LayerInput::of(&mut normed, &first);
    gpu.modulated_norm(grouping, width, &uploaded(gpu, &input)?, part(0), part(width), to_first)?;
    let to_second = LinearOutput::Gelu(LayerInput::of(&mut between, &second));
    gpu.linear(rows, &normed, &first, &of_hidden, to_second)?;
    gpu.linear(rows, &between, &second, &of_out, LinearOutput::Features(&mut out))?;
    let found = widened(gpu, &out, rows * width)?;

    let normalized: Vec<f32> = input
        .chunks_exact(width)
        .flat_map(|row| {
            let mean = row.iter().map(|&x| f64::from(x)).sum::<f64>() / width as f64;
            let variance = row.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / width as f64;
            let modulation = &modulation;
            row.iter().enumerate().map(move |(i, &x)| {
                let x = (f64::from(x) - mean) / (variance + 1e-6).sqrt();
                (x * (1.0 + f64::from(modulation[i])) + f64::from(modulation[width + i])) as f32
            })
        })
        .collect();
    let chain = |rounded: &dyn Fn(&[f32], usize) -> Vec<f32>| {
        let between = product(&rounded(&normalized, width), &rounded(&of_first, width), &bias, width);
        let between: Vec<f32> = between.into_iter().map(|x| gelu(x) as f32).collect();
        product(&rounded(&between, hidden), &rounded(&of_second, hidden), &vec![0.0; width], hidden)
    };
    let exact = chain(&|values, _| values.to_vec());
    let rounded = chain(&|values, width| quantized(values, width));
    Ok(compared(&found, &exact, &rounded))
}

fn gelu(x: f64) -> f64 {
    let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
    0.5 * x * (1.0 + u.tanh())
}

/// The error in norm, which may be little more than that of rounding the factors.
fn compared(found: &[f32], exact: &[f64], rounded: &[f64]) -> Outcome {
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    let size = norm(&mut exact.iter().copied());
    let of_rounding = norm(&mut rounded.iter().zip(exact).map(|(a, b)| a - b)) / size;
    let error = norm(&mut found.iter().zip(exact).map(|(&a, b)| f64::from(a) - b)) / size;
    Outcome::new(error, of_rounding * (1.0 + MORE))
        .note(format!("of rounding the factors alone {of_rounding:.2e}"))
}

fn weight(
    ctx: &Ctx,
    inputs: usize,
    outputs: usize,
    weights: &[f32],
) -> Result<<hmar_cuda::CudaBackend as Backend>::Matrix> {
    let mut builder = ctx.gpu(Precision::Bf16).fp8_matrix(MatrixShape { outputs, inputs, taps: 1 })?;
    let chunk = builder.chunk();
    weights.chunks(chunk).try_for_each(|part| builder.push(part))?;
    builder.finish()
}

/// Rows as e4m3 holds them, each relative to its largest number.
fn quantized(values: &[f32], width: usize) -> Vec<f32> {
    let row = |row: &[f32]| {
        let largest = row.iter().fold(0.0, |largest: f64, &x| largest.max(f64::from(x).abs()));
        let scale = if largest > 0.0 { largest / LARGEST } else { 1.0 };
        row.iter().map(|&x| (e4m3(f64::from(x) / scale) * scale) as f32).collect::<Vec<_>>()
    };
    values.chunks_exact(width).flat_map(row).collect()
}

/// The nearest number of three bits after the first, ties to even; the smallest steps are 2⁻⁹.
fn e4m3(x: f64) -> f64 {
    let exponent = if x == 0.0 { -6.0 } else { x.abs().log2().floor().max(-6.0) };
    let step = (exponent - 3.0).exp2();
    (x / step).round_ties_even() * step
}

fn product(input: &[f32], weights: &[f32], bias: &[f32], inputs: usize) -> Vec<f64> {
    let of_row = |row: &[f32]| {
        let sum = |of: &[f32]| row.iter().zip(of).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
        weights.chunks_exact(inputs).zip(bias).map(|(of, &b)| sum(of) + f64::from(b)).collect::<Vec<_>>()
    };
    input.chunks_exact(inputs).flat_map(of_row).collect()
}

fn timed(ctx: &Ctx, rows: usize, inputs: usize, outputs: usize) -> Result<Outcome> {
    let gpu = ctx.gpu(Precision::Bf16);
    let mut random = Random::new(5);
    let weight = weight(ctx, inputs, outputs, &random.uniforms(outputs * inputs))?;
    let bias = gpu.bias(&vec![0.0; outputs])?;
    let input = features(gpu, &random.uniforms(rows * inputs))?;
    let mut out = poisoned_features(gpu, rows * outputs)?;
    let microseconds =
        ctx.time(gpu, |_| gpu.linear(rows, &input, &weight, &bias, LinearOutput::Features(&mut out)))?;
    Ok(Outcome::new(0.0, 0.0).timed(Timing {
        microseconds,
        bytes: (2 * rows * (inputs + outputs) + inputs * outputs) as f64,
        flops: (2 * rows * inputs * outputs) as f64,
    }))
}
