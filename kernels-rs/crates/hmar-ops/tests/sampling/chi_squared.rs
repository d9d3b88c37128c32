/// χ² of `counts` against `probabilities`, and the bound it stays below in all but one in a million honest runs.
///
/// Cells expected fewer than 8 times are pooled, as χ² asks for. The bound is Wilson and Hilferty's: with d degrees
/// of freedom (χ²/d)^⅓ is nearly normal with mean 1 − 2/(9d) and variance 2/(9d); 4.7534 standard deviations leave
/// 10⁻⁶ above. Seeds are fixed, so a test that passes once passes always.
pub struct Verdict {
    pub statistic: f64,
    pub bound: f64,
}

impl Verdict {
    pub fn of(counts: &[u64], probabilities: &[f64]) -> Verdict {
        let draws = counts.iter().sum::<u64>() as f64;
        let mut cells = Vec::new();
        let mut pool = (0.0, 0.0);
        for (&count, &probability) in counts.iter().zip(probabilities) {
            assert!(probability > 0.0 || count == 0, "an impossible outcome was drawn {count} times");
            let expected = probability * draws;
            if expected < 8.0 {
                pool = (pool.0 + count as f64, pool.1 + expected);
            } else {
                cells.push((count as f64, expected));
            }
        }
        if pool.1 >= 8.0 {
            cells.push(pool);
        }
        assert!(cells.len() > 1, "nothing to compare");
        let statistic = cells.iter().map(|(count, expected)| (count - expected).powi(2) / expected).sum();
        let freedom = (cells.len() - 1) as f64;
        let ninth = 2.0 / (9.0 * freedom);
        Verdict { statistic, bound: freedom * (1.0 - ninth + 4.7534 * ninth.sqrt()).powi(3) }
    }

    pub fn accepts(&self) -> bool {
        self.statistic < self.bound
    }
}

#[test]
fn one_honest_run_in_a_million_exceeds_the_bound() {
    for freedom in [10usize, 50, 100] {
        let cells = freedom + 1;
        let verdict = Verdict::of(&vec![100; cells], &vec![1.0 / cells as f64; cells]);
        assert!(verdict.statistic < 1e-9);
        // For an even number of degrees, P(χ² > b) = e^(−b/2) Σ_{i < d/2} (b/2)ⁱ/i!.
        let half = verdict.bound / 2.0;
        let mut term = (-half).exp();
        let mut above = 0.0;
        for i in 0..freedom / 2 {
            above += term;
            term *= half / (i + 1) as f64;
        }
        assert!((0.6e-6..1.1e-6).contains(&above), "{above:e} for {freedom} degrees");
    }
}
