//! The device memory of a batch, and what its passes are recorded under.

use std::collections::HashMap;
use std::mem::Discriminant;

use hmar_checkpoint::Layout;
use hmar_error::Result;
use hmar_ops::{Backend, DrawSettings};

use crate::Model;
use crate::memory::{Allocator, Claim};
use crate::model::InputBuilder;
use crate::plan::PassKind;
use crate::positions::PositionOrder;
use crate::tokenizer::grid_side;
use crate::transformer::{Activations, Cache, Conditions};

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
    _claim: Claim,
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
    pub(crate) fn allocate(model: &Model<B>, batch: usize) -> Result<Self> {
        let (memory, config) = (&Allocator::new(&*model.backend), model.config());
        let positions = grid_side(&config.pyramid).pow(2);
        Ok(Buffers {
            batch,
            activations: Activations::allocate(memory, config, 2 * batch * positions)?,
            conditions: Conditions::allocate(memory, &model.transformer, 2 * batch)?,
            inputs: InputBuilder::allocate(memory, model, batch)?,
            confidence: memory.allocate(batch * positions)?,
            scores: memory.allocate(batch * positions)?,
            slots: memory.allocate(2 * batch)?,
            cache: match config.layout {
                Layout::Var => Some(Cache::allocate(memory, config, 2 * batch)?),
                Layout::Combined | Layout::NextScale => None,
            },
            settings: memory.allocate(1)?,
            maps: memory.allocate(batch * config.tokens())?,
            recordings: HashMap::new(),
            // The last, when all else is counted.
            _claim: memory.claim(&model.batches),
        })
    }
}
