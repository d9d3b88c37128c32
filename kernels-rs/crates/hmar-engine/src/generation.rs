//! Generation (4): a session holds the buffers of a batch and runs a plan over it, pass by pass.

use std::time::Instant;

use hmar_checkpoint::Layout;
use hmar_error::{Code, Error, Result};
use hmar_ops::{Backend, Rows, Span, TokenDraw};

use crate::model::{InputBuilder, Place};
use crate::plan::{PassKind, Plan};
use crate::tokenizer::grid_side;
use crate::transformer::{Activations, Cache, Conditions};
use crate::{Cancel, Model, Tokenizer};

/// Below this guidance the unconditional half of a masked pass changes no token worth its time.
const NEGLIGIBLE_GUIDANCE: f64 = 1e-4;

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

/// The buffers of a batch. They stay from request to request and grow when a larger batch comes.
pub struct Session<B: Backend> {
    buffers: Option<Buffers<B>>,
}

struct Buffers<B: Backend> {
    batch: usize,
    activations: Activations<B>,
    conditions: Conditions<B>,
    inputs: InputBuilder<B>,
    confidence: B::Buffer<f32>,
    slots: B::Buffer<u32>,
    /// Block-causal attention's keys and values.
    cache: Option<Cache<B>>,
    /// One image's latent, for the decoder.
    latent: B::Buffer<f32>,
}

impl<B: Backend> Buffers<B> {
    fn allocate(model: &Model<B>, batch: usize) -> Result<Self> {
        let (backend, config) = (&*model.backend, model.config());
        let positions = grid_side(&config.pyramid).pow(2);
        Ok(Buffers {
            batch,
            activations: Activations::allocate(backend, config, 2 * batch * positions)?,
            conditions: Conditions::allocate(backend, &model.transformer, 2 * batch)?,
            inputs: InputBuilder::allocate(model, batch)?,
            confidence: backend.allocate(batch * positions)?,
            slots: backend.allocate(2 * batch)?,
            cache: match config.layout {
                Layout::Var => Some(Cache::allocate(backend, config, 2 * batch)?),
                Layout::Combined | Layout::NextScale => None,
            },
            latent: backend.allocate(positions * config.code_dimension)?,
        })
    }
}

impl<B: Backend> Default for Session<B> {
    fn default() -> Self {
        Session { buffers: None }
    }
}

impl<B: Backend> Session<B> {
    /// Runs a request to its end.
    ///
    /// # Errors
    /// `PLAN_INVALID`, `ARGUMENT_OUT_OF_RANGE`, `OUT_OF_MEMORY` before any work; `CANCELLED` within one pass.
    pub fn generate(
        &mut self,
        model: &Model<B>,
        tokenizer: &Tokenizer<B>,
        request: &Request,
        cancel: &Cancel,
        on_event: &(dyn Fn(Event) + Sync),
    ) -> Result<Generated> {
        let begin = Instant::now();
        request.check(model)?;
        let batch = request.batch.clamp(1, request.labels.len());
        if self.buffers.as_ref().is_none_or(|buffers| buffers.batch < batch) {
            self.buffers = None;
            self.buffers = Some(Buffers::allocate(model, batch)?);
        }
        let buffers = self.buffers.as_mut().expect("allocated above");
        let mut generated = Generated {
            timings: Timings { passes: vec![0.0; request.plan.passes.len()], ..Timings::default() },
            ..Generated::default()
        };
        model.backend.run(|| {
            for (index, labels) in request.labels.chunks(batch).enumerate() {
                let mut generation = Generation::start(
                    model,
                    request,
                    buffers,
                    index * batch,
                    labels,
                    &mut generated.timings,
                )?;
                for pass in 0..request.plan.passes.len() {
                    cancel.check()?;
                    generation.step(pass, &mut generated.timings)?;
                    on_event(Event::Pass { first_image: index * batch, images: labels.len(), pass });
                }
                generation.finish(tokenizer, cancel, on_event, &mut generated)?;
            }
            Ok(())
        })?;
        generated.timings.total = milliseconds(begin);
        Ok(generated)
    }
}

impl Request {
    fn check<B: Backend>(&self, model: &Model<B>) -> Result<()> {
        let config = model.config();
        self.plan.check(config)?;
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
}

/// One batch on its way through a plan.
struct Generation<'a, B: Backend> {
    model: &'a Model<B>,
    request: &'a Request,
    buffers: &'a mut Buffers<B>,
    first_image: usize,
    images: usize,
    /// Tokens of the finished scales, image by image.
    tokens: Vec<Vec<u32>>,
    trace: Vec<Vec<u32>>,
}

impl<'a, B: Backend> Generation<'a, B> {
    fn start(
        model: &'a Model<B>,
        request: &'a Request,
        buffers: &'a mut Buffers<B>,
        first_image: usize,
        labels: &[u32],
        timings: &mut Timings,
    ) -> Result<Self> {
        let begin = Instant::now();
        let backend = &*model.backend;
        let null = model.config().classes as u32;
        let both_halves: Vec<u32> = labels.iter().copied().chain(labels.iter().map(|_| null)).collect();
        let slots = buffers.conditions.prepare(backend, &model.transformer, &both_halves)?;
        backend.upload(&slots, &mut buffers.slots)?;
        buffers.inputs.restart(model, labels.len())?;
        timings.condition += milliseconds(begin);
        Ok(Generation {
            model,
            request,
            buffers,
            first_image,
            images: labels.len(),
            tokens: vec![Vec::new(); labels.len()],
            trace: vec![Vec::new(); labels.len()],
        })
    }

    /// Runs pass `index` and, after the last of a scale, adds the scale to the latent.
    fn step(&mut self, index: usize, timings: &mut Timings) -> Result<()> {
        let begin = Instant::now();
        let pass = &self.request.plan.passes[index];
        let positions = self.model.config().pyramid[pass.scale].pow(2);
        match pass.kind {
            PassKind::NextScale => self.predict_scale(index, positions)?,
            PassKind::Masked => self.refine_scale(index, positions)?,
        }
        let ends_scale = self.request.plan.ends_scale(index);
        if ends_scale || self.request.trace {
            let mut maps = vec![0; self.images * positions];
            self.model.backend.download(&self.buffers.inputs.tokens, &mut maps)?;
            for (image, map) in maps.chunks_exact(positions).enumerate() {
                if self.request.trace {
                    self.trace[image].extend_from_slice(map);
                }
                if ends_scale {
                    self.tokens[image].extend_from_slice(map);
                }
            }
        }
        if ends_scale {
            self.finish_scale(index)?;
        }
        timings.passes[index] += milliseconds(begin);
        Ok(())
    }

    fn predict_scale(&mut self, index: usize, positions: usize) -> Result<()> {
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
        self.forward_and_draw(index, positions, halves)
    }

    fn refine_scale(&mut self, index: usize, positions: usize) -> Result<()> {
        let plan = &self.request.plan;
        let open = plan.open_before(index, positions);
        let halves = self.halves(index);
        let backend = &*self.model.backend;
        let Buffers { activations, inputs, confidence, .. } = &mut *self.buffers;
        if plan.passes[index - 1].kind == PassKind::NextScale {
            backend.upload(&vec![1; self.images * positions], &mut inputs.mask)?;
        }
        backend.keep_least_confident(self.images, positions, open, confidence, &mut inputs.mask)?;
        let place = Place { sequences: halves * self.images, per_sequence: positions, at: 0 };
        inputs.embed(self.model, plan.passes[index].scale, true, place, activations)?;
        self.forward_and_draw(index, positions, halves)
    }

    /// Halves of guidance a pass needs: the conditional one, and the unconditional one where it matters.
    fn halves(&self, index: usize) -> usize {
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

    fn forward_and_draw(&mut self, index: usize, positions: usize, halves: usize) -> Result<()> {
        let pass = &self.request.plan.passes[index];
        let (backend, config) = (&*self.model.backend, self.model.config());
        let Buffers { activations, conditions, inputs, confidence, slots, cache, .. } = &mut *self.buffers;
        let rows = Rows { sequences: halves * self.images, per_sequence: positions, slots };
        let before: usize = match config.layout {
            Layout::Var => config.pyramid[..pass.scale].iter().map(|side| side * side).sum(),
            Layout::Combined | Layout::NextScale => 0,
        };
        let spans = [Span { queries: before..before + positions, keys: 0..before + positions }];
        let transformer = &self.model.transformer;
        transformer.forward(backend, pass.kind, conditions, rows, &spans, activations, cache.as_mut())?;
        let draw = self.request.token_draw(
            self.first_image,
            self.images,
            index,
            positions,
            halves,
            config.codebook_size,
        );
        let only = (pass.kind == PassKind::Masked).then_some(&inputs.mask);
        backend.draw_tokens(&draw, &mut activations.logits, only, &mut inputs.tokens, confidence)
    }

    /// Adds the finished scale to the latent.
    fn finish_scale(&mut self, index: usize) -> Result<()> {
        let pass = &self.request.plan.passes[index];
        if !pass.smooth {
            return self.buffers.inputs.accumulate(self.model, pass.scale);
        }
        let config = self.model.config();
        let positions = config.pyramid[pass.scale].pow(2);
        let draw =
            self.request.token_draw(self.first_image, self.images, index, positions, 1, config.codebook_size);
        let ramp = pass.scale as f64 / (config.pyramid.len() - 1).max(1) as f64;
        let Buffers { activations, inputs, .. } = &mut *self.buffers;
        let quantizer = &self.model.quantizer;
        self.model.backend.soften(
            &draw,
            ramp,
            &mut activations.logits,
            &quantizer.codebook,
            quantizer.width,
            &mut inputs.latents.codes,
        )?;
        inputs.accumulate_codes(self.model, pass.scale)
    }

    fn finish(
        self,
        tokenizer: &Tokenizer<B>,
        cancel: &Cancel,
        on_event: &(dyn Fn(Event) + Sync),
        generated: &mut Generated,
    ) -> Result<()> {
        let config = self.model.config();
        let backend = &*self.model.backend;
        let side = grid_side(&config.pyramid);
        let size = side * side * config.code_dimension;
        let begin = Instant::now();
        let mut latents = vec![0.0; self.images * size];
        backend.download(&self.buffers.inputs.latents.latent, &mut latents)?;
        for (image, latent) in latents.chunks_exact(size).enumerate() {
            cancel.check()?;
            backend.upload(latent, &mut self.buffers.latent)?;
            generated.pixels.extend(tokenizer.decode_latent(&self.buffers.latent, side, cancel)?.0);
            on_event(Event::Decode { first_image: self.first_image + image, images: 1 });
        }
        generated.timings.decode += milliseconds(begin);
        generated.latents.extend(latents);
        generated.tokens.extend(self.tokens.into_iter().flatten());
        generated.trace.extend(self.trace.into_iter().flatten());
        Ok(())
    }
}

impl Request {
    fn token_draw(
        &self,
        first_image: usize,
        images: usize,
        pass: usize,
        positions: usize,
        halves: usize,
        vocabulary: usize,
    ) -> TokenDraw {
        let settings = &self.plan.passes[pass];
        TokenDraw {
            images,
            positions,
            vocabulary,
            guidance: (halves == 2).then_some(settings.guidance),
            sampling: settings.sampling,
            seed: self.seed,
            pass: pass as u32,
            first_image: self.first_image + first_image as u32,
        }
    }
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}
