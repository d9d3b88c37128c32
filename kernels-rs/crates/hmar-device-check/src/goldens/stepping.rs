//! Generating pass by pass on the GPU: the images of a run that is recorded and repeated.

use std::path::Path;
use std::sync::Arc;

use hmar_checkpoint::{ModelCheckpoint, OpenModel, TokenizerCheckpoint};
use hmar_cuda::CudaBackend;
use hmar_engine::{Cancel, Generated, Kept, Model, Request, Session, Stepper, Tokenizer};
use hmar_error::Result;
use hmar_ops::Precision;
use hmar_ops::sampling::TokenSampling;
use serde_json::json;

use super::tiny::plan;
use super::{gpu, open};
use crate::arithmetic::load_options;
use crate::check::PRECISIONS;
use crate::part::{Part, PartResult, World};

const LISTS: [&[usize]; 6] = [&[1], &[1, 3], &[2, 3, 4], &[6, 5, 5], &[12, 12, 12], &[16, 16, 16, 16]];
const TOKENS: usize = 130;

/// The parts.
pub fn parts() -> Vec<Part> {
    let part = |precision, keeps| {
        let what = if keeps { "editing" } else { "generation" };
        let name = format!("goldens/shapes/{what} step by step, {precision:?}");
        Part::new(name, 120, move |world| stepping(world, precision, keeps))
    };
    PRECISIONS.into_iter().flat_map(|precision| [part(precision, false), part(precision, true)]).collect()
}

fn load(world: &World, precision: Precision) -> Result<(Arc<Model<CudaBackend>>, Tokenizer<CudaBackend>)> {
    let folder = Path::new(&world.options.fixtures).join("packages/shapes/weights");
    let (backend, options) = (gpu(world, precision)?, load_options(precision));
    let model = ModelCheckpoint::open(&OpenModel::at(folder.join("model.safetensors")))?;
    let tokenizer = TokenizerCheckpoint::open(&folder.join("tokenizer.safetensors"), None)?;
    let (config, source) = (tokenizer.config, tokenizer.source);
    let model = Model::load(Arc::clone(&backend), model.config, &*model.source, &config, &*source, &options)?;
    Ok((Arc::new(model), Tokenizer::load(backend, config, &*source, &options)?))
}

fn stepping(world: &World, precision: Precision, keeps: bool) -> Result<PartResult> {
    let (model, tokenizer) = load(world, precision)?;
    let tokens = open(world, "tiny-a")?.integers("enc_tokens")[..TOKENS].to_vec();
    let mask = open(world, "tiny-generations")?.floats("edit.keep");
    let keep = keeps.then(|| Kept::new(model.config(), tokens, Some(&mask), 0)).transpose()?;
    let request = || Request {
        labels: vec![4, 10, 7],
        plan: plan(&LISTS, 1.5, TokenSampling { temperature: 1.0, top_k: 300, top_p: 0.95, min_p: 0.0 }),
        seed: 14,
        first_image: 0,
        batch: 3,
        skip_negligible_guidance: true,
        trace: false,
        keep: keep.clone(),
    };
    let cancel = Cancel::default();
    let mut session = Session::default();
    let mut run = Generated::default();
    // As it is, recorded, repeated.
    for _ in 0..3 {
        run = session.generate(&model, &tokenizer, &request(), &cancel, &|_| {})?;
    }

    let equal = |stepper: &mut Stepper<CudaBackend>| -> Result<bool> {
        Ok(stepper.tokens() == run.tokens && stepper.pictures(&tokenizer, &cancel)? == run.pixels)
    };
    let mut plain = Stepper::open(Arc::clone(&model), request())?;
    let passes = plain.request().plan.passes.len();
    while plain.next() < passes {
        plain.step(&cancel)?;
    }
    let plain = equal(&mut plain)?;

    let mut resumed = Stepper::open(Arc::clone(&model), request())?;
    while resumed.next() < passes {
        resumed.logits(&cancel)?;
        resumed.step(&cancel)?;
        let saved = resumed.save("")?;
        resumed = Stepper::resume(Arc::clone(&model), request(), &saved, None, &cancel)?;
    }
    let resumed = equal(&mut resumed)?;
    let say = |equal: bool| if equal { "equal" } else { "DIFFERENT" };
    Ok(PartResult {
        ok: plain && resumed,
        summary: format!(
            "tokens and pictures of {passes} single passes are {}; read, saved and resumed at each, {}",
            say(plain),
            say(resumed)
        ),
        data: json!({ "plain": plain, "resumed": resumed }),
    })
}
