use super::{MAX_COUNT, MAX_SIZE, check_range, count, size, vote};
use crate::config::ConfigFile;
use crate::{TensorSource, TokenizerConfig};
use hmar_error::Result;

/// Levels halve the picture's side each.
const MAX_LEVELS: usize = 16;

/// A tokenizer's configuration from its tensors and, before them, a JSON. As in a model, a number that nothing tells
/// is the released one.
pub(crate) fn resolve_tokenizer(
    source: &dyn TensorSource,
    json: Option<&ConfigFile>,
) -> Result<TokenizerConfig> {
    let released = TokenizerConfig::released();
    let section = json.and_then(|json| json.tokenizer.clone()).unwrap_or_default();
    let size = |name: &str, dimension| size(source, name, dimension);
    let count = |prefix: &str| Some(count(source, prefix)).filter(|count| *count > 0);

    let channels = section
        .channels
        .or_else(|| {
            vote([
                size("encoder.conv_in.weight", 0),
                size("encoder.conv_in.bias", 0),
                size("decoder.norm_out.weight", 0),
                size("decoder.norm_out.bias", 0),
                size("decoder.conv_out.weight", 1),
            ])
        })
        .unwrap_or(released.channels);
    let channels = check_range("channels", channels, MAX_SIZE)?;
    let multiplier = |level: usize| {
        let convolutions = ["encoder.down", "decoder.up"].map(|side| format!("{side}.{level}.block.0.conv1"));
        let witnesses = convolutions
            .iter()
            .flat_map(|name| [size(&format!("{name}.weight"), 0), size(&format!("{name}.bias"), 0)]);
        vote(witnesses).map_or(1, |outputs| (outputs / channels).max(1))
    };
    let levels =
        vote([count("encoder.down"), count("decoder.up")]).unwrap_or(released.channel_multipliers.len());
    let channel_multipliers =
        section.channel_multipliers.unwrap_or_else(|| (0..levels).map(multiplier).collect());
    check_range("channelMultipliers", channel_multipliers.len(), MAX_LEVELS)?;
    for multiplier in &channel_multipliers {
        check_range("channelMultipliers", *multiplier, MAX_SIZE / channels)?;
    }
    let blocks = (0..levels).flat_map(|level| {
        let decoder = count(&format!("decoder.up.{level}.block")).map(|blocks| (blocks - 1).max(1));
        [count(&format!("encoder.down.{level}.block")), decoder]
    });
    let residual_blocks =
        section.residual_blocks.or_else(|| vote(blocks)).unwrap_or(released.residual_blocks);
    let codes =
        [size("quantize.embedding.weight", 1), size("quant_conv.bias", 0), size("post_quant_conv.bias", 0)];
    let code_dimension = section.code_dimension.or_else(|| vote(codes)).unwrap_or(released.code_dimension);
    let vocabulary = size("quantize.embedding.weight", 0);
    let codebook_size = section.codebook_size.or(vocabulary).unwrap_or(released.codebook_size);
    let phis = count("quantize.quant_resi.qresi_ls");
    Ok(TokenizerConfig {
        channels,
        channel_multipliers,
        residual_blocks: check_range("residualBlocks", residual_blocks, MAX_COUNT)?,
        codebook_size: check_range("codebookSize", codebook_size, MAX_SIZE)?,
        code_dimension: check_range("codeDimension", code_dimension, MAX_SIZE)?,
        phi_count: check_range(
            "phiCount",
            section.phi_count.or(phis).unwrap_or(released.phi_count),
            MAX_COUNT,
        )?,
        pyramid: json.and_then(|json| json.pyramid.clone()),
    })
}
