use serde::{Deserialize, Serialize};

/// Which blocks a model has and what they attend to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// Shared blocks, then a next-scale and a masked branch; attention within one scale (HMAR).
    Combined,
    /// One stack of blocks, attention within one scale.
    NextScale,
    /// One stack of blocks, attention to this and all earlier scales (VAR).
    Var,
}

impl Layout {
    /// The name in configurations: `combined`, `next-scale` or `var`.
    pub fn as_str(self) -> &'static str {
        match self {
            Layout::Combined => "combined",
            Layout::NextScale => "next-scale",
            Layout::Var => "var",
        }
    }
}

/// What a transformer is made of (paper section 3; names as in VAR's and HMAR's papers).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelConfig {
    /// Which blocks there are and what they attend to.
    pub layout: Layout,
    /// Blocks that either path runs through, D.
    pub depth: usize,
    /// Blocks in each specialised branch, M; 0 unless combined.
    pub branch_depth: usize,
    /// Width of a token, C = 64 · heads.
    pub width: usize,
    /// Attention heads, H, of 64 dimensions each.
    pub heads: usize,
    /// Hidden width of the feed-forward layers over `width`.
    pub mlp_ratio: usize,
    /// Whether queries and keys are normalised, with a learned scale a head.
    pub query_key_norm: bool,
    /// Whether one AdaLN projection serves all blocks (VAR-d36-s).
    #[serde(rename = "sharedAdaLN")]
    pub shared_ada_ln: bool,
    /// Labels; the null class is the index after the last.
    pub classes: usize,
    /// Codes in the codebook, V.
    pub codebook_size: usize,
    /// Dimensions of a code, Z.
    pub code_dimension: usize,
    /// Side of the token map at each scale, p_1 … p_K.
    pub pyramid: Vec<usize>,
    /// What the model is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What its labels are called, one for each class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Vec<String>>,
    /// The sampling its makers suggest, as it stands in the JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampling: Option<serde_json::Value>,
}

impl ModelConfig {
    /// A model of the released family: width 64 · `depth`, branches of 8 blocks (all there are, if fewer), 1,000
    /// classes, 4,096 codes of 32 dimensions, 256 px.
    pub fn released(depth: usize, layout: Layout) -> Self {
        ModelConfig {
            layout,
            depth,
            branch_depth: if layout == Layout::Combined { depth.min(8) } else { 0 },
            width: 64 * depth,
            heads: depth,
            mlp_ratio: 4,
            query_key_norm: true,
            shared_ada_ln: false,
            classes: 1000,
            codebook_size: 4096,
            code_dimension: 32,
            pyramid: super::PYRAMID_256.to_vec(),
            name: None,
            labels: None,
            sampling: None,
        }
    }

    /// Tokens in the whole pyramid, N.
    pub fn tokens(&self) -> usize {
        super::pyramid_tokens(&self.pyramid)
    }

    /// Blocks that both branches share (all of them unless combined), D − M.
    pub fn base_depth(&self) -> usize {
        self.depth - self.branch_depth
    }
}
