//! The transformer (3): blocks modulated by the class, two branches and heads over one base.

mod block;
mod cache;
mod condition;

use hmar_checkpoint::{Layout, ModelConfig, TensorSource};
use hmar_error::Result;
use hmar_ops::{Backend, LayerInput, LinearOutput, Modulation, Path, PathBuffers, Rows, Span};

use self::block::{Block, Norm};
pub(crate) use self::cache::Cache;
pub(crate) use self::condition::Conditions;
use crate::load::{Layer, LoadOptions, Wanted, Weights};
use crate::memory::Arena;
use crate::plan::PassKind;
use crate::tokenizer::grid_side;

/// A transformer's weights on a device.
pub(crate) struct Transformer<B: Backend> {
    pub(crate) config: ModelConfig,
    /// Base blocks, then the next-scale branch, then the masked one.
    blocks: Vec<Block<B>>,
    /// Next-scale, then masked.
    heads: Vec<Head<B>>,
    shared_ada: Option<Layer<B>>,
    class_embedding: B::Buffer<f32>,
    start: B::Buffer<f32>,
    /// Position, level and `word_embed_bias` of every token: `[N, C]`.
    pub(crate) positional: B::Buffer<f32>,
    pub(crate) word_embed: B::Matrix,
    pub(crate) mask_embed: Option<B::Buffer<f32>>,
    pub(crate) weight_bytes: u64,
}

struct Head<B: Backend> {
    ada: Layer<B>,
    out: Layer<B>,
}

/// Activations of a batch of sequences, none of which a pass finds as the one before left them.
pub(crate) struct Activations<B: Backend> {
    /// The residual stream `[rows, C]`.
    pub(crate) residual: B::Buffer<f32>,
    normed: B::Features,
    qkv: B::Features,
    attended: B::Features,
    hidden: B::Features,
    /// All keys and values that the last scale of block-causal attention has: `[sequences, N, 2, C]`.
    keys_values: Option<B::Features>,
    /// `[rows, V]`
    pub(crate) logits: B::Buffer<f32>,
    /// Latents in the model's width, before they become the residual stream: `[images, positions, C]`.
    pub(crate) embedded: B::Buffer<f32>,
}

impl<B: Backend> Activations<B> {
    /// Those of `rows` rows, which show so many images. With a [`Cache`], of so many sequences.
    pub(crate) fn place(
        arena: &Arena<'_, B>,
        config: &ModelConfig,
        images: usize,
        rows: usize,
        cached: Option<usize>,
    ) -> Result<Self> {
        let width = config.width;
        let normed = arena.place_features(rows * width)?;
        // A pass embeds its rows; blocks attend, and then feed forward; logits are made of what the last left in `normed`.
        let before_logits = arena.here();
        let residual = arena.place(rows * width)?;
        let of_blocks = arena.here();
        let qkv = arena.place_features(rows * 3 * width)?;
        let attended = arena.place_features(rows * width)?;
        let keys_values = cached
            .map(|sequences| arena.place_features(sequences * config.tokens() * 2 * width))
            .transpose()?;
        let hidden = arena.over(of_blocks, || arena.place_features(rows * config.mlp_ratio * width))?;
        let positions = images * grid_side(&config.pyramid).pow(2);
        let embedded = arena.over(of_blocks, || arena.place(positions * width))?;
        let logits = arena.over(before_logits, || arena.place(rows * config.codebook_size))?;
        Ok(Activations { residual, normed, qkv, attended, hidden, keys_values, logits, embedded })
    }
}

/// The names of a layout's stacks of blocks and of its heads.
fn stacks(config: &ModelConfig) -> (Vec<String>, Vec<&'static str>) {
    let blocks = |stack: &'static str, count: usize| (0..count).map(move |i| format!("{stack}.{i}"));
    match config.layout {
        Layout::Combined => (
            blocks("base_blocks", config.base_depth())
                .chain(blocks("ns_blocks", config.branch_depth))
                .chain(blocks("mask_blocks", config.branch_depth))
                .collect(),
            vec!["ns_head", "mask_head"],
        ),
        Layout::NextScale | Layout::Var => (blocks("blocks", config.depth).collect(), vec!["head"]),
    }
}

impl<B: Backend> Transformer<B> {
    pub(crate) fn load(
        backend: &B,
        config: ModelConfig,
        source: &dyn TensorSource,
        options: &LoadOptions<'_>,
    ) -> Result<Self> {
        let (block_names, head_names) = stacks(&config);
        let combined = config.layout == Layout::Combined;
        let word_bias = if combined { "word_embed_bias" } else { "word_embed.bias" };

        let mut wanted = Wanted::new(options.precision);
        if options.fp8_blocks {
            wanted = wanted.fp8_blocks();
        }
        ["pos_start", "pos_1LC", "lvl_embed.weight", "class_emb.weight", word_bias]
            .iter()
            .for_each(|name| wanted.vector(name));
        wanted.exact_matrix("word_embed.weight");
        if combined {
            wanted.vector("mask_embed.weight");
        }
        if config.shared_ada_ln {
            wanted.layer("shared_ada_lin.1");
        }
        block_names.iter().for_each(|name| Block::<B>::want(&mut wanted, name, &config));
        for name in &head_names {
            wanted.layer(&format!("{name}_nm.ada_lin.1"));
            wanted.layer(name);
        }
        let mut weights = Weights::load(backend, source, wanted, options)?;

        let levels = weights.vector("lvl_embed.weight");
        let positions = weights.vector("pos_1LC");
        let start: Vec<f32> = weights
            .vector("pos_start")
            .iter()
            .zip(&positions)
            .zip(&levels)
            .map(|((s, p), l)| s + (p + l))
            .collect();
        let word_bias = weights.vector(word_bias);
        let positional = positional(&config, &positions, &levels, &word_bias);
        Ok(Transformer {
            blocks: block_names
                .iter()
                .map(|name| Block::take(backend, &mut weights, name, &config))
                .collect::<Result<_>>()?,
            heads: head_names
                .iter()
                .map(|name| {
                    Ok(Head {
                        ada: weights.layer(&format!("{name}_nm.ada_lin.1"))?,
                        out: weights.layer(name)?,
                    })
                })
                .collect::<Result<_>>()?,
            shared_ada: if config.shared_ada_ln { Some(weights.layer("shared_ada_lin.1")?) } else { None },
            class_embedding: weights.buffer("class_emb.weight")?,
            start: weights.to_device(&start)?,
            positional: weights.to_device(&positional)?,
            word_embed: weights.matrix("word_embed.weight"),
            mask_embed: if combined { Some(weights.buffer("mask_embed.weight")?) } else { None },
            weight_bytes: weights.bytes(),
            config,
        })
    }

    /// `[classes + 1, C]`, read back from the device.
    pub(crate) fn class_embeddings(&self, backend: &B) -> Result<Vec<f32>> {
        let mut values = vec![0.0; (self.config.classes + 1) * self.config.width];
        backend.download(&self.class_embedding, &mut values)?;
        Ok(values)
    }

    /// Indices of the blocks a pass runs through.
    fn path(&self, kind: PassKind) -> impl Iterator<Item = usize> {
        let (base, branch) = (self.config.base_depth(), self.config.branch_depth);
        let first = base + if kind == PassKind::Masked { branch } else { 0 };
        (0..base).chain(first..first + branch)
    }

    fn head(kind: PassKind) -> usize {
        (kind == PassKind::Masked).into()
    }

    /// Runs the whole path as one operation, if the device can.
    fn run_path(
        &self,
        backend: &B,
        kind: PassKind,
        conditions: &Conditions<B>,
        rows: Rows<'_, B>,
        activations: &mut Activations<B>,
    ) -> Result<bool> {
        let ModelConfig { width, heads, codebook_size: vocabulary, .. } = self.config;
        let blocks =
            self.path(kind).map(|index| self.blocks[index].on_path(&self.config, conditions.block(index)));
        let head = Self::head(kind);
        let path = Path {
            blocks: blocks.collect(),
            head: self.heads[head].out.as_linear(),
            head_modulations: conditions.head(head),
            width,
            heads,
            vocabulary,
            rows,
        };
        let Activations { residual, logits, .. } = activations;
        backend.run_path(&path, PathBuffers { residual, logits })
    }

    /// Writes the first scale's input to the start of every sequence.
    pub(crate) fn embed_start(
        &self,
        backend: &B,
        rows: Rows<'_, B>,
        conditions: &Conditions<B>,
        activations: &mut Activations<B>,
    ) -> Result<()> {
        let class = conditions.classes();
        backend.embed_start(rows, self.config.width, class, &self.start, &mut activations.residual)
    }

    /// Runs the blocks and the head of a path over `activations.residual`, which holds the queries of `spans`; their
    /// logits are left in `activations.logits`. With a `cache`, the queries are a scale's, their keys those of the tokens
    /// up to its last.
    #[allow(clippy::too_many_arguments, reason = "weights, condition, rows and buffers are each their own")]
    pub(crate) fn forward(
        &self,
        backend: &B,
        kind: PassKind,
        conditions: &Conditions<B>,
        rows: Rows<'_, B>,
        spans: &[Span],
        activations: &mut Activations<B>,
        mut cache: Option<&mut Cache<B>>,
    ) -> Result<()> {
        let width = self.config.width;
        let table = conditions.head(Self::head(kind));
        let part = |index: usize| Modulation { table, stride: 2 * width, offset: index * width };
        let head = &self.heads[Self::head(kind)].out;
        let head_norm = Norm { scale: part(0), shift: part(1), reader: &head.weight };
        let block_norm = |index: usize| self.blocks[index].norm(&self.config, conditions.block(index));

        let path: Vec<usize> = self.path(kind).collect();
        let whole = 0..rows.per_sequence;
        let dense = matches!(spans, [span] if span.queries == whole && span.keys == whole);
        if dense && cache.is_none() && self.run_path(backend, kind, conditions, rows, activations)? {
            return Ok(());
        }
        let Norm { scale, shift, reader } = path.first().map_or(head_norm, |&first| block_norm(first));
        let Activations { residual, normed, .. } = activations;
        backend.modulated_norm(rows, width, residual, scale, shift, LayerInput::of(normed, reader))?;
        for (place, &index) in path.iter().enumerate() {
            let next = path.get(place + 1).map_or(head_norm, |&next| block_norm(next));
            let cache = cache.as_deref_mut().map(|cache| cache.of_block(index));
            self.blocks[index].run(
                backend,
                &self.config,
                conditions.block(index),
                next,
                rows,
                spans,
                activations,
                cache,
            )?;
        }
        let Activations { normed, logits, .. } = activations;
        let Layer { weight, bias } = head;
        backend.linear(rows.count(), normed, weight, bias, LinearOutput::Float32(logits))
    }
}

/// `pos_1LC + lvl_embed + word_embed_bias` for every token.
fn positional(config: &ModelConfig, positions: &[f32], levels: &[f32], bias: &[f32]) -> Vec<f32> {
    let width = config.width;
    let scales = config.pyramid.iter().enumerate();
    let level_of = scales.flat_map(|(scale, side)| std::iter::repeat_n(scale, side * side));
    let rows = positions.chunks_exact(width).zip(level_of);
    rows.flat_map(|(row, scale)| {
        let level = &levels[scale * width..(scale + 1) * width];
        row.iter().zip(level).zip(bias).map(|((p, l), b)| (p + l) + b)
    })
    .collect()
}
