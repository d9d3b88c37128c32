//! Generation pass by pass: between two passes its state can be read, changed, copied and saved.

use std::sync::Arc;

use hmar_error::{Code, Error, Result};
use hmar_ops::{Backend, sampling};

use crate::generation::{Generation, Session, downloaded};
use crate::plan::PassKind;
use crate::request::{Request, Timings};
use crate::state::State;
use crate::tokenizer::grid_side;
use crate::{Cancel, Model, Tokenizer};

/// A batch of images on its way through a plan, stopped before a pass. It runs what [`Session::generate`] runs, and
/// gives the same images.
pub struct Stepper<B: Backend> {
    model: Arc<Model<B>>,
    session: Session<B>,
    request: Request,
    state: State,
    /// The logits of the next pass are there, and what it draws is masked on the device.
    predicted: bool,
}

/// What a pass left of its scale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScaleView<'a> {
    /// `[images, p²]`
    pub tokens: &'a [u32],
    /// The probability with which each token was drawn, after filters; infinite where editing keeps it.
    /// `[images, p²]`
    pub confidence: &'a [f32],
    /// 1 where the pass drew a token, or where the caller chose that the next one does. `[images, p²]`
    pub open: &'a [u8],
}

impl<B: Backend> Stepper<B> {
    /// Starts a request, all of whose images are one batch.
    ///
    /// # Errors
    /// `PLAN_INVALID`, `ARGUMENT_OUT_OF_RANGE`, `OUT_OF_MEMORY`.
    pub fn open(model: Arc<Model<B>>, request: Request) -> Result<Self> {
        request.check(model.config())?;
        let state = State::start(&model, request.labels.len(), request.keep.clone())?;
        let session = Session::default();
        let mut stepper = Stepper { model, session, request, state, predicted: false };
        stepper.restart()?;
        Ok(stepper)
    }

    /// Goes on from what [`Stepper::save`] wrote: before the pass it was at, or before `next`, where another plan has its
    /// passes elsewhere. What it keeps is not the request's to say; all else may differ from what it was started with.
    ///
    /// # Errors
    /// `SESSION_INVALID` for damaged bytes, and where they do not fit model and request; else as [`Stepper::open`], and
    /// `CANCELLED`.
    pub fn resume(
        model: Arc<Model<B>>,
        mut request: Request,
        saved: &[u8],
        next: Option<usize>,
        cancel: &Cancel,
    ) -> Result<Self> {
        let mut state = State::from_bytes(saved, model.config())?;
        state.next = next.unwrap_or(state.next);
        state.check(&model, &request)?;
        request.keep.clone_from(&state.kept);
        let mut stepper = Self::open(model, request)?;
        if stepper.session.buffers().cache.is_some() {
            stepper.fill_cache(&state, cancel)?;
        }
        stepper.state = state;
        stepper.upload_state()?;
        Ok(stepper)
    }

    fn restart(&mut self) -> Result<()> {
        let Stepper { model, session, request, .. } = self;
        let buffers = session.reserve(model, None, request.labels.len())?;
        model.backend.run(|| {
            Generation::start(model, request, buffers, 0, &request.labels, &mut Timings::default())
                .map(|_| ())
        })
    }

    /// Keys and values are not part of a state: the passes that made them run again, each from the tokens that the state
    /// has.
    fn fill_cache(&mut self, state: &State, cancel: &Cancel) -> Result<()> {
        for _ in 0..state.next {
            self.step(cancel)?;
            let wanted = state.tokens_of(self.current_scale());
            if wanted != self.view().tokens {
                self.replace_tokens(&wanted, None)?;
            }
        }
        Ok(())
    }

    /// The request as it was checked.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// Index of the pass that comes next; the number of passes when all are done.
    pub fn next(&self) -> usize {
        self.state.next
    }

    /// The tokens of all scales so far, `[images, N]`; 0 for those to come.
    pub fn tokens(&self) -> &[u32] {
        self.state.tokens()
    }

    /// What the pass done last left; empty before the first.
    pub fn view(&self) -> ScaleView<'_> {
        let State { current, confidence, open, .. } = &self.state;
        ScaleView { tokens: current, confidence, open }
    }

    /// The guided logits of the next pass, before temperature and filters: `[images, p², V]`. NaN where editing keeps the
    /// whole scale, which draws nothing.
    ///
    /// # Errors
    /// `CANCELLED`; `ARGUMENT_OUT_OF_RANGE` when all passes are done.
    pub fn logits(&mut self, cancel: &Cancel) -> Result<Vec<f32>> {
        let index = self.check_next(cancel)?;
        let model = Arc::clone(&self.model);
        model.backend.run(|| {
            if !self.predicted {
                let mut generation = self.generation();
                generation.prepare(index)?;
                generation.predict(index)?;
                self.predicted = true;
            }
            self.download_logits(index)
        })
    }

    fn download_logits(&mut self, index: usize) -> Result<Vec<f32>> {
        let generation = self.generation();
        let vocabulary = generation.model.config().codebook_size;
        let length = generation.images * generation.positions(index) * vocabulary;
        if generation.skips(index) {
            return Ok(vec![f32::NAN; length]);
        }
        let halves = generation.halves(index);
        let logits = &generation.buffers.activations.logits;
        let mut logits = downloaded(&*generation.model.backend, logits, halves * length)?;
        let unconditional = logits.split_off(length);
        if halves == 2 {
            sampling::guide(&mut logits, &unconditional, self.request.plan.passes[index].guidance);
        }
        Ok(logits)
    }

    /// Runs the next pass.
    ///
    /// # Errors
    /// `CANCELLED`, which leaves everything as it was; `ARGUMENT_OUT_OF_RANGE` when all passes are done.
    pub fn step(&mut self, cancel: &Cancel) -> Result<()> {
        let index = self.check_next(cancel)?;
        let begins_scale = self.request.plan.passes[index].kind == PassKind::NextScale;
        let (model, predicted) = (Arc::clone(&self.model), self.predicted);
        model.backend.run(|| {
            if begins_scale {
                self.state.before = self.download_latent()?;
            }
            let mut generation = self.generation();
            if predicted { generation.complete(index) } else { generation.queue(index) }?;
            self.predicted = false;
            self.state.chosen = false;
            self.state.next += 1;
            self.download_scale(index)
        })
    }

    fn download_scale(&mut self, index: usize) -> Result<()> {
        let generation = self.generation();
        let length = generation.images * generation.positions(index);
        let backend = &*generation.model.backend;
        let inputs = &generation.buffers.inputs;
        let kind = generation.request.plan.passes[index].kind;
        // Where nothing is kept, the first pass of a scale needs no mask.
        let all = kind == PassKind::NextScale && !generation.keeps(index);
        let open = if all { vec![1; length] } else { downloaded(backend, &inputs.mask, length)? };
        let current = downloaded(backend, &inputs.tokens, length)?;
        let confidence = downloaded(backend, &generation.buffers.confidence, length)?;
        let range = self.current_scale();
        self.state.set_scale(range, current);
        (self.state.confidence, self.state.open) = (confidence, open);
        self.state.latent = self.download_latent()?;
        Ok(())
    }

    /// Puts other tokens `[images, p²]` in the place of those of the pass done last, and with them, where given, their
    /// confidence. A finished scale is decoded by them; later passes see them.
    ///
    /// # Errors
    /// `ARGUMENT_OUT_OF_RANGE` before the first pass, for tokens that are not the codebook's, for confidences that are
    /// no probabilities, and for other tokens where editing keeps the source's.
    pub fn replace_tokens(&mut self, tokens: &[u32], confidence: Option<&[f32]>) -> Result<()> {
        self.check_replacement(tokens, confidence)?;
        self.take_back_prediction()?;
        let range = self.current_scale();
        self.state.set_scale(range, tokens.to_vec());
        if let Some(confidence) = confidence {
            let kept = self.state.confidence.iter().map(|old| old.is_infinite());
            let merged = kept.zip(confidence).map(|(kept, &new)| if kept { f32::INFINITY } else { new });
            self.state.confidence = merged.collect();
        }
        let last = self.state.next - 1;
        let model = Arc::clone(&self.model);
        model.backend.run(|| {
            self.upload_scale()?;
            if self.request.plan.ends_scale(last) {
                let before = &self.state.before;
                model.backend.upload(before, &mut self.session.buffers().inputs.latents.latent)?;
                let scale = self.request.plan.passes[last].scale;
                self.session.buffers().inputs.accumulate(&model, scale)?;
                self.state.latent = self.download_latent()?;
            }
            Ok(())
        })
    }

    /// Says which tokens `[images, p²]` the next pass, a masked one, draws anew: 1 where it does.
    ///
    /// # Errors
    /// `ARGUMENT_OUT_OF_RANGE` when the next pass is not masked, for another number of positions, and for positions that
    /// editing keeps.
    pub fn open_positions(&mut self, open: &[u8]) -> Result<()> {
        let masked = self.request.plan.passes.get(self.state.next);
        if masked.is_none_or(|pass| pass.kind != PassKind::Masked) {
            return Err(invalid("Positions can be chosen before a masked pass only."));
        }
        if open.len() != self.state.current.len() || open.iter().any(|&open| open > 1) {
            return Err(invalid("The positions to draw anew are not those of the scale.")
                .found(format!("{} values", open.len()))
                .expected(format!("{} of 0 and 1", self.state.current.len())));
        }
        if open.iter().zip(&self.state.confidence).any(|(&open, x)| open == 1 && x.is_infinite()) {
            return Err(invalid("Positions that editing keeps cannot be drawn anew."));
        }
        self.take_back_prediction()?;
        self.state.open = open.to_vec();
        self.state.chosen = true;
        self.upload_scale()
    }

    /// The pictures of the scales that are finished, `[images, side, side, 3]`: gray before the first.
    ///
    /// # Errors
    /// `CANCELLED`, `OUT_OF_MEMORY`.
    pub fn pictures(&mut self, tokenizer: &Tokenizer<B>, cancel: &Cancel) -> Result<Vec<u8>> {
        let side = grid_side(&self.model.config().pyramid);
        let mut pixels = Vec::new();
        let decode = || tokenizer.decode_latents(&self.state.latent, side, cancel, &mut pixels, |_, _| {});
        self.model.backend.run(decode)?;
        Ok(pixels)
    }

    /// Everything that later passes depend on besides model and request, as the bytes of a `.safetensors` file, with a
    /// description of the caller's own.
    ///
    /// # Errors
    /// `INTERNAL`
    pub fn save(&self, description: &str) -> Result<Vec<u8>> {
        self.state.to_bytes(description)
    }

    fn generation(&mut self) -> Generation<'_, B> {
        let Stepper { model, session, request, state, .. } = self;
        let images = request.labels.len();
        let (buffers, chosen) = (session.buffers(), state.chosen);
        Generation { model, request, buffers, first_image: 0, images, trace: None, chosen }
    }

    fn check_next(&self, cancel: &Cancel) -> Result<usize> {
        cancel.check()?;
        if self.state.next == self.request.plan.passes.len() {
            return Err(invalid("All passes are done."));
        }
        Ok(self.state.next)
    }

    fn check_replacement(&self, tokens: &[u32], confidence: Option<&[f32]>) -> Result<()> {
        let State { current, confidence: old, .. } = &self.state;
        if self.state.next == 0 {
            return Err(invalid("There are no tokens before the first pass."));
        }
        if tokens.len() != current.len() || confidence.is_some_and(|new| new.len() != current.len()) {
            return Err(invalid("The tokens are not those of the scale.")
                .found(format!("{} tokens", tokens.len()))
                .expected(format!("{}, and as many confidences if any", current.len())));
        }
        let vocabulary = self.model.config().codebook_size;
        if let Some(token) = tokens.iter().find(|&&token| token as usize >= vocabulary) {
            let expected = format!("0 … {}", vocabulary - 1);
            return Err(invalid("A token is not in the codebook.").found(*token as i32).expected(expected));
        }
        let mut pairs = confidence.into_iter().flatten().zip(old);
        if pairs.any(|(new, old)| !(0.0..=1.0).contains(new) && old.is_finite()) {
            return Err(invalid("A confidence is no probability.").expected("0 … 1"));
        }
        let mut changed = tokens.iter().zip(current).zip(old).filter(|((new, old), _)| new != old);
        if changed.any(|(_, confidence)| confidence.is_infinite()) {
            return Err(invalid("Tokens that editing keeps cannot be replaced."));
        }
        Ok(())
    }

    /// Forgets the logits of the next pass, which were computed from what is about to change.
    fn take_back_prediction(&mut self) -> Result<()> {
        if std::mem::take(&mut self.predicted) { self.upload_scale() } else { Ok(()) }
    }

    fn upload_state(&mut self) -> Result<()> {
        self.model.backend.upload(&self.state.latent, &mut self.session.buffers().inputs.latents.latent)?;
        self.upload_scale()
    }

    fn upload_scale(&mut self) -> Result<()> {
        let (backend, buffers) = (&*self.model.backend, self.session.buffers());
        backend.upload(&self.state.current, &mut buffers.inputs.tokens)?;
        backend.upload(&self.state.open, &mut buffers.inputs.mask)?;
        backend.upload(&self.state.confidence, &mut buffers.confidence)
    }

    fn download_latent(&mut self) -> Result<Vec<f32>> {
        let length = self.state.latent.len();
        downloaded(&*self.model.backend, &self.session.buffers().inputs.latents.latent, length)
    }

    /// Where the scale of the pass done last lies in an image's tokens.
    fn current_scale(&self) -> std::ops::Range<usize> {
        self.request.scale_of(&self.model.config().pyramid, self.state.next - 1)
    }
}

fn invalid(what: &str) -> Error {
    Error::new(Code::ArgumentOutOfRange, what)
}
