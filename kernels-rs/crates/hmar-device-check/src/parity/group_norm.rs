//! GroupNorm against float64.

use hmar_error::Result;
use hmar_ops::{Backend, GroupNorm, Precision};

use crate::check::{
    Check, Ctx, Outcome, PRECISIONS, Random, Timing, as_held, features, poisoned_features, rounding,
    uploaded, widened,
};

const GROUPS: usize = 32;

/// The checks.
pub fn checks() -> Vec<Check> {
    let mut checks = Vec::new();
    for precision in PRECISIONS {
        for (images, pixels, channels) in [(1, 1, 32), (2, 25, 64), (3, 256, 640), (2, 1600, 160), (1, 9, 96)]
        {
            for activate in [false, true] {
                let name = format!(
                    "group norm {images}×{pixels} pixels×{channels}, activated: {activate}, {precision:?}"
                );
                checks.push(Check::new(name, move |ctx| {
                    parity(ctx, precision, images, pixels, channels, activate)
                }));
            }
        }
    }
    for (side, channels) in [(16, 640), (32, 320), (64, 320), (128, 160), (256, 160)] {
        for images in [1, 16] {
            let name = format!("group norm timed, {images}×{side}²×{channels}");
            checks.push(Check::timing(name, move |ctx| timed(ctx, images, side * side, channels)));
        }
    }
    checks
}

fn parity(
    ctx: &Ctx,
    precision: Precision,
    images: usize,
    pixels: usize,
    channels: usize,
    activate: bool,
) -> Result<Outcome> {
    let gpu = ctx.gpu(precision);
    let mut random = Random::new((pixels + channels) as u64);
    let length = images * pixels * channels;
    let input: Vec<f32> = random.normals(length).iter().map(|x| 2.0 * x + 0.5).collect();
    let input = as_held(precision, &input);
    let (weight, bias) = (random.normals(channels), random.normals(channels));
    let mut out = poisoned_features(gpu, length)?;
    let (weight_on_gpu, bias_on_gpu) = (uploaded(gpu, &weight)?, uploaded(gpu, &bias)?);
    let norm = GroupNorm {
        images,
        pixels,
        channels,
        weight: &weight_on_gpu,
        bias: &bias_on_gpu,
        activate,
        sums: None,
    };
    gpu.group_norm(norm, &features(gpu, &input)?, &mut out)?;

    let width = channels / GROUPS;
    let mut exact = vec![0.0; length];
    let mut conditions = vec![0.0; length];
    for image in 0..images {
        for group in 0..GROUPS {
            let places = || {
                (0..pixels * width)
                    .map(|i| (image * pixels + i / width) * channels + group * width + i % width)
            };
            let count = (pixels * width) as f64;
            let mean = places().map(|at| f64::from(input[at])).sum::<f64>() / count;
            let variance = places().map(|at| (f64::from(input[at]) - mean).powi(2)).sum::<f64>() / count;
            let factor = 1.0 / (variance + 1e-6).sqrt();
            for at in places() {
                let channel = at % channels;
                let x = (f64::from(input[at]) - mean) * factor * f64::from(weight[channel]);
                let x = x + f64::from(bias[channel]);
                exact[at] = if activate { x / (1.0 + (-x).exp()) } else { x };
                // Subtracting products of about this size loses as many bits.
                conditions[at] =
                    factor * f64::from(weight[channel].abs()) * (mean.abs() + f64::from(input[at].abs()));
            }
        }
    }
    let found = widened(gpu, &out, length)?;
    let roundings = 64.0 * f64::from(f32::EPSILON);
    Ok(Outcome::within(&found, &exact, |at| {
        rounding(precision) * exact[at].abs() + roundings * (1.0 + conditions[at])
    }))
}

fn timed(ctx: &Ctx, images: usize, pixels: usize, channels: usize) -> Result<Outcome> {
    let gpu = ctx.gpu(Precision::Bf16);
    let length = images * pixels * channels;
    let input = features(gpu, &Random::new(1).uniforms(length))?;
    let ones = uploaded(gpu, &vec![1f32; channels])?;
    let mut out = gpu.allocate_features(length)?;
    let norm =
        || GroupNorm { images, pixels, channels, weight: &ones, bias: &ones, activate: true, sums: None };
    let microseconds = ctx.time(gpu, |_| gpu.group_norm(norm(), &input, &mut out))?;
    Ok(Outcome::default().timed(Timing { microseconds, bytes: 6.0 * length as f64, flops: 0.0 }))
}
