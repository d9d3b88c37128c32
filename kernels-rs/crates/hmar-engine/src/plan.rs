//! The plan: what a generation does, pass by pass.

use hmar_checkpoint::{Layout, ModelConfig};
use hmar_error::{Code, Error, Result};
use hmar_ops::sampling::TokenSampling;

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
    /// Tokens of the scale that this pass fixes.
    pub commits: usize,
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

    /// Tokens of the scale of pass `index` that are still open before it.
    pub fn open_before(&self, index: usize, positions: usize) -> usize {
        let scale = self.passes[index].scale;
        let earlier = self.passes[..index].iter().filter(|pass| pass.scale == scale);
        positions - earlier.map(|pass| pass.commits).sum::<usize>()
    }

    /// Refuses plans that do not fit the model.
    ///
    /// # Errors
    /// `PLAN_INVALID` naming the scale.
    pub fn check(&self, config: &ModelConfig) -> Result<()> {
        let mut passes = self.passes.iter().peekable();
        for (scale, side) in config.pyramid.iter().enumerate() {
            let positions = side * side;
            let mut committed = 0usize;
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
                committed = committed.saturating_add(pass.commits);
                count += 1;
            }
            if committed != positions {
                return Err(invalid(
                    scale,
                    &format!("commits {committed} tokens but has {positions}"),
                    &positions.to_string(),
                ));
            }
        }
        match passes.next() {
            None => Ok(()),
            Some(pass) => Err(invalid(pass.scale, "is out of order or not in the model", "each scale once")),
        }
    }
}

fn invalid(scale: usize, what: &str, expected: &str) -> Error {
    let error = Error::new(Code::PlanInvalid, format!("Scale {} of the plan {what}.", scale + 1));
    if expected.is_empty() { error } else { error.expected(expected) }
}
