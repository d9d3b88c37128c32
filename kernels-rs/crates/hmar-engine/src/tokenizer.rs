//! The tokenizer: pictures to token maps and back (2).

mod network;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use hmar_checkpoint::{TensorSource, TokenizerConfig, pyramid_tokens};
use hmar_error::{Code, Error, Result};
use hmar_ops::{Backend, Blend, ConvolutionShape, Walk};

pub(crate) use self::network::Pictures;
use self::network::{Decoder, Encoder};
use crate::Cancel;
use crate::load::{Layer, LoadOptions, Wanted, Weights};
use crate::memory::{Arena, Claim, Place};
use crate::quantizer::{LatentBuffers, Quantizer};

/// Groups of pictures queued before the oldest is waited for: enough to keep a device busy, few enough to stop soon.
const DECODINGS_IN_FLIGHT: usize = 2;

/// Pixels of a picture of which [`Backend::images_at_once`] are decoded together; of larger ones, fewer.
const FULL_PICTURE: usize = 256 * 256;

/// A tokenizer on a device.
pub struct Tokenizer<B: Backend> {
    backend: Arc<B>,
    config: TokenizerConfig,
    quantizer: Quantizer<B>,
    encoder: Encoder<B>,
    decoder: Decoder<B>,
    quant_conv: Layer<B>,
    post_quant_conv: Layer<B>,
    weight_bytes: u64,
    /// What the size used last is encoded or decoded in, while no call does.
    pictures: Mutex<Option<(Pictures<B>, Claim)>>,
    /// Bytes of all of them.
    working: Arc<AtomicU64>,
}

impl<B: Backend> Tokenizer<B> {
    /// Loads a tokenizer.
    ///
    /// # Errors
    /// Those of reading, `NON_FINITE_WEIGHT`, `CANCELLED`, `OUT_OF_MEMORY`.
    pub fn load(
        backend: Arc<B>,
        config: TokenizerConfig,
        source: &dyn TensorSource,
        options: &LoadOptions<'_>,
    ) -> Result<Self> {
        let quantizer = Quantizer::load(&*backend, source, &config, options)?;
        let mut wanted = Wanted::new(options.precision);
        network::want(&mut wanted, &config);
        wanted.exact_layer("quant_conv");
        wanted.exact_layer("post_quant_conv");
        let mut weights = Weights::load(&*backend, source, wanted, options)?;
        Ok(Tokenizer {
            encoder: Encoder::take(&mut weights, &config)?,
            decoder: Decoder::take(&mut weights, &config)?,
            quant_conv: weights.layer("quant_conv")?,
            post_quant_conv: weights.layer("post_quant_conv")?,
            weight_bytes: weights.bytes() + quantizer.bytes,
            pictures: Mutex::new(None),
            working: Arc::default(),
            quantizer,
            config,
            backend,
        })
    }

    /// What the tokenizer is made of.
    pub fn config(&self) -> &TokenizerConfig {
        &self.config
    }

    /// Bytes its weights take.
    pub fn weight_bytes(&self) -> u64 {
        self.weight_bytes
    }

    /// Bytes of the activations it keeps from call to call, and of those of calls under way.
    pub fn working_bytes(&self) -> u64 {
        self.working.load(Ordering::Relaxed)
    }

    /// The tokens of a picture, scale after scale. `pixels [3, side, side]` are in [−1, 1].
    ///
    /// # Errors
    /// `ARGUMENT_OUT_OF_RANGE` when the picture's size is not the pyramid's; `CANCELLED`.
    pub fn encode(&self, pixels: &[f32], pyramid: &[usize], cancel: &Cancel) -> Result<Vec<u32>> {
        self.backend.run(|| {
            let buffers = self.encode_latent(pixels, pyramid, cancel)?;
            self.quantize(pyramid, buffers)
        })
    }

    /// What [`Tokenizer::encode`] quantises: `[S, S, Z]`.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn latent_of(&self, pixels: &[f32], pyramid: &[usize], cancel: &Cancel) -> Result<Vec<f32>> {
        self.backend.run(|| {
            let buffers = self.encode_latent(pixels, pyramid, cancel)?;
            let side = grid_side(pyramid);
            let mut latent = vec![0.0; side * side * self.quantizer.width];
            self.backend.download(&buffers.latent, &mut latent)?;
            Ok(latent)
        })
    }

    fn encode_latent(&self, pixels: &[f32], pyramid: &[usize], cancel: &Cancel) -> Result<LatentBuffers<B>> {
        let backend = &*self.backend;
        let side = grid_side(pyramid);
        let picture_side = side * self.config.downsample();
        if pixels.len() != 3 * picture_side * picture_side {
            return Err(Error::new(
                Code::ArgumentOutOfRange,
                "The picture does not have the pyramid's size.",
            )
            .found(format!("{} values", pixels.len()))
            .expected(format!("3×{picture_side}×{picture_side}")));
        }
        let latent = self.quantizer.latent(1, side);
        let (mut buffers, _) = Arena::fill(backend, |arena| LatentBuffers::place(arena, latent))?;
        self.with_pictures(1, side, |pictures| {
            let area = picture_side * picture_side;
            let interleaved: Vec<f32> = (0..3 * area).map(|i| pixels[i % 3 * area + i / 3]).collect();
            backend.upload(&interleaved, &mut pictures.values)?;
            backend.narrow(3 * area, &pictures.values, pictures.current.restart())?;
            self.encoder.run(backend, picture_side, pictures, cancel)?;
            let length = side * side * self.quantizer.width;
            backend.widen(length, pictures.current.features(), &mut pictures.values)?;
            let shape = ConvolutionShape { images: 1, side, walk: Walk::Same };
            let Layer { weight, bias } = &self.quant_conv;
            backend.exact_convolution(shape, &pictures.values, weight, bias, &mut buffers.latent)
        })?;
        Ok(buffers)
    }

    /// Turns the latent into tokens, scale by scale, leaving in it what no scale could say.
    fn quantize(&self, pyramid: &[usize], mut buffers: LatentBuffers<B>) -> Result<Vec<u32>> {
        let (backend, quantizer) = (&*self.backend, &self.quantizer);
        let latent = quantizer.latent(1, grid_side(pyramid));
        let mut tokens = backend.allocate(latent.side * latent.side)?;
        let mut all = Vec::with_capacity(pyramid_tokens(pyramid));
        for (scale, side) in pyramid.iter().enumerate() {
            let count = side * side;
            backend.area_pool(latent, *side, &buffers.latent, None, &mut buffers.codes)?;
            backend.nearest_code(
                count,
                quantizer.vocabulary,
                quantizer.width,
                &buffers.codes,
                &quantizer.codebook,
                &mut tokens,
            )?;
            let start = all.len();
            all.resize(start + count, 0);
            backend.download(&tokens, &mut all[start..])?;
            quantizer.look_up(backend, count, &tokens, &mut buffers)?;
            quantizer.blend_codes(backend, latent, pyramid, scale, Blend::Subtract, &mut buffers)?;
        }
        Ok(all)
    }

    /// The picture of `tokens`, as bytes `[side, side, 3]`. With `every_scale`, the reconstruction after each scale,
    /// one after another.
    ///
    /// # Errors
    /// `ARGUMENT_OUT_OF_RANGE` when the tokens are not the pyramid's; `CANCELLED`.
    pub fn decode(
        &self,
        tokens: &[u32],
        pyramid: &[usize],
        every_scale: bool,
        cancel: &Cancel,
    ) -> Result<Vec<u8>> {
        let mut pictures = Vec::new();
        self.each_scale(tokens, pyramid, |scale, latent, side| {
            if every_scale || scale + 1 == pyramid.len() {
                let mut values = vec![0.0; side * side * self.quantizer.width];
                self.backend.download(latent, &mut values)?;
                self.decode_latents(&values, side, cancel, &mut pictures, |_, _| {})?;
            }
            Ok(())
        })?;
        Ok(pictures)
    }

    /// The latent `[S, S, Z]` that all scales of `tokens` add up to.
    ///
    /// # Errors
    /// `ARGUMENT_OUT_OF_RANGE` when the tokens are not the pyramid's.
    pub fn latent_of_tokens(&self, tokens: &[u32], pyramid: &[usize]) -> Result<Vec<f32>> {
        self.latent_after(tokens, pyramid.len(), pyramid)
    }

    /// The tokens of what lies between two pictures: their latents after the first `scales` scales, mixed with `weight`
    /// of the second, and quantised.
    ///
    /// # Errors
    /// `ARGUMENT_OUT_OF_RANGE` when tokens are not the pyramid's, for a weight outside [0, 1] and for scales that are not
    /// there.
    pub fn interpolate(
        &self,
        tokens: [&[u32]; 2],
        weight: f32,
        scales: usize,
        pyramid: &[usize],
    ) -> Result<Vec<u32>> {
        if !(0.0..=1.0).contains(&weight) || scales == 0 || scales > pyramid.len() {
            return Err(Error::new(Code::ArgumentOutOfRange, "Pictures cannot be mixed so.")
                .found(format!("{scales} scales, weight {weight}"))
                .expected(format!("1 … {} scales, a weight from 0 to 1", pyramid.len())));
        }
        let [first, second] = tokens.map(|tokens| self.latent_after(tokens, scales, pyramid));
        let (first, second) = (first?, second?);
        let mixed: Vec<f32> =
            first.iter().zip(&second).map(|(a, b)| (1.0 - weight) * a + weight * b).collect();
        self.backend.run(|| {
            let latent = self.quantizer.latent(1, grid_side(pyramid));
            let (mut buffers, _) = Arena::fill(&*self.backend, |arena| LatentBuffers::place(arena, latent))?;
            self.backend.upload(&mixed, &mut buffers.latent)?;
            self.quantize(pyramid, buffers)
        })
    }

    /// The latent `[S, S, Z]` after the first `scales` scales.
    fn latent_after(&self, tokens: &[u32], scales: usize, pyramid: &[usize]) -> Result<Vec<f32>> {
        let mut values = vec![0.0; grid_side(pyramid).pow(2) * self.quantizer.width];
        self.each_scale(tokens, pyramid, |scale, latent, _| {
            if scale + 1 == scales { self.backend.download(latent, &mut values) } else { Ok(()) }
        })?;
        Ok(values)
    }

    /// Adds up the scales of `tokens`, showing the latent and its side after each.
    fn each_scale(
        &self,
        tokens: &[u32],
        pyramid: &[usize],
        mut show: impl FnMut(usize, &B::Buffer<f32>, usize) -> Result<()> + Send,
    ) -> Result<()> {
        check_tokens(tokens, pyramid, self.quantizer.vocabulary)?;
        self.backend.run(|| {
            let (backend, quantizer) = (&*self.backend, &self.quantizer);
            let latent = quantizer.latent(1, grid_side(pyramid));
            let (mut buffers, _) = Arena::fill(backend, |arena| LatentBuffers::place(arena, latent))?;
            let mut map = backend.allocate(latent.side * latent.side)?;
            let mut start = 0;
            for (scale, side) in pyramid.iter().enumerate() {
                let count = side * side;
                backend.upload(&tokens[start..start + count], &mut map)?;
                start += count;
                quantizer.look_up(backend, count, &map, &mut buffers)?;
                quantizer.blend_codes(backend, latent, pyramid, scale, Blend::Add, &mut buffers)?;
                show(scale, &buffers.latent, latent.side)?;
            }
            Ok(())
        })
    }

    /// Appends the pictures of latents `[images, S, S, Z]` to `pixels`, as bytes; `done` hears of the first and the number of
    /// those that are.
    pub(crate) fn decode_latents(
        &self,
        latents: &[f32],
        side: usize,
        cancel: &Cancel,
        pixels: &mut Vec<u8>,
        done: impl FnMut(usize, usize),
    ) -> Result<()> {
        let images = latents.len() / (side * side * self.quantizer.width);
        self.with_pictures(images, side, |pictures| {
            self.decode_with(pictures, latents, side, cancel, pixels, done)
        })
    }

    /// As [`Tokenizer::decode_latents`], in memory that has room for as many images.
    pub(crate) fn decode_with(
        &self,
        pictures: &mut Pictures<B>,
        latents: &[f32],
        side: usize,
        cancel: &Cancel,
        pixels: &mut Vec<u8>,
        mut done: impl FnMut(usize, usize),
    ) -> Result<()> {
        let backend = &*self.backend;
        let size = side * side * self.quantizer.width;
        let picture = 3 * (side * self.config.downsample()).pow(2);
        let (images, together) = (latents.len() / size, self.together(side));
        let before = pixels.len();
        let mut in_flight = VecDeque::with_capacity(DECODINGS_IN_FLIGHT);
        let mut settle = |(first, count, mark): (usize, usize, B::Mark)| {
            backend.wait(mark)?;
            done(first, count);
            Ok::<_, Error>(())
        };
        for (group, latents) in latents.chunks(together * size).enumerate() {
            cancel.check()?;
            let (first, count) = (group * together, latents.len() / size);
            self.queue_decoder(latents, side, pictures, cancel)?;
            let Pictures { bytes, decoded, .. } = &mut *pictures;
            backend.copy(count * picture, bytes, decoded, first * picture)?;
            in_flight.push_back((first, count, backend.mark()?));
            if in_flight.len() == DECODINGS_IN_FLIGHT {
                in_flight.pop_front().into_iter().try_for_each(&mut settle)?;
            }
        }
        // The host makes room while the device is at the last ones.
        pixels.resize(before + images * picture, 0);
        in_flight.into_iter().try_for_each(settle)?;
        backend.download(&pictures.decoded, &mut pixels[before..])
    }

    /// The values in [−1, 1] of a latent's picture before they are rounded to bytes (and clamped): `[side, side, 3]`.
    ///
    /// # Errors
    /// `CANCELLED`, `OUT_OF_MEMORY`.
    pub fn values_of(&self, latent: &[f32], side: usize, cancel: &Cancel) -> Result<Vec<f32>> {
        self.backend.run(|| {
            let picture_side = side * self.config.downsample();
            let mut picture = vec![0.0; 3 * picture_side * picture_side];
            self.with_pictures(1, side, |pictures| {
                self.queue_decoder(latent, side, pictures, cancel)?;
                self.backend.download(&pictures.values, &mut picture)
            })?;
            Ok(picture)
        })
    }

    /// Queues the decoder's operations on so many latents as there are; their pictures will be in `values` and `bytes`.
    fn queue_decoder(
        &self,
        latents: &[f32],
        side: usize,
        pictures: &mut Pictures<B>,
        cancel: &Cancel,
    ) -> Result<()> {
        pictures.images = latents.len() / (side * side * self.quantizer.width);
        self.backend.upload(latents, &mut pictures.latents)?;
        let mut recording = pictures.decodings.remove(&pictures.images).unwrap_or_default();
        // What is recorded begins and ends in buffers that keep their places: the others change theirs.
        self.backend.replay(&mut recording, || self.run_decoder(side, pictures, cancel))?;
        pictures.decodings.insert(pictures.images, recording);
        Ok(())
    }

    /// From `latents` to `values` and `bytes`.
    fn run_decoder(&self, side: usize, pictures: &mut Pictures<B>, cancel: &Cancel) -> Result<()> {
        let backend = &*self.backend;
        let Pictures { images, latents, values, current, .. } = &mut *pictures;
        let shape = ConvolutionShape { images: *images, side, walk: Walk::Same };
        let Layer { weight, bias } = &self.post_quant_conv;
        backend.exact_convolution(shape, latents, weight, bias, values)?;
        backend.narrow(*images * side * side * self.quantizer.width, values, current.restart())?;
        self.decoder.run(backend, side, pictures, cancel)?;
        let Pictures { images, values, bytes, current, .. } = pictures;
        let length = *images * 3 * (side * self.config.downsample()).pow(2);
        backend.widen(length, current.features(), values)?;
        backend.to_bytes(length, current.features(), bytes)
    }

    /// Pictures of a latent grid's side that are decoded together: as many as the device likes.
    fn together(&self, side: usize) -> usize {
        let (most, pixels) = (self.backend.images_at_once(), (side * self.config.downsample()).pow(2));
        (most * FULL_PICTURE / pixels.max(1)).clamp(1, most)
    }

    /// What so many images are decoded in, all or, where they are many, some after others; up to `until` there is room in any
    /// case.
    pub(crate) fn place_pictures(
        &self,
        arena: &Arena<'_, B>,
        images: usize,
        side: usize,
        until: Place,
    ) -> Result<Pictures<B>> {
        let picture_side = side * self.config.downsample();
        Pictures::place(arena, &self.config, self.together(side).min(images), images, picture_side, until)
    }

    /// Calls `work` with what so many images of this latent grid are encoded or decoded in.
    fn with_pictures<R>(
        &self,
        images: usize,
        side: usize,
        work: impl FnOnce(&mut Pictures<B>) -> Result<R>,
    ) -> Result<R> {
        // Taken out, not locked: a thread that waits within `work` may start another call's.
        let lock = || self.pictures.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let picture_side = side * self.config.downsample();
        let kept =
            lock().take().filter(|(kept, _)| kept.picture_side == picture_side && kept.capacity >= images);
        let (mut pictures, claim) = match kept {
            Some(kept) => kept,
            None => {
                let place = |arena: &Arena<'_, B>| self.place_pictures(arena, images, side, arena.here());
                let (pictures, bytes) = Arena::fill(&*self.backend, place)?;
                (pictures, Claim::new(&self.working, bytes))
            }
        };
        let result = work(&mut pictures);
        *lock() = Some((pictures, claim));
        result
    }
}

/// S, the side of the latent grid.
pub(crate) fn grid_side(pyramid: &[usize]) -> usize {
    pyramid.last().copied().unwrap_or(0)
}

/// Refuses tokens that are not a pyramid's, or not in the codebook.
pub(crate) fn check_tokens(tokens: &[u32], pyramid: &[usize], vocabulary: usize) -> Result<()> {
    let expected = pyramid_tokens(pyramid);
    if tokens.len() != expected {
        return Err(Error::new(Code::ArgumentOutOfRange, "The tokens are not those of the pyramid.")
            .found(format!("{} tokens", tokens.len()))
            .expected(format!("{expected}")));
    }
    match tokens.iter().position(|&token| token as usize >= vocabulary) {
        None => Ok(()),
        Some(at) => Err(Error::new(Code::ArgumentOutOfRange, format!("Token {at} is not in the codebook."))
            .found(tokens[at] as i32)
            .expected(format!("0 … {}", vocabulary - 1))),
    }
}
