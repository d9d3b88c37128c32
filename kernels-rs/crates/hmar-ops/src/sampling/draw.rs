use super::filter::{filter, sum};
use super::{Scratch, TokenSampling};

/// A drawn token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Draw {
    /// The token.
    pub token: u32,
    /// Its probability under the filtered, renormalised distribution it was drawn from.
    pub confidence: f32,
}

/// Draws a token from one position's guided `logits [V]` by the uniform number `u` in [0, 1), as 4.1 says.
///
/// Leaves the logits divided by the temperature and, where they were dropped, −∞: what [`super::soften`] takes.
///
/// # Panics
/// If `logits` is empty.
pub fn sample(logits: &mut [f32], sampling: &TokenSampling, u: f64, scratch: &mut Scratch) -> Draw {
    filter(logits, sampling, scratch);
    let total = sum(&scratch.weights);
    let goal = u * total;
    // Dropped tokens weigh nothing, so the sum never passes the goal at one.
    let mut cumulative = 0.0;
    let slot = scratch.weights.iter().position(|&weight| {
        cumulative += f64::from(weight);
        cumulative > goal
    });
    let slot = slot.unwrap_or(scratch.kept.len() - 1);
    Draw { token: scratch.kept[slot], confidence: (f64::from(scratch.weights[slot]) / total) as f32 }
}
