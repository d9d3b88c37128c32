use serde::{Deserialize, Serialize};

/// What a tokenizer (multi-scale residual VQ-VAE) is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenizerConfig {
    /// Channels of the first level.
    pub channels: usize,
    /// Channels of each level over `channels`.
    pub channel_multipliers: Vec<usize>,
    /// Residual blocks in an encoder level; a decoder level has one more.
    pub residual_blocks: usize,
    /// Codes in the codebook, V.
    pub codebook_size: usize,
    /// Dimensions of a code, Z.
    pub code_dimension: usize,
    /// φ convolutions of the quantiser, shared between scales.
    pub phi_count: usize,
    /// Side of the token map at each scale, where a JSON says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pyramid: Option<Vec<usize>>,
}

impl TokenizerConfig {
    /// The released tokenizer, `vae_ch160v4096z32`.
    pub fn released() -> Self {
        TokenizerConfig {
            channels: 160,
            channel_multipliers: vec![1, 1, 2, 2, 4],
            residual_blocks: 2,
            codebook_size: 4096,
            code_dimension: 32,
            phi_count: 4,
            pyramid: None,
        }
    }

    /// Pixels along the side of one cell of the latent grid.
    pub fn downsample(&self) -> usize {
        1 << (self.channel_multipliers.len() - 1)
    }

    /// Channels of a level.
    pub fn level_channels(&self, level: usize) -> usize {
        self.channels * self.channel_multipliers[level]
    }
}
