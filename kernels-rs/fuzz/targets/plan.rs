//! A plan: one that is accepted commits every token of every scale, and leaves none open.
#![no_main]

use arbitrary::Arbitrary;
use hmar_checkpoint::{Layout, ModelConfig, PYRAMID_256};
use hmar_engine::{Pass, PassKind, Plan, PositionOrder};
use hmar_ops::sampling::TokenSampling;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct AnyPlan {
    layout: u8,
    scales: Vec<AnyScale>,
    odd: Vec<AnyPass>,
}

/// Passes over the next scale, whose counts may add up.
#[derive(Arbitrary, Debug)]
struct AnyScale {
    shares: Vec<(u8, u8)>,
    exact: bool,
    positions: AnyPositions,
    guidance: f64,
    smooth: bool,
}

#[derive(Arbitrary, Debug)]
enum AnyPositions {
    LeastConfident,
    Random,
    Gumbel(f64),
    Fixed(Vec<u32>),
    Backwards,
}

/// A pass that need not fit anything.
#[derive(Arbitrary, Debug)]
struct AnyPass {
    masked: bool,
    scale: usize,
    commits: usize,
    revises: usize,
    temperature: f32,
    top_k: u32,
    top_p: f64,
    min_p: f64,
}

fn passes_of(scale: usize, any: &AnyScale) -> Vec<Pass> {
    let positions = PYRAMID_256.get(scale).map_or(0, |side| side * side);
    let mut open = positions;
    let mut passes = Vec::new();
    for (step, &(revises, commits)) in any.shares.iter().take(16).enumerate() {
        let revises = if step == 0 { 0 } else { usize::from(revises) };
        let last = any.exact && step + 1 == any.shares.len().min(16);
        let commits = if last { open + revises } else { usize::from(commits) };
        open = (open + revises).saturating_sub(commits);
        passes.push(Pass {
            kind: if step == 0 { PassKind::NextScale } else { PassKind::Masked },
            scale,
            commits,
            revises,
            positions: order(&any.positions, positions),
            guidance: any.guidance,
            sampling: TokenSampling::default(),
            smooth: any.smooth,
        });
    }
    passes
}

fn order(any: &AnyPositions, positions: usize) -> PositionOrder {
    match any {
        AnyPositions::LeastConfident => PositionOrder::LeastConfident,
        AnyPositions::Random => PositionOrder::Random,
        AnyPositions::Gumbel(temperature) => PositionOrder::Gumbel { temperature: *temperature },
        AnyPositions::Fixed(order) => PositionOrder::Fixed(order.as_slice().into()),
        AnyPositions::Backwards => PositionOrder::Fixed((0..positions as u32).rev().collect()),
    }
}

fn odd(any: &AnyPass) -> Pass {
    let &AnyPass { scale, commits, revises, temperature, top_k, top_p, min_p, .. } = any;
    Pass {
        kind: if any.masked { PassKind::Masked } else { PassKind::NextScale },
        scale,
        commits,
        revises,
        positions: PositionOrder::default(),
        guidance: 0.0,
        sampling: TokenSampling { temperature, top_k, top_p, min_p },
        smooth: false,
    }
}

fuzz_target!(|any: AnyPlan| {
    let layout = [Layout::Combined, Layout::NextScale, Layout::Var][usize::from(any.layout % 3)];
    let config = ModelConfig::released(16, layout);
    let scales = any.scales.iter().take(12).enumerate();
    let mut passes: Vec<Pass> = scales.flat_map(|(scale, any)| passes_of(scale, any)).collect();
    passes.extend(any.odd.iter().map(odd));
    let plan = Plan { passes };
    if plan.check(&config).is_err() {
        return;
    }
    for (index, pass) in plan.passes.iter().enumerate() {
        let positions = config.pyramid[pass.scale].pow(2);
        let open = plan.open_before(index, positions) + pass.revises;
        assert!(pass.commits <= open && open <= positions);
        assert!(!plan.ends_scale(index) || pass.commits == open, "{plan:?}");
        let _ = plan.opens(index);
    }
});
