//! What depends on the class alone: AdaLN's modulations, computed once a class and generation.

use hmar_error::Result;
use hmar_ops::{Backend, LinearOutput};

use super::Transformer;
use super::block::Ada;
use crate::load::Layer;
use crate::memory::Arena;

/// The modulations of the distinct classes of a batch, one slot each.
pub(crate) struct Conditions<B: Backend> {
    capacity: usize,
    /// Classes in the slots.
    labels: Vec<u32>,
    indices: B::Buffer<u32>,
    /// `[slots, C]`
    classes: B::Buffer<f32>,
    activated: B::Features,
    /// `[slots, 6, C]` a block.
    blocks: Vec<B::Buffer<f32>>,
    /// `[slots, 2, C]` a head.
    heads: Vec<B::Buffer<f32>>,
}

impl<B: Backend> Conditions<B> {
    /// Room for `capacity` distinct classes.
    pub(crate) fn place(arena: &Arena<'_, B>, transformer: &Transformer<B>, capacity: usize) -> Result<Self> {
        let width = transformer.config.width;
        let buffers = |count: usize, parts: usize| {
            (0..count).map(|_| arena.place(capacity * parts * width)).collect::<Result<Vec<_>>>()
        };
        Ok(Conditions {
            capacity,
            labels: Vec::new(),
            indices: arena.place(capacity)?,
            classes: arena.place(capacity * width)?,
            activated: arena.place_features(capacity * width)?,
            blocks: buffers(transformer.blocks.len(), 6)?,
            heads: buffers(transformer.heads.len(), 2)?,
        })
    }

    /// Computes the modulations of `labels`, unless they are there already. Returns each label's slot.
    pub(crate) fn prepare(
        &mut self,
        backend: &B,
        transformer: &Transformer<B>,
        labels: &[u32],
    ) -> Result<Vec<u32>> {
        let mut distinct = labels.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        assert!(distinct.len() <= self.capacity, "a batch has no more classes than sequences");
        if distinct != self.labels {
            self.labels.clear();
            self.compute(backend, transformer, &distinct)?;
            self.labels = distinct;
        }
        let slot = |label| self.labels.binary_search(label).expect("every label has a slot") as u32;
        Ok(labels.iter().map(slot).collect())
    }

    fn compute(&mut self, backend: &B, transformer: &Transformer<B>, labels: &[u32]) -> Result<()> {
        let (slots, width) = (labels.len(), transformer.config.width);
        backend.upload(labels, &mut self.indices)?;
        backend.look_up(slots, width, &transformer.class_embedding, &self.indices, &mut self.classes)?;
        backend.silu(slots * width, &self.classes, &mut self.activated)?;
        for (block, out) in transformer.blocks.iter().zip(&mut self.blocks) {
            let layer = match &block.ada {
                Ada::Own(layer) => layer,
                Ada::Shared(_) => transformer.shared_ada.as_ref().expect("loaded with the blocks' own parts"),
            };
            let Layer { weight, bias } = layer;
            backend.linear(slots, &self.activated, weight, bias, LinearOutput::Float32(out))?;
            if let Ada::Shared(own) = &block.ada {
                backend.add_to_each(slots, 6 * width, own, out)?;
            }
        }
        for (head, out) in transformer.heads.iter().zip(&mut self.heads) {
            let Layer { weight, bias } = &head.ada;
            backend.linear(slots, &self.activated, weight, bias, LinearOutput::Float32(out))?;
        }
        Ok(())
    }

    pub(crate) fn classes(&self) -> &B::Buffer<f32> {
        &self.classes
    }

    pub(super) fn block(&self, index: usize) -> &B::Buffer<f32> {
        &self.blocks[index]
    }

    pub(super) fn head(&self, index: usize) -> &B::Buffer<f32> {
        &self.heads[index]
    }
}
