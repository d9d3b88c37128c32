//! Pictures as bytes: the CPU's.

use hmar_error::Result;
use hmar_ops::{Backend, Precision};

use crate::check::{
    Check, Ctx, Outcome, PRECISIONS, Random, as_held, downloaded, features, poisoned, uploaded,
};

/// The checks.
pub fn checks() -> Vec<Check> {
    let check = |precision: Precision| {
        Check::new(format!("to bytes, {precision:?}"), move |ctx| to_bytes(ctx, precision))
    };
    PRECISIONS.map(check).into()
}

fn to_bytes(ctx: &Ctx, precision: Precision) -> Result<Outcome> {
    let gpu = ctx.gpu(precision);
    let values: Vec<f32> = Random::new(1).uniforms(3001).iter().map(|x| 1.2 * x).collect();
    let values = as_held(precision, &values);
    let mut out = poisoned::<u8>(gpu, values.len())?;
    gpu.to_bytes(values.len(), &features(gpu, &values)?, &mut out)?;
    let mut expected = uploaded(&ctx.cpu, &vec![0u8; values.len()])?;
    ctx.cpu.to_bytes(values.len(), &uploaded(&ctx.cpu, &values)?, &mut expected)?;
    Ok(Outcome::equal(&downloaded(gpu, &out, values.len())?, expected.as_slice()))
}
