//! One AdaLN block: attention and feed-forward, each normalised, shifted and gated by the class.

use hmar_checkpoint::ModelConfig;
use hmar_error::Result;
use hmar_ops::{
    AttentionShape, Backend, KeysValues, LayerInput, LinearOutput, Modulation, Normalized, PathBlock, Rows,
    Scores, Span,
};

use super::Activations;
use super::cache::BlockCache;
use crate::load::{Layer, Wanted, Weights};

/// Largest learned logarithm of a head's factor, ln 100.
const LARGEST_LOG_FACTOR: f32 = 4.605_170_2;

/// A block's weights.
pub(super) struct Block<B: Backend> {
    qkv: Layer<B>,
    /// exp(min(σ, ln 100)) of each head; without q/k normalisation there are none.
    factors: Option<B::Buffer<f32>>,
    proj: Layer<B>,
    fc1: Layer<B>,
    fc2: Layer<B>,
    pub(super) ada: Ada<B>,
}

/// Where a block's modulations come from.
pub(super) enum Ada<B: Backend> {
    /// Its own projection of the class.
    Own(Layer<B>),
    /// The model's one projection plus these `[6, C]`.
    Shared(B::Buffer<f32>),
}

impl<B: Backend> Block<B> {
    pub(super) fn want(wanted: &mut Wanted, name: &str, config: &ModelConfig) {
        if config.query_key_norm {
            wanted.vector(&format!("{name}.attn.scale_mul_1H11"));
        }
        wanted.vector(&format!("{name}.attn.q_bias"));
        wanted.vector(&format!("{name}.attn.v_bias"));
        wanted.block_matrix(&format!("{name}.attn.mat_qkv.weight"));
        for layer in ["attn.proj", "ffn.fc1", "ffn.fc2"] {
            wanted.block_layer(&format!("{name}.{layer}"));
        }
        if config.shared_ada_ln {
            wanted.vector(&format!("{name}.ada_gss"));
        } else {
            wanted.layer(&format!("{name}.ada_lin.1"));
        }
    }

    pub(super) fn take(
        backend: &B,
        weights: &mut Weights<'_, B>,
        name: &str,
        config: &ModelConfig,
    ) -> Result<Self> {
        let mut bias = weights.vector(&format!("{name}.attn.q_bias"));
        bias.resize(2 * config.width, 0.0);
        bias.extend(weights.vector(&format!("{name}.attn.v_bias")));
        let factors = config.query_key_norm.then(|| {
            let logarithms = weights.vector(&format!("{name}.attn.scale_mul_1H11"));
            let factors: Vec<f32> = logarithms.iter().map(|x| x.min(LARGEST_LOG_FACTOR).exp()).collect();
            weights.to_device(&factors)
        });
        Ok(Block {
            qkv: Layer {
                weight: weights.matrix(&format!("{name}.attn.mat_qkv.weight")),
                bias: backend.bias(&bias)?,
            },
            factors: factors.transpose()?,
            proj: weights.layer(&format!("{name}.attn.proj"))?,
            fc1: weights.layer(&format!("{name}.ffn.fc1"))?,
            fc2: weights.layer(&format!("{name}.ffn.fc2"))?,
            ada: if config.shared_ada_ln {
                Ada::Shared(weights.buffer(&format!("{name}.ada_gss"))?)
            } else {
                Ada::Own(weights.layer(&format!("{name}.ada_lin.1"))?)
            },
        })
    }

    /// The block as part of a path.
    pub(super) fn on_path<'a>(
        &'a self,
        config: &ModelConfig,
        modulations: &'a B::Buffer<f32>,
    ) -> PathBlock<'a, B> {
        PathBlock {
            qkv: self.qkv.as_linear(),
            proj: self.proj.as_linear(),
            fc1: self.fc1.as_linear(),
            fc2: self.fc2.as_linear(),
            modulations,
            scores: self.scores(config),
        }
    }

    fn scores(&self, config: &ModelConfig) -> Scores<'_, B> {
        match &self.factors {
            Some(factors) => Scores::Normalized(factors),
            None => Scores::Scaled(0.25 / ((config.width / config.heads) as f32).sqrt()),
        }
    }

    /// Adds the block to `activations.residual`, whose rows come normalised by the block's first scale and shift and are
    /// left normalised by `next`. `modulations` are `[slots, 6, C]`: γ₁ γ₂ s₁ s₂ b₁ b₂.
    #[allow(clippy::too_many_arguments, reason = "weights, condition, rows and buffers are each their own")]
    pub(super) fn run(
        &self,
        backend: &B,
        config: &ModelConfig,
        modulations: &B::Buffer<f32>,
        next: Norm<'_, B>,
        rows: Rows<'_, B>,
        spans: &[Span],
        activations: &mut Activations<B>,
        cache: Option<BlockCache<'_, B>>,
    ) -> Result<()> {
        let width = config.width;
        let [attention_gate, feed_forward_gate] = [0, 1].map(|index| part(modulations, width, index));
        let reader = &self.fc1.weight;
        let between = Norm { scale: part(modulations, width, 3), shift: part(modulations, width, 5), reader };
        let count = rows.count();
        let Activations { residual, normed, qkv, attended, hidden, keys_values: whole, .. } = activations;

        let Layer { weight, bias } = &self.qkv;
        backend.linear(count, normed, weight, bias, LinearOutput::Features(qkv))?;
        let keys_values = match cache {
            None => KeysValues::BesideQueries,
            Some(cache) => {
                let last = spans.last().map_or(0, |span| span.keys.end);
                let whole = whole.as_mut().expect("placed with the cache");
                cache.extend(backend, rows, last - rows.per_sequence, qkv, whole)?
            }
        };
        let shape = AttentionShape {
            sequences: rows.sequences,
            rows: rows.per_sequence,
            heads: config.heads,
            head_width: config.width / config.heads,
            spans,
        };
        backend.attention(shape, qkv, keys_values, self.scores(config), attended)?;
        let Layer { weight, bias } = &self.proj;
        let next_input = Some(between.to(normed));
        let out = LinearOutput::GatedResidual { residual, gate: attention_gate, rows, next: next_input };
        backend.linear(count, attended, weight, bias, out)?;
        let Layer { weight, bias } = &self.fc1;
        backend.linear(
            count,
            normed,
            weight,
            bias,
            LinearOutput::Gelu(LayerInput::of(hidden, &self.fc2.weight)),
        )?;
        let Layer { weight, bias } = &self.fc2;
        let next_input = Some(next.to(normed));
        let out = LinearOutput::GatedResidual { residual, gate: feed_forward_gate, rows, next: next_input };
        backend.linear(count, hidden, weight, bias, out)
    }

    /// What the rows are normalised by before the block, from its modulations.
    pub(super) fn norm<'a>(&'a self, config: &ModelConfig, modulations: &'a B::Buffer<f32>) -> Norm<'a, B> {
        let part = |index| part(modulations, config.width, index);
        Norm { scale: part(2), shift: part(4), reader: &self.qkv.weight }
    }
}

/// Scale and shift of a normalisation, and the weights of the layer it is made for.
pub(super) struct Norm<'a, B: Backend> {
    pub(super) scale: Modulation<'a, B>,
    pub(super) shift: Modulation<'a, B>,
    pub(super) reader: &'a B::Matrix,
}

impl<B: Backend> Clone for Norm<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B: Backend> Copy for Norm<'_, B> {}

impl<'a, B: Backend> Norm<'a, B> {
    fn to(self, out: &'a mut B::Features) -> Normalized<'a, B> {
        Normalized { scale: self.scale, shift: self.shift, out: LayerInput::of(out, self.reader) }
    }
}

/// Vector `index` of a block's six.
fn part<B: Backend>(modulations: &B::Buffer<f32>, width: usize, index: usize) -> Modulation<'_, B> {
    Modulation { table: modulations, stride: 6 * width, offset: index * width }
}
