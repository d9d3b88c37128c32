//! Tokens from logits, one position a task.

use std::cell::RefCell;

use rayon::prelude::*;

use crate::philox::{Purpose, Stream};
use crate::sampling::{self, Scratch, TokenSampling};
use crate::{DrawSettings, TokenDraw};

fn with_scratch<R>(work: impl FnOnce(&mut Scratch) -> R) -> R {
    thread_local! {
        static SCRATCH: RefCell<Scratch> = RefCell::default();
    }
    SCRATCH.with_borrow_mut(work)
}

impl DrawSettings {
    fn stream(&self, image: usize, purpose: Purpose) -> Stream {
        Stream {
            seed: self.seed,
            image: self.first_image.wrapping_add(image as u32),
            pass: self.pass,
            purpose,
        }
    }

    fn sampling(&self) -> TokenSampling {
        let Self { temperature, top_k, top_p, min_p, .. } = *self;
        TokenSampling { temperature, top_k, top_p, min_p }
    }
}

/// Guides the conditional half of `logits [halves, images, positions, vocabulary]` in place and draws from it.
/// Rows are left filtered, as [`soften`] takes them.
pub(super) fn draw_tokens(
    draw: TokenDraw,
    settings: &DrawSettings,
    logits: &mut [f32],
    only: Option<&[u8]>,
    tokens: &mut [u32],
    confidence: &mut [f32],
) {
    let sampling = settings.sampling();
    let rows = draw.images * draw.positions;
    let (conditional, unconditional) = logits.split_at_mut(rows * draw.vocabulary);
    let conditional = conditional.par_chunks_exact_mut(draw.vocabulary);
    let results = tokens[..rows].par_iter_mut().zip(&mut confidence[..rows]);
    conditional.zip(results).enumerate().for_each(|(row, (logits, (token, confidence)))| {
        if only.is_some_and(|only| only[row] == 0) {
            return;
        }
        let (image, position) = (row / draw.positions, row % draw.positions);
        pulp::Arch::new().dispatch(
            #[inline(always)]
            || {
                if draw.halves == 2 {
                    sampling::guide(logits, &unconditional[row * draw.vocabulary..], settings.guidance);
                }
                let u = settings.stream(image, Purpose::TokenDraw).uniform(position as u32);
                let drawn = with_scratch(|scratch| sampling::sample(logits, &sampling, u, scratch));
                (*token, *confidence) = (drawn.token, drawn.confidence);
            },
        );
    });
}

/// As [`sampling::keep_least_confident`].
pub(super) fn keep_least_confident(count: usize, confidence: &[f32], mask: &mut [u8]) {
    with_scratch(|scratch| sampling::keep_least_confident(confidence, count, mask, scratch));
}

/// As [`sampling::open_least_confident`].
pub(super) fn open_least_confident(count: usize, confidence: &[f32], mask: &mut [u8]) {
    with_scratch(|scratch| sampling::open_least_confident(confidence, count, mask, scratch));
}

/// Replaces each row of `logits`, as [`draw_tokens`] left it, by soft decoding's weights, and sums the codes by them.
pub(super) fn soften(
    draw: TokenDraw,
    settings: &DrawSettings,
    logits: &mut [f32],
    codebook: &[f32],
    width: usize,
    out: &mut [f32],
) {
    let rows = draw.images * draw.positions;
    let rows_of_logits = logits[..rows * draw.vocabulary].par_chunks_exact_mut(draw.vocabulary);
    rows_of_logits.zip(out[..rows * width].par_chunks_exact_mut(width)).enumerate().for_each_init(
        || vec![0.0; draw.vocabulary],
        |weights, (row, (logits, out))| {
            let stream = settings.stream(row / draw.positions, Purpose::SoftDecoding);
            sampling::soften(logits, settings.ramp, stream, (row % draw.positions) as u32, weights);
            out.fill(0.0);
            for (&weight, code) in weights.iter().zip(codebook.chunks_exact(width)).filter(|(w, _)| **w > 0.0)
            {
                out.iter_mut().zip(code).for_each(|(out, x)| *out += weight * x);
            }
        },
    );
}
