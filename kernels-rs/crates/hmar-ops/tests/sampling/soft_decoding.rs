use hmar_ops::philox::{Purpose, Stream};
use hmar_ops::sampling::{Scratch, TokenSampling, sample, soften};

use crate::chi_squared::Verdict;
use crate::random::logits;
use crate::twin::{exact, softmax};

fn soft_stream(seed: u64) -> Stream {
    Stream { seed, image: 4, pass: 9, purpose: Purpose::SoftDecoding }
}

/// A row as the sampler leaves it.
fn filtered(mut row: Vec<f32>) -> Vec<f32> {
    let sampling = TokenSampling { top_k: 30, top_p: 0.95, ..Default::default() };
    sample(&mut row, &sampling, 0.5, &mut Scratch::default());
    row
}

#[test]
fn weights_are_the_softmax_of_the_noisy_kept_logits() {
    for (case, ramp) in [0.0, 1.0 / 9.0, 0.5, 8.0 / 9.0, 1.0].into_iter().enumerate() {
        let row = filtered(logits(case as u64, 100, 1.5, 0.0));
        let (stream, position) = (soft_stream(case as u64), 17);
        let mut weights = vec![f32::NAN; row.len()];
        soften(&row, ramp, stream, position, &mut weights);

        let temperature = f64::max(0.27 * (1.0 - 0.95 * ramp), 0.005);
        let noisy: Vec<f64> = (0..100u32)
            .map(|v| {
                (f64::from(row[v as usize]) * (1.0 + ramp) + stream.gumbel(position * 100 + v)) / temperature
            })
            .collect();
        let kept: Vec<usize> = (0..100).filter(|&v| row[v] > f32::NEG_INFINITY).collect();
        assert!((2..=30).contains(&kept.len()));
        for (weight, exact) in weights.iter().zip(softmax(&noisy, &kept)) {
            // The float32 exponent is up to a few hundred: 24 bits of it leave 1e-5 of the weight.
            assert!((f64::from(*weight) - exact).abs() < 2e-5, "ramp {ramp}: {weight} for {exact}");
        }
        assert!((weights.iter().sum::<f32>() - 1.0).abs() < 1e-5);
    }
}

#[test]
fn the_heaviest_code_is_distributed_as_a_draw_is() {
    // Gumbel's trick: the largest of l + noise is v with the probability softmax(l) gives v.
    let row = filtered(logits(3, 40, 1.0, 0.0));
    let mut counts = vec![0; row.len()];
    let mut weights = vec![0.0; row.len()];
    for position in 0..20_000 {
        soften(&row, 0.0, soft_stream(1), position, &mut weights);
        let heaviest = (0..row.len()).max_by(|&a, &b| weights[a].total_cmp(&weights[b])).unwrap();
        counts[heaviest] += 1;
    }
    let verdict = Verdict::of(&counts, &exact(&row, &TokenSampling::default()).probabilities);
    assert!(verdict.accepts(), "χ² {} exceeds {}", verdict.statistic, verdict.bound);
}
