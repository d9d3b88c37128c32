//! Cases small enough to work out by hand.

use hmar_ops::sampling::{Scratch, TokenSampling, guide, sample};

const ALMOST_ONE: f64 = 1.0 - 1.0 / (1 << 24) as f64;

/// Samples and gives the kept tokens beside the draw.
fn draw(logits: &[f32], sampling: TokenSampling, u: f64) -> (Vec<usize>, u32, f32) {
    let mut row = logits.to_vec();
    let draw = sample(&mut row, &sampling, u, &mut Scratch::new(logits.len()));
    let kept = (0..row.len()).filter(|&token| row[token] > f32::NEG_INFINITY).collect();
    (kept, draw.token, draw.confidence)
}

fn kept(logits: &[f32], sampling: TokenSampling) -> Vec<usize> {
    draw(logits, sampling, 0.0).0
}

fn top_k(top_k: u32) -> TokenSampling {
    TokenSampling { top_k, ..Default::default() }
}

fn top_p(top_p: f64) -> TokenSampling {
    TokenSampling { top_p, ..Default::default() }
}

fn min_p(min_p: f64) -> TokenSampling {
    TokenSampling { min_p, ..Default::default() }
}

#[test]
fn ties_with_the_kth_logit_stay() {
    let logits = [1.0, 3.0, -0.0, 3.0, 0.0, 3.0, -1.0];
    assert_eq!(kept(&logits, top_k(1)), [1, 3, 5]);
    assert_eq!(kept(&logits, top_k(3)), [1, 3, 5]);
    assert_eq!(kept(&logits, top_k(4)), [0, 1, 3, 5]);
    assert_eq!(kept(&logits, top_k(5)), [0, 1, 2, 3, 4, 5], "zeros of both signs tie");
    assert_eq!(kept(&logits, top_k(7)).len(), 7);
    assert_eq!(kept(&logits, top_k(u32::MAX)).len(), 7);
    assert_eq!(kept(&logits, top_k(0)).len(), 7);
}

#[test]
fn top_p_drops_the_least_probable_up_to_one_minus_p() {
    let equal = [2.0; 4];
    assert_eq!(kept(&equal, top_p(0.5)), [2, 3], "a cumulative probability of exactly 1 − p is dropped");
    assert_eq!(kept(&equal, top_p(0.51)), [1, 2, 3]);
    assert_eq!(kept(&equal, top_p(1e-9)), [3], "the last always stays, and equal ones go by index");
    let logits = [0.4, 0.1, 0.2, 0.3].map(f32::ln);
    assert_eq!(kept(&logits, top_p(0.95)), [0, 1, 2, 3]);
    assert_eq!(kept(&logits, top_p(0.85)), [0, 2, 3]);
    assert_eq!(kept(&logits, top_p(0.65)), [0, 3]);
    assert_eq!(kept(&logits, top_p(0.35)), [0]);
    assert_eq!(kept(&logits, top_p(0.0)).len(), 4);
    assert_eq!(kept(&logits, top_p(1.0)).len(), 4);
}

#[test]
fn min_p_drops_below_a_fraction_of_the_largest() {
    let logits = [0.5, 1.0, 0.24, 0.26, 1.0].map(f32::ln);
    assert_eq!(kept(&logits, min_p(0.25)), [0, 1, 3, 4]);
    assert_eq!(kept(&logits, min_p(1.0)), [1, 4]);
}

#[test]
fn filters_work_on_what_the_ones_before_left() {
    let logits = [0.4, 0.3, 0.2, 0.1].map(f32::ln);
    // Top-k 2 leaves 4/7 and 3/7: a top-p of 0.6 must keep both, though alone it would drop 0.1 + 0.2 only.
    assert_eq!(kept(&logits, TokenSampling { top_k: 2, ..top_p(0.6) }), [0, 1]);
    assert_eq!(kept(&logits, TokenSampling { top_k: 2, ..top_p(0.55) }), [0]);
    // Doubling the temperature takes square roots: √0.5 of the largest remain.
    let halves = [1.0, 0.5].map(f32::ln);
    assert_eq!(kept(&halves, min_p(0.6)), [0]);
    assert_eq!(kept(&halves, TokenSampling { temperature: 2.0, ..min_p(0.6) }), [0, 1]);
}

#[test]
fn draws_by_inverse_distribution_in_vocabulary_order() {
    let logits = [0.25, 0.5, f32::NEG_INFINITY, 0.25].map(|p: f32| if p > 0.0 { p.ln() } else { p });
    for (u, token, confidence) in [
        (0.0, 0, 0.25),
        (0.249, 0, 0.25),
        (0.251, 1, 0.5),
        (0.749, 1, 0.5),
        (0.751, 3, 0.25),
        (ALMOST_ONE, 3, 0.25),
    ] {
        let (_, drawn, probability) = draw(&logits, TokenSampling::default(), u);
        assert_eq!(drawn, token, "u = {u}");
        assert!((probability - confidence).abs() < 1e-7);
    }
    // c_v must exceed u: at exactly half, the second of two equals.
    assert_eq!(draw(&[7.0; 2], TokenSampling::default(), 0.5).1, 1);
    // Confidence counts what was kept only.
    assert_eq!(draw(&[7.0; 4], top_p(0.5), 0.3), (vec![2, 3], 2, 0.5));
}

#[test]
fn one_token_is_certain_and_impossible_ones_are_never_drawn() {
    for u in [0.0, 0.5, ALMOST_ONE] {
        assert_eq!(
            draw(&[-4.0], TokenSampling { top_k: 1, top_p: 0.3, min_p: 0.1, temperature: 0.1 }, u).1,
            0
        );
        let logits = [f32::NEG_INFINITY, f32::NEG_INFINITY, 1.0, f32::NEG_INFINITY];
        for sampling in [top_k(0), top_k(2), top_p(0.9), min_p(0.1)] {
            let (_, token, confidence) = draw(&logits, sampling, u);
            assert_eq!((token, confidence), (2, 1.0));
        }
    }
}

#[test]
fn guidance_moves_away_from_the_unconditional_logits() {
    let mut logits = [1.0, -2.0, 0.5];
    guide(&mut logits, &[0.5, -1.0, 1.0], 1.5);
    assert_eq!(logits, [1.75, -3.5, -0.25]);
    guide(&mut logits, &[f32::MAX; 3], 0.0);
    assert_eq!(logits, [1.75, -3.5, -0.25]);
}
