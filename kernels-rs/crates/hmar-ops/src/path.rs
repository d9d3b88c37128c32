//! A path through the transformer as one operation, for devices that have a faster way than layer by layer.

use crate::{Backend, Rows, Scores};

/// A linear layer's weights.
pub struct Linear<'a, B: Backend> {
    /// `[outputs, inputs]`
    pub weight: &'a B::Matrix,
    /// `[outputs]`
    pub bias: &'a B::Bias,
}

/// An AdaLN block's weights, and its modulations.
pub struct PathBlock<'a, B: Backend> {
    /// To queries, keys and values: `[3·C, C]`.
    pub qkv: Linear<'a, B>,
    /// From attention back: `[C, C]`.
    pub proj: Linear<'a, B>,
    /// Into the feed-forward's hidden layer: `[4·C, C]`.
    pub fc1: Linear<'a, B>,
    /// Out of it: `[C, 4·C]`.
    pub fc2: Linear<'a, B>,
    /// `[slots, 6, C]`: γ₁ γ₂ s₁ s₂ b₁ b₂.
    pub modulations: &'a B::Buffer<f32>,
    /// How its attention scores.
    pub scores: Scores<'a, B>,
}

/// Blocks and head of a path, and the rows that go through them. Every row attends to all rows of its sequence.
pub struct Path<'a, B: Backend> {
    /// In order.
    pub blocks: Vec<PathBlock<'a, B>>,
    /// `[V, C]`
    pub head: Linear<'a, B>,
    /// `[slots, 2, C]`: the head's scale and shift.
    pub head_modulations: &'a B::Buffer<f32>,
    /// C: a row's numbers.
    pub width: usize,
    /// Attention heads.
    pub heads: usize,
    /// V: a row's logits.
    pub vocabulary: usize,
    /// The rows' sequences.
    pub rows: Rows<'a, B>,
}

/// What a path works on: both may lie in the same memory, of which it writes nothing before it has read all it needs.
pub struct PathBuffers<'a, B: Backend> {
    /// `[rows, C]`: what goes in.
    pub residual: &'a mut B::Buffer<f32>,
    /// `[rows, V]`: what comes out.
    pub logits: &'a mut B::Buffer<f32>,
}
