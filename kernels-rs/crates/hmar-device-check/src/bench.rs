//! Whole generations of released sizes with made weights: time by pass and by operation, memory, beside the floor.

mod attention_backward;
mod attention_forward;

use std::sync::Arc;
use std::time::Instant;

use hmar_checkpoint::{Layout, ModelConfig, Synthetic, TokenizerConfig};
use hmar_cuda::{CudaBackend, OperationTime};
use hmar_engine::{Cancel, Generated, LoadOptions, Model, Plan, Request, Session, Tokenizer};
use hmar_error::Result;
use hmar_ops::Backend;
use serde_json::json;

use crate::arithmetic::arithmetic_of;
use crate::floor;
use crate::options::Options;
use crate::part::{Part, PartResult, World};
use crate::released::{config_of, default_plan, request};

/// Generations that are measured.
const REPEATS: usize = 7;

/// Most seconds the measured generations of a batch take.
const SECONDS: f64 = 10.0;

/// Operations in the report.
const OPERATIONS: usize = 40;

/// A part a model, which is loaded once for all batches; and those of attention and its gradients.
pub fn parts(options: &Options) -> Vec<Part> {
    let models = options.models.iter().map(|model| {
        let name = format!("bench/{model}");
        let model = model.clone();
        Part::new(name, 550, move |world| bench(world, &model))
    });
    models.chain(attention_forward::parts()).chain(attention_backward::parts()).collect()
}

/// A model with made weights and its tokenizer, on a GPU opened for them alone.
pub struct Loaded {
    pub backend: Arc<CudaBackend>,
    pub model: Arc<Model<CudaBackend>>,
    pub tokenizer: Tokenizer<CudaBackend>,
    pub plan: Plan,
}

impl Loaded {
    /// Loads them onto `backend`.
    pub fn load(backend: CudaBackend, config: ModelConfig, options: &LoadOptions<'_>) -> Result<Self> {
        let (backend, plan) = (Arc::new(backend), default_plan(&config));
        let of_tokenizer = TokenizerConfig::released();
        let (source, codes) = (Synthetic::model(&config), Synthetic::tokenizer(&of_tokenizer));
        let model =
            Arc::new(Model::load(Arc::clone(&backend), config, &source, &of_tokenizer, &codes, options)?);
        let tokenizer = Tokenizer::load(Arc::clone(&backend), of_tokenizer, &codes, options)?;
        backend.synchronize()?;
        Ok(Loaded { backend, model, tokenizer, plan })
    }

    /// A batch by the plan; another seed draws other tokens.
    pub fn request(&self, batch: usize, seed: u64) -> Request {
        let labels: Vec<u32> = (0..batch as u32).map(|image| image * 37 % 1000).collect();
        request(&self.plan, &labels, seed)
    }

    /// Bytes of all weights.
    pub fn weight_bytes(&self) -> u64 {
        self.model.weight_bytes() + self.tokenizer.weight_bytes()
    }
}

fn bench(world: &World, name: &str) -> Result<PartResult> {
    let (model, arithmetic) = arithmetic_of(name)?;
    let config = config_of(model, Layout::Combined)?;
    let mut backend = arithmetic.open(world.options.device)?;
    if let Some(images) = world.options.decode {
        backend = backend.with_images_at_once(images);
    }
    let begin = Instant::now();
    let loaded = Loaded::load(backend, config, &arithmetic.load_options())?;
    let load_seconds = begin.elapsed().as_secs_f64();

    let mut batches = Vec::new();
    let mut lines = vec![format!("loaded in {load_seconds:.1} s")];
    for &batch in &world.options.batches {
        let (line, data) = measure(&loaded, batch)?;
        println!("{name} {}", line.lines().next().unwrap_or_default());
        lines.push(line);
        batches.push(data);
    }
    Ok(PartResult {
        ok: true,
        summary: lines.join("\n    "),
        data: json!({ "loadSeconds": load_seconds, "batches": batches }),
    })
}

fn measure(loaded: &Loaded, batch: usize) -> Result<(String, serde_json::Value)> {
    let Loaded { backend, model, tokenizer, plan } = loaded;
    let mut session = Session::default();
    let mut generate = |seed: u64| -> Result<Generated> {
        session.generate(model, tokenizer, &loaded.request(batch, seed), &Cancel::default(), &|_| {})
    };
    let weights = loaded.weight_bytes() as usize;
    backend.restart_peak();
    // As it is, recorded, and once repeated to warm up; the first also tunes the products.
    let begin = Instant::now();
    generate(0)?;
    let first_seconds = begin.elapsed().as_secs_f64();
    (1..3).try_for_each(|seed| generate(seed).map(drop))?;
    let peak = backend.memory().peak.saturating_sub(weights);

    let (mut device, mut host, mut runs) = (Vec::new(), Vec::new(), Vec::new());
    let begin = Instant::now();
    for repeat in 0..REPEATS {
        let mut generated = None;
        let start = Instant::now();
        device.push(backend.milliseconds(|| {
            generated = Some(generate(3 + repeat as u64)?);
            Ok(())
        })?);
        host.push(start.elapsed().as_secs_f64() * 1e3);
        runs.extend(generated);
        if begin.elapsed().as_secs_f64() > SECONDS {
            break;
        }
    }
    let (_, operations) = backend.profile(|| generate(100))?;

    let passes: Vec<f64> = (0..plan.passes.len())
        .map(|pass| median(runs.iter().map(|run| run.timings.passes[pass]).collect()))
        .collect();
    let decode = median(runs.iter().map(|run| run.timings.decode).collect());
    let condition = median(runs.iter().map(|run| run.timings.condition).collect());
    let (device, host) = (median(device), median(host));
    let config = model.config();
    let pass_floors: Vec<f64> =
        (0..plan.passes.len()).map(|pass| floor::pass(config, plan, pass, batch).floor()).collect();
    let side = *config.pyramid.last().expect("a pyramid has scales");
    let decode_floor = floor::decoder(tokenizer.config(), side, batch).floor();
    let condition_floor = floor::condition(config, batch + 1).floor();
    let floor = pass_floors.iter().sum::<f64>() + decode_floor + condition_floor;

    let mut line = format!(
        "batch {batch}: {device:.2} ms ({host:.2} at the host), floor {floor:.2}, {:.2}×; first {first_seconds:.2} s; peak {:.0} \
         MiB beyond weights; condition {condition:.2} ({condition_floor:.2}), passes {:.2} ({:.2}), decoder {decode:.2} \
         ({decode_floor:.2})",
        device / floor,
        peak as f64 / f64::from(1 << 20),
        passes.iter().sum::<f64>(),
        pass_floors.iter().sum::<f64>(),
    );
    for (index, (time, floor)) in passes.iter().zip(&pass_floors).enumerate() {
        line += &format!("{} {time:.3} ({floor:.3})", if index == 0 { "\n      passes:" } else { "," });
    }
    for OperationTime { name, calls, microseconds } in operations.iter().take(12) {
        line += &format!(
            "\n      {name}: {calls} calls, {:.1} µs each, {:.2} ms",
            microseconds / *calls as f64,
            microseconds / 1e3
        );
    }
    let operations: Vec<_> = operations
        .iter()
        .take(OPERATIONS)
        .map(|operation| json!({ "name": operation.name, "calls": operation.calls, "microseconds": operation.microseconds }))
        .collect();
    let data = json!({
        "batch": batch,
        "decodedTogether": backend.images_at_once(),
        "milliseconds": device,
        "hostMilliseconds": host,
        "floor": floor,
        "firstSeconds": first_seconds,
        "peakBytes": peak,
        "condition": { "milliseconds": condition, "floor": condition_floor },
        "passes": passes.iter().zip(&pass_floors).map(|(time, floor)| json!({ "milliseconds": time, "floor": floor })).collect::<Vec<_>>(),
        "decoder": { "milliseconds": decode, "floor": decode_floor },
        "operations": operations,
    });
    Ok((line, data))
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
