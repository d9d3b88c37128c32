use super::attention::layout_of_bias;
use super::{MAX_COUNT, MAX_SIZE, check_range, count, size, vote};
use crate::config::{ConfigFile, PYRAMID_256, PYRAMID_512, PYRAMID_1024, pyramid_tokens};
use crate::{Layout, ModelConfig, TensorSource};
use hmar_error::{Code, Error, Result};

/// What a transformer's tensors say by their names and shapes.
///
/// A number that nothing tells is the released one: then every tensor that could contradict it is missing, and is
/// reported as that.
pub(crate) struct ModelEvidence {
    /// Shared blocks and two branches, rather than one stack.
    pub combined: bool,
    /// One stack with a `mask_embed`: what masked finetuning leaves behind.
    pub masked: bool,
    depth: usize,
    branch_depth: usize,
    width: usize,
    mlp_ratio: usize,
    query_key_norm: bool,
    shared_ada_ln: bool,
    classes: usize,
    codebook_size: usize,
    code_dimension: usize,
    /// N, if anything tells.
    tokens: Option<usize>,
}

impl ModelEvidence {
    pub fn of(source: &dyn TensorSource) -> Self {
        let size = |name: &str, dimension| size(source, name, dimension);
        let any = |test: &dyn Fn(&str) -> bool| source.tensors().iter().any(|tensor| test(&tensor.name));
        let stacks = ["base_blocks", "ns_blocks", "mask_blocks"].map(|stack| count(source, stack));
        let combined = stacks.iter().any(|count| *count > 0);
        let branch_depth = stacks[1].max(stacks[2]);
        let depth = if combined { stacks[0] + branch_depth } else { count(source, "blocks") };
        let heads = ["ns_head", "mask_head", "head"];
        let vocabularies =
            heads.map(|head| [size(&format!("{head}.weight"), 0), size(&format!("{head}.bias"), 0)]);
        let widths = [
            size("class_emb.weight", 1),
            size("pos_start", 2),
            size("pos_1LC", 2),
            size("lvl_embed.weight", 1),
            size("word_embed.weight", 0),
        ];
        let hidden = source.tensors().iter().filter(|tensor| tensor.name.ends_with(".ffn.fc1.weight"));
        let ratios = hidden.map(|tensor| match tensor.shape[..] {
            [hidden, width] if width > 0 && hidden % width == 0 && hidden <= MAX_SIZE => Some(hidden / width),
            _ => None,
        });
        ModelEvidence {
            combined,
            masked: !combined && source.find("mask_embed.weight").is_some(),
            depth: if depth > 0 { depth } else { 16 },
            branch_depth,
            width: vote(widths).unwrap_or(1024),
            mlp_ratio: vote(ratios).filter(|ratio| *ratio > 0).unwrap_or(4),
            query_key_norm: any(&|name| name.ends_with(".scale_mul_1H11")),
            shared_ada_ln: any(&|name| name.starts_with("shared_ada_lin.") || name.ends_with(".ada_gss")),
            classes: size("class_emb.weight", 0).map_or(1000, |rows| (rows - 1).max(1)),
            codebook_size: vote(vocabularies.into_iter().flatten()).unwrap_or(4096),
            code_dimension: size("word_embed.weight", 1).unwrap_or(32),
            tokens: vote([
                size("pos_1LC", 1),
                size("lvl_1L", 1),
                size("attn_bias_for_masking", 2),
                size("attn_bias_for_masking", 3),
            ]),
        }
    }

    /// The pyramid of that many tokens, if it is one of the published ones.
    fn pyramid(&self) -> Result<Vec<usize>> {
        let Some(tokens) = self.tokens else { return Ok(PYRAMID_256.to_vec()) };
        let known: [&[usize]; 3] = [&PYRAMID_256, &PYRAMID_512, &PYRAMID_1024];
        let pyramid = known.into_iter().find(|pyramid| pyramid_tokens(pyramid) == tokens);
        pyramid.map(<[usize]>::to_vec).ok_or_else(|| {
            Error::new(Code::ConfigAmbiguous, "The sides of the token maps cannot be told from the tensors.")
                .found(format_args!("{tokens} tokens"))
                .expected("680, 2,240 or 9,451 tokens, whose pyramids are known")
                .remedy(
                    "Put a config.json beside the file, such as { \"pyramid\": [1, 2, 3], \"model\": { \"file\": \"model.pth\" } }.",
                )
        })
    }
}

/// A configuration from tensors and, before them, a JSON. `layout` is for a single stack of blocks.
pub(crate) fn resolve_model(
    evidence: &ModelEvidence,
    json: Option<&ConfigFile>,
    layout: Layout,
) -> Result<ModelConfig> {
    let nothing = ConfigFile::default();
    let json = json.unwrap_or(&nothing);
    let model = json.model.clone().unwrap_or_default();
    let tokenizer = json.tokenizer.clone().unwrap_or_default();
    let layout = if evidence.combined { model.layout.unwrap_or(Layout::Combined) } else { layout };
    let depth = check_range("depth", model.depth.unwrap_or(evidence.depth), MAX_COUNT)?;
    let branch_depth = match layout {
        Layout::Combined => {
            check_range("branchDepth", model.branch_depth.unwrap_or(evidence.branch_depth), depth)?
        }
        Layout::NextScale | Layout::Var => 0,
    };
    let width = check_range("width", model.width.unwrap_or(evidence.width), MAX_SIZE)?;
    let heads = model.heads.unwrap_or(width / 64);
    if width % 64 != 0 || heads != width / 64 {
        return Err(Error::new(Code::ConfigInvalid, "A head has 64 dimensions.")
            .found(format_args!("width {width} and {heads} heads"))
            .expected("64 times as much width as heads"));
    }
    let pyramid = json.pyramid.clone().map_or_else(|| evidence.pyramid(), Ok)?;
    let config = ModelConfig {
        layout,
        depth,
        branch_depth,
        width,
        heads,
        mlp_ratio: check_range("mlpRatio", model.mlp_ratio.unwrap_or(evidence.mlp_ratio), 64)?,
        query_key_norm: model.query_key_norm.unwrap_or(evidence.query_key_norm),
        shared_ada_ln: model.shared_ada_ln.unwrap_or(evidence.shared_ada_ln),
        classes: check_range("classes", model.classes.unwrap_or(evidence.classes), MAX_SIZE)?,
        codebook_size: check_range(
            "codebookSize",
            tokenizer.codebook_size.unwrap_or(evidence.codebook_size),
            MAX_SIZE,
        )?,
        code_dimension: check_range(
            "codeDimension",
            tokenizer.code_dimension.unwrap_or(evidence.code_dimension),
            MAX_SIZE,
        )?,
        pyramid,
        name: json.name.clone(),
        labels: json.labels.clone(),
        sampling: json.sampling.clone(),
    };
    match &config.labels {
        Some(labels) if labels.len() != config.classes => {
            Err(Error::new(Code::ConfigInvalid, "The configuration does not name every class.")
                .found(format_args!("{} labels", labels.len()))
                .expected(config.classes))
        }
        _ => Ok(config),
    }
}

/// The layout of a single stack of blocks: what the caller or a JSON says, and the values of the attention bias, which
/// must not contradict it.
pub(crate) fn resolve_layout(
    evidence: &ModelEvidence,
    source: &dyn TensorSource,
    said: Option<Layout>,
    json: Option<&ConfigFile>,
) -> Result<Layout> {
    let pyramid = json.and_then(|json| json.pyramid.clone()).map_or_else(|| evidence.pyramid(), Ok)?;
    let found = layout_of_bias(source, &pyramid)?;
    match (said, found) {
        (Some(said), Some(found)) if said != found => {
            Err(Error::new(Code::ConfigInvalid, "The model's attention is not what the mode says.")
                .found(format_args!("{}, by the values of attn_bias_for_masking", found.as_str()))
                .expected(said.as_str())
                .remedy("Leave the mode out."))
        }
        (Some(layout), _) | (None, Some(layout)) => Ok(layout),
        (None, None) => Err(Error::new(
            Code::ConfigAmbiguous,
            "Whether the model attends within a scale (next-scale) or to all earlier ones too (var) cannot be told.",
        )
        .found("no buffer attn_bias_for_masking that says so")
        .remedy("Give the mode: next-scale or var.")),
    }
}
