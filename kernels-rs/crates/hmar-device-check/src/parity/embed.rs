//! The transformer's inputs: the CPU's numbers.

use hmar_error::Result;
use hmar_ops::{Backend, EmbedScale, Masking, MatrixShape, Precision, Rows, RowsCopy, RowsPlace};

use crate::check::{
    Check, Ctx, Outcome, PRECISIONS, Random, Timing, downloaded, features, matrix, poisoned,
    poisoned_features, uploaded, widened,
};

/// The checks.
pub fn checks() -> Vec<Check> {
    let mut checks = vec![Check::new("embed start", embed_start)];
    checks.extend(PRECISIONS.map(|precision| {
        Check::new(format!("copy rows, {precision:?}"), move |ctx| copy_rows(ctx, precision))
    }));
    for masked in [false, true] {
        let name = format!("embed scale, masked: {masked}");
        checks.push(Check::new(name, move |ctx| embed_scale(ctx, masked)));
    }
    for (rows, inputs, outputs) in
        [(1, 16, 64), (17, 33, 300), (70, 64, 1920), (256, 32, 1024), (16_384, 32, 1024)]
    {
        let name = format!("project {rows}×{inputs} → {outputs}");
        checks.push(Check::new(name, move |ctx| project(ctx, rows, inputs, outputs)));
    }
    for images in [1, 64] {
        let name = format!("embed scale timed, {images} images");
        checks.push(Check::timing(name, move |ctx| embed_scale_timed(ctx, images)));
    }
    checks
}

/// Latents into the model's width, within a rounding of every term.
fn project(ctx: &Ctx, rows: usize, inputs: usize, outputs: usize) -> Result<Outcome> {
    let gpu = ctx.gpu(Precision::Bf16);
    let mut random = Random::new((rows + inputs) as u64);
    let (input, weights) = (random.uniforms(rows * inputs), random.uniforms(outputs * inputs));
    let shape = MatrixShape { outputs, inputs, taps: 1 };
    let weight = matrix(gpu, shape, Precision::F32, &weights)?;
    let on_gpu = uploaded(gpu, &input)?;
    let mut out = poisoned(gpu, rows * outputs)?;
    gpu.project(rows, &on_gpu, &weight, &mut out)?;
    let exact: Vec<f64> = input
        .chunks_exact(inputs)
        .flat_map(|row| weights.chunks_exact(inputs).map(|weight| exact_product(row, weight)))
        .collect();
    // A sum of n terms below 1 is off by at most n roundings of n.
    let bound = (inputs * inputs) as f64 * f64::from(f32::EPSILON) / 2.0;
    let outcome = Outcome::within(&downloaded(gpu, &out, rows * outputs)?, &exact, |_| bound);
    if !ctx.timed {
        return Ok(outcome);
    }
    let microseconds = ctx.time(gpu, |_| gpu.project(rows, &on_gpu, &weight, &mut out))?;
    let bytes = 4.0 * (rows * (inputs + outputs) + inputs * outputs) as f64;
    Ok(outcome.timed(Timing { microseconds, bytes, flops: 2.0 * (rows * inputs * outputs) as f64 }))
}

fn exact_product(x: &[f32], y: &[f32]) -> f64 {
    x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
}

/// The last scale of d16, masked, for both halves.
fn embed_scale_timed(ctx: &Ctx, images: usize) -> Result<Outcome> {
    let gpu = ctx.gpu(Precision::Bf16);
    let (positions, width) = (256, 1024);
    let mut random = Random::new(5);
    let embedded = uploaded(gpu, &random.uniforms(images * positions * width))?;
    let positional = uploaded(gpu, &random.uniforms(positions * width))?;
    let embedding = uploaded(gpu, &random.uniforms(width))?;
    let mask: Vec<u8> = (0..images * positions).map(|_| random.below(2) as u8).collect();
    let mask = uploaded(gpu, &mask)?;
    let mut out = gpu.allocate::<f32>(2 * images * positions * width)?;
    let microseconds = ctx.time(gpu, |_| {
        let scale = EmbedScale {
            images,
            sequences: 2 * images,
            positions,
            width,
            per_sequence: positions,
            at: 0,
            embedded: &embedded,
            positional: &positional,
            first: 0,
            masked: Some(Masking { mask: &mask, embedding: &embedding }),
        };
        gpu.embed_scale(scale, &mut out)
    })?;
    let bytes = 4.0 * ((3 * images + 1) * positions * width) as f64;
    Ok(Outcome::default().timed(Timing { microseconds, bytes, flops: 0.0 }))
}

const WIDTH: usize = 192;

fn embed_start(ctx: &Ctx) -> Result<Outcome> {
    let mut random = Random::new(1);
    let (class, start) = (random.normals(2 * WIDTH), random.normals(WIDTH));
    let found = start_on(ctx.gpu(Precision::Bf16), &class, &start)?;
    Ok(Outcome::equal(&found, &start_on(&ctx.cpu, &class, &start)?))
}

fn start_on<B: Backend>(backend: &B, class: &[f32], start: &[f32]) -> Result<Vec<f32>> {
    let slots = uploaded(backend, &[1u32, 0, 1])?;
    let mut out = uploaded(backend, &[f32::NAN; 3 * WIDTH])?;
    let rows = Rows { sequences: 3, per_sequence: 1, slots: &slots };
    backend.embed_start(rows, WIDTH, &uploaded(backend, class)?, &uploaded(backend, start)?, &mut out)?;
    downloaded(backend, &out, 3 * WIDTH)
}

fn embed_scale(ctx: &Ctx, masked: bool) -> Result<Outcome> {
    let found = scale_on(ctx.gpu(Precision::Bf16), masked)?;
    Ok(Outcome::equal(&found, &scale_on(&ctx.cpu, masked)?))
}

/// Two images of nine positions in both halves, after four other rows.
fn scale_on<B: Backend>(backend: &B, masked: bool) -> Result<Vec<f32>> {
    let mut random = Random::new(2);
    let embedded = uploaded(backend, &random.normals(2 * 9 * WIDTH))?;
    let positional = uploaded(backend, &random.normals(14 * WIDTH))?;
    let embedding = uploaded(backend, &random.normals(WIDTH))?;
    let mask: Vec<u8> = (0..18).map(|_| random.below(2) as u8).collect();
    let mask = uploaded(backend, &mask)?;
    let mut out = uploaded(backend, &vec![7f32; 4 * 13 * WIDTH])?;
    let scale = EmbedScale {
        images: 2,
        sequences: 4,
        positions: 9,
        width: WIDTH,
        per_sequence: 13,
        at: 4,
        embedded: &embedded,
        positional: &positional,
        first: 5,
        masked: masked.then_some(Masking { mask: &mask, embedding: &embedding }),
    };
    backend.embed_scale(scale, &mut out)?;
    downloaded(backend, &out, 4 * 13 * WIDTH)
}

/// Keys and values of two rows from their places beside queries to their places in a cache.
fn copy_rows(ctx: &Ctx, precision: Precision) -> Result<Outcome> {
    const WIDTH: usize = 24;
    let gpu = ctx.gpu(precision);
    let (source_length, target_length) = (2 * 3 * 3 * WIDTH, 2 * 5 * 2 * WIDTH);
    let mut target = poisoned_features(gpu, target_length)?;
    gpu.fill_features(0, &mut target)?;
    let source: Vec<f32> = (0..source_length).map(|x| 1.0 + (x % 250) as f32).collect();
    let copy = RowsCopy {
        sequences: 2,
        rows: 2,
        columns: 2 * WIDTH,
        from: RowsPlace { rows: 3, columns: 3 * WIDTH, row: 1, column: WIDTH },
        to: RowsPlace { rows: 5, columns: 2 * WIDTH, row: 2, column: 0 },
    };
    gpu.copy_rows(copy, &features(gpu, &source)?, &mut target)?;
    let mut expected = vec![0.0; target_length];
    for (sequence, row) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let (read, write) =
            ((sequence * 3 + row + 1) * 3 * WIDTH + WIDTH, (sequence * 5 + row + 2) * 2 * WIDTH);
        expected[write..write + 2 * WIDTH].copy_from_slice(&source[read..read + 2 * WIDTH]);
    }
    Ok(Outcome::equal(&widened(gpu, &target, target_length)?, &expected))
}
