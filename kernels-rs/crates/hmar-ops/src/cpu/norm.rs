//! LayerNorm with AdaLN's modulation, and GroupNorm with SiLU.

use rayon::prelude::*;

use super::reduce::sum_of;
use crate::math::silu;

/// Rows of a task.
const ROWS: usize = 16;

/// Pixels of a task, and of one float32 partial sum.
const PIXELS: usize = 256;

const GROUPS: usize = 32;

/// `out[row] = LayerNorm(input[row])·(1 + scale(row)) + shift(row)`, eps 1e-6.
pub(super) fn modulated_norm<'a>(
    width: usize,
    input: &[f32],
    modulation: impl Fn(usize) -> (&'a [f32], &'a [f32]) + Sync,
    out: &mut [f32],
) {
    const EPSILON: f32 = 1e-6;
    let chunks = out.par_chunks_mut(ROWS * width).zip(input.par_chunks(ROWS * width));
    chunks.enumerate().for_each(|(chunk, (out, input))| {
        pulp::Arch::new().dispatch(
            #[inline(always)]
            || {
                let rows = out.chunks_exact_mut(width).zip(input.chunks_exact(width));
                for (i, (out, input)) in rows.enumerate() {
                    let (scale, shift) = modulation(chunk * ROWS + i);
                    let mean = sum_of(input, |x| x) / width as f32;
                    let variance = sum_of(input, |x| (x - mean) * (x - mean)) / width as f32;
                    let factor = 1.0 / (variance + EPSILON).sqrt();
                    for (((out, x), scale), shift) in out.iter_mut().zip(input).zip(scale).zip(shift) {
                        *out = (x - mean) * factor * (1.0 + scale) + shift;
                    }
                }
            },
        );
    });
}

/// GroupNorm over `[images, pixels, channels]`, 32 groups, eps 1e-6, then SiLU if `activate`.
pub(super) fn group_norm(
    pixels: usize,
    channels: usize,
    weight: &[f32],
    bias: &[f32],
    activate: bool,
    input: &[f32],
    out: &mut [f32],
) {
    let pictures = out.chunks_exact_mut(pixels * channels).zip(input.chunks_exact(pixels * channels));
    for (out, input) in pictures {
        apply(channels, &factors_and_offsets(channels, weight, bias, input), activate, input, out);
    }
}

/// Normalises some pixels of a picture, with SiLU if `activate`.
pub(super) fn apply(
    channels: usize,
    (factors, offsets): &(Vec<f32>, Vec<f32>),
    activate: bool,
    input: &[f32],
    out: &mut [f32],
) {
    let chunks = out.par_chunks_mut(PIXELS * channels).zip(input.par_chunks(PIXELS * channels));
    chunks.for_each(|(out, input)| {
        pulp::Arch::new().dispatch(
            #[inline(always)]
            || {
                for (out, input) in out.chunks_exact_mut(channels).zip(input.chunks_exact(channels)) {
                    for (((out, x), factor), offset) in out.iter_mut().zip(input).zip(factors).zip(offsets) {
                        let y = x * factor + offset;
                        *out = if activate { silu(y) } else { y };
                    }
                }
            },
        );
    });
}

/// The normalisation of one picture as `x·factor + offset` a channel.
pub(super) fn factors_and_offsets(
    channels: usize,
    weight: &[f32],
    bias: &[f32],
    input: &[f32],
) -> (Vec<f32>, Vec<f32>) {
    const EPSILON: f64 = 1e-6;
    let (sums, squares) = channel_sums(channels, input);
    let per_group = channels / GROUPS;
    let count = (input.len() / GROUPS) as f64;
    let mut factors = vec![0.0; channels];
    let mut offsets = vec![0.0; channels];
    for start in (0..channels).step_by(per_group) {
        let group = start..start + per_group;
        let mean = sums[group.clone()].iter().sum::<f64>() / count;
        let variance = (squares[group.clone()].iter().sum::<f64>() / count - mean * mean).max(0.0);
        let inverse = 1.0 / (variance + EPSILON).sqrt();
        for channel in group {
            let factor = inverse * weight[channel] as f64;
            factors[channel] = factor as f32;
            offsets[channel] = (bias[channel] as f64 - mean * factor) as f32;
        }
    }
    (factors, offsets)
}

/// Σx and Σx² of every channel: float32 within a chunk of fixed size, float64 over the chunks in order, so that
/// the sum is the same on any number of threads.
fn channel_sums(channels: usize, input: &[f32]) -> (Vec<f64>, Vec<f64>) {
    let partial: Vec<_> = input
        .par_chunks(PIXELS * channels)
        .map(|chunk| {
            let mut sums = vec![0.0f32; channels];
            let mut squares = vec![0.0f32; channels];
            pulp::Arch::new().dispatch(
                #[inline(always)]
                || {
                    for pixel in chunk.chunks_exact(channels) {
                        for ((x, sum), square) in pixel.iter().zip(&mut sums).zip(&mut squares) {
                            *sum += x;
                            *square += x * x;
                        }
                    }
                },
            );
            (sums, squares)
        })
        .collect();
    let mut totals = (vec![0.0f64; channels], vec![0.0f64; channels]);
    for (sums, squares) in &partial {
        totals.0.iter_mut().zip(sums).for_each(|(total, &x)| *total += x as f64);
        totals.1.iter_mut().zip(squares).for_each(|(total, &x)| *total += x as f64);
    }
    totals
}
