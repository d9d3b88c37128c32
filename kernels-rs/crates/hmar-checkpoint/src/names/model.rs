use crate::{Dtype, Layout, ModelConfig, TensorInfo};

/// The tensors of a transformer, in the order of the released files.
pub fn model_tensors(config: &ModelConfig) -> Vec<TensorInfo> {
    let (width, tokens, scales) = (config.width, config.tokens(), config.pyramid.len());
    let combined = config.layout == Layout::Combined;
    let mut list = vec![
        TensorInfo::f32("pos_start", &[1, 1, width]),
        TensorInfo::f32("pos_1LC", &[1, tokens, width]),
        TensorInfo { name: "lvl_1L".into(), shape: vec![1, tokens], dtype: Dtype::I64 },
        TensorInfo::f32("attn_bias_for_masking", &[1, 1, tokens, tokens]),
        TensorInfo::f32("word_embed.weight", &[width, config.code_dimension]),
        TensorInfo::f32(if combined { "word_embed_bias" } else { "word_embed.bias" }, &[width]),
        TensorInfo::f32("class_emb.weight", &[config.classes + 1, width]),
        TensorInfo::f32("lvl_embed.weight", &[scales, width]),
    ];
    if combined {
        list.push(TensorInfo::f32("mask_embed.weight", &[1, width]));
    }
    if config.shared_ada_ln {
        linear(&mut list, "shared_ada_lin.1", 6 * width, width);
    }
    if combined {
        blocks(&mut list, config, "base_blocks", config.base_depth());
        blocks(&mut list, config, "ns_blocks", config.branch_depth);
        blocks(&mut list, config, "mask_blocks", config.branch_depth);
        head(&mut list, config, "ns_head");
        head(&mut list, config, "mask_head");
    } else {
        blocks(&mut list, config, "blocks", config.depth);
        head(&mut list, config, "head");
    }
    list
}

fn blocks(list: &mut Vec<TensorInfo>, config: &ModelConfig, stack: &str, count: usize) {
    let (width, hidden) = (config.width, config.mlp_ratio * config.width);
    for index in 0..count {
        let block = format!("{stack}.{index}");
        if config.query_key_norm {
            list.push(TensorInfo::f32(format!("{block}.attn.scale_mul_1H11"), &[1, config.heads, 1, 1]));
        }
        for bias in ["q_bias", "v_bias", "zero_k_bias"] {
            list.push(TensorInfo::f32(format!("{block}.attn.{bias}"), &[width]));
        }
        list.push(TensorInfo::f32(format!("{block}.attn.mat_qkv.weight"), &[3 * width, width]));
        linear(list, &format!("{block}.attn.proj"), width, width);
        linear(list, &format!("{block}.ffn.fc1"), hidden, width);
        linear(list, &format!("{block}.ffn.fc2"), width, hidden);
        if config.shared_ada_ln {
            list.push(TensorInfo::f32(format!("{block}.ada_gss"), &[1, 1, 6, width]));
        } else {
            linear(list, &format!("{block}.ada_lin.1"), 6 * width, width);
        }
    }
}

fn head(list: &mut Vec<TensorInfo>, config: &ModelConfig, name: &str) {
    linear(list, &format!("{name}_nm.ada_lin.1"), 2 * config.width, config.width);
    linear(list, name, config.codebook_size, config.width);
}

fn linear(list: &mut Vec<TensorInfo>, name: &str, outputs: usize, inputs: usize) {
    list.push(TensorInfo::f32(format!("{name}.weight"), &[outputs, inputs]));
    list.push(TensorInfo::f32(format!("{name}.bias"), &[outputs]));
}
