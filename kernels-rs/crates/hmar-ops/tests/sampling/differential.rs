use hmar_ops::sampling::{Draw, Scratch, TokenSampling, sample};

use crate::random::{logits, stream};
use crate::twin::exact;

/// Rows of several sizes, widths and numbers of ties, with every combination of filters.
fn cases() -> Vec<(Vec<f32>, TokenSampling)> {
    let mut cases = Vec::new();
    for (row, vocabulary) in [1, 2, 3, 17, 100, 1024, 4096].into_iter().cycle().take(21).enumerate() {
        let deviation = [0.3, 1.0, 8.0][row % 3];
        let step = [0.0, 0.25, 1.0][row / 7];
        let mut logits = logits(row as u64, vocabulary, deviation, step);
        if row % 2 == 1 {
            logits.iter_mut().skip(1).step_by(3).for_each(|logit| *logit = f32::NEG_INFINITY);
        }
        for top_k in [0, 1, 2, 40, 300, 5000] {
            for top_p in [0.0, 0.1, 0.95, 0.99, 1.0] {
                for min_p in [0.0, 0.05] {
                    for temperature in [0.7, 1.0] {
                        cases.push((logits.clone(), TokenSampling { temperature, top_k, top_p, min_p }));
                    }
                }
            }
        }
    }
    cases
}

#[test]
fn agrees_with_the_naive_twin_in_float64() {
    let mut scratch = Scratch::default();
    let (mut compared, mut undecided) = (0, 0);
    for (case, (logits, sampling)) in cases().into_iter().enumerate() {
        let exact = exact(&logits, &sampling);
        for position in 0..8 {
            let u = stream(case as u64).uniform(position);
            let mut row = logits.clone();
            let draw = sample(&mut row, &sampling, u, &mut scratch);
            let (token, margin) = exact.draw(u);
            // float32 probabilities are good to 1e-6 at best: nearer decisions may fall either way.
            if margin.min(exact.margin) < 1e-6 {
                undecided += 1;
                continue;
            }
            compared += 1;
            assert_eq!(draw.token as usize, token, "case {case}: {sampling:?}, V {}, u {u}", logits.len());
            let error = f64::from(draw.confidence) - exact.probabilities[token];
            assert!(error.abs() < 1e-6, "case {case}: {sampling:?}: confidence off by {error:e}");
            for (kept, probability) in row.iter().zip(&exact.probabilities) {
                assert!(*kept > f32::NEG_INFINITY || *probability == 0.0, "case {case}: dropped too much");
            }
        }
    }
    assert!(compared > 9 * undecided, "only {compared} draws of {} had a margin", compared + undecided);
}

#[test]
fn a_row_gives_the_same_bits_on_any_thread_in_any_order() {
    let cases: Vec<_> = cases().into_iter().step_by(7).collect();
    let draw = |case: usize, scratch: &mut Scratch| -> (Draw, Vec<f32>) {
        let (logits, sampling) = &cases[case];
        let mut row = logits.clone();
        (sample(&mut row, sampling, stream(0).uniform(case as u32), scratch), row)
    };
    let fresh: Vec<_> = (0..cases.len()).map(|case| draw(case, &mut Scratch::default())).collect();
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let (draw, fresh) = (&draw, &fresh);
            scope.spawn(move || {
                let mut scratch = Scratch::new(16);
                for case in (thread..fresh.len()).step_by(3).rev() {
                    assert_eq!(draw(case, &mut scratch), fresh[case]);
                }
            });
        }
    });
}
