//! Which tokens of a scale a pass commits.

use std::sync::Arc;

use hmar_ops::philox::Stream;

/// The order in which a pass commits positions; those at its end stay open for the scale's later passes.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum PositionOrder {
    /// The least confident stay open (4).
    #[default]
    LeastConfident,
    /// By ln(confidence) + temperature·Gumbel, largest first.
    Gumbel {
        /// Not negative; 0 is [`PositionOrder::LeastConfident`], up to rounding.
        temperature: f64,
    },
    /// Any order as likely as any other.
    Random,
    /// Always the same: every position of the scale once, the first to be committed first.
    Fixed(Arc<[u32]>),
}

impl PositionOrder {
    /// What an image's positions are ordered by, less what is known on the device alone (the confidence).
    ///
    /// `noise` is the image's stream of [`hmar_ops::philox::Purpose::PositionNoise`] in the pass that commits.
    pub(crate) fn scores(&self, noise: Stream, scores: &mut [f32]) {
        match self {
            PositionOrder::LeastConfident => scores.fill(0.0),
            PositionOrder::Gumbel { temperature } => {
                for (score, position) in scores.iter_mut().zip(0..) {
                    *score = (temperature * noise.gumbel(position)) as f32;
                }
            }
            PositionOrder::Random => {
                for (score, position) in scores.iter_mut().zip(0..) {
                    *score = noise.uniform(position) as f32;
                }
            }
            PositionOrder::Fixed(order) => {
                for (rank, &position) in order.iter().enumerate() {
                    scores[position as usize] = -(rank as f32);
                }
            }
        }
    }

    /// Why the order is none of a scale of so many positions.
    pub(crate) fn fault(&self, positions: usize) -> Option<&'static str> {
        match self {
            PositionOrder::LeastConfident | PositionOrder::Random => None,
            PositionOrder::Gumbel { temperature } => {
                let usable = temperature.is_finite() && *temperature >= 0.0;
                (!usable).then_some("chooses positions at an impossible temperature")
            }
            PositionOrder::Fixed(order) => {
                let mut seen = vec![false; positions];
                let once = |&position: &u32| {
                    seen.get_mut(position as usize).is_some_and(|seen| !std::mem::replace(seen, true))
                };
                let whole = order.len() == positions && order.iter().all(once);
                (!whole).then_some("has an order that is not each of its positions once")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use hmar_ops::philox::Purpose;

    use super::*;

    #[test]
    fn faults_are_found() {
        let fixed = |order: &[u32]| PositionOrder::Fixed(order.into()).fault(3).is_some();
        assert!(!fixed(&[2, 0, 1]));
        assert!(fixed(&[2, 0]));
        assert!(fixed(&[2, 0, 0]));
        assert!(fixed(&[2, 0, 3]));
        assert!(fixed(&[2, 0, 1, 1]));
        let gumbel = |temperature| PositionOrder::Gumbel { temperature }.fault(3).is_some();
        assert!(!gumbel(0.0));
        assert!(gumbel(-1.0));
        assert!(gumbel(f64::NAN));
        assert!(gumbel(f64::INFINITY));
    }

    #[test]
    fn a_fixed_order_scores_its_first_highest() {
        let noise = Stream { seed: 0, image: 0, pass: 0, purpose: Purpose::PositionNoise };
        let mut scores = [9.0; 4];
        PositionOrder::Fixed([2, 0, 3, 1].into()).scores(noise, &mut scores);
        assert_eq!(scores, [-1.0, -3.0, 0.0, -2.0]);
    }

    #[test]
    fn random_orders_are_gumbels_without_confidence() {
        let noise = Stream { seed: 5, image: 2, pass: 1, purpose: Purpose::PositionNoise };
        let (mut random, mut gumbel) = ([0.0; 64], [0.0; 64]);
        PositionOrder::Random.scores(noise, &mut random);
        PositionOrder::Gumbel { temperature: 2.0 }.scores(noise, &mut gumbel);
        let order = |scores: &[f32]| {
            let mut order: Vec<usize> = (0..scores.len()).collect();
            order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
            order
        };
        assert_eq!(order(&random), order(&gumbel));
        assert!((f64::from(gumbel[7]) - 2.0 * noise.gumbel(7)).abs() < 1e-6);
    }

    /// χ² of how often each position is the first to be committed, against its chance.
    fn chi_squared(order: &PositionOrder, confidence: &[f64], chances: &[f64]) -> f64 {
        const IMAGES: u32 = 20_000;
        let mut counts = vec![0.0; chances.len()];
        for image in 0..IMAGES {
            let noise = Stream { seed: 11, image, pass: 4, purpose: Purpose::PositionNoise };
            let mut scores = vec![0.0; chances.len()];
            order.scores(noise, &mut scores);
            let score = |position: usize| f64::from(scores[position]) + confidence[position].ln();
            let first = (0..chances.len()).max_by(|&a, &b| score(a).total_cmp(&score(b))).unwrap();
            counts[first] += 1.0;
        }
        let total: f64 = chances.iter().sum();
        counts.iter().zip(chances).fold(0.0, |sum, (count, chance)| {
            let expected = chance / total * f64::from(IMAGES);
            sum + (count - expected).powi(2) / expected
        })
    }

    /// Exceeded once in a million times by seven degrees of freedom.
    const BOUND: f64 = 40.5;

    #[test]
    fn random_orders_begin_with_any_position() {
        let statistic = chi_squared(&PositionOrder::Random, &[1.0; 8], &[1.0; 8]);
        assert!(statistic < BOUND, "{statistic}");
    }

    #[test]
    fn gumbels_order_draws_by_confidence_raised_to_one_over_its_temperature() {
        let confidence: Vec<f64> = (1..=8).map(|x| f64::from(x) / 10.0).collect();
        for temperature in [0.5, 1.0, 2.0] {
            let order = PositionOrder::Gumbel { temperature };
            let chances: Vec<f64> = confidence.iter().map(|c| c.powf(1.0 / temperature)).collect();
            let statistic = chi_squared(&order, &confidence, &chances);
            assert!(statistic < BOUND, "temperature {temperature}: {statistic}");
            assert!(chi_squared(&order, &confidence, &[1.0; 8]) > BOUND);
        }
    }
}
