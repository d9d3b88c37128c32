//! The operations of one pass (4): what it reads, the logits it computes, the tokens it draws, the scale it ends.

use hmar_checkpoint::Layout;
use hmar_error::Result;
use hmar_ops::philox::{Purpose, Stream};
use hmar_ops::{Backend, DrawSettings, Rows, Span, TokenDraw};

use crate::buffers::{Buffers, PassShape};
use crate::generation::Generation;
use crate::model::Place;
use crate::plan::{Pass, PassKind};
use crate::positions::PositionOrder;

/// Below this guidance the unconditional half of a masked pass changes no token worth its time.
const NEGLIGIBLE_GUIDANCE: f64 = 1e-4;

impl<B: Backend> Generation<'_, B> {
    /// Uploads what the pass reads besides the state of the generation.
    pub(crate) fn prepare(&mut self, index: usize) -> Result<()> {
        let settings = self.settings(index);
        let backend = &*self.model.backend;
        backend.upload(&[settings], &mut self.buffers.settings)?;
        if let Some(scores) = self.scores(index) {
            backend.upload(&scores, &mut self.buffers.scores)?;
        }
        if self.request.plan.passes[index].kind == PassKind::NextScale && self.keeps(index) {
            self.place_kept_tokens(index)?;
        }
        Ok(())
    }

    pub(crate) fn queue_operations(&mut self, index: usize) -> Result<()> {
        self.predict(index)?;
        self.complete(index)
    }

    /// What follows on [`Generation::predict`].
    pub(crate) fn complete(&mut self, index: usize) -> Result<()> {
        self.draw_tokens(index)?;
        if self.request.plan.ends_scale(index) { self.finish_scale(index) } else { Ok(()) }
    }

    /// Whether editing keeps any token of the pass's scale.
    pub(crate) fn keeps(&self, index: usize) -> bool {
        let scale = self.request.plan.passes[index].scale;
        self.request.keep.as_ref().is_some_and(|kept| kept.any(&self.model.config().pyramid, scale))
    }

    /// Whether there is nothing to draw, nor a cache that needs the pass.
    pub(crate) fn skips(&self, index: usize) -> bool {
        let scale = self.request.plan.passes[index].scale;
        let kept = self.request.keep.as_ref();
        self.buffers.cache.is_none() && kept.is_some_and(|kept| kept.all(&self.model.config().pyramid, scale))
    }

    /// Starts a scale from the source's tokens: none is more confident than those that are kept.
    fn place_kept_tokens(&mut self, index: usize) -> Result<()> {
        let Some(kept) = &self.request.keep else { return Ok(()) };
        let scale = self.request.plan.passes[index].scale;
        let (tokens, free) = kept.of_scale(&self.model.config().pyramid, scale);
        let confidence: Vec<f32> =
            free.iter().map(|&free| if free == 0 { f32::INFINITY } else { 0.0 }).collect();
        let (backend, inputs) = (&*self.model.backend, &mut self.buffers.inputs);
        backend.upload(&tokens.repeat(self.images), &mut inputs.tokens)?;
        backend.upload(&free.repeat(self.images), &mut inputs.mask)?;
        backend.upload(&confidence.repeat(self.images), &mut self.buffers.confidence)
    }

    /// Leaves the pass's logits in `activations.logits`.
    pub(crate) fn predict(&mut self, index: usize) -> Result<()> {
        if self.skips(index) {
            return Ok(());
        }
        match self.request.plan.passes[index].kind {
            PassKind::NextScale => self.embed_next_scale(index)?,
            PassKind::Masked => self.embed_masked(index)?,
        }
        self.forward(index)
    }

    /// Positions of the pass's scale.
    pub(crate) fn positions(&self, index: usize) -> usize {
        self.model.config().pyramid[self.request.plan.passes[index].scale].pow(2)
    }

    pub(crate) fn shape(&self, index: usize) -> PassShape {
        let plan = &self.request.plan;
        let pass = &plan.passes[index];
        PassShape {
            images: self.images,
            scale: pass.scale,
            kind: pass.kind,
            halves: self.halves(index),
            opens: plan.opens(index),
            order: self.order_before(index).map(std::mem::discriminant),
            revises: pass.revises > 0,
            chosen: self.chosen,
            keeps: self.keeps(index),
            skips: self.skips(index),
            ends_scale: plan.ends_scale(index),
            smooth: pass.smooth,
        }
    }

    fn settings(&self, index: usize) -> DrawSettings {
        let plan = &self.request.plan;
        let pass = &plan.passes[index];
        let scales = self.model.config().pyramid.len();
        DrawSettings {
            guidance: pass.guidance,
            top_p: pass.sampling.top_p,
            min_p: pass.sampling.min_p,
            ramp: pass.scale as f64 / (scales - 1).max(1) as f64,
            seed: self.request.seed,
            temperature: pass.sampling.temperature,
            top_k: pass.sampling.top_k,
            pass: index as u32,
            first_image: self.request.first_image + self.first_image as u32,
            open: plan.open_before(index, self.positions(index)) as u32,
            revises: pass.revises as u32,
        }
    }

    /// How the pass before a masked one chose what it left open.
    fn order_before(&self, index: usize) -> Option<&PositionOrder> {
        let passes = &self.request.plan.passes;
        (passes[index].kind == PassKind::Masked).then(|| &passes[index - 1].positions)
    }

    /// What the open positions of a masked pass are chosen by, `[images, positions]`, where it is not their
    /// confidence alone.
    fn scores(&self, index: usize) -> Option<Vec<f32>> {
        let order = self.order_before(index).filter(|order| **order != PositionOrder::LeastConfident)?;
        let positions = self.positions(index);
        let mut scores = vec![0.0; self.images * positions];
        for (scores, image) in scores.chunks_exact_mut(positions).zip(0..) {
            let noise = Stream {
                seed: self.request.seed,
                image: self.request.first_image + self.first_image as u32 + image,
                pass: index as u32 - 1,
                purpose: Purpose::PositionNoise,
            };
            order.scores(noise, scores);
        }
        Some(scores)
    }

    fn draw(&self, index: usize, halves: usize) -> TokenDraw {
        TokenDraw {
            images: self.images,
            positions: self.positions(index),
            vocabulary: self.model.config().codebook_size,
            halves,
        }
    }

    fn embed_next_scale(&mut self, index: usize) -> Result<()> {
        let positions = self.positions(index);
        let scale = self.request.plan.passes[index].scale;
        let halves = self.halves(index);
        let sequences = halves * self.images;
        let Buffers { activations, conditions, inputs, slots, .. } = &mut *self.buffers;
        if scale == 0 {
            let rows = Rows { sequences, per_sequence: positions, slots };
            self.model.transformer.embed_start(&self.model.backend, rows, conditions, activations)?;
        } else {
            let place = Place { sequences, per_sequence: positions, at: 0 };
            inputs.embed(self.model, scale, false, place, activations)?;
        }
        Ok(())
    }

    fn embed_masked(&mut self, index: usize) -> Result<()> {
        let plan = &self.request.plan;
        let Pass { scale, revises, .. } = plan.passes[index];
        let positions = self.positions(index);
        let sequences = self.halves(index) * self.images;
        if !self.chosen {
            self.choose_positions(index)?;
        }
        let backend = &*self.model.backend;
        let Buffers { activations, inputs, confidence, settings, .. } = &mut *self.buffers;
        if revises > 0 {
            backend.open_least_confident(self.images, positions, settings, confidence, &mut inputs.mask)?;
        }
        let place = Place { sequences, per_sequence: positions, at: 0 };
        inputs.embed(self.model, scale, true, place, activations)
    }

    /// Masks what the passes before leave open, by the plan.
    fn choose_positions(&mut self, index: usize) -> Result<()> {
        let plan = &self.request.plan;
        let positions = self.positions(index);
        // Editing has said already what is open at first.
        let all_open = plan.opens(index) && !self.keeps(index);
        let backend = &*self.model.backend;
        let order = &plan.passes[index - 1].positions;
        let Buffers { inputs, confidence, scores, settings, .. } = &mut *self.buffers;
        if all_open {
            backend.fill_bytes(self.images * positions, 1, &mut inputs.mask)?;
        }
        if let PositionOrder::Gumbel { .. } = order {
            backend.add_logarithm(self.images * positions, confidence, scores)?;
        }
        let ranked = if *order == PositionOrder::LeastConfident { &*confidence } else { &*scores };
        backend.keep_least_confident(self.images, positions, settings, ranked, &mut inputs.mask)
    }

    /// Halves of guidance a pass needs: the conditional one, and the unconditional one where it matters.
    pub(crate) fn halves(&self, index: usize) -> usize {
        let pass = &self.request.plan.passes[index];
        let t = pass.guidance.abs();
        let negligible = match pass.kind {
            PassKind::Masked if self.request.skip_negligible_guidance => t < NEGLIGIBLE_GUIDANCE,
            PassKind::Masked | PassKind::NextScale => t == 0.0,
        };
        // With a cache, later scales attend to the unconditional half of this one.
        let cached =
            self.buffers.cache.is_some() && self.request.plan.passes.iter().any(|pass| pass.guidance != 0.0);
        if negligible && !cached { 1 } else { 2 }
    }

    fn forward(&mut self, index: usize) -> Result<()> {
        let positions = self.positions(index);
        let halves = self.halves(index);
        let pass = &self.request.plan.passes[index];
        let (backend, config) = (&*self.model.backend, self.model.config());
        let Buffers { activations, conditions, slots, cache, .. } = &mut *self.buffers;
        let rows = Rows { sequences: halves * self.images, per_sequence: positions, slots };
        let before: usize = match config.layout {
            Layout::Var => config.pyramid[..pass.scale].iter().map(|side| side * side).sum(),
            Layout::Combined | Layout::NextScale => 0,
        };
        let spans = [Span { queries: 0..positions, keys: 0..before + positions }];
        let transformer = &self.model.transformer;
        transformer.forward(backend, pass.kind, conditions, rows, &spans, activations, cache.as_mut())
    }

    /// Draws from the logits that [`Generation::predict`] left.
    fn draw_tokens(&mut self, index: usize) -> Result<()> {
        if self.skips(index) {
            return Ok(());
        }
        let draw = self.draw(index, self.halves(index));
        let masked = self.request.plan.passes[index].kind == PassKind::Masked || self.keeps(index);
        let backend = &*self.model.backend;
        let Buffers { activations, inputs, confidence, settings, .. } = &mut *self.buffers;
        let only = masked.then_some(&inputs.mask);
        backend.draw_tokens(draw, settings, &mut activations.logits, only, &mut inputs.tokens, confidence)
    }

    /// Keeps the finished scale's tokens and adds it to the latent.
    fn finish_scale(&mut self, index: usize) -> Result<()> {
        let pass = &self.request.plan.passes[index];
        let positions = self.positions(index);
        let draw = self.draw(index, 1);
        let smooth = pass.smooth && !self.keeps(index);
        let (backend, config) = (&*self.model.backend, self.model.config());
        let Buffers { activations, inputs, settings, maps, .. } = &mut *self.buffers;
        let before = config.pyramid[..pass.scale].iter().map(|side| side * side).sum();
        backend.store_tokens(self.images, positions, &inputs.tokens, maps, config.tokens(), before)?;
        if !smooth {
            return inputs.accumulate(self.model, pass.scale);
        }
        let quantizer = &self.model.quantizer;
        let (logits, codes) = (&mut activations.logits, &mut inputs.latents.codes);
        backend.soften(draw, settings, logits, &quantizer.codebook, quantizer.width, codes)?;
        inputs.accumulate_codes(self.model, pass.scale)
    }
}
