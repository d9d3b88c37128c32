//! Generation (4): a session holds the buffers of a batch and runs a plan over it, pass by pass.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use bytemuck::Pod;
use hmar_checkpoint::Layout;
use hmar_error::{Code, Error, Result};
use hmar_ops::{Backend, DrawSettings, Rows, Span, TokenDraw};

use crate::model::{InputBuilder, Place};
use crate::plan::{PassKind, Plan};
use crate::tokenizer::grid_side;
use crate::transformer::{Activations, Cache, Conditions};
use crate::{Cancel, Model, Tokenizer};

/// Passes queued before the oldest is waited for: enough to keep a device busy, few enough to stop soon.
const PASSES_IN_FLIGHT: usize = 2;

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

/// The buffers of a batch for one model and tokenizer. They stay from request to request and grow when a larger
/// batch comes.
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
    settings: B::Buffer<DrawSettings>,
    /// Tokens of the finished scales, `[batch, N]`.
    maps: B::Buffer<u32>,
    recordings: HashMap<PassShape, B::Recording>,
}

/// What tells the operations of one pass from those of another; all else they read from buffers.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct PassShape {
    images: usize,
    scale: usize,
    kind: PassKind,
    halves: usize,
    /// Masked, and the first such pass of its scale.
    opens: bool,
    ends_scale: bool,
    smooth: bool,
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
            settings: backend.allocate(1)?,
            maps: backend.allocate(batch * config.tokens())?,
            recordings: HashMap::new(),
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
                generation.run(cancel, &mut generated.timings, on_event)?;
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
    /// Every pass's tokens `[images, Σ p² over passes]`, where asked for.
    trace: Option<B::Buffer<u32>>,
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
        let length = labels.len() * request.traced_before(model, request.plan.passes.len());
        let trace = request.trace.then(|| backend.allocate(length)).transpose()?;
        timings.condition += milliseconds(begin);
        Ok(Generation { model, request, buffers, first_image, images: labels.len(), trace })
    }

    /// Runs all passes, reporting each when it is done.
    fn run(
        &mut self,
        cancel: &Cancel,
        timings: &mut Timings,
        on_event: &(dyn Fn(Event) + Sync),
    ) -> Result<()> {
        let (backend, first_image, images) = (&*self.model.backend, self.first_image, self.images);
        let mut begin = Instant::now();
        let mut in_flight = VecDeque::with_capacity(PASSES_IN_FLIGHT);
        let mut settle = |(pass, mark): (usize, B::Mark)| {
            backend.wait(mark)?;
            timings.passes[pass] += milliseconds(begin);
            begin = Instant::now();
            on_event(Event::Pass { first_image, images, pass });
            Ok(())
        };
        for pass in 0..self.request.plan.passes.len() {
            cancel.check()?;
            self.queue(pass)?;
            in_flight.push_back((pass, backend.mark()?));
            if in_flight.len() == PASSES_IN_FLIGHT || backend.is_done(&in_flight[0].1)? {
                in_flight.pop_front().into_iter().try_for_each(&mut settle)?;
            }
        }
        in_flight.into_iter().try_for_each(settle)
    }

    /// Queues pass `index` and, after the last of a scale, what adds the scale to the latent.
    fn queue(&mut self, index: usize) -> Result<()> {
        let settings = self.settings(index);
        let shape = self.shape(index);
        let backend = &*self.model.backend;
        backend.upload(&[settings], &mut self.buffers.settings)?;
        let mut recording = self.buffers.recordings.remove(&shape).unwrap_or_default();
        backend.replay(&mut recording, || self.queue_operations(index))?;
        self.buffers.recordings.insert(shape, recording);

        let positions = self.positions(index);
        let (before, width) = (
            self.request.traced_before(self.model, index),
            self.request.traced_before(self.model, self.request.plan.passes.len()),
        );
        match &mut self.trace {
            Some(trace) => {
                let tokens = &self.buffers.inputs.tokens;
                backend.store_tokens(self.images, positions, tokens, trace, width, before)
            }
            None => Ok(()),
        }
    }

    fn queue_operations(&mut self, index: usize) -> Result<()> {
        match self.request.plan.passes[index].kind {
            PassKind::NextScale => self.predict_scale(index)?,
            PassKind::Masked => self.refine_scale(index)?,
        }
        if self.request.plan.ends_scale(index) { self.finish_scale(index) } else { Ok(()) }
    }

    /// Positions of the pass's scale.
    fn positions(&self, index: usize) -> usize {
        self.model.config().pyramid[self.request.plan.passes[index].scale].pow(2)
    }

    fn shape(&self, index: usize) -> PassShape {
        let plan = &self.request.plan;
        let pass = &plan.passes[index];
        PassShape {
            images: self.images,
            scale: pass.scale,
            kind: pass.kind,
            halves: self.halves(index),
            opens: plan.opens(index),
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
            padding: 0,
        }
    }

    fn draw(&self, index: usize, halves: usize) -> TokenDraw {
        TokenDraw {
            images: self.images,
            positions: self.positions(index),
            vocabulary: self.model.config().codebook_size,
            halves,
        }
    }

    fn predict_scale(&mut self, index: usize) -> Result<()> {
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
        self.forward_and_draw(index, halves)
    }

    fn refine_scale(&mut self, index: usize) -> Result<()> {
        let plan = &self.request.plan;
        let positions = self.positions(index);
        let halves = self.halves(index);
        let backend = &*self.model.backend;
        let Buffers { activations, inputs, confidence, settings, .. } = &mut *self.buffers;
        if plan.opens(index) {
            backend.fill_bytes(self.images * positions, 1, &mut inputs.mask)?;
        }
        backend.keep_least_confident(self.images, positions, settings, confidence, &mut inputs.mask)?;
        let place = Place { sequences: halves * self.images, per_sequence: positions, at: 0 };
        inputs.embed(self.model, plan.passes[index].scale, true, place, activations)?;
        self.forward_and_draw(index, halves)
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

    fn forward_and_draw(&mut self, index: usize, halves: usize) -> Result<()> {
        let positions = self.positions(index);
        let draw = self.draw(index, halves);
        let pass = &self.request.plan.passes[index];
        let (backend, config) = (&*self.model.backend, self.model.config());
        let Buffers { activations, conditions, inputs, confidence, slots, settings, cache, .. } =
            &mut *self.buffers;
        let rows = Rows { sequences: halves * self.images, per_sequence: positions, slots };
        let before: usize = match config.layout {
            Layout::Var => config.pyramid[..pass.scale].iter().map(|side| side * side).sum(),
            Layout::Combined | Layout::NextScale => 0,
        };
        let spans = [Span { queries: before..before + positions, keys: 0..before + positions }];
        let transformer = &self.model.transformer;
        transformer.forward(backend, pass.kind, conditions, rows, &spans, activations, cache.as_mut())?;
        let only = (pass.kind == PassKind::Masked).then_some(&inputs.mask);
        backend.draw_tokens(draw, settings, &mut activations.logits, only, &mut inputs.tokens, confidence)
    }

    /// Keeps the finished scale's tokens and adds it to the latent.
    fn finish_scale(&mut self, index: usize) -> Result<()> {
        let pass = &self.request.plan.passes[index];
        let positions = self.positions(index);
        let draw = self.draw(index, 1);
        let (backend, config) = (&*self.model.backend, self.model.config());
        let Buffers { activations, inputs, settings, maps, .. } = &mut *self.buffers;
        let before = config.pyramid[..pass.scale].iter().map(|side| side * side).sum();
        backend.store_tokens(self.images, positions, &inputs.tokens, maps, config.tokens(), before)?;
        if !pass.smooth {
            return inputs.accumulate(self.model, pass.scale);
        }
        let quantizer = &self.model.quantizer;
        let (logits, codes) = (&mut activations.logits, &mut inputs.latents.codes);
        backend.soften(draw, settings, logits, &quantizer.codebook, quantizer.width, codes)?;
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
        let begin = Instant::now();
        let side = grid_side(&config.pyramid);
        let size = side * side * config.code_dimension;
        let latents = downloaded(backend, &self.buffers.inputs.latents.latent, self.images * size)?;
        tokenizer.decode_latents(&latents, side, cancel, &mut generated.pixels, |first, images| {
            on_event(Event::Decode { first_image: self.first_image + first, images });
        })?;
        generated.timings.decode += milliseconds(begin);
        generated.latents.extend(latents);
        generated.tokens.extend(downloaded(backend, &self.buffers.maps, self.images * config.tokens())?);
        if let Some(trace) = &self.trace {
            let length = self.images * self.request.traced_before(self.model, self.request.plan.passes.len());
            generated.trace.extend(downloaded(backend, trace, length)?);
        }
        Ok(())
    }
}

impl Request {
    /// Tokens of one image that the passes before `pass` leave in a trace.
    fn traced_before<B: Backend>(&self, model: &Model<B>, pass: usize) -> usize {
        let pyramid = &model.config().pyramid;
        self.plan.passes[..pass].iter().map(|pass| pyramid[pass.scale].pow(2)).sum()
    }
}

fn downloaded<B: Backend, T: Pod + Send + Sync>(
    backend: &B,
    buffer: &B::Buffer<T>,
    length: usize,
) -> Result<Vec<T>> {
    let mut data = vec![T::zeroed(); length];
    backend.download(buffer, &mut data)?;
    Ok(data)
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}
