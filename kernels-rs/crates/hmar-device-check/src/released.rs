//! Released models by their names: configurations, schedules, requests.

use hmar_checkpoint::{Layout, ModelConfig, PYRAMID_256, PYRAMID_512, PYRAMID_1024};
use hmar_engine::{Pass, PassKind, Plan, PositionOrder, Request};
use hmar_error::{Code, Error, Result};
use hmar_ops::sampling::TokenSampling;

/// Counts of the released schedules. At 1024 px, for which none was released, 256 px's three smallest scales are refined.
const LISTS_256: [&[usize]; 10] =
    [&[1], &[1, 3], &[1, 1, 2, 5], &[16], &[25], &[36], &[64], &[100], &[169], &[256]];
const LISTS_512: [&[usize]; 10] =
    [&[1], &[1, 3], &[1, 1, 2, 5], &[5, 11], &[36], &[81], &[169], &[324], &[576], &[1024]];
const SMALLEST: [&[usize]; 3] = [&[1], &[1, 3], &[1, 1, 2, 5]];

fn lists(config: &ModelConfig) -> Vec<Vec<usize>> {
    let owned = |lists: &[&[usize]]| lists.iter().map(|list| list.to_vec()).collect::<Vec<_>>();
    let plain = config.pyramid.iter().map(|side| vec![side * side]);
    match (config.layout, &*config.pyramid) {
        (Layout::Combined, pyramid) if pyramid == PYRAMID_256 => owned(&LISTS_256),
        (Layout::Combined, pyramid) if pyramid == PYRAMID_512 => owned(&LISTS_512),
        (Layout::Combined, _) => owned(&SMALLEST).into_iter().chain(plain.skip(SMALLEST.len())).collect(),
        (Layout::NextScale | Layout::Var, _) => plain.collect(),
    }
}

/// The released schedule and sampling of a depth, and those that VAR's pictures are evaluated with.
pub fn default_plan(config: &ModelConfig) -> Plan {
    let (guidance, top_k, top_p) = match (config.layout, config.depth) {
        (Layout::Var, _) => (1.5, 900, 0.96),
        (_, 20) => (1.9, 950, 0.99),
        (_, 24) => (2.1, 900, 0.99),
        _ => (1.7, 1000, 0.99),
    };
    let sampling = TokenSampling { temperature: 1.0, top_k, top_p, min_p: 0.0 };
    let last = (config.pyramid.len() - 1) as f64;
    let passes = lists(config).into_iter().enumerate().flat_map(|(scale, counts)| {
        counts.into_iter().enumerate().map(move |(step, commits)| Pass {
            kind: if step == 0 { PassKind::NextScale } else { PassKind::Masked },
            scale,
            commits,
            revises: 0,
            positions: PositionOrder::default(),
            guidance: if step == 0 { guidance * scale as f64 / last } else { guidance * 1e-6 },
            sampling,
            smooth: false,
        })
    });
    Plan { passes: passes.collect() }
}

/// A released configuration at 256, 512 or 1024 px.
pub fn config(depth: usize, layout: Layout, resolution: usize) -> Option<ModelConfig> {
    let pyramid: &[usize] = match resolution {
        256 => &PYRAMID_256,
        512 => &PYRAMID_512,
        1024 => &PYRAMID_1024,
        _ => return None,
    };
    Some(ModelConfig { pyramid: pyramid.to_vec(), ..ModelConfig::released(depth, layout) })
}

/// `d16`, or `d24@512`.
pub fn config_of(model: &str, layout: Layout) -> Result<ModelConfig> {
    let (depth, resolution) = model.split_once('@').unwrap_or((model, "256"));
    let depth = depth.strip_prefix('d').and_then(|depth| depth.parse().ok());
    let found = depth.zip(resolution.parse().ok()).and_then(|(depth, pixels)| config(depth, layout, pixels));
    found.ok_or_else(|| {
        Error::new(Code::ArgumentOutOfRange, format!("There is no model `{model}` to measure."))
            .expected("d and a depth, then @512 or @1024 for more pixels")
    })
}

/// All of `labels` as one batch.
pub fn request(plan: &Plan, labels: &[u32], seed: u64) -> Request {
    Request {
        labels: labels.to_vec(),
        plan: plan.clone(),
        seed,
        first_image: 0,
        batch: labels.len(),
        skip_negligible_guidance: true,
        trace: false,
        keep: None,
    }
}
