//! What a generation is asked for, what it reports and what it gives.

use std::ops::Range;

use hmar_checkpoint::{ModelConfig, pyramid_tokens};
use hmar_error::{Code, Error, Result};

use crate::Kept;
use crate::plan::Plan;
use crate::tokenizer::check_tokens;

/// What to generate.
pub struct Request {
    /// One class an image; the null class generates without one.
    pub labels: Vec<u32>,
    /// The passes.
    pub plan: Plan,
    /// Philox's key.
    pub seed: u64,
    /// The first image's index within the whole job.
    pub first_image: u32,
    /// Images generated together.
    pub batch: usize,
    /// Skip the unconditional half of masked passes whose guidance is below 1e-4.
    pub skip_negligible_guidance: bool,
    /// Keep the token maps after every pass.
    pub trace: bool,
    /// Tokens that every image keeps (4.3). Scales with such tokens are never decoded softly.
    pub keep: Option<Kept>,
}

/// Something that has been done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A pass over some images.
    Pass {
        /// The first of them, within the request.
        first_image: usize,
        /// How many.
        images: usize,
        /// The pass's index.
        pass: usize,
    },
    /// Images decoded.
    Decode {
        /// The first of them, within the request.
        first_image: usize,
        /// How many.
        images: usize,
    },
}

/// Where the time went, in milliseconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Timings {
    /// AdaLN's modulations.
    pub condition: f64,
    /// Each pass of the plan, over all batches.
    pub passes: Vec<f64>,
    /// The tokenizer's decoder.
    pub decode: f64,
    /// Everything.
    pub total: f64,
}

/// The result of a request.
#[derive(Clone, Debug, Default)]
pub struct Generated {
    /// `[images, side, side, 3]`
    pub pixels: Vec<u8>,
    /// `[images, N]`
    pub tokens: Vec<u32>,
    /// `[images, Σ p² over passes]`: the scale's token map after every pass; empty unless asked for.
    pub trace: Vec<u32>,
    /// `f̂ [images, S, S, Z]`
    pub latents: Vec<f32>,
    /// Where the time went.
    pub timings: Timings,
}

impl Request {
    /// Refuses what the model cannot do.
    pub(crate) fn check(&self, config: &ModelConfig) -> Result<()> {
        self.plan.check(config)?;
        if let Some(kept) = &self.keep {
            check_tokens(kept.tokens(), &config.pyramid, config.codebook_size)?;
        }
        if self.labels.is_empty() || self.first_image.checked_add(self.labels.len() as u32 - 1).is_none() {
            return Err(Error::new(Code::ArgumentOutOfRange, "The number of images is out of range.")
                .found(self.labels.len())
                .expected("at least 1, and indices below 2³²"));
        }
        match self.labels.iter().find(|&&label| label as usize > config.classes) {
            None => Ok(()),
            Some(label) => Err(Error::new(Code::ArgumentOutOfRange, "A label is out of range.")
                .found(label)
                .expected(format!("0 … {}", config.classes))),
        }
    }

    /// Where the scale of pass `index` lies in an image's tokens.
    pub(crate) fn scale_of(&self, pyramid: &[usize], index: usize) -> Range<usize> {
        let scale = self.plan.passes[index].scale;
        let start = pyramid_tokens(&pyramid[..scale]);
        start..start + pyramid[scale].pow(2)
    }

    /// Tokens of one image that the passes before `pass` leave in a trace.
    pub(crate) fn traced_before(&self, pyramid: &[usize], pass: usize) -> usize {
        self.plan.passes[..pass].iter().map(|pass| pyramid[pass.scale].pow(2)).sum()
    }
}
