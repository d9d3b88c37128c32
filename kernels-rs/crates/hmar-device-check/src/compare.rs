//! HMAR beside VAR in one engine: the same depth, pictures and batch in turn, time and memory, with the decoder and without.

use std::sync::Arc;
use std::time::Instant;

use hmar_checkpoint::Layout;
use hmar_cuda::{CudaBackend, OperationTime};
use hmar_engine::{Cancel, PassKind, Session, Stepper, Timings};
use hmar_error::Result;
use hmar_ops::Precision;
use serde_json::{Value, json};

use crate::arithmetic::load_options;
use crate::bench::{Loaded, median};
use crate::floor;
use crate::options::Options;
use crate::part::{Part, PartResult, World};
use crate::released::config_of;

/// Generations of each that are measured at most, and seconds after which no further pair begins.
const REPEATS: usize = 15;
const SECONDS: f64 = 6.0;

/// Operations in the report.
const OPERATIONS: usize = 30;

/// A part a size.
pub fn parts(options: &Options) -> Vec<Part> {
    let part = |model: &String| {
        let (name, model) = (format!("compare/{model}"), model.clone());
        Part::new(name, 550, move |world| compare(world, &model))
    };
    options.models.iter().map(part).collect()
}

fn compare(world: &World, model: &str) -> Result<PartResult> {
    let load = |layout| {
        // A context each counts the memory of each.
        let backend = CudaBackend::open(world.options.device, Precision::Bf16)?;
        Loaded::load(backend, config_of(model, layout)?, &load_options(Precision::Bf16))
    };
    let begin = Instant::now();
    let pair = [load(Layout::Combined)?, load(Layout::Var)?];
    let mut lines = vec![format!("both loaded in {:.1} s", begin.elapsed().as_secs_f64())];
    let mut cases = Vec::new();
    for &batch in &world.options.batches {
        let (line, data) = measure(&pair, batch)?;
        println!("{model} {line}");
        lines.push(line);
        cases.extend(data);
    }
    Ok(PartResult { ok: true, summary: lines.join("\n    "), data: json!({ "cases": cases }) })
}

/// What generations of one model took.
#[derive(Default)]
struct Runs {
    /// Whole ones, by the GPU's clock.
    device: Vec<f64>,
    /// Their passes and conditions, and their decoding, by the host's.
    passes: Vec<f64>,
    decode: Vec<f64>,
    /// Milliseconds of each pass, a list a generation.
    each_pass: Vec<Vec<f64>>,
    peak: u64,
    /// Of the buffers of passes, and what decoding, in the place of some of them, takes beyond those.
    pass_bytes: u64,
    decode_bytes: u64,
    operations: Vec<OperationTime>,
}

fn measure(pair: &[Loaded; 2], batch: usize) -> Result<(String, [Value; 2])> {
    let mut sessions: [Session<CudaBackend>; 2] = Default::default();
    let mut runs: [Runs; 2] = Default::default();
    for (loaded, (session, runs)) in pair.iter().zip(sessions.iter_mut().zip(&mut runs)) {
        loaded.backend.restart_peak();
        // As it is, recorded, and once repeated to warm up; the first also tunes the products.
        (0..3).try_for_each(|seed| generate(loaded, session, batch, seed).map(drop))?;
        runs.peak = loaded.backend.memory().peak as u64;
        // A stepper's buffers are those of passes alone.
        let whole = loaded.model.batch_bytes();
        let stepper = Stepper::open(Arc::clone(&loaded.model), loaded.request(batch, 0))?;
        runs.pass_bytes = loaded.model.batch_bytes() - whole;
        runs.decode_bytes = whole - runs.pass_bytes;
        drop(stepper);
    }
    let begin = Instant::now();
    for seed in 0..REPEATS as u64 {
        for (loaded, (session, runs)) in pair.iter().zip(sessions.iter_mut().zip(&mut runs)) {
            let (whole, Timings { condition, passes, decode, .. }) =
                generate(loaded, session, batch, 3 + seed)?;
            runs.device.push(whole);
            runs.passes.push(condition + passes.iter().sum::<f64>());
            runs.decode.push(decode);
            runs.each_pass.push(passes);
        }
        if begin.elapsed().as_secs_f64() > SECONDS {
            break;
        }
    }
    for (loaded, (session, runs)) in pair.iter().zip(sessions.iter_mut().zip(&mut runs)) {
        let profiled = loaded.backend.profile(|| generate(loaded, session, batch, 100))?;
        runs.operations = profiled.1;
    }
    let [hmar, var] = [&runs[0], &runs[1]];
    let ratio = |of: &dyn Fn(&Runs) -> f64| of(var) / of(hmar);
    let beyond = |index: usize| (runs[index].peak - pair[index].weight_bytes()) as f64;
    let line = format!(
        "batch {batch}: HMAR {:.2} ms (floor {:.2}), VAR {:.2} (floor {:.2}), {:.3}×; passes {:.2}, {:.2}, {:.3}×; memory beyond \
         weights {:.0}, {:.0} MB, {:.2}×; of passes {:.0}, {:.0} MB, {:.2}×",
        median(hmar.device.clone()),
        floor_of(&pair[0], batch),
        median(var.device.clone()),
        floor_of(&pair[1], batch),
        ratio(&|runs| median(runs.device.clone())),
        median(hmar.passes.clone()),
        median(var.passes.clone()),
        ratio(&|runs| median(runs.passes.clone())),
        beyond(0) / 1e6,
        beyond(1) / 1e6,
        beyond(1) / beyond(0),
        hmar.pass_bytes as f64 / 1e6,
        var.pass_bytes as f64 / 1e6,
        ratio(&|runs| runs.pass_bytes as f64),
    );
    Ok((line, [0, 1].map(|index| case(&pair[index], &runs[index], batch))))
}

/// Milliseconds of a whole generation by the GPU's clock, and where they went by the host's.
fn generate(
    loaded: &Loaded,
    session: &mut Session<CudaBackend>,
    batch: usize,
    seed: u64,
) -> Result<(f64, Timings)> {
    let Loaded { backend, model, tokenizer, .. } = loaded;
    let mut timings = Timings::default();
    let whole = backend.milliseconds(|| {
        let request = loaded.request(batch, seed);
        timings = session.generate(model, tokenizer, &request, &Cancel::default(), &|_| {})?.timings;
        Ok(())
    })?;
    Ok((whole, timings))
}

fn floor_of(loaded: &Loaded, batch: usize) -> f64 {
    let config = loaded.model.config();
    let side = *config.pyramid.last().expect("a pyramid has scales");
    let passes =
        (0..loaded.plan.passes.len()).map(|pass| floor::pass(config, &loaded.plan, pass, batch).floor());
    passes.sum::<f64>()
        + floor::condition(config, batch + 1).floor()
        + floor::decoder(loaded.tokenizer.config(), side, batch).floor()
}

fn case(loaded: &Loaded, runs: &Runs, batch: usize) -> Value {
    let (config, plan) = (loaded.model.config(), &loaded.plan);
    let side = config.pyramid.last().expect("a pyramid has scales");
    let layout = if config.layout == Layout::Var { "var" } else { "hmar" };
    let each_pass = plan.passes.iter().enumerate().map(|(index, pass)| {
        json!({
            "scale": pass.scale + 1,
            "masked": pass.kind == PassKind::Masked,
            "milliseconds": median(runs.each_pass.iter().map(|passes| passes[index]).collect()),
            "floor": floor::pass(config, plan, index, batch).floor(),
        })
    });
    let operations = runs.operations.iter().take(OPERATIONS).map(|operation| {
        json!({ "name": operation.name, "calls": operation.calls, "microseconds": operation.microseconds })
    });
    json!({
        "layout": layout,
        "depth": config.depth,
        "resolution": side * loaded.tokenizer.config().downsample(),
        "batch": batch,
        "milliseconds": runs.device,
        "passMilliseconds": runs.passes,
        "decodeMilliseconds": runs.decode,
        "floor": floor_of(loaded, batch),
        "decodeFloor": floor::decoder(loaded.tokenizer.config(), *side, batch).floor(),
        "weightBytes": loaded.weight_bytes(),
        "passBytes": runs.pass_bytes,
        "decodeBytes": runs.decode_bytes,
        "peakBytes": runs.peak,
        "passes": each_pass.collect::<Vec<_>>(),
        "operations": operations.collect::<Vec<_>>(),
    })
}
