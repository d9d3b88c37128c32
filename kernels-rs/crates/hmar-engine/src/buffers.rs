//! The device memory of a batch, and what its passes are recorded under.

use std::collections::HashMap;
use std::mem::Discriminant;

use hmar_checkpoint::Layout;
use hmar_error::Result;
use hmar_ops::{Backend, DrawSettings};

use crate::memory::{Arena, Claim};
use crate::model::InputBuilder;
use crate::plan::PassKind;
use crate::positions::PositionOrder;
use crate::tokenizer::{Pictures, grid_side};
use crate::transformer::{Activations, Cache, Conditions};
use crate::{Model, Tokenizer};

/// What a batch works in.
pub(crate) struct Buffers<B: Backend> {
    pub(crate) batch: usize,
    pub(crate) activations: Activations<B>,
    pub(crate) conditions: Conditions<B>,
    pub(crate) inputs: InputBuilder<B>,
    pub(crate) confidence: B::Buffer<f32>,
    /// What positions are ordered by where it is not their confidence.
    pub(crate) scores: B::Buffer<f32>,
    pub(crate) slots: B::Buffer<u32>,
    /// Block-causal attention's keys and values.
    pub(crate) cache: Option<Cache<B>>,
    pub(crate) settings: B::Buffer<DrawSettings>,
    /// Tokens of the finished scales, `[batch, N]`.
    pub(crate) maps: B::Buffer<u32>,
    pub(crate) recordings: HashMap<PassShape, B::Recording>,
    /// What the batch is decoded in, where that may be the place of the activations; else the tokenizer has it.
    pub(crate) pictures: Option<Pictures<B>>,
    /// Of what was allocated, on the model's total.
    _claim: Option<Claim>,
}

/// What tells the operations of one pass from those of another; all else they read from buffers.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct PassShape {
    pub(crate) images: usize,
    pub(crate) scale: usize,
    pub(crate) kind: PassKind,
    pub(crate) halves: usize,
    /// Masked, and the first such pass of its scale.
    pub(crate) opens: bool,
    /// How the pass before it chose what it left open.
    pub(crate) order: Option<Discriminant<PositionOrder>>,
    pub(crate) revises: bool,
    /// What it draws is given in the mask.
    pub(crate) chosen: bool,
    /// Some, or all, of the scale's tokens are kept.
    pub(crate) keeps: bool,
    pub(crate) skips: bool,
    pub(crate) ends_scale: bool,
    pub(crate) smooth: bool,
}

impl<B: Backend> Buffers<B> {
    /// Room for `batch` images, and for decoding them where they will be.
    pub(crate) fn allocate(model: &Model<B>, tokenizer: Option<&Tokenizer<B>>, batch: usize) -> Result<Self> {
        let build = |arena: &Arena<'_, B>| Self::place(arena, model, tokenizer, batch);
        let (buffers, bytes) = Arena::fill(&*model.backend, build)?;
        Ok(Buffers { _claim: Some(Claim::new(&model.batches, bytes)), ..buffers })
    }

    /// Bytes that [`Buffers::allocate`] takes.
    pub(crate) fn bytes(model: &Model<B>, tokenizer: Option<&Tokenizer<B>>, batch: usize) -> Result<u64> {
        Arena::measure(&*model.backend, |arena| Self::place(arena, model, tokenizer, batch))
    }

    fn place(
        arena: &Arena<'_, B>,
        model: &Model<B>,
        tokenizer: Option<&Tokenizer<B>>,
        batch: usize,
    ) -> Result<Self> {
        let config = model.config();
        let side = grid_side(&config.pyramid);
        let (positions, sequences) = (side * side, 2 * batch);
        let cached = (config.layout == Layout::Var).then_some(sequences);
        // What is there from pass to pass.
        let conditions = Conditions::place(arena, &model.transformer, batch.min(config.classes) + 1)?;
        let inputs = InputBuilder::place(arena, model, batch)?;
        let [confidence, scores] = [arena.place(batch * positions)?, arena.place(batch * positions)?];
        let slots = arena.place(sequences)?;
        let cache = cached.map(|sequences| Cache::place(arena, config, sequences)).transpose()?;
        let (settings, maps) = (arena.place(1)?, arena.place(batch * config.tokens())?);
        // What is not: pictures are decoded when all passes are done.
        let of_a_pass = arena.here();
        let activations = Activations::place(arena, config, batch, sequences * positions, cached)?;
        let until = arena.here();
        let decoding = |tokenizer: &Tokenizer<B>| tokenizer.place_pictures(arena, batch, side, until);
        let tokenizer = tokenizer.filter(|_| B::SHARES_PLACES);
        let pictures = arena.over(of_a_pass, || tokenizer.map(decoding).transpose())?;
        Ok(Buffers {
            batch,
            activations,
            conditions,
            inputs,
            confidence,
            scores,
            slots,
            cache,
            settings,
            maps,
            recordings: HashMap::new(),
            pictures,
            _claim: None,
        })
    }
}
