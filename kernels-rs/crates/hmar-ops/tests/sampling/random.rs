//! Test data from Philox, and Philox's own statistics.

use hmar_ops::philox::{Purpose, Stream};

use crate::chi_squared::Verdict;

pub fn stream(seed: u64) -> Stream {
    Stream { seed, image: 0, pass: 0, purpose: Purpose::TokenDraw }
}

/// Normal logits (Box–Muller). With `step` above 0, rounded to its multiples so that many are equal.
pub fn logits(seed: u64, vocabulary: usize, deviation: f64, step: f64) -> Vec<f32> {
    let stream = stream(seed);
    (0..vocabulary as u32)
        .map(|token| {
            let radius = (-2.0 * (1.0 - stream.uniform(2 * token)).ln()).sqrt();
            let angle = std::f64::consts::TAU * stream.uniform(2 * token + 1);
            let logit = deviation * radius * angle.cos();
            (if step > 0.0 { (logit / step).round() * step } else { logit }) as f32
        })
        .collect()
}

/// Counts pairs of neighbouring numbers in 16 × 16 cells.
fn assert_uniform(what: &str, number: impl Fn(u32) -> f64) {
    let mut counts = vec![0; 256];
    for i in 0..100_000 {
        let [row, column] = [number(2 * i), number(2 * i + 1)].map(|u| {
            assert!((0.0..1.0).contains(&u));
            (u * 16.0) as usize
        });
        counts[16 * row + column] += 1;
    }
    let verdict = Verdict::of(&counts, &[1.0 / 256.0; 256]);
    assert!(verdict.accepts(), "{what}: χ² {} exceeds {}", verdict.statistic, verdict.bound);
}

#[test]
fn numbers_are_uniform_along_every_word_of_the_counter_and_key() {
    let start = Stream { seed: 13, image: 3, pass: 2, purpose: Purpose::TokenDraw };
    assert_uniform("positions", |i| start.uniform(i));
    assert_uniform("passes", |i| Stream { pass: i, ..start }.uniform(0));
    assert_uniform("images", |i| Stream { image: i, ..start }.uniform(0));
    assert_uniform("seeds", |i| Stream { seed: u64::from(i), ..start }.uniform(0));
    assert_uniform("seeds' upper half", |i| Stream { seed: u64::from(i) << 32, ..start }.uniform(0));
    let purposes = [Purpose::TokenDraw, Purpose::PositionNoise];
    assert_uniform("purposes", |i| Stream { purpose: purposes[i as usize % 2], ..start }.uniform(i / 2));
}

#[test]
fn gumbel_numbers_have_gumbels_distribution() {
    // The distribution function of a standard Gumbel number, applied to it, is uniform.
    let noise = Stream { seed: 1, image: 0, pass: 0, purpose: Purpose::PositionNoise };
    assert_uniform("Gumbel", |i| (-(-noise.gumbel(i)).exp()).exp());
}
