use crate::math::exp;
use crate::philox::Stream;

/// Soft decoding's weight of each code (4.2): softmax((l·(1+r) + Gumbel)/τ), τ = max(0.27·(1 − 0.95 r), 0.005).
///
/// `filtered [V]` is the row that [`super::sample`] left; what it dropped weighs nothing. `ramp` is r = (k−1)/(K−1),
/// `position` the position within the scale, `stream` one of [`crate::philox::Purpose::SoftDecoding`].
pub fn soften(filtered: &[f32], ramp: f64, stream: Stream, position: u32, weights: &mut [f32]) {
    let temperature = (0.27 * (1.0 - 0.95 * ramp)).max(0.005);
    let first = position * filtered.len() as u32;
    let mut largest = f32::NEG_INFINITY;
    for ((weight, &logit), place) in weights.iter_mut().zip(filtered).zip(first..) {
        *weight = if logit == f32::NEG_INFINITY {
            logit
        } else {
            ((f64::from(logit) * (1.0 + ramp) + stream.gumbel(place)) / temperature) as f32
        };
        largest = largest.max(*weight);
    }
    weights.iter_mut().for_each(|weight| *weight = exp(*weight - largest));
    let total = super::filter::sum(weights) as f32;
    weights.iter_mut().for_each(|weight| *weight /= total);
}
