//! Weights that anyone can reproduce: splitmix64 streams keyed by the tensors' names.

use crate::tensor::{Sink, index_by_name, unknown_tensor};
use crate::{
    Layout, ModelConfig, TensorInfo, TensorSource, TokenizerConfig, model_tensors, tokenizer_tensors,
};
use hmar_error::Result;
use std::collections::HashMap;

/// Tensors made up by a recipe that depends on their names and shapes alone. Values are computed as they are
/// streamed; nothing is kept.
pub struct Synthetic {
    tensors: Vec<TensorInfo>,
    index: HashMap<String, usize>,
    attention: Option<(Vec<usize>, Layout)>,
}

impl Synthetic {
    /// Every tensor by the recipe.
    pub fn new(tensors: Vec<TensorInfo>) -> Self {
        let index = index_by_name(&tensors);
        Synthetic { tensors, index, attention: None }
    }

    /// A transformer: its weights by the recipe, its constants `lvl_1L` and `attn_bias_for_masking` as they are in
    /// real files (0 where a token sees another, −∞ elsewhere).
    pub fn model(config: &ModelConfig) -> Self {
        let attention = Some((config.pyramid.clone(), config.layout));
        Synthetic { attention, ..Synthetic::new(model_tensors(config)) }
    }

    /// A tokenizer, by the recipe.
    pub fn tokenizer(config: &TokenizerConfig) -> Self {
        Synthetic::new(tokenizer_tensors(config))
    }

    fn values(&self, tensor: &TensorInfo) -> Values {
        match (tensor.name.as_str(), &self.attention) {
            ("lvl_1L", Some((pyramid, _))) => Values::Levels { levels: levels(pyramid) },
            ("attn_bias_for_masking", Some((pyramid, layout))) => {
                Values::Bias { levels: levels(pyramid), layout: *layout }
            }
            _ => Values::Stream { start: fnv1a64(&tensor.name), map: Map::of(tensor) },
        }
    }
}

impl TensorSource for Synthetic {
    fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    fn find(&self, name: &str) -> Option<&TensorInfo> {
        self.index.get(name).map(|&position| &self.tensors[position])
    }

    fn stream(&self, name: &str, chunk: usize, sink: &mut Sink<'_>) -> Result<()> {
        assert!(chunk > 0, "a chunk has elements");
        let tensor = self.find(name).ok_or_else(|| unknown_tensor(name))?;
        let values = self.values(tensor);
        let elements = tensor.elements();
        let mut buffer = vec![0.0; chunk.min(elements)];
        for start in (0..elements).step_by(chunk) {
            let part = &mut buffer[..chunk.min(elements - start)];
            values.fill(start, part);
            sink(part)?;
        }
        Ok(())
    }
}

/// Where a tensor's values come from.
enum Values {
    Levels { levels: Vec<u16> },
    Bias { levels: Vec<u16>, layout: Layout },
    Stream { start: u64, map: Map },
}

impl Values {
    fn fill(&self, start: usize, out: &mut [f32]) {
        match self {
            Values::Levels { levels } => {
                for (value, level) in out.iter_mut().zip(&levels[start..]) {
                    *value = f32::from(*level);
                }
            }
            Values::Bias { levels, layout } => {
                for (index, value) in (start..).zip(out) {
                    let (query, key) = (levels[index / levels.len()], levels[index % levels.len()]);
                    let visible = if *layout == Layout::Var { key <= query } else { key == query };
                    *value = if visible { 0.0 } else { f32::NEG_INFINITY };
                }
            }
            Values::Stream { start: seed, map } => {
                for (index, value) in (start as u64 + 1..).zip(out) {
                    *value = (map.offset + map.factor * uniform(*seed, index)) as f32;
                }
            }
        }
    }
}

/// The recipe's last step: value = offset + factor · u.
struct Map {
    offset: f64,
    factor: f64,
}

impl Map {
    fn of(tensor: &TensorInfo) -> Self {
        let name = tensor.name.as_str();
        let table = ["class_emb.weight", "lvl_embed.weight", "mask_embed.weight"];
        let (offset, factor) = if name.ends_with("zero_k_bias") {
            (0.0, 0.0)
        } else if name.ends_with("scale_mul_1H11") {
            (4f64.ln(), 0.2)
        } else if name.contains(".norm") && name.ends_with(".weight") {
            (1.0, 0.1)
        } else if name == "quantize.embedding.weight" {
            (0.0, 1.0)
        } else if table.iter().any(|table| name.ends_with(table)) || matches!(name, "pos_start" | "pos_1LC") {
            (0.0, 0.5)
        } else if name.ends_with("bias") {
            (0.0, 0.1)
        } else {
            let fan_in: usize = tensor.shape.iter().skip(1).product();
            (0.0, (3.0 / fan_in as f64).sqrt())
        };
        Map { offset, factor }
    }
}

/// The scale, from 0, of every token of a pyramid.
fn levels(pyramid: &[usize]) -> Vec<u16> {
    (0..).zip(pyramid).flat_map(|(level, side)| std::iter::repeat_n(level, side * side)).collect()
}

fn fnv1a64(name: &str) -> u64 {
    name.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// The i-th number of a splitmix64 stream, in [−1, 1).
#[inline]
fn uniform(seed: u64, index: u64) -> f64 {
    let z = seed.wrapping_add(index.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    let z = z ^ (z >> 31);
    // 53 bits: as a signed number they convert in one instruction.
    ((z >> 11) as i64) as f64 * (2.0 / (1u64 << 53) as f64) - 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: &[f32], expected: &[f32], tolerance: f32) {
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < tolerance, "{found} is not {expected}");
        }
    }

    #[test]
    fn the_stream_is_the_published_one() {
        assert_eq!(fnv1a64("pos_start"), 0x2c45_1e9f_64ea_4dda);
        let first: Vec<f32> = (1..=3).map(|index| uniform(fnv1a64("pos_start"), index) as f32).collect();
        close(&first, &[-0.21038634, -0.87971704, 0.54509527], 1e-8);
    }

    #[test]
    fn every_line_of_the_recipe_has_its_scale() {
        let source = Synthetic::new(vec![
            TensorInfo::f32("word_embed.weight", &[1024, 32]),
            TensorInfo::f32("pos_start", &[1, 1, 4]),
            TensorInfo::f32("blocks.0.attn.zero_k_bias", &[4]),
            TensorInfo::f32("blocks.0.attn.scale_mul_1H11", &[1, 4, 1, 1]),
            TensorInfo::f32("encoder.norm_out.weight", &[4]),
            TensorInfo::f32("quantize.embedding.weight", &[4, 2]),
            TensorInfo::f32("word_embed_bias", &[4]),
        ]);
        let check = |name: &str, offset: f64, factor: f64| {
            let values = source.read(name).unwrap();
            let seed = fnv1a64(name);
            let expected: Vec<f32> = (1..=values.len() as u64)
                .map(|index| (offset + factor * uniform(seed, index)) as f32)
                .collect();
            assert_eq!(values, expected, "{name}");
        };
        close(&source.read("word_embed.weight").unwrap(), &[0.3011, -0.1045, -0.0645], 5e-5);
        check("word_embed.weight", 0.0, (3.0 / 32f64).sqrt());
        check("pos_start", 0.0, 0.5);
        check("blocks.0.attn.zero_k_bias", 0.0, 0.0);
        check("blocks.0.attn.scale_mul_1H11", 4f64.ln(), 0.2);
        check("encoder.norm_out.weight", 1.0, 0.1);
        check("quantize.embedding.weight", 0.0, 1.0);
        check("word_embed_bias", 0.0, 0.1);
    }

    #[test]
    fn chunks_are_exact_and_do_not_change_the_values() {
        let source = Synthetic::new(vec![TensorInfo::f32("word_embed.weight", &[10, 10])]);
        let mut sizes = Vec::new();
        let mut values = Vec::new();
        source
            .stream("word_embed.weight", 32, &mut |chunk| {
                sizes.push(chunk.len());
                values.extend_from_slice(chunk);
                Ok(())
            })
            .unwrap();
        assert_eq!(sizes, [32, 32, 32, 4]);
        assert_eq!(values, source.read("word_embed.weight").unwrap());
        assert!(source.read("unknown").is_err());
    }

    #[test]
    fn the_attention_bias_tells_the_layouts_apart() {
        let bias = |layout| {
            let config = ModelConfig { pyramid: vec![1, 2], ..ModelConfig::released(1, layout) };
            Synthetic::model(&config).read("attn_bias_for_masking").unwrap()
        };
        let hidden = f32::NEG_INFINITY;
        let first = [0.0, hidden, hidden, hidden, hidden];
        let row = |bias: Vec<f32>, row: usize| bias[row * 5..(row + 1) * 5].to_vec();
        for layout in [Layout::Combined, Layout::NextScale, Layout::Var] {
            assert_eq!(row(bias(layout), 0), first);
        }
        assert_eq!(row(bias(Layout::NextScale), 4), [hidden, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(row(bias(Layout::Var), 4), [0.0; 5]);
        let config = ModelConfig { pyramid: vec![1, 2], ..ModelConfig::released(1, Layout::Var) };
        assert_eq!(Synthetic::model(&config).read("lvl_1L").unwrap(), [0.0, 1.0, 1.0, 1.0, 1.0]);
    }
}
