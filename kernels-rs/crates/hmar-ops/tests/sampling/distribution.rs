use hmar_ops::sampling::{Scratch, TokenSampling, sample};

use crate::chi_squared::Verdict;
use crate::random::{logits, stream};
use crate::twin::exact;

const DRAWS: u32 = 50_000;

fn settings() -> Vec<TokenSampling> {
    let mut settings = Vec::new();
    for (top_k, top_p, min_p) in [
        (0, 0.0, 0.0),
        (5, 0.0, 0.0),
        (20, 0.0, 0.0),
        (0, 0.6, 0.0),
        (0, 0.95, 0.0),
        (0, 0.0, 0.2),
        (20, 0.9, 0.05),
    ] {
        for temperature in [0.5, 1.0, 1.7] {
            settings.push(TokenSampling { temperature, top_k, top_p, min_p });
        }
    }
    settings
}

/// How often each token is drawn from `logits`.
fn counts(logits: &[f32], sampling: &TokenSampling, seed: u64) -> Vec<u64> {
    let mut scratch = Scratch::new(logits.len());
    let mut counts = vec![0; logits.len()];
    for position in 0..DRAWS {
        let u = stream(seed).uniform(position);
        counts[sample(&mut logits.to_vec(), sampling, u, &mut scratch).token as usize] += 1;
    }
    counts
}

fn assert_distribution(logits: &[f32]) {
    for (case, sampling) in settings().into_iter().enumerate() {
        let verdict =
            Verdict::of(&counts(logits, &sampling, case as u64), &exact(logits, &sampling).probabilities);
        assert!(verdict.accepts(), "{sampling:?}: χ² {} exceeds {}", verdict.statistic, verdict.bound);
    }
}

#[test]
fn tokens_follow_the_exact_distribution() {
    assert_distribution(&logits(1, 60, 1.2, 0.0));
}

#[test]
fn tokens_follow_the_exact_distribution_where_logits_tie() {
    let logits = logits(2, 60, 1.2, 0.5);
    let tied = exact(&logits, &TokenSampling { top_k: 5, ..Default::default() }).kept.len();
    assert!(tied > 5, "the row must tie at the k-th logit, or nothing is shown");
    assert_distribution(&logits);
    assert_distribution(&[0.25; 12]);
}

#[test]
fn the_test_rejects_distributions_that_are_nearly_right() {
    let logits = logits(2, 60, 1.2, 0.5);
    let sampling = TokenSampling { top_k: 20, top_p: 0.9, ..Default::default() };
    let counts = counts(&logits, &sampling, 0);
    assert!(Verdict::of(&counts, &exact(&logits, &sampling).probabilities).accepts());
    // A temperature 10% off, and 3% of the probability moved from one token to another.
    let warmer = exact(&logits, &TokenSampling { temperature: 1.1, ..sampling });
    assert!(!Verdict::of(&counts, &warmer.probabilities).accepts());
    let mut moved = exact(&logits, &sampling);
    let [from, to] = [moved.kept[0], moved.kept[1]];
    let amount = (0.03f64).min(moved.probabilities[from] / 2.0);
    moved.probabilities[from] -= amount;
    moved.probabilities[to] += amount;
    assert!(!Verdict::of(&counts, &moved.probabilities).accepts());
}
