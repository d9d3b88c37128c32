//! The trained model of shapes: generations pass by pass, pictures, losses.

use std::path::Path;
use std::sync::Arc;

use hmar_checkpoint::{ModelCheckpoint, OpenModel, TokenizerCheckpoint};
use hmar_cuda::CudaBackend;
use hmar_engine::{
    Cancel, Generated, Model, Pass, PassKind, Plan, PositionOrder, Request, Session, Tokenizer,
};
use hmar_error::Result;
use hmar_ops::Precision;
use hmar_ops::sampling::TokenSampling;
use serde_json::json;

use super::golden::*;
use super::open;
use crate::arithmetic::Arithmetic;
use crate::check::PRECISIONS;
use crate::part::{Part, PartResult, World};

const PYRAMID: [usize; 6] = [1, 2, 3, 4, 6, 8];
const TOKENS: usize = 130;

/// Of the losses, the specification's (5).
const LOSS_BF16: f64 = 0.005;
const LOSS_F32: f64 = 1e-4;

/// Half a step of e4m3's three bits: a model whose logits are off by no more than one factor's rounding still predicts.
const LOSS_FP8: f64 = 1.0 / 16.0;

pub(super) const USUAL: [&[usize]; 6] = [&[1], &[1, 3], &[2, 3, 4], &[16], &[36], &[64]];
const LONG: [&[usize]; 6] = [&[1], &[1, 3], &[2, 3, 4], &[6, 5, 5], &[12, 12, 12], &[16, 16, 16, 16]];

/// A generation that was followed pass by pass.
#[derive(Clone, Copy)]
struct Reference {
    name: &'static str,
    file: &'static str,
    prefix: &'static str,
    labels: &'static [u32],
    seed: u64,
    first_image: u32,
    guidance: f64,
    top_k: u32,
    top_p: f64,
    lists: [&'static [usize]; 6],
    batch: usize,
}

const ALL_LABELS: &[u32] = &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9];

const REFERENCES: [Reference; 4] = [
    Reference {
        name: "the default",
        file: "tiny-a",
        prefix: "generated_",
        labels: ALL_LABELS,
        seed: 34,
        first_image: 0,
        guidance: 1.5,
        top_k: 300,
        top_p: 0.95,
        lists: USUAL,
        batch: 10,
    },
    Reference {
        name: "the default in batches of 3",
        file: "tiny-a",
        prefix: "generated_",
        labels: ALL_LABELS,
        seed: 34,
        first_image: 0,
        guidance: 1.5,
        top_k: 300,
        top_p: 0.95,
        lists: USUAL,
        batch: 3,
    },
    Reference {
        name: "greedy",
        file: "tiny-generations",
        prefix: "greedy.",
        labels: ALL_LABELS,
        seed: 0,
        first_image: 0,
        guidance: 1.5,
        top_k: 1,
        top_p: 0.0,
        lists: USUAL,
        batch: 10,
    },
    Reference {
        name: "long",
        file: "tiny-generations",
        prefix: "long.",
        labels: &[3, 3, 8, 8],
        seed: 1_099_511_627_787,
        first_image: 5,
        guidance: 2.5,
        top_k: 0,
        top_p: 0.9,
        lists: LONG,
        batch: 4,
    },
];

/// The parts.
pub fn parts() -> Vec<Part> {
    let mut parts = Vec::new();
    for precision in PRECISIONS {
        for reference in REFERENCES {
            let name = format!("goldens/shapes/generation, {}, {precision:?}", reference.name);
            parts.push(Part::new(name, 120, move |world| generation(world, precision, reference)));
        }
    }
    for arithmetic in PRECISIONS.map(Arithmetic::Plain).into_iter().chain([Arithmetic::Fp8]) {
        let name = format!("goldens/shapes/losses, {arithmetic:?}");
        parts.push(Part::new(name, 120, move |world| losses(world, arithmetic)));
    }
    parts
}

/// The plan of lists of counts, guidance growing linearly with the scale, masked passes with a millionth of it.
pub fn plan(lists: &[&[usize]], guidance: f64, sampling: TokenSampling) -> Plan {
    let last = (lists.len() - 1).max(1) as f64;
    let passes = lists.iter().enumerate().flat_map(|(scale, counts)| {
        counts.iter().enumerate().map(move |(step, &commits)| {
            let first = step == 0;
            Pass {
                kind: if first { PassKind::NextScale } else { PassKind::Masked },
                scale,
                commits,
                revises: 0,
                positions: PositionOrder::default(),
                guidance: if first { guidance * scale as f64 / last } else { guidance * 1e-6 },
                sampling,
                smooth: false,
            }
        })
    });
    Plan { passes: passes.collect() }
}

pub(super) struct Shapes {
    pub(super) model: Model<CudaBackend>,
    pub(super) tokenizer: Tokenizer<CudaBackend>,
}

pub(super) fn load(world: &World, arithmetic: Arithmetic) -> Result<Shapes> {
    let folder = Path::new(&world.options.fixtures).join("packages/shapes/weights");
    let backend = Arc::new(arithmetic.open(world.options.device)?);
    let options = arithmetic.load_options();
    let model = ModelCheckpoint::open(&OpenModel::at(folder.join("model.safetensors")))?;
    let tokenizer = TokenizerCheckpoint::open(&folder.join("tokenizer.safetensors"), None)?;
    let (config, source) = (tokenizer.config, tokenizer.source);
    Ok(Shapes {
        model: Model::load(Arc::clone(&backend), model.config, &*model.source, &config, &*source, &options)?,
        tokenizer: Tokenizer::load(backend, config, &*source, &options)?,
    })
}

fn generation(world: &World, precision: Precision, reference: Reference) -> Result<PartResult> {
    let Shapes { model, tokenizer } = load(world, Arithmetic::Plain(precision))?;
    let golden = open(world, reference.file)?;
    let Reference { prefix, labels, guidance, top_k, top_p, .. } = reference;
    let sampling = TokenSampling { temperature: 1.0, top_k, top_p, min_p: 0.0 };
    let request = Request {
        labels: labels.to_vec(),
        plan: plan(&reference.lists, guidance, sampling),
        seed: reference.seed,
        first_image: reference.first_image,
        batch: reference.batch,
        skip_negligible_guidance: false,
        trace: true,
        keep: None,
    };
    // Three times in one session: as it is, recorded, repeated.
    let mut session = Session::default();
    let runs = (0..3)
        .map(|_| session.generate(&model, &tokenizer, &request, &Cancel::default(), &|_| {}))
        .collect::<Result<Vec<Generated>>>()?;
    let repeats = runs.iter().all(|run| {
        run.trace == runs[0].trace && run.pixels == runs[0].pixels && run.latents == runs[0].latents
    });

    let Generated { trace, tokens, pixels, .. } = &runs[2];
    let expected_trace = golden.integers(&format!("{prefix}trace"));
    let expected_tokens = golden.integers(&format!("{prefix}tokens"));
    let wrong = |found: &[u32], expected: &[u32]| {
        assert_eq!(found.len(), expected.len());
        found.iter().zip(expected).filter(|(a, b)| a != b).count()
    };
    let (trace_wrong, tokens_wrong) = (wrong(trace, &expected_trace), wrong(tokens, &expected_tokens));
    // Pictures whose every token is right are to look right.
    let images = golden.floats(&format!("{prefix}images"));
    let (size, mut largest, mut compared) = (3 * 64 * 64, 0, 0);
    for image in 0..labels.len() {
        if tokens[image * TOKENS..][..TOKENS] != expected_tokens[image * TOKENS..][..TOKENS] {
            continue;
        }
        compared += 1;
        let expected = channels_last(&images[image * size..(image + 1) * size], 3);
        for (&byte, value) in pixels[image * size..].iter().zip(expected) {
            largest = largest.max((i32::from(byte) - (255.0 * value + 0.5) as i32).abs());
        }
    }
    let ok = repeats
        && match precision {
            Precision::F32 => trace_wrong == 0 && tokens_wrong == 0 && largest <= 1,
            Precision::Bf16 => largest <= 16,
        };
    Ok(PartResult {
        ok,
        summary: format!(
            "{trace_wrong} of {} tokens differ pass by pass, {tokens_wrong} of {} in the end; {compared} pictures of equal \
             tokens differ by {largest} of 255 at most; {}",
            trace.len(),
            tokens.len(),
            if repeats { "repeats are equal" } else { "REPEATS DIFFER" }
        ),
        data: json!({
            "trace": trace_wrong as f64 / trace.len() as f64,
            "tokens": tokens_wrong as f64 / tokens.len() as f64,
            "picture": largest,
            "repeatsEqual": repeats,
        }),
    })
}

/// Mean cross-entropies, teacher-forced.
fn losses(world: &World, arithmetic: Arithmetic) -> Result<PartResult> {
    let Shapes { model, .. } = load(world, arithmetic)?;
    let golden = open(world, "tiny-a")?;
    let (tokens, labels) = (golden.integers("enc_tokens"), golden.integers("labels"));
    let masked_positions = golden.integers("masked_positions");
    let mut next_scale = 0.0;
    let mut masked = 0.0;
    let mut distance = 0.0f64;
    for (image, (tokens, &label)) in tokens.chunks_exact(TOKENS).zip(&labels).enumerate() {
        let logits = model.logits(tokens, label, None, &Cancel::default())?;
        let loss = |logits: &[f32], position: usize| {
            let row = &logits[position * 1024..][..1024];
            log_sum_exp(row) - f64::from(row[tokens[position] as usize])
        };
        let mut start = 0;
        for side in PYRAMID {
            let end = start + side * side;
            next_scale += (start..end).map(|position| loss(&logits, position)).sum::<f64>()
                / (side * side * PYRAMID.len() * labels.len()) as f64;
            start = end;
        }
        let masked_logits = model.logits(tokens, label, Some(&masked_positions), &Cancel::default())?;
        let losses = masked_positions.iter().map(|&position| loss(&masked_logits, position as usize));
        masked += losses.sum::<f64>() / (masked_positions.len() * labels.len()) as f64;
        if image == 0 {
            let expected = golden.floats("ns_logits_image0");
            distance = Distance::between(&logits, &expected[..TOKENS * 1024]).relative;
        }
    }
    let per_scale = golden.floats("loss_per_scale");
    let expected = per_scale.iter().map(|&x| f64::from(x)).sum::<f64>() / per_scale.len() as f64;
    let expected_masked = f64::from(golden.floats("masked_loss")[0]);
    let (of_next, of_masked) = (next_scale / expected - 1.0, masked / expected_masked - 1.0);
    let bound = match arithmetic {
        Arithmetic::Plain(Precision::F32) => LOSS_F32,
        Arithmetic::Fp8 => LOSS_FP8,
        _ => LOSS_BF16,
    };
    Ok(PartResult {
        ok: of_next.abs() <= bound && of_masked.abs() <= bound,
        summary: format!(
            "next-scale {next_scale:.5} ({of_next:+.2e}), masked {masked:.5} ({of_masked:+.2e}) of {bound:.0e}; logits off by \
             {distance:.2e} in norm"
        ),
        data: json!({ "nextScale": of_next, "masked": of_masked, "logits": distance }),
    })
}
