//! Draws and selections: equal to the CPU's.

use hmar_error::Result;
use hmar_ops::{Backend, DrawSettings, Precision, TokenDraw};

use crate::check::{Check, Ctx, Outcome, Random, Timing, downloaded, poisoned, uploaded};

/// Codes of the released models.
const VOCABULARY: usize = 4096;

/// The checks.
pub fn checks() -> Vec<Check> {
    let mut checks = Vec::new();
    let settings = DrawSettings { temperature: 1.0, seed: 7 << 40 | 5, pass: 3, ..DrawSettings::default() };
    for (name, settings) in [
        ("no filter", settings),
        ("guided", DrawSettings { guidance: 1.7, ..settings }),
        ("temperature", DrawSettings { temperature: 0.7, guidance: 0.3, ..settings }),
        ("top-k 1", DrawSettings { top_k: 1, ..settings }),
        ("top-k 1000", DrawSettings { top_k: 1000, guidance: 1.7, ..settings }),
        ("top-k of all", DrawSettings { top_k: VOCABULARY as u32, ..settings }),
        ("top-p 0.99", DrawSettings { top_p: 0.99, ..settings }),
        ("top-p 0.2", DrawSettings { top_p: 0.2, ..settings }),
        ("top-p near 0", DrawSettings { top_p: 1e-12, ..settings }),
        ("min-p 0.05", DrawSettings { min_p: 0.05, ..settings }),
        ("everything", DrawSettings { top_k: 900, top_p: 0.96, min_p: 0.01, guidance: 1.5, ..settings }),
    ] {
        for (vocabulary, ties) in [(VOCABULARY, false), (VOCABULARY, true), (1024, false), (77, true)] {
            let ends = if ties { ", ties" } else { "" };
            let name = format!("draw {name}, V = {vocabulary}{ends}");
            checks.push(Check::new(name, move |ctx| draw(ctx, settings, [3, 100], vocabulary, ties)));
        }
    }
    // So many rows are drawn by two kernels.
    for (name, settings) in [
        ("no filter", settings),
        ("top-k 1000", DrawSettings { top_k: 1000, top_p: 0.99, guidance: 1.7, ..settings }),
        ("top-k 1500", DrawSettings { top_k: 1500, top_p: 0.9, ..settings }),
    ] {
        for ties in [false, true] {
            let name = format!("draw {name}, many rows{}", if ties { ", ties" } else { "" });
            checks.push(Check::new(name, move |ctx| draw(ctx, settings, [5, 210], VOCABULARY, ties)));
        }
    }
    for (images, positions, open) in [(1, 4, 3), (3, 9, 0), (2, 256, 100), (2, 256, 256), (5, 4096, 1000)] {
        let name = format!("keep {open} of {images}×{positions}");
        checks.push(Check::new(name, move |ctx| keep(ctx, images, positions, open)));
    }
    for (images, positions, revises) in [(1, 4, 1), (3, 9, 0), (2, 256, 30), (2, 256, 256), (5, 4096, 700)] {
        let name = format!("open {revises} of {images}×{positions} again");
        checks.push(Check::new(name, move |ctx| open(ctx, images, positions, revises)));
    }
    checks.push(Check::new("add the logarithm", add_logarithm));
    for ramp in [0.0, 0.5, 1.0] {
        checks.push(Check::new(format!("soften, r = {ramp}"), move |ctx| soften(ctx, settings, ramp)));
    }
    checks.push(Check::new("store tokens", store));
    for rows in [512, 32_768] {
        checks.push(Check::new(format!("draw {rows} rows, timed"), move |ctx| timed(ctx, settings, rows)));
    }
    checks
}

fn logits(random: &mut Random, count: usize, ties: bool) -> Vec<f32> {
    let values = random.normals(count).into_iter().map(|x| 3.0 * x);
    if ties { values.map(f32::round).collect() } else { values.collect() }
}

/// Tokens are equal, confidences within a few roundings.
fn draw(
    ctx: &Ctx,
    settings: DrawSettings,
    [images, positions]: [usize; 2],
    vocabulary: usize,
    ties: bool,
) -> Result<Outcome> {
    let rows = images * positions;
    let halves = if settings.guidance == 0.0 { 1 } else { 2 };
    let draw = TokenDraw { images, positions, vocabulary, halves };
    let mut random = Random::new(vocabulary as u64);
    let logits = logits(&mut random, halves * rows * vocabulary, ties);
    let only: Vec<u8> = (0..rows).map(|_| u8::from(random.below(5) > 0)).collect();

    let run = |gpu: bool| -> Result<(Vec<u32>, Vec<f32>, Vec<f32>)> {
        let before = (vec![9u32; rows], vec![0.5f32; rows]);
        if gpu {
            let backend = ctx.gpu(Precision::Bf16);
            run_on(backend, draw, settings, &logits, &only, before)
        } else {
            run_on(&ctx.cpu, draw, settings, &logits, &only, before)
        }
    };
    let (found, expected) = (run(true)?, run(false)?);
    let tokens = Outcome::equal(&found.0, &expected.0);
    // What is left of the logits tells what was dropped.
    let left = Outcome::equal(&found.2, &expected.2);
    let confidence =
        found.1.iter().zip(&expected.1).map(|(x, y)| f64::from((x - y).abs())).fold(0.0, f64::max);
    let wrong = tokens.error + left.error + if confidence <= 1e-6 { 0.0 } else { 1.0 };
    Ok(Outcome::new(wrong, 0.0).note(format!(
        "{} tokens and {} logits differ, confidence by {confidence:.1e}",
        tokens.error, left.error
    )))
}

type Drawn = (Vec<u32>, Vec<f32>, Vec<f32>);

fn run_on<B: Backend>(
    backend: &B,
    draw: TokenDraw,
    settings: DrawSettings,
    logits: &[f32],
    only: &[u8],
    (tokens, confidence): (Vec<u32>, Vec<f32>),
) -> Result<Drawn> {
    let rows = draw.images * draw.positions;
    let settings = uploaded(backend, &[settings])?;
    let mut logits = uploaded(backend, logits)?;
    let only = uploaded(backend, only)?;
    let (mut tokens, mut confidence) = (uploaded(backend, &tokens)?, uploaded(backend, &confidence)?);
    backend.draw_tokens(draw, &settings, &mut logits, Some(&only), &mut tokens, &mut confidence)?;
    Ok((
        downloaded(backend, &tokens, rows)?,
        downloaded(backend, &confidence, rows)?,
        downloaded(backend, &logits, rows * draw.vocabulary)?,
    ))
}

fn keep(ctx: &Ctx, images: usize, positions: usize, open: u32) -> Result<Outcome> {
    let mut random = Random::new(positions as u64);
    let count = images * positions;
    // Few values, so that many are equal.
    let confidence: Vec<f32> = (0..count).map(|_| random.below(40) as f32 / 40.0).collect();
    let mask: Vec<u8> = (0..count).map(|_| u8::from(random.below(4) > 0)).collect();
    let settings = DrawSettings { open, ..DrawSettings::default() };
    let (gpu, cpu) = (ctx.gpu(Precision::Bf16), &ctx.cpu);
    let found = keep_on(gpu, images, positions, settings, &confidence, &mask)?;
    Ok(Outcome::equal(&found, &keep_on(cpu, images, positions, settings, &confidence, &mask)?))
}

fn keep_on<B: Backend>(
    backend: &B,
    images: usize,
    positions: usize,
    settings: DrawSettings,
    confidence: &[f32],
    mask: &[u8],
) -> Result<Vec<u8>> {
    let settings = uploaded(backend, &[settings])?;
    let (confidence, mut mask) = (uploaded(backend, confidence)?, uploaded(backend, mask)?);
    backend.keep_least_confident(images, positions, &settings, &confidence, &mut mask)?;
    downloaded(backend, &mask, images * positions)
}

fn open(ctx: &Ctx, images: usize, positions: usize, revises: u32) -> Result<Outcome> {
    let mut random = Random::new(positions as u64);
    let count = images * positions;
    // Few values, so that many are equal, and some that are never opened.
    let value = |below: usize| if below == 39 { f32::INFINITY } else { below as f32 / 40.0 };
    let confidence: Vec<f32> = (0..count).map(|_| value(random.below(40))).collect();
    let mask: Vec<u8> = (0..count).map(|_| u8::from(random.below(3) == 0)).collect();
    let settings = DrawSettings { revises, ..DrawSettings::default() };
    let found = open_on(ctx.gpu(Precision::Bf16), images, positions, settings, &confidence, &mask)?;
    Ok(Outcome::equal(&found, &open_on(&ctx.cpu, images, positions, settings, &confidence, &mask)?))
}

fn open_on<B: Backend>(
    backend: &B,
    images: usize,
    positions: usize,
    settings: DrawSettings,
    confidence: &[f32],
    mask: &[u8],
) -> Result<Vec<u8>> {
    let settings = uploaded(backend, &[settings])?;
    let (confidence, mut mask) = (uploaded(backend, confidence)?, uploaded(backend, mask)?);
    backend.open_least_confident(images, positions, &settings, &confidence, &mut mask)?;
    downloaded(backend, &mask, images * positions)
}

/// Within one rounding.
fn add_logarithm(ctx: &Ctx) -> Result<Outcome> {
    let count = 1000;
    let mut random = Random::new(3);
    let noise = random.normals(count);
    let confidence: Vec<f32> = (0..count).map(|i| (i + 1) as f32 / count as f32).collect();
    let gpu = ctx.gpu(Precision::Bf16);
    let mut out = uploaded(gpu, &noise)?;
    gpu.add_logarithm(count, &uploaded(gpu, &confidence)?, &mut out)?;
    let found = downloaded(gpu, &out, count)?;
    let sums = noise.iter().zip(&confidence).map(|(x, y)| f64::from(*x) + f64::from(*y).ln());
    let expected: Vec<f64> = sums.collect();
    Ok(Outcome::within(&found, &expected, |index| expected[index].abs() * 6e-8 + 1e-12))
}

/// Within the roundings of a sum of V weights in float32.
fn soften(ctx: &Ctx, settings: DrawSettings, ramp: f64) -> Result<Outcome> {
    let (images, positions, width) = (2, 25, 32);
    let draw = TokenDraw { images, positions, vocabulary: VOCABULARY, halves: 1 };
    let mut random = Random::new(1);
    let mut logits = logits(&mut random, images * positions * VOCABULARY, false);
    logits.iter_mut().filter(|x| **x < 1.0).for_each(|x| *x = f32::NEG_INFINITY);
    let codebook = random.normals(VOCABULARY * width);
    let settings = DrawSettings { ramp, ..settings };
    let found = soften_on(ctx.gpu(Precision::Bf16), draw, settings, &logits, &codebook, width)?;
    let expected = soften_on(&ctx.cpu, draw, settings, &logits, &codebook, width)?;
    let expected: Vec<f64> = expected.into_iter().map(f64::from).collect();
    Ok(Outcome::within(&found, &expected, |_| 1e-4))
}

fn soften_on<B: Backend>(
    backend: &B,
    draw: TokenDraw,
    settings: DrawSettings,
    logits: &[f32],
    codebook: &[f32],
    width: usize,
) -> Result<Vec<f32>> {
    let length = draw.images * draw.positions * width;
    let settings = uploaded(backend, &[settings])?;
    let (mut logits, codebook) = (uploaded(backend, logits)?, uploaded(backend, codebook)?);
    let mut out = uploaded(backend, &vec![f32::NAN; length])?;
    backend.soften(draw, &settings, &mut logits, &codebook, width, &mut out)?;
    downloaded(backend, &out, length)
}

fn store(ctx: &Ctx) -> Result<Outcome> {
    let gpu = ctx.gpu(Precision::Bf16);
    let tokens = uploaded(gpu, &[1u32, 2, 3, 4, 5, 6])?;
    let mut maps = uploaded(gpu, &[0u32; 14])?;
    gpu.store_tokens(2, 3, &tokens, &mut maps, 7, 2)?;
    Ok(Outcome::equal(&downloaded(gpu, &maps, 14)?, &[0, 0, 1, 2, 3, 0, 0, 0, 0, 4, 5, 6, 0, 0]))
}

fn timed(ctx: &Ctx, settings: DrawSettings, rows: usize) -> Result<Outcome> {
    let gpu = ctx.gpu(Precision::Bf16);
    let draw = TokenDraw { images: 2, positions: rows / 2, vocabulary: VOCABULARY, halves: 2 };
    let settings = DrawSettings { guidance: 1.7, top_k: 1000, top_p: 0.99, ..settings };
    let settings = uploaded(gpu, &[settings])?;
    let mut random = Random::new(2);
    let mut logits = uploaded(gpu, &logits(&mut random, 2 * rows * VOCABULARY, false))?;
    let (mut tokens, mut confidence) = (poisoned::<u32>(gpu, rows)?, poisoned::<f32>(gpu, rows)?);
    gpu.draw_tokens(draw, &settings, &mut logits, None, &mut tokens, &mut confidence)?;
    let all = downloaded(gpu, &tokens, rows)?;
    let outcome = Outcome::new(all.iter().filter(|&&token| token as usize >= VOCABULARY).count() as f64, 0.0);
    if !ctx.timed {
        return Ok(outcome);
    }
    let microseconds =
        ctx.time(gpu, |_| gpu.draw_tokens(draw, &settings, &mut logits, None, &mut tokens, &mut confidence))?;
    let bytes = (3 * rows * VOCABULARY * size_of::<f32>()) as f64;
    Ok(outcome.timed(Timing { microseconds, bytes, flops: 0.0 }))
}
