//! The plan: what a generation does, pass by pass.

use hmar_checkpoint::{Layout, ModelConfig};
use hmar_error::{Code, Error, Result};
use hmar_ops::sampling::TokenSampling;

use crate::positions::PositionOrder;

/// Which path through the transformer a pass takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PassKind {
    /// Predicts a whole scale from the one before it.
    NextScale,
    /// Re-predicts the least confident tokens of a scale.
    Masked,
}

/// One pass.
#[derive(Clone, Debug, PartialEq)]
pub struct Pass {
    /// Which path.
    pub kind: PassKind,
    /// The scale, counted from 0.
    pub scale: usize,
    /// Tokens of the scale that are open before this pass and fixed by it.
    pub commits: usize,
    /// Tokens of the scale that earlier passes fixed and that are open again before this pass, the least confident
    /// first; those that editing keeps never are.
    pub revises: usize,
    /// Which tokens it fixes, where it leaves others open.
    pub positions: PositionOrder,
    /// t of `(1+t)·cond − t·uncond`.
    pub guidance: f64,
    /// Temperature, top-k, top-p and min-p.
    pub sampling: TokenSampling,
    /// Soft decoding (4.2) of the scale.
    pub smooth: bool,
}

/// All passes of a generation, in order. A pass's index is its word in Philox's counter.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The passes.
    pub passes: Vec<Pass>,
}

impl Plan {
    /// Whether pass `index` is the last of its scale.
    pub fn ends_scale(&self, index: usize) -> bool {
        self.passes.get(index + 1).is_none_or(|next| next.scale != self.passes[index].scale)
    }

    /// Whether pass `index` is the first masked one of its scale.
    pub fn opens(&self, index: usize) -> bool {
        self.passes[index].kind == PassKind::Masked && self.passes[index - 1].kind == PassKind::NextScale
    }

    /// Tokens of the scale of pass `index` that earlier passes leave open: without those it revises itself.
    pub fn open_before(&self, index: usize, positions: usize) -> usize {
        let scale = self.passes[index].scale;
        let earlier = self.passes[..index].iter().filter(|pass| pass.scale == scale);
        earlier.fold(positions, |open, pass| open + pass.revises - pass.commits)
    }

    /// Refuses plans that do not fit the model.
    ///
    /// # Errors
    /// `PLAN_INVALID` naming the scale.
    pub fn check(&self, config: &ModelConfig) -> Result<()> {
        let mut passes = self.passes.iter().peekable();
        for (scale, side) in config.pyramid.iter().enumerate() {
            let positions = side * side;
            let mut open = positions;
            let mut count = 0;
            while let Some(pass) = passes.next_if(|pass| pass.scale == scale) {
                let kind = if count == 0 { PassKind::NextScale } else { PassKind::Masked };
                if pass.kind != kind {
                    return Err(invalid(scale, "must be one next-scale pass, then masked ones", ""));
                }
                if pass.kind == PassKind::Masked && config.layout != Layout::Combined {
                    return Err(invalid(scale, "has masked passes", "a model with a masked branch"));
                }
                if pass.smooth && (count > 0 || passes.peek().is_some_and(|next| next.scale == scale)) {
                    return Err(invalid(scale, "is decoded softly", "a scale without masked passes"));
                }
                let finite = pass.guidance.is_finite() && pass.sampling.temperature > 0.0;
                if !finite || pass.commits == 0 {
                    return Err(invalid(scale, "has a pass with impossible settings", "finite guidance"));
                }
                if let Some(fault) = pass.positions.fault(positions) {
                    return Err(invalid(scale, fault, ""));
                }
                let committed = positions - open;
                if pass.revises > committed || (count == 0 && pass.revises > 0) {
                    let found = format!("revises {} tokens when it has committed {committed}", pass.revises);
                    return Err(invalid(scale, &found, &format!("at most {committed}")));
                }
                open += pass.revises;
                if pass.commits > open {
                    let found = format!("commits {} tokens when {open} are open", pass.commits);
                    return Err(invalid(scale, &found, &format!("at most {open}")));
                }
                open -= pass.commits;
                count += 1;
            }
            if open > 0 {
                let found = format!("commits {} tokens but has {positions}", positions - open);
                return Err(invalid(scale, &found, &positions.to_string()));
            }
        }
        match passes.next() {
            None => Ok(()),
            Some(pass) => Err(invalid(pass.scale, "is out of order or not in the model", "each scale once")),
        }
    }
}

fn invalid(scale: usize, what: &str, expected: &str) -> Error {
    let error =
        Error::new(Code::PlanInvalid, format!("Scale {} of the plan {what}.", scale.saturating_add(1)));
    if expected.is_empty() { error } else { error.expected(expected) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plain passes but for the scale of side 3, whose passes revise and commit so many.
    fn plan(refined: &[(usize, usize)]) -> Plan {
        let sides = hmar_checkpoint::PYRAMID_256;
        let plain = |scale: usize| vec![(0, sides[scale] * sides[scale])];
        let passes = (0..sides.len()).flat_map(|scale| {
            let counts = if scale == 2 { refined.to_vec() } else { plain(scale) };
            counts.into_iter().enumerate().map(move |(step, (revises, commits))| Pass {
                kind: if step == 0 { PassKind::NextScale } else { PassKind::Masked },
                scale,
                commits,
                revises,
                positions: PositionOrder::default(),
                guidance: 0.0,
                sampling: TokenSampling::default(),
                smooth: false,
            })
        });
        Plan { passes: passes.collect() }
    }

    fn fault(plan: &Plan) -> String {
        let config = ModelConfig::released(16, Layout::Combined);
        plan.check(&config).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn revised_tokens_are_committed_again() {
        let plan = plan(&[(0, 4), (2, 3), (0, 4), (5, 5)]);
        assert_eq!(fault(&plan), "");
        let open: Vec<usize> = (2..6).map(|index| plan.open_before(index, 9)).collect();
        assert_eq!(open, [9, 5, 4, 0]);
    }

    #[test]
    fn counts_that_do_not_add_up_are_refused() {
        assert!(fault(&plan(&[(0, 4), (0, 4)])).contains("commits 8 tokens but has 9"));
        assert!(fault(&plan(&[(0, 4), (0, 6)])).contains("commits 6 tokens when 5 are open"));
        assert!(fault(&plan(&[(0, usize::MAX)])).contains("tokens when 9 are open"));
        assert!(fault(&plan(&[(0, 4), (1, 5)])).contains("commits 8 tokens but has 9"));
        assert!(fault(&plan(&[(0, 4), (5, 10)])).contains("revises 5 tokens when it has committed 4"));
        assert!(fault(&plan(&[(1, 10)])).contains("revises 1 tokens when it has committed 0"));
    }

    #[test]
    fn scales_that_there_are_not_are_refused() {
        for scale in [10, usize::MAX] {
            let mut plan = plan(&[(0, 9)]);
            plan.passes.push(Pass { scale, ..plan.passes[0].clone() });
            assert!(fault(&plan).contains("is out of order or not in the model"));
        }
    }

    #[test]
    fn orders_that_are_none_are_refused() {
        let mut plan = plan(&[(0, 4), (0, 5)]);
        plan.passes[2].positions = PositionOrder::Fixed([0, 1, 2].into());
        assert!(fault(&plan).contains("an order that is not each of its positions once"));
        plan.passes[2].positions = PositionOrder::Fixed([8, 7, 6, 5, 4, 3, 2, 1, 0].into());
        assert_eq!(fault(&plan), "");
    }
}
