//! Normalisation and activation against float64.

use hmar_error::Result;
use hmar_ops::{Backend, LayerInput, Modulation, Precision, Rows};

use crate::check::{
    Check, Ctx, Outcome, PRECISIONS, Random, Timing, downloaded, poisoned_features, rounding, uploaded,
    widened,
};

/// The checks.
pub fn checks() -> Vec<Check> {
    let mut checks = Vec::new();
    for precision in PRECISIONS {
        for (rows, width) in [(1, 64), (7, 192), (50, 1024), (33, 1920), (9, 2304), (513, 100)] {
            let name = format!("modulated norm {rows}×{width}, {precision:?}");
            checks.push(Check::new(name, move |ctx| modulated_norm(ctx, precision, rows, width)));
        }
        checks.push(Check::new(format!("silu, {precision:?}"), move |ctx| silu(ctx, precision)));
    }
    checks.push(Check::new("add to each", add_to_each));
    for (rows, width) in [(2, 1024), (512, 1024), (512, 1920), (32_768, 1024)] {
        let name = format!("modulated norm timed, {rows}×{width}");
        checks.push(Check::timing(name, move |ctx| timed(ctx, rows, width)));
    }
    checks
}

fn modulated_norm(ctx: &Ctx, precision: Precision, rows: usize, width: usize) -> Result<Outcome> {
    let gpu = ctx.gpu(precision);
    let mut random = Random::new(width as u64);
    let input: Vec<f32> = random.normals(rows * width).iter().map(|x| 3.0 * x + 1.0).collect();
    let (stride, scale, shift) = (6 * width, 2 * width, 4 * width);
    let table = random.normals(2 * stride);
    let slots: Vec<u32> = (0..rows.div_ceil(5)).map(|_| random.below(2) as u32).collect();
    let (on_gpu, slots_on_gpu) = (uploaded(gpu, &table)?, uploaded(gpu, &slots)?);
    let part = |offset| Modulation { table: &on_gpu, stride, offset };
    // The last sequence may be longer than what is left of the rows.
    let sequences = rows / 5;
    let whole = Rows { sequences: sequences.max(1), per_sequence: rows.min(5), slots: &slots_on_gpu };
    let count = whole.count();
    let mut out = poisoned_features(gpu, count * width)?;
    gpu.modulated_norm(
        whole,
        width,
        &uploaded(gpu, &input)?,
        part(scale),
        part(shift),
        LayerInput::of_any(&mut out),
    )?;

    let mut exact = Vec::with_capacity(count * width);
    for (row, values) in input.chunks_exact(width).take(count).enumerate() {
        let mean = values.iter().map(|&x| f64::from(x)).sum::<f64>() / width as f64;
        let variance = values.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / width as f64;
        let slot = slots[row / whole.per_sequence] as usize * stride;
        exact.extend(values.iter().enumerate().map(|(i, &x)| {
            let normed = (f64::from(x) - mean) / (variance + 1e-6).sqrt();
            normed * (1.0 + f64::from(table[slot + scale + i])) + f64::from(table[slot + shift + i])
        }));
    }
    let found = widened(gpu, &out, count * width)?;
    Ok(Outcome::within(&found, &exact, |at| rounding(precision) * exact[at].abs() + 4e-6))
}

fn silu(ctx: &Ctx, precision: Precision) -> Result<Outcome> {
    let gpu = ctx.gpu(precision);
    let values: Vec<f32> = Random::new(3).normals(1001).iter().map(|x| 5.0 * x).collect();
    let mut out = poisoned_features(gpu, 1001)?;
    gpu.silu(1001, &uploaded(gpu, &values)?, &mut out)?;
    let exact: Vec<f64> = values.iter().map(|&x| f64::from(x) / (1.0 + (-f64::from(x)).exp())).collect();
    Ok(Outcome::within(&widened(gpu, &out, 1001)?, &exact, |at| rounding(precision) * exact[at].abs() + 1e-6))
}

fn add_to_each(ctx: &Ctx) -> Result<Outcome> {
    let gpu = ctx.gpu(Precision::F32);
    let mut out = uploaded(gpu, &[1f32, 2.0, 3.0, 4.0, 5.0, 6.0])?;
    gpu.add_to_each(2, 3, &uploaded(gpu, &[10f32, 20.0, 30.0])?, &mut out)?;
    Ok(Outcome::equal(&downloaded(gpu, &out, 6)?, &[11.0, 22.0, 33.0, 14.0, 25.0, 36.0]))
}

fn timed(ctx: &Ctx, rows: usize, width: usize) -> Result<Outcome> {
    let gpu = ctx.gpu(Precision::Bf16);
    let input = uploaded(gpu, &Random::new(1).normals(rows * width))?;
    let table = uploaded(gpu, &vec![0.5; 6 * width])?;
    let slots = uploaded(gpu, &[0u32])?;
    let mut out = gpu.allocate_features(rows * width)?;
    let rows_of = || Rows { sequences: 1, per_sequence: rows, slots: &slots };
    let part = |offset| Modulation { table: &table, stride: 6 * width, offset };
    let microseconds = ctx.time(gpu, |_| {
        gpu.modulated_norm(rows_of(), width, &input, part(0), part(width), LayerInput::of_any(&mut out))
    })?;
    Ok(Outcome::default().timed(Timing { microseconds, bytes: 6.0 * (rows * width) as f64, flops: 0.0 }))
}
