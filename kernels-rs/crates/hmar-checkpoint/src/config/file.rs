use super::{Layout, ModelConfig, TokenizerConfig};
use hmar_error::{Code, Error, Result};
use serde::{Deserialize, Serialize};

/// The JSON that says what shapes cannot: beside a file as `config.json`, and in the metadata of files we write.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigFile {
    /// What the model is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Side of an image in pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolution: Option<usize>,
    /// Side of the token map at each scale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pyramid: Option<Vec<usize>>,
    /// The tokenizer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<TokenizerSection>,
    /// The transformer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelSection>,
    /// What the labels are called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Vec<String>>,
    /// The suggested sampling, kept as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampling: Option<serde_json::Value>,
}

/// What a [`ConfigFile`] says about the tokenizer. What it leaves out, the tensors say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TokenizerSection {
    /// The file's name, in the same folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// [`TokenizerConfig::channels`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channels: Option<usize>,
    /// [`TokenizerConfig::channel_multipliers`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel_multipliers: Option<Vec<usize>>,
    /// [`TokenizerConfig::residual_blocks`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub residual_blocks: Option<usize>,
    /// [`TokenizerConfig::codebook_size`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub codebook_size: Option<usize>,
    /// [`TokenizerConfig::code_dimension`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code_dimension: Option<usize>,
    /// [`TokenizerConfig::phi_count`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phi_count: Option<usize>,
}

/// What a [`ConfigFile`] says about the transformer. What it leaves out, the tensors say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ModelSection {
    /// The file's name, in the same folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// [`ModelConfig::layout`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layout: Option<Layout>,
    /// [`ModelConfig::depth`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub depth: Option<usize>,
    /// [`ModelConfig::branch_depth`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub branch_depth: Option<usize>,
    /// [`ModelConfig::width`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<usize>,
    /// [`ModelConfig::heads`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heads: Option<usize>,
    /// [`ModelConfig::mlp_ratio`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mlp_ratio: Option<usize>,
    /// [`ModelConfig::query_key_norm`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query_key_norm: Option<bool>,
    /// [`ModelConfig::shared_ada_ln`].
    #[serde(rename = "sharedAdaLN", skip_serializing_if = "Option::is_none")]
    pub shared_ada_ln: Option<bool>,
    /// [`ModelConfig::classes`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classes: Option<usize>,
}

impl ConfigFile {
    /// Reads JSON in this form; `origin` is how messages call it.
    ///
    /// # Errors
    /// `CONFIG_INVALID` when it is not of this form, or its pyramid does not grow from 1.
    pub fn parse(json: &str, origin: &str) -> Result<Self> {
        let invalid = |what: String| {
            Error::new(Code::ConfigInvalid, format!("{origin} is not a configuration: {what}."))
        };
        let config: ConfigFile = serde_json::from_str(json).map_err(|error| invalid(error.to_string()))?;
        if let Some(pyramid) = &config.pyramid {
            let rises =
                pyramid.len() > 1 && pyramid[0] == 1 && pyramid.windows(2).all(|pair| pair[0] < pair[1]);
            if !rises || pyramid.last().is_some_and(|side| *side > MAX_SIDE) {
                return Err(invalid(format!(
                    "the pyramid {pyramid:?} does not rise from 1 to at most {MAX_SIDE}"
                )));
            }
        }
        Ok(config)
    }

    /// Whether JSON is meant to be of this form, rather than another program's `config.json`.
    pub(crate) fn is_ours(json: &serde_json::Value) -> bool {
        let has = |section: &str, key: &str| json.get(section).and_then(|section| section.get(key)).is_some();
        json.get("pyramid").is_some()
            && (has("model", "depth")
                || has("model", "file")
                || has("tokenizer", "channels")
                || has("tokenizer", "file"))
    }

    /// All that is known about a model.
    pub fn of_model(config: &ModelConfig) -> Self {
        ConfigFile {
            name: config.name.clone(),
            pyramid: Some(config.pyramid.clone()),
            model: Some(ModelSection {
                file: None,
                layout: Some(config.layout),
                depth: Some(config.depth),
                branch_depth: Some(config.branch_depth),
                width: Some(config.width),
                heads: Some(config.heads),
                mlp_ratio: Some(config.mlp_ratio),
                query_key_norm: Some(config.query_key_norm),
                shared_ada_ln: Some(config.shared_ada_ln),
                classes: Some(config.classes),
            }),
            labels: config.labels.clone(),
            sampling: config.sampling.clone(),
            ..ConfigFile::default()
        }
    }

    /// All that is known about a tokenizer.
    pub fn of_tokenizer(config: &TokenizerConfig) -> Self {
        ConfigFile {
            pyramid: config.pyramid.clone(),
            tokenizer: Some(TokenizerSection {
                file: None,
                channels: Some(config.channels),
                channel_multipliers: Some(config.channel_multipliers.clone()),
                residual_blocks: Some(config.residual_blocks),
                codebook_size: Some(config.codebook_size),
                code_dimension: Some(config.code_dimension),
                phi_count: Some(config.phi_count),
            }),
            ..ConfigFile::default()
        }
    }
}

/// The largest side of a token map; far beyond any model.
const MAX_SIDE: usize = 1 << 12;
