//! The trained model of shapes, and the plans its goldens were made with.

use std::path::Path;
use std::sync::Arc;

use hmar_checkpoint::{ModelCheckpoint, OpenModel, TokenizerCheckpoint};
use hmar_engine::{Cancel, LoadOptions, Model, Pass, PassKind, Plan, PositionOrder, Tokenizer};
use hmar_ops::sampling::TokenSampling;
use hmar_ops::{CpuBackend, Precision};

pub const PYRAMID: [usize; 6] = [1, 2, 3, 4, 6, 8];

/// Masked passes at every scale but the first.
pub const LONG: [&[usize]; 6] = [&[1], &[1, 3], &[2, 3, 4], &[6, 5, 5], &[12, 12, 12], &[16, 16, 16, 16]];

pub struct Shapes {
    pub model: Arc<Model<CpuBackend>>,
    pub tokenizer: Tokenizer<CpuBackend>,
}

pub fn options() -> LoadOptions<'static> {
    LoadOptions {
        precision: Precision::F32,
        fp8_blocks: false,
        allow_non_finite: false,
        cancel: Cancel::default(),
        progress: &|_, _| {},
    }
}

pub fn load() -> Shapes {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../packages/shapes/weights");
    let options = options();
    let backend = Arc::new(CpuBackend::new(None).unwrap());
    let model = ModelCheckpoint::open(&OpenModel::at(folder.join("model.safetensors"))).unwrap();
    let tokenizer = TokenizerCheckpoint::open(&folder.join("tokenizer.safetensors"), None).unwrap();
    let (config, source) = (tokenizer.config, tokenizer.source);
    let model =
        Model::load(backend.clone(), model.config, &*model.source, &config, &*source, &options).unwrap();
    Shapes {
        model: Arc::new(model),
        tokenizer: Tokenizer::load(backend, config, &*source, &options).unwrap(),
    }
}

/// The plan of lists of counts, guidance growing linearly to 1.5, masked passes with a millionth of it.
pub fn plan(lists: &[&[usize]]) -> Plan {
    let last = (lists.len() - 1).max(1) as f64;
    let passes = lists.iter().enumerate().flat_map(|(scale, counts)| {
        counts.iter().enumerate().map(move |(step, &commits)| Pass {
            kind: if step == 0 { PassKind::NextScale } else { PassKind::Masked },
            scale,
            commits,
            revises: 0,
            positions: PositionOrder::default(),
            guidance: if step == 0 { 1.5 * scale as f64 / last } else { 1.5e-6 },
            sampling: TokenSampling { temperature: 1.0, top_k: 300, top_p: 0.95, min_p: 0.0 },
            smooth: false,
        })
    });
    Plan { passes: passes.collect() }
}
