//! A model: the transformer and the quantiser its inputs are made with. Teacher-forced logits.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use hmar_checkpoint::{Layout, ModelConfig, TensorSource, TokenizerConfig};
use hmar_error::{Code, Error, Result};
use hmar_ops::{Backend, Blend, EmbedScale, Latent, Masking, Rows, Span};
use sha2::{Digest, Sha256};

use crate::Cancel;
use crate::load::LoadOptions;
use crate::memory::Arena;
use crate::plan::PassKind;
use crate::quantizer::{LatentBuffers, Quantizer};
use crate::tokenizer::{check_tokens, grid_side};
use crate::transformer::{Activations, Conditions, Transformer};

/// A model on a device.
pub struct Model<B: Backend> {
    pub(crate) backend: Arc<B>,
    pub(crate) transformer: Transformer<B>,
    pub(crate) quantizer: Quantizer<B>,
    fingerprint: OnceLock<String>,
    /// Bytes of the buffers that batches work in.
    pub(crate) batches: Arc<AtomicU64>,
}

impl<B: Backend> Model<B> {
    /// Loads a model, and from its tokenizer's file the quantiser.
    ///
    /// # Errors
    /// Those of reading, `CONFIG_INVALID` when the two do not fit, `NON_FINITE_WEIGHT`, `CANCELLED`.
    pub fn load(
        backend: Arc<B>,
        config: ModelConfig,
        source: &dyn TensorSource,
        quantizer_config: &TokenizerConfig,
        quantizer_source: &dyn TensorSource,
        options: &LoadOptions<'_>,
    ) -> Result<Self> {
        let of_model = (config.codebook_size, config.code_dimension);
        let of_quantizer = (quantizer_config.codebook_size, quantizer_config.code_dimension);
        if of_model != of_quantizer {
            return Err(Error::new(Code::ConfigInvalid, "The model and the tokenizer do not fit together.")
                .found(format!("a codebook of {} codes of {} dimensions", of_quantizer.0, of_quantizer.1))
                .expected(format!("{} codes of {} dimensions", of_model.0, of_model.1))
                .remedy("Load the tokenizer that the model was trained with."));
        }
        let quiet = LoadOptions { progress: &|_, _| {}, cancel: options.cancel.clone(), ..*options };
        let quantizer = Quantizer::load(&*backend, quantizer_source, quantizer_config, &quiet)?;
        let transformer = Transformer::load(&*backend, config, source, options)?;
        Ok(Model { backend, transformer, quantizer, fingerprint: OnceLock::new(), batches: Arc::default() })
    }

    /// The device it is on.
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// What the model is made of.
    pub fn config(&self) -> &ModelConfig {
        &self.transformer.config
    }

    /// Bytes its weights take.
    pub fn weight_bytes(&self) -> u64 {
        self.transformer.weight_bytes + self.quantizer.bytes
    }

    /// Bytes of the buffers that sessions and steppers of this model hold.
    pub fn batch_bytes(&self) -> u64 {
        self.batches.load(Ordering::Relaxed)
    }

    /// A digest of weights that no two trained models share: those of the classes and of the codebook. The same for every
    /// device and precision.
    ///
    /// # Errors
    /// Those of reading them back from the device.
    pub fn fingerprint(&self) -> Result<&str> {
        if let Some(known) = self.fingerprint.get() {
            return Ok(known);
        }
        let config = self.config();
        let backend = &*self.backend;
        let mut codes = vec![0f32; config.codebook_size * config.code_dimension];
        backend.download(&self.quantizer.codebook, &mut codes)?;
        let classes = self.transformer.class_embeddings(backend)?;
        let mut digest = Sha256::new();
        [codes, classes].iter().for_each(|values| digest.update(bytemuck::cast_slice::<f32, u8>(values)));
        let text = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(self.fingerprint.get_or_init(|| text))
    }

    /// Teacher-forced logits `[N, V]` before guidance. `label` may be the null class.
    ///
    /// With `masked`, those of the masked path, its input masked at these global positions; the rows of scale 1,
    /// which has no masked pass, are NaN.
    ///
    /// # Errors
    /// `ARGUMENT_OUT_OF_RANGE`; `CANCELLED`.
    pub fn logits(
        &self,
        tokens: &[u32],
        label: u32,
        masked: Option<&[u32]>,
        cancel: &Cancel,
    ) -> Result<Vec<f32>> {
        let config = self.config();
        check_tokens(tokens, &config.pyramid, config.codebook_size)?;
        if label as usize > config.classes {
            return Err(out_of_range("The label", label, format!("0 … {}", config.classes)));
        }
        if masked.is_some() && config.layout != Layout::Combined {
            return Err(out_of_range("A masked pass", "a model without a masked branch", "a combined model"));
        }
        if let Some(&position) = masked.unwrap_or_default().iter().find(|&&p| p as usize >= config.tokens()) {
            return Err(out_of_range("A masked position", position, format!("below {}", config.tokens())));
        }
        self.backend.run(|| self.teacher_forced(tokens, label, masked, cancel))
    }

    fn teacher_forced(
        &self,
        tokens: &[u32],
        label: u32,
        masked: Option<&[u32]>,
        cancel: &Cancel,
    ) -> Result<Vec<f32>> {
        let (backend, config) = (&*self.backend, self.config());
        let pyramid = &config.pyramid;
        // Scale 1 has no masked pass.
        let first_scale = usize::from(masked.is_some());
        let first: usize = pyramid[..first_scale].iter().map(|side| side * side).sum();
        let count = config.tokens() - first;

        let ((mut conditions, mut builder, mut activations), _) = Arena::fill(backend, |arena| {
            let conditions = Conditions::place(arena, &self.transformer, 1)?;
            let builder = InputBuilder::place(arena, self, 1)?;
            Ok((conditions, builder, Activations::place(arena, config, 1, count, None)?))
        })?;
        let mut slots = backend.allocate(1)?;
        backend.upload(&conditions.prepare(backend, &self.transformer, &[label])?, &mut slots)?;
        let rows = Rows { sequences: 1, per_sequence: count, slots: &slots };

        let mut start = 0;
        let mut spans = Vec::new();
        for (scale, side) in pyramid.iter().enumerate() {
            let end = start + side * side;
            backend.upload(&tokens[start..end], &mut builder.tokens)?;
            if scale >= first_scale {
                let queries = start - first..end - first;
                let keys = if config.layout == Layout::Var { 0..queries.end } else { queries.clone() };
                if scale == 0 {
                    self.transformer.embed_start(backend, rows, &conditions, &mut activations)?;
                } else {
                    let mask: Option<Vec<u8>> = masked.map(|positions| {
                        let mut mask = vec![0; side * side];
                        let inside =
                            positions.iter().map(|&p| p as usize).filter(|p| (start..end).contains(p));
                        inside.for_each(|position| mask[position - start] = 1);
                        mask
                    });
                    if let Some(mask) = &mask {
                        backend.upload(mask, &mut builder.mask)?;
                    }
                    let place = Place { sequences: 1, per_sequence: count, at: queries.start };
                    builder.embed(self, scale, mask.is_some(), place, &mut activations)?;
                }
                spans.push(Span { queries, keys });
            }
            builder.accumulate(self, scale)?;
            start = end;
        }
        cancel.check()?;
        let kind = if masked.is_some() { PassKind::Masked } else { PassKind::NextScale };
        self.transformer.forward(backend, kind, &conditions, rows, &spans, &mut activations, None)?;
        cancel.check()?;

        let mut logits = vec![f32::NAN; config.tokens() * config.codebook_size];
        backend.download(&activations.logits, &mut logits[first * config.codebook_size..])?;
        Ok(logits)
    }
}

fn out_of_range(what: &str, found: impl std::fmt::Display, expected: impl std::fmt::Display) -> Error {
    Error::new(Code::ArgumentOutOfRange, format!("{what} is out of range.")).found(found).expected(expected)
}

/// Where a scale's rows go in the residual stream.
pub(crate) struct Place {
    pub(crate) sequences: usize,
    pub(crate) per_sequence: usize,
    pub(crate) at: usize,
}

/// Makes the transformer's inputs from the tokens of the scales so far (3.1).
pub(crate) struct InputBuilder<B: Backend> {
    images: usize,
    pub(crate) latents: LatentBuffers<B>,
    /// Tokens of the current scale `[images, p²]`.
    pub(crate) tokens: B::Buffer<u32>,
    /// Its masked positions `[images, p²]`.
    pub(crate) mask: B::Buffer<u8>,
    pooled: B::Buffer<f32>,
}

impl<B: Backend> InputBuilder<B> {
    pub(crate) fn place(arena: &Arena<'_, B>, model: &Model<B>, images: usize) -> Result<Self> {
        let config = model.config();
        let cells = images * grid_side(&config.pyramid).pow(2);
        let latent = model.quantizer.latent(images, grid_side(&config.pyramid));
        Ok(InputBuilder {
            images,
            latents: LatentBuffers::place(arena, latent)?,
            tokens: arena.place(cells)?,
            mask: arena.place(cells)?,
            pooled: arena.place(cells * latent.width)?,
        })
    }

    fn latent(&self, model: &Model<B>) -> Latent {
        model.quantizer.latent(self.images, grid_side(&model.config().pyramid))
    }

    /// Uses the first `images` of the buffers from now on, and forgets earlier scales.
    pub(crate) fn restart(&mut self, model: &Model<B>, images: usize) -> Result<()> {
        self.images = images;
        let Latent { side, width, .. } = self.latent(model);
        model.backend.fill_bytes(images * side * side * width, 0, &mut self.latents.latent)
    }

    /// Writes the input of a scale after the first: the latent so far and, for a masked pass, the scale's own
    /// current tokens where the mask leaves them visible.
    pub(crate) fn embed(
        &mut self,
        model: &Model<B>,
        scale: usize,
        masked: bool,
        place: Place,
        activations: &mut Activations<B>,
    ) -> Result<()> {
        let (backend, transformer) = (&*model.backend, &model.transformer);
        let pyramid = &model.config().pyramid;
        let (side, latent) = (pyramid[scale], self.latent(model));
        let positions = side * side;
        let count = self.images * positions;
        backend.area_pool(latent, side, &self.latents.latent, None, &mut self.pooled)?;
        if masked {
            model.quantizer.look_up(backend, count, &self.tokens, &mut self.latents)?;
            model.quantizer.spread_codes(backend, latent, pyramid, scale, &mut self.latents)?;
            backend.area_pool(latent, side, &self.latents.codes, Some(&self.mask), &mut self.pooled)?;
        }
        let embed = &transformer.word_embed;
        let Activations { residual, embedded, .. } = activations;
        backend.project(count, &self.pooled, embed, embedded)?;
        let mask_embed = transformer.mask_embed.as_ref().filter(|_| masked);
        let embedding = EmbedScale {
            images: self.images,
            sequences: place.sequences,
            positions,
            width: model.config().width,
            per_sequence: place.per_sequence,
            at: place.at,
            embedded,
            positional: &transformer.positional,
            first: pyramid[..scale].iter().map(|side| side * side).sum(),
            masked: mask_embed.map(|embedding| Masking { mask: &self.mask, embedding }),
        };
        backend.embed_scale(embedding, residual)
    }

    /// Adds the scale of `tokens` to the latent.
    pub(crate) fn accumulate(&mut self, model: &Model<B>, scale: usize) -> Result<()> {
        let side = model.config().pyramid[scale];
        let count = self.images * side * side;
        model.quantizer.look_up(&model.backend, count, &self.tokens, &mut self.latents)?;
        self.accumulate_codes(model, scale)
    }

    /// Adds a scale to the latent whose codes are in `latents.codes` already.
    pub(crate) fn accumulate_codes(&mut self, model: &Model<B>, scale: usize) -> Result<()> {
        let (latent, pyramid) = (self.latent(model), &model.config().pyramid);
        model.quantizer.blend_codes(&model.backend, latent, pyramid, scale, Blend::Add, &mut self.latents)
    }
}
