//! Pictures that are the same whatever is generated beside them.

use std::sync::Arc;

use hmar_checkpoint::{Layout, ModelConfig, Synthetic, TokenizerConfig};
use hmar_engine::{Cancel, Generated, Model, Plan, Request, Session, Tokenizer};
use hmar_error::Result;
use hmar_ops::sampling::TokenSampling;
use serde_json::json;

use super::tiny::{self, Shapes};
use crate::arithmetic::Arithmetic;
use crate::part::{Part, PartResult, World};
use crate::released;

/// The parts.
pub fn parts() -> Vec<Part> {
    vec![
        Part::new("goldens/shapes/at any batch size", 120, |world| {
            let sampling = TokenSampling { temperature: 1.0, top_k: 300, top_p: 0.95, min_p: 0.0 };
            let plan = tiny::plan(&tiny::USUAL, 1.5, sampling);
            at_any_batch_size(&tiny::load(world, Arithmetic::BatchInvariant)?, &plan, 10)
        }),
        Part::new("goldens/synthetic/at any batch size", 300, |world| {
            let config = ModelConfig::released(16, Layout::Combined);
            let plan = released::default_plan(&config);
            at_any_batch_size(&synthetic(world, config)?, &plan, 10)
        }),
    ]
}

fn synthetic(world: &World, config: ModelConfig) -> Result<Shapes> {
    let arithmetic = Arithmetic::BatchInvariant;
    let backend = Arc::new(arithmetic.open(world.options.device)?);
    let codes = TokenizerConfig::released();
    let (source, quantizer) = (Synthetic::model(&config), Synthetic::tokenizer(&codes));
    let options = arithmetic.load_options();
    Ok(Shapes {
        model: Model::load(Arc::clone(&backend), config, &source, &codes, &quantizer, &options)?,
        tokenizer: Tokenizer::load(backend, codes, &quantizer, &options)?,
    })
}

fn at_any_batch_size(Shapes { model, tokenizer }: &Shapes, plan: &Plan, images: u32) -> Result<PartResult> {
    let generate = |batch: usize| -> Result<Generated> {
        let request = Request {
            labels: (0..images).collect(),
            plan: plan.clone(),
            seed: 11,
            first_image: 0,
            batch,
            skip_negligible_guidance: true,
            trace: true,
            keep: None,
        };
        Session::default().generate(model, tokenizer, &request, &Cancel::default(), &|_| {})
    };
    let alone = generate(1)?;
    let mut differing = Vec::new();
    for batch in [2, 3, images as usize] {
        let together = generate(batch)?;
        if together.trace != alone.trace {
            differing.push(format!("tokens in batches of {batch}"));
        }
        if together.pixels != alone.pixels {
            differing.push(format!("pixels in batches of {batch}"));
        }
    }
    Ok(PartResult {
        ok: differing.is_empty(),
        summary: format!(
            "{images} pictures, tokens and pixels, in batches of 2, 3 and {images} as one by one{}",
            if differing.is_empty() { String::new() } else { format!(": NOT {}", differing.join(", ")) }
        ),
        data: json!({ "images": images, "differing": differing }),
    })
}
