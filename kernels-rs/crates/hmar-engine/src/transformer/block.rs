//! One AdaLN block: attention and feed-forward, each normalised, shifted and gated by the class.

use hmar_checkpoint::ModelConfig;
use hmar_error::Result;
use hmar_ops::{AttentionShape, Backend, LinearOutput, Modulation, Rows, Scores, Span};

use super::Activations;
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
        wanted.matrix(&format!("{name}.attn.mat_qkv.weight"));
        for layer in ["attn.proj", "ffn.fc1", "ffn.fc2"] {
            wanted.layer(&format!("{name}.{layer}"));
        }
        if config.shared_ada_ln {
            wanted.vector(&format!("{name}.ada_gss"));
        } else {
            wanted.layer(&format!("{name}.ada_lin.1"));
        }
    }

    pub(super) fn take(weights: &mut Weights<'_, B>, name: &str, config: &ModelConfig) -> Result<Self> {
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
                bias: weights.to_device(&bias)?,
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

    /// Adds the block to `activations.residual`. `modulations` are `[slots, 6, C]`: γ₁ γ₂ s₁ s₂ b₁ b₂.
    #[allow(clippy::too_many_arguments, reason = "weights, condition, rows and buffers are each their own")]
    pub(super) fn run(
        &self,
        backend: &B,
        config: &ModelConfig,
        modulations: &B::Buffer<f32>,
        rows: Rows<'_, B>,
        spans: &[Span],
        activations: &mut Activations<B>,
        cache: Option<(&mut B::Features, usize)>,
    ) -> Result<()> {
        let width = config.width;
        let part = |index: usize| Modulation { table: modulations, stride: 6 * width, offset: index * width };
        let [attention_gate, feed_forward_gate, scale1, scale2, shift1, shift2] =
            [0, 1, 2, 3, 4, 5].map(part);
        let count = rows.count();
        let Activations { residual, normed, qkv, hidden, .. } = activations;

        backend.modulated_norm(rows, width, residual, scale1, shift1, normed)?;
        let Layer { weight, bias } = &self.qkv;
        backend.linear(count, normed, weight, bias, LinearOutput::Features(qkv))?;
        let scores = match &self.factors {
            Some(factors) => Scores::Normalized(factors),
            None => Scores::Scaled(0.25 / ((config.width / config.heads) as f32).sqrt()),
        };
        let (qkv, sequence_rows) = match cache {
            None => (&*qkv, rows.per_sequence),
            Some((cache, capacity)) => {
                let at = spans.first().map_or(0, |span| span.queries.start);
                backend.append_rows(
                    rows.sequences,
                    rows.per_sequence,
                    3 * width,
                    qkv,
                    cache,
                    capacity,
                    at,
                )?;
                (&*cache, capacity)
            }
        };
        let shape = AttentionShape {
            sequences: rows.sequences,
            rows: sequence_rows,
            heads: config.heads,
            head_width: config.width / config.heads,
            spans,
        };
        backend.attention(shape, qkv, scores, normed)?;
        let Layer { weight, bias } = &self.proj;
        let out = LinearOutput::GatedResidual { residual, gate: attention_gate, rows };
        backend.linear(count, normed, weight, bias, out)?;

        backend.modulated_norm(rows, width, residual, scale2, shift2, normed)?;
        let Layer { weight, bias } = &self.fc1;
        backend.linear(count, normed, weight, bias, LinearOutput::Gelu(hidden))?;
        let Layer { weight, bias } = &self.fc2;
        let out = LinearOutput::GatedResidual { residual, gate: feed_forward_gate, rows };
        backend.linear(count, hidden, weight, bias, out)
    }
}
