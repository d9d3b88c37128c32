//! Copies, conversions, recordings.

use hmar_error::Result;
use hmar_ops::{Backend, Precision};

use crate::check::{
    Check, Ctx, Outcome, PRECISIONS, Random, as_held, downloaded, features, poisoned, poisoned_features,
    uploaded, widened,
};

/// The checks.
pub fn checks() -> Vec<Check> {
    let mut checks = Vec::new();
    for precision in PRECISIONS {
        for length in [1, 257, 100_003] {
            let name = |what: &str| format!("{what}, {length}, {precision:?}");
            checks.push(Check::new(name("narrow"), move |ctx| narrow(ctx, precision, length)));
            checks.push(Check::new(name("widen"), move |ctx| widen(ctx, precision, length)));
        }
    }
    for length in [1, 255, 256, 257, 1 << 19, (1 << 21) + 77] {
        checks.push(Check::new(format!("there and back, {length}"), move |ctx| there_and_back(ctx, length)));
    }
    checks.push(Check::new("fill_bytes, 999 of 1000", fill));
    checks.push(Check::new("replay", replay));
    checks
}

fn narrow(ctx: &Ctx, precision: Precision, length: usize) -> Result<Outcome> {
    let gpu = ctx.gpu(precision);
    let values = Random::new(length as u64).normals(length);
    let input = uploaded(gpu, &values)?;
    let mut out = poisoned_features(gpu, length)?;
    gpu.narrow(length, &input, &mut out)?;
    Ok(Outcome::equal(&widened(gpu, &out, length)?, &as_held(precision, &values)))
}

fn widen(ctx: &Ctx, precision: Precision, length: usize) -> Result<Outcome> {
    let gpu = ctx.gpu(precision);
    let values = Random::new(length as u64).normals(length);
    let input = features(gpu, &values)?;
    let mut out = poisoned(gpu, length)?;
    gpu.widen(length, &input, &mut out)?;
    Ok(Outcome::equal(&downloaded(gpu, &out, length)?, &as_held(precision, &values)))
}

fn there_and_back(ctx: &Ctx, length: usize) -> Result<Outcome> {
    let gpu = ctx.gpu(Precision::F32);
    let values = Random::new(length as u64).uniforms(length);
    let buffer = uploaded(gpu, &values)?;
    Ok(Outcome::equal(&downloaded(gpu, &buffer, length)?, &values))
}

fn fill(ctx: &Ctx) -> Result<Outcome> {
    let gpu = ctx.gpu(Precision::F32);
    let mut buffer = uploaded(gpu, &[5u8; 1000])?;
    gpu.fill_bytes(999, 1, &mut buffer)?;
    let mut expected = [1; 1000];
    expected[999] = 5;
    Ok(Outcome::equal(&downloaded(gpu, &buffer, 1000)?, &expected))
}

/// What is recorded is repeated: with what its buffers hold then.
fn replay(ctx: &Ctx) -> Result<Outcome> {
    let gpu = ctx.gpu(Precision::Bf16);
    let mut recording = Default::default();
    let mut input = gpu.allocate::<f32>(4)?;
    let mut between = gpu.allocate_features(4)?;
    let mut out = gpu.allocate::<f32>(4)?;
    let mut found = Vec::new();
    let mut expected = Vec::new();
    for round in 0..5u8 {
        let values = [0, 1, 2, 3].map(|i| f32::from(round * 4 + i));
        gpu.upload(&values, &mut input)?;
        gpu.replay(&mut recording, || {
            gpu.narrow(4, &input, &mut between)?;
            gpu.widen(4, &between, &mut out)
        })?;
        found.extend(downloaded(gpu, &out, 4)?);
        expected.extend(values);
    }
    let outcome = Outcome::equal(&found, &expected);
    Ok(if recording.is_recorded() { outcome } else { Outcome::new(1.0, 0.0).note("nothing was recorded") })
}
