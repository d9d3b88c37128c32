//! Sampling one token (4.1), choosing which tokens a masked pass revises (4), and soft decoding (4.2).
//!
//! Everything here works on one row of `V` logits, allocates nothing once its [`Scratch`] has grown to `V`, and
//! gives the same bits whichever thread runs it. Logits and probabilities are float32, cumulative sums float64.

mod draw;
mod filter;
mod select;
mod soften;

pub use draw::{Draw, sample};
pub use select::{keep_least_confident, open_least_confident};
pub use soften::soften;

/// How a token is drawn from guided logits. A filter at 0 is off.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenSampling {
    /// Divides the logits; above 0, 1 leaves them.
    pub temperature: f32,
    /// Keeps the k largest logits, and those that tie with the k-th.
    pub top_k: u32,
    /// Drops the least probable tokens that together have at most 1 − p. In [0, 1].
    pub top_p: f64,
    /// Drops tokens less probable than this fraction of the most probable one. In [0, 1].
    pub min_p: f64,
}

impl Default for TokenSampling {
    /// Temperature 1, no filter.
    fn default() -> Self {
        TokenSampling { temperature: 1.0, top_k: 0, top_p: 0.0, min_p: 0.0 }
    }
}

/// Working memory of one thread, reused from row to row.
#[derive(Debug, Default)]
pub struct Scratch {
    /// The kept tokens, in vocabulary order.
    kept: Vec<u32>,
    /// Beside each: its probability relative to the largest.
    weights: Vec<f32>,
    /// Logits as integers of the same order.
    keys: Vec<u32>,
    /// Such an integer above, an index below.
    ranked: Vec<u64>,
}

impl Scratch {
    /// Memory for rows of up to `vocabulary` logits; longer rows make it grow.
    pub fn new(vocabulary: usize) -> Self {
        Scratch {
            kept: Vec::with_capacity(vocabulary),
            weights: Vec::with_capacity(vocabulary),
            keys: Vec::with_capacity(vocabulary),
            ranked: Vec::with_capacity(vocabulary),
        }
    }
}

/// Classifier-free guidance: `conditional = (1+t)·conditional − t·unconditional`.
pub fn guide(conditional: &mut [f32], unconditional: &[f32], t: f64) {
    let (toward, away) = ((1.0 + t) as f32, t as f32);
    for (logit, &other) in conditional.iter_mut().zip(unconditional) {
        *logit = toward * *logit - away * other;
    }
}

/// An integer that orders as the number does; zeros of either sign are equal.
#[inline(always)]
fn ordered(number: f32) -> u32 {
    let bits = (number + 0.0).to_bits();
    let negative = (bits as i32 >> 31) as u32;
    bits ^ (negative | 0x8000_0000)
}

/// Orders by `number`, then by `index`, which [`index_of`] gives back.
#[inline(always)]
fn rank(number: f32, index: usize) -> u64 {
    u64::from(ordered(number)) << 32 | index as u64
}

#[inline(always)]
fn index_of(rank: u64) -> usize {
    rank as u32 as usize
}
