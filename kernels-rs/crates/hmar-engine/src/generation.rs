//! Generation (4): a session holds the buffers of a batch and runs a plan over it, pass by pass.

use std::collections::VecDeque;
use std::time::Instant;

use bytemuck::Pod;
use hmar_error::{Code, Error, Result};
use hmar_ops::Backend;

use crate::buffers::Buffers;
use crate::request::{Event, Generated, Request, Timings};
use crate::tokenizer::grid_side;
use crate::{Cancel, Model, Tokenizer};

/// Passes queued before the oldest is waited for: enough to keep a device busy, few enough to stop soon.
const PASSES_IN_FLIGHT: usize = 2;

/// The buffers of a batch for one model and tokenizer. They stay from request to request and grow when a larger
/// batch comes.
pub struct Session<B: Backend> {
    buffers: Option<Buffers<B>>,
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
        request.check(model.config())?;
        let batch = request.batch.clamp(1, request.labels.len());
        let buffers = self.reserve(model, Some(tokenizer), batch)?;
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

    /// Buffers for so many images, and for decoding them by `tokenizer` where they will be.
    pub(crate) fn reserve(
        &mut self,
        model: &Model<B>,
        tokenizer: Option<&Tokenizer<B>>,
        images: usize,
    ) -> Result<&mut Buffers<B>> {
        let kept = self.buffers.take().filter(|buffers| buffers.batch >= images);
        let buffers = match kept {
            Some(buffers) => buffers,
            None => Buffers::allocate(model, tokenizer, images)
                .map_err(|error| with_fitting_batch(error, model, tokenizer, images))?,
        };
        Ok(self.buffers.insert(buffers))
    }

    /// What [`Session::reserve`] gave.
    pub(crate) fn buffers(&mut self) -> &mut Buffers<B> {
        self.buffers.as_mut().expect("reserved before")
    }
}

/// One batch on its way through a plan.
pub(crate) struct Generation<'a, B: Backend> {
    pub(crate) model: &'a Model<B>,
    pub(crate) request: &'a Request,
    pub(crate) buffers: &'a mut Buffers<B>,
    pub(crate) first_image: usize,
    pub(crate) images: usize,
    /// Every pass's tokens `[images, Σ p² over passes]`, where asked for.
    pub(crate) trace: Option<B::Buffer<u32>>,
    /// The next masked pass finds in the mask what it is to draw, instead of choosing by the plan.
    pub(crate) chosen: bool,
}

impl<'a, B: Backend> Generation<'a, B> {
    pub(crate) fn start(
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
        let length = labels.len() * request.traced_before(&model.config().pyramid, request.plan.passes.len());
        let trace = request.trace.then(|| backend.allocate(length)).transpose()?;
        timings.condition += milliseconds(begin);
        Ok(Generation { model, request, buffers, first_image, images: labels.len(), trace, chosen: false })
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
    pub(crate) fn queue(&mut self, index: usize) -> Result<()> {
        let shape = self.shape(index);
        let backend = &*self.model.backend;
        self.prepare(index)?;
        // Nothing at all cannot be recorded.
        if !shape.skips || shape.ends_scale {
            let mut recording = self.buffers.recordings.remove(&shape).unwrap_or_default();
            backend.replay(&mut recording, || self.queue_operations(index))?;
            self.buffers.recordings.insert(shape, recording);
        }

        let positions = self.positions(index);
        let (before, width) = (
            self.request.traced_before(&self.model.config().pyramid, index),
            self.request.traced_before(&self.model.config().pyramid, self.request.plan.passes.len()),
        );
        match &mut self.trace {
            Some(trace) => {
                let tokens = &self.buffers.inputs.tokens;
                backend.store_tokens(self.images, positions, tokens, trace, width, before)
            }
            None => Ok(()),
        }
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
        let done = |first, images| on_event(Event::Decode { first_image: self.first_image + first, images });
        let pixels = &mut generated.pixels;
        match &mut self.buffers.pictures {
            Some(pictures) => tokenizer.decode_with(pictures, &latents, side, cancel, pixels, done)?,
            None => tokenizer.decode_latents(&latents, side, cancel, pixels, done)?,
        }
        generated.timings.decode += milliseconds(begin);
        generated.latents.extend(latents);
        generated.tokens.extend(downloaded(backend, &self.buffers.maps, self.images * config.tokens())?);
        if let Some(trace) = &self.trace {
            let length = self.images
                * self.request.traced_before(&self.model.config().pyramid, self.request.plan.passes.len());
            generated.trace.extend(downloaded(backend, trace, length)?);
        }
        Ok(())
    }
}

pub(crate) fn downloaded<B: Backend, T: Pod + Send + Sync>(
    backend: &B,
    buffer: &B::Buffer<T>,
    length: usize,
) -> Result<Vec<T>> {
    let mut data = vec![T::zeroed(); length];
    backend.download(buffer, &mut data)?;
    Ok(data)
}

/// Bytes that a generation takes besides its buffers, generously: what is recorded, and weights laid out anew when they are
/// used for the first time.
const BESIDE_BUFFERS: u64 = 128 << 20;

/// Says which batch would fit, where memory ran out for one of `images`.
fn with_fitting_batch<B: Backend>(
    error: Error,
    model: &Model<B>,
    tokenizer: Option<&Tokenizer<B>>,
    images: usize,
) -> Error {
    let free = model.backend.free_bytes().filter(|_| error.code == Code::OutOfMemory);
    let Some(free) = free.map(|free| free.saturating_sub(BESIDE_BUFFERS)) else { return error };
    let fits = |batch: usize| Buffers::bytes(model, tokenizer, batch).is_ok_and(|bytes| bytes <= free);
    match largest_that_fits(images, fits) {
        0 => error.remedy("Not even one image fits: close other programs on this GPU, or take a smaller model."),
        batch => error.remedy(format!(
            "Generate at most {batch} at a time, which fit in what is free, or close other programs on this GPU."
        )),
    }
}

/// The largest number below `all` that `fits`, as all smaller ones do.
fn largest_that_fits(all: usize, fits: impl Fn(usize) -> bool) -> usize {
    let (mut fitting, mut too_large) = (0, all);
    while too_large - fitting > 1 {
        let middle = fitting + (too_large - fitting) / 2;
        if fits(middle) { fitting = middle } else { too_large = middle }
    }
    fitting
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::largest_that_fits;

    #[test]
    fn the_largest_batch_that_fits_is_found_below_what_was_asked() {
        // 1,000 bytes, and 300 an image.
        let fits = |free: usize| move |batch: usize| 1_000 + 300 * batch <= free;
        for free in [0usize, 1_299, 1_300, 1_599, 1_600, 5_000, 1_000_000] {
            for asked in [1, 2, 3, 10, 64, 1_000] {
                let expected = free.saturating_sub(1_000) / 300;
                assert_eq!(largest_that_fits(asked, fits(free)), expected.min(asked - 1), "{free}, {asked}");
            }
        }
    }
}
