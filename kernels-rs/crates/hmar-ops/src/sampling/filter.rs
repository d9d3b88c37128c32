use super::{Scratch, TokenSampling, index_of, ordered, rank};
use crate::math::exp;

/// Steps 0 to 2 of 4.1 on a row of guided logits: divides by the temperature, then sets what top-k, top-p and
/// min-p drop to −∞. What stays is left in `scratch`, ready to draw from.
pub(super) fn filter(logits: &mut [f32], sampling: &TokenSampling, scratch: &mut Scratch) {
    if sampling.temperature != 1.0 {
        logits.iter_mut().for_each(|logit| *logit /= sampling.temperature);
    }
    keep_top_k(logits, sampling.top_k as usize, scratch);
    weigh(logits, scratch);
    if 0.0 < sampling.top_p && sampling.top_p < 1.0 {
        drop_beyond_top_p(logits, sampling.top_p, scratch);
    }
    if sampling.min_p > 0.0 {
        drop_below_min_p(logits, sampling.min_p, scratch);
    }
}

/// Fills `kept` with the tokens whose logit is not below the k-th largest.
fn keep_top_k(logits: &mut [f32], k: usize, Scratch { kept, keys, .. }: &mut Scratch) {
    kept.clear();
    if k == 0 || k >= logits.len() {
        kept.extend(0..logits.len() as u32);
        return;
    }
    keys.clear();
    keys.extend(logits.iter().map(|&logit| ordered(logit)));
    let smaller = logits.len() - k;
    let threshold = *keys.select_nth_unstable(smaller).1;

    // Every token is written, and overwritten unless it is kept: no branch to mispredict.
    kept.resize(logits.len(), 0);
    let mut count = 0;
    for (token, logit) in logits.iter_mut().enumerate() {
        let keep = ordered(*logit) >= threshold;
        kept[count] = token as u32;
        count += usize::from(keep);
        *logit = if keep { *logit } else { f32::NEG_INFINITY };
    }
    kept.truncate(count);
}

/// Fills `weights` with the kept tokens' probabilities relative to the largest.
fn weigh(logits: &[f32], Scratch { kept, weights, .. }: &mut Scratch) {
    weights.clear();
    weights.extend(kept.iter().map(|&token| logits[token as usize]));
    let largest = weights.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    weights.iter_mut().for_each(|weight| *weight = exp(*weight - largest));
}

/// Drops the longest run of least probable tokens whose probabilities sum to 1 − p at most, never the last token.
/// Bisects for its length, partitioning instead of sorting.
fn drop_beyond_top_p(logits: &mut [f32], p: f64, scratch: &mut Scratch) {
    let Scratch { kept, weights, ranked, .. } = scratch;
    ranked.clear();
    ranked.extend(kept.iter().enumerate().map(|(slot, &token)| rank(logits[token as usize], slot)));
    let total = sum(weights) as f32;

    // All before `low` are dropped, with `dropped` of the probability; all from `high` on stay.
    let (mut low, mut high, mut dropped) = (0, ranked.len() - 1, 0.0);
    while low < high {
        let middle = low + (high - low) / 2;
        let range = &mut ranked[low..=high];
        range.select_nth_unstable(middle - low);
        let mass: f64 = ranked[low..=middle].iter().map(|&r| f64::from(weights[index_of(r)] / total)).sum();
        if dropped + mass <= 1.0 - p {
            dropped += mass;
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    for slot in ranked[..low].iter().map(|&r| index_of(r)) {
        logits[kept[slot] as usize] = f32::NEG_INFINITY;
        weights[slot] = 0.0;
    }
}

/// Drops the tokens whose probability is below `fraction` of the largest.
fn drop_below_min_p(logits: &mut [f32], fraction: f64, Scratch { kept, weights, .. }: &mut Scratch) {
    for (&token, weight) in kept.iter().zip(weights) {
        if f64::from(*weight) < fraction {
            logits[token as usize] = f32::NEG_INFINITY;
            *weight = 0.0;
        }
    }
}

pub(super) fn sum(weights: &[f32]) -> f64 {
    weights.iter().map(|&weight| f64::from(weight)).sum()
}
