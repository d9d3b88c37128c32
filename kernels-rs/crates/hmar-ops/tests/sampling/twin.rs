//! The specification's rules written as plainly as possible: full sorts, float64 from the division by the
//! temperature on.

use hmar_ops::sampling::TokenSampling;

/// The distribution a token is drawn from.
pub struct Exact {
    /// Of every token; 0 where it was dropped.
    pub probabilities: Vec<f64>,
    /// The kept tokens, in vocabulary order.
    pub kept: Vec<usize>,
    /// How near a filter came to deciding otherwise, in probability.
    pub margin: f64,
}

pub fn exact(logits: &[f32], sampling: &TokenSampling) -> Exact {
    let logits: Vec<f64> = logits.iter().map(|logit| f64::from(logit / sampling.temperature)).collect();
    let mut kept: Vec<usize> = (0..logits.len()).collect();
    let mut margin = f64::INFINITY;

    if sampling.top_k > 0 && (sampling.top_k as usize) < logits.len() {
        let mut descending = logits.clone();
        descending.sort_by(|a, b| b.total_cmp(a));
        let threshold = descending[sampling.top_k as usize - 1];
        kept.retain(|&token| logits[token] >= threshold);
    }
    if sampling.top_p > 0.0 {
        let probabilities = softmax(&logits, &kept);
        let mut ascending = kept.clone();
        // A stable sort: equal logits stay in vocabulary order.
        ascending.sort_by(|&a, &b| logits[a].partial_cmp(&logits[b]).unwrap());
        let mut cumulative = 0.0;
        ascending.pop();
        for token in ascending {
            cumulative += probabilities[token];
            margin = margin.min((cumulative - (1.0 - sampling.top_p)).abs());
            if cumulative <= 1.0 - sampling.top_p {
                kept.retain(|&other| other != token);
            }
        }
    }
    if sampling.min_p > 0.0 {
        let probabilities = softmax(&logits, &kept);
        let bound = sampling.min_p * probabilities.iter().copied().fold(0.0, f64::max);
        for &token in &kept {
            margin = margin.min((probabilities[token] - bound).abs());
        }
        kept.retain(|&token| probabilities[token] >= bound);
    }
    Exact { probabilities: softmax(&logits, &kept), kept, margin }
}

impl Exact {
    /// The token of `u`, and how near `u` is to another's.
    pub fn draw(&self, u: f64) -> (usize, f64) {
        let total: f64 = self.probabilities.iter().sum();
        let mut cumulative = 0.0;
        let mut drawn = None;
        let mut margin = f64::INFINITY;
        for &token in &self.kept {
            cumulative += self.probabilities[token];
            if cumulative / total > u && drawn.is_none() {
                drawn = Some(token);
            }
            // The end of the last interval separates nothing.
            if cumulative / total < 1.0 - 1e-12 {
                margin = margin.min((cumulative / total - u).abs());
            }
        }
        (drawn.unwrap_or(*self.kept.last().unwrap()), margin)
    }
}

/// Softmax over `kept`, 0 elsewhere.
pub fn softmax(logits: &[f64], kept: &[usize]) -> Vec<f64> {
    let largest = kept.iter().map(|&token| logits[token]).fold(f64::NEG_INFINITY, f64::max);
    let mut probabilities = vec![0.0; logits.len()];
    for &token in kept {
        probabilities[token] = (logits[token] - largest).exp();
    }
    let total: f64 = probabilities.iter().sum();
    probabilities.iter_mut().for_each(|probability| *probability /= total);
    probabilities
}
