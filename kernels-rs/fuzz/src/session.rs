//! A model of a few thousand weights, and what sessions of it are saved as.

use std::sync::Arc;

use hmar_checkpoint::{Layout, Synthetic};
use hmar_engine::{Cancel, Kept, LoadOptions, Model, Pass, PassKind, Plan, PositionOrder, Request, Stepper};
use hmar_ops::sampling::TokenSampling;
use hmar_ops::{CpuBackend, Precision};

use crate::support::{small_model, small_tokenizer};

/// The model; its pyramid has the sides 1 and 2.
pub fn model() -> Arc<Model<CpuBackend>> {
    let (config, tokenizer) = (small_model(Layout::Combined), small_tokenizer());
    let (source, quantizer) = (Synthetic::model(&config), Synthetic::tokenizer(&tokenizer));
    let options = LoadOptions {
        precision: Precision::F32,
        fp8_blocks: false,
        allow_non_finite: false,
        cancel: Cancel::default(),
        progress: &|_, _| {},
    };
    let backend = Arc::new(CpuBackend::new(Some(1)).expect("there is a processor"));
    Arc::new(Model::load(backend, config, &source, &tokenizer, &quantizer, &options).expect("it is sound"))
}

/// Two images; two masked passes at the second scale.
pub fn request(keep: Option<Kept>) -> Request {
    let pass = |kind, scale, commits| Pass {
        kind,
        scale,
        commits,
        revises: 0,
        positions: PositionOrder::default(),
        guidance: 0.5,
        sampling: TokenSampling::default(),
        smooth: false,
    };
    let (next_scale, masked) = (PassKind::NextScale, PassKind::Masked);
    let passes = vec![pass(next_scale, 0, 1), pass(next_scale, 1, 1), pass(masked, 1, 1), pass(masked, 1, 2)];
    Request {
        labels: vec![0, 3],
        plan: Plan { passes },
        seed: 7,
        first_image: 0,
        batch: 2,
        skip_negligible_guidance: true,
        trace: false,
        keep,
    }
}

/// A session before each pass and after the last, of a request that keeps nothing and one that keeps a corner.
pub fn saved(model: &Arc<Model<CpuBackend>>) -> Vec<Vec<u8>> {
    let corner = Kept::new(model.config(), vec![1, 2, 3, 4, 5], Some(&[1.0, 0.0, 0.0, 0.0]), 0);
    let requests = [request(None), request(Some(corner.expect("the mask fits")))];
    requests.into_iter().flat_map(|request| saved_on_the_way(model, request)).collect()
}

fn saved_on_the_way(model: &Arc<Model<CpuBackend>>, request: Request) -> Vec<Vec<u8>> {
    let passes = request.plan.passes.len();
    let mut stepper = Stepper::open(Arc::clone(model), request).expect("the request fits");
    let mut saved = vec![stepper.save("{}").expect("it can be saved")];
    for _ in 0..passes {
        stepper.step(&Cancel::default()).expect("a pass is left");
        saved.push(stepper.save("{}").expect("it can be saved"));
    }
    saved
}
