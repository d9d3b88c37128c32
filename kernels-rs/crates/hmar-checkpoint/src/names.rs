//! Which tensors a configuration implies.

mod model;
mod tokenizer;

pub use model::model_tensors;
pub use tokenizer::tokenizer_tensors;

/// Whether a tensor says nothing that the configuration does not: `lvl_1L`, `attn_bias_for_masking` (−∞ where
/// nothing is seen), `….zero_k_bias` and `quantize.ema_vocab_hit_SV` (training statistics). Files may lack them, and
/// no computation needs them.
pub fn is_constant(name: &str) -> bool {
    matches!(name, "lvl_1L" | "attn_bias_for_masking" | "quantize.ema_vocab_hit_SV")
        || name.ends_with(".zero_k_bias")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Dtype, Layout, ModelConfig, TensorInfo, TokenizerConfig};
    use std::collections::BTreeMap;

    fn compare(fixture: &str, list: Vec<TensorInfo>) {
        let expected: BTreeMap<String, (Vec<usize>, String)> = serde_json::from_str(fixture).unwrap();
        let count = list.len();
        let found: BTreeMap<_, _> = list
            .into_iter()
            .map(|tensor| {
                let dtype = if tensor.dtype == Dtype::I64 { "int64" } else { "float32" };
                (tensor.name, (tensor.shape, dtype.to_string()))
            })
            .collect();
        assert_eq!(found.len(), count, "a name occurs twice");
        assert_eq!(found, expected);
    }

    #[test]
    fn the_combined_list_is_the_released_one() {
        let config = ModelConfig::released(16, Layout::Combined);
        compare(include_str!("../tests/fixtures/tensors-hmar-d16.json"), model_tensors(&config));
    }

    #[test]
    fn the_next_scale_list_is_the_published_one() {
        let config = ModelConfig::released(16, Layout::NextScale);
        compare(include_str!("../tests/fixtures/tensors-nsp-d16.json"), model_tensors(&config));
        let var = ModelConfig::released(16, Layout::Var);
        assert_eq!(model_tensors(&var), model_tensors(&config));
    }

    #[test]
    fn the_tokenizer_list_is_the_released_one() {
        let list = tokenizer_tensors(&TokenizerConfig::released());
        compare(include_str!("../tests/fixtures/tensors-vae_ch160v4096z32.json"), list);
    }

    #[test]
    fn a_shared_ada_ln_replaces_the_projections_of_the_blocks_alone() {
        let config = ModelConfig { shared_ada_ln: true, ..ModelConfig::released(16, Layout::Var) };
        let list = model_tensors(&config);
        let shape =
            |name: &str| list.iter().find(|tensor| tensor.name == name).map(|tensor| tensor.shape.clone());
        assert_eq!(shape("shared_ada_lin.1.weight"), Some(vec![6144, 1024]));
        assert_eq!(shape("shared_ada_lin.1.bias"), Some(vec![6144]));
        assert_eq!(shape("blocks.15.ada_gss"), Some(vec![1, 1, 6, 1024]));
        assert_eq!(shape("blocks.15.ada_lin.1.weight"), None);
        assert_eq!(shape("head_nm.ada_lin.1.weight"), Some(vec![2048, 1024]));
    }
}
