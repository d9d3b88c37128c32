//! Single stacks of blocks, narrow ones: VAR as its largest model is made (512 px, one AdaLN for all blocks), and both layouts
//! at 1024 px. The CPU, which a twin in float64 holds to the specification, says what a GPU with and without a cache must
//! come to. The decoder at 1024 px, too.

use std::sync::Arc;

use hmar_checkpoint::{Layout, ModelConfig, Synthetic, TokenizerConfig};
use hmar_engine::{Cancel, Model, Stepper, Tokenizer};
use hmar_error::Result;
use hmar_ops::sampling::guide;
use hmar_ops::{Backend, CpuBackend, Precision};
use serde_json::json;

use super::golden::{Distance, LOGITS};
use super::gpu;
use crate::arithmetic::load_options;
use crate::check::{PRECISIONS, Random};
use crate::part::{Part, PartResult, World};
use crate::released::{config, default_plan, request};

/// ‖error‖ / ‖logits‖ allowed in bfloat16, as for the goldens.
const LOGITS_BF16: f64 = 2e-2;
/// The same of pictures.
const TOKENIZER_BF16: f64 = 3e-2;
/// Largest t here. Guided, errors of both halves add up to at most 1 + 2t of those of one.
const GUIDANCE: f64 = 0.5;
const LABEL: u32 = 207;
const NULL: u32 = 1000;

/// The parts.
pub fn parts() -> Vec<Part> {
    let models = [
        ("VAR of 512 px with one AdaLN", Layout::Var, 512, true, 4),
        ("VAR of 1024 px", Layout::Var, 1024, false, 2),
        ("next-scale of 1024 px", Layout::NextScale, 1024, false, 2),
    ];
    let of_precision = move |precision: Precision| {
        let logits = models.map(|(name, layout, resolution, shared_ada_ln, heads)| {
            Part::new(format!("goldens/stacks/{name}, {precision:?}"), 180, move |world| {
                let wide = config(36, layout, resolution).expect("there is one");
                let config = ModelConfig { depth: heads, width: 64 * heads, heads, shared_ada_ln, ..wide };
                logits(world, precision, &config)
            })
        });
        let name = format!("goldens/stacks/decoder of 1024 px, {precision:?}");
        logits.into_iter().chain([Part::new(name, 180, move |world| decoder(world, precision))])
    };
    PRECISIONS.into_iter().flat_map(of_precision).collect()
}

fn load<B: Backend>(backend: Arc<B>, precision: Precision, config: &ModelConfig) -> Result<Arc<Model<B>>> {
    let tokenizer = TokenizerConfig::released();
    let (source, codes) = (Synthetic::model(config), Synthetic::tokenizer(&tokenizer));
    let options = load_options(precision);
    Ok(Arc::new(Model::load(backend, config.clone(), &source, &tokenizer, &codes, &options)?))
}

fn logits(world: &World, precision: Precision, config: &ModelConfig) -> Result<PartResult> {
    let cancel = Cancel::default();
    let exact = load(Arc::new(CpuBackend::new(None)?), Precision::F32, config)?;
    let model = load(gpu(world, precision)?, precision, config)?;
    let mut plan = default_plan(model.config());
    let last = (plan.passes.len() - 1) as f64;
    plan.passes.iter_mut().for_each(|pass| pass.guidance = GUIDANCE * pass.scale as f64 / last);
    let make = || request(&plan, &[LABEL], 5);

    // Pass by pass, each from logits that are taken back once, with a restored session in the middle.
    let mut stepper = Stepper::open(Arc::clone(&model), make())?;
    let mut cached = Vec::new();
    let mut restored_equal = true;
    while stepper.next() < plan.passes.len() {
        let logits = stepper.logits(&cancel)?;
        if stepper.next() > 0 {
            let tokens = stepper.view().tokens.to_vec();
            stepper.replace_tokens(&tokens, None)?;
        }
        restored_equal &= stepper.logits(&cancel)? == logits;
        cached.extend(logits);
        stepper.step(&cancel)?;
        if stepper.next() == plan.passes.len() / 2 {
            let saved = stepper.save("")?;
            stepper = Stepper::resume(Arc::clone(&model), make(), &saved, None, &cancel)?;
            restored_equal &= stepper.save("")? == saved;
        }
    }
    let tokens = stepper.tokens().to_vec();

    let teacher_forced = |label| model.logits(&tokens, label, None, &cancel);
    let (mut expected, unconditional) =
        (exact.logits(&tokens, LABEL, None, &cancel)?, exact.logits(&tokens, NULL, None, &cancel)?);
    let plain = Distance::between(&teacher_forced(LABEL)?, &expected);
    let null = Distance::between(&teacher_forced(NULL)?, &unconditional);
    let mut start = 0;
    for pass in &plan.passes {
        let range = start..start + pass.commits * model.config().codebook_size;
        if pass.guidance != 0.0 {
            guide(&mut expected[range.clone()], &unconditional[range.clone()], pass.guidance);
        }
        start = range.end;
    }
    let guided = Distance::between(&cached, &expected);
    let ok = restored_equal
        && match precision {
            Precision::F32 => [plain, null, guided]
                .iter()
                .all(|distance| distance.largest <= LOGITS * (1.0 + 2.0 * GUIDANCE)),
            Precision::Bf16 => {
                plain.relative <= LOGITS_BF16
                    && null.relative <= LOGITS_BF16
                    && guided.relative <= LOGITS_BF16 * (1.0 + 2.0 * GUIDANCE)
            }
        };
    Ok(PartResult {
        ok,
        summary: format!(
            "logits off by {:.2e} at most, {:.2e} in norm; guided, pass by pass, {:.2e}, {:.2e}; taken back and restored \
             they are {}",
            plain.largest.max(null.largest),
            plain.relative.max(null.relative),
            guided.largest,
            guided.relative,
            if restored_equal { "equal" } else { "DIFFERENT" }
        ),
        data: json!({
            "largest": plain.largest.max(null.largest),
            "relative": plain.relative.max(null.relative),
            "passByPass": { "largest": guided.largest, "relative": guided.relative },
            "restoredEqual": restored_equal,
        }),
    })
}

/// A picture of 1024 px from a made latent.
fn decoder(world: &World, precision: Precision) -> Result<PartResult> {
    const SIDE: usize = 64;
    fn decode<B: Backend>(backend: Arc<B>, precision: Precision, latent: &[f32]) -> Result<Vec<f32>> {
        let config = TokenizerConfig::released();
        let tokenizer = Tokenizer::load(
            backend,
            config.clone(),
            &Synthetic::tokenizer(&config),
            &load_options(precision),
        )?;
        tokenizer.values_of(latent, SIDE, &Cancel::default())
    }
    let width = TokenizerConfig::released().code_dimension;
    let latent: Vec<f32> = Random::new(64).normals(SIDE * SIDE * width).iter().map(|x| 2.0 * x).collect();
    let expected = decode(Arc::new(CpuBackend::new(None)?), Precision::F32, &latent)?;
    let found = Distance::between(&decode(gpu(world, precision)?, precision, &latent)?, &expected);
    let ok = match precision {
        Precision::F32 => found.largest <= LOGITS,
        Precision::Bf16 => found.relative <= TOKENIZER_BF16,
    };
    Ok(PartResult {
        ok,
        summary: format!("picture off by {:.2e} at most, {:.2e} in norm", found.largest, found.relative),
        data: json!({ "largest": found.largest, "relative": found.relative }),
    })
}
