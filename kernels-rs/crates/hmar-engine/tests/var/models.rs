//! Models of toy size with made weights, and requests to them.

use std::sync::Arc;

use hmar_checkpoint::{Layout, ModelConfig, Synthetic, TokenizerConfig};
use hmar_engine::{
    Cancel, Generated, LoadOptions, Model, Pass, PassKind, Plan, PositionOrder, Request, Session, Tokenizer,
};
use hmar_ops::sampling::TokenSampling;
use hmar_ops::{CpuBackend, Precision};

pub fn tokenizer_config() -> TokenizerConfig {
    TokenizerConfig {
        channels: 32,
        channel_multipliers: vec![1, 1],
        residual_blocks: 1,
        codebook_size: 64,
        code_dimension: 8,
        phi_count: 4,
        pyramid: None,
    }
}

pub fn config(layout: Layout, pyramid: &[usize]) -> ModelConfig {
    ModelConfig {
        depth: 3,
        branch_depth: if layout == Layout::Combined { 1 } else { 0 },
        width: 128,
        heads: 2,
        mlp_ratio: 2,
        classes: 10,
        codebook_size: tokenizer_config().codebook_size,
        code_dimension: tokenizer_config().code_dimension,
        pyramid: pyramid.to_vec(),
        ..ModelConfig::released(3, layout)
    }
}

pub struct Loaded {
    pub model: Arc<Model<CpuBackend>>,
    pub tokenizer: Tokenizer<CpuBackend>,
}

pub fn load(config: ModelConfig) -> Loaded {
    let options = LoadOptions {
        precision: Precision::F32,
        fp8_blocks: false,
        allow_non_finite: false,
        cancel: Cancel::default(),
        progress: &|_, _| {},
    };
    let backend = Arc::new(CpuBackend::new(None).unwrap());
    let of_tokenizer = tokenizer_config();
    let (source, codes) = (Synthetic::model(&config), Synthetic::tokenizer(&of_tokenizer));
    let model = Model::load(backend.clone(), config, &source, &of_tokenizer, &codes, &options).unwrap();
    Loaded {
        model: Arc::new(model),
        tokenizer: Tokenizer::load(backend, of_tokenizer, &codes, &options).unwrap(),
    }
}

/// One pass a scale, guidance growing to `guidance`.
pub fn plan(pyramid: &[usize], guidance: f64) -> Plan {
    let last = (pyramid.len() - 1).max(1) as f64;
    let passes = pyramid.iter().enumerate().map(|(scale, side)| Pass {
        kind: PassKind::NextScale,
        scale,
        commits: side * side,
        revises: 0,
        positions: PositionOrder::default(),
        guidance: guidance * scale as f64 / last,
        sampling: TokenSampling { temperature: 1.0, top_k: 40, top_p: 0.95, min_p: 0.0 },
        smooth: false,
    });
    Plan { passes: passes.collect() }
}

pub fn request(plan: Plan, labels: &[u32]) -> Request {
    Request {
        labels: labels.to_vec(),
        plan,
        seed: 11,
        first_image: 5,
        batch: labels.len(),
        skip_negligible_guidance: true,
        trace: false,
        keep: None,
    }
}

pub fn generate(loaded: &Loaded, request: &Request) -> Generated {
    let Loaded { model, tokenizer } = loaded;
    Session::default().generate(model, tokenizer, request, &Cancel::default(), &|_| {}).unwrap()
}
