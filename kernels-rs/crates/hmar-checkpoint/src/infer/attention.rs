use crate::{Layout, TensorSource};
use hmar_error::Result;

/// Below this a bias hides a token; files have −∞.
const HIDDEN: f32 = -1e4;

/// What the buffer `attn_bias_for_masking` says about a single stack of blocks: block-diagonal is next-scale,
/// block-causal is VAR. `None` where it is missing or neither.
pub(super) fn layout_of_bias(source: &dyn TensorSource, pyramid: &[usize]) -> Result<Option<Layout>> {
    const NAME: &str = "attn_bias_for_masking";
    let tokens = crate::pyramid_tokens(pyramid);
    let fits = |shape: &[usize]| {
        shape.ends_with(&[tokens, tokens]) && shape.iter().product::<usize>() == tokens * tokens
    };
    if !source.find(NAME).is_some_and(|tensor| fits(&tensor.shape)) {
        return Ok(None);
    }
    // For each query, the keys of its own scale; those before it are what the layouts differ in.
    let mut own_scale = Vec::with_capacity(tokens);
    for side in pyramid {
        let start = own_scale.len();
        own_scale.extend(std::iter::repeat_n((start, start + side * side), side * side));
    }
    let visible = |bias: &[f32]| bias.iter().all(|value| *value == 0.0);
    let hidden = |bias: &[f32]| bias.iter().all(|value| *value < HIDDEN);
    let (mut diagonal, mut causal) = (true, true);
    let mut query = 0;
    source.stream(NAME, tokens, &mut |row| {
        let (start, end) = own_scale[query];
        let common = visible(&row[start..end]) && hidden(&row[end..]);
        diagonal &= common && hidden(&row[..start]);
        causal &= common && visible(&row[..start]);
        query += 1;
        Ok(())
    })?;
    Ok(match (diagonal, causal) {
        (true, false) => Some(Layout::NextScale),
        (false, true) => Some(Layout::Var),
        _ => None,
    })
}
