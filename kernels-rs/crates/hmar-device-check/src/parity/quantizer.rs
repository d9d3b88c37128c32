//! Codes, resizing and φ: the CPU's numbers within float32's roundings.

use hmar_error::Result;
use hmar_ops::{Backend, Blend, ConvolutionShape, Latent, MatrixShape, Precision, Walk};

use crate::check::{Check, Ctx, Outcome, Random, downloaded, matrix, poisoned, uploaded};

/// Numbers of a code in the released models.
const WIDTH: usize = 32;

/// The checks.
pub fn checks() -> Vec<Check> {
    let mut checks = Vec::new();
    for (side, cells) in [(16, 1), (16, 2), (16, 5), (16, 13), (16, 16), (8, 6), (64, 27)] {
        for images in [1, 3] {
            let latent = Latent { images, side, width: WIDTH };
            let name = |what: &str| format!("{what}, {images}×{cells}² and {side}²");
            checks.push(Check::new(name("enlarge"), move |ctx| enlarge(ctx, latent, cells)));
            checks.push(Check::new(name("area pool"), move |ctx| area_pool(ctx, latent, cells, false)));
            checks.push(Check::new(name("masked area pool"), move |ctx| area_pool(ctx, latent, cells, true)));
        }
    }
    for blend in [Blend::Store, Blend::Add, Blend::Subtract] {
        checks.push(Check::new(format!("blend φ, {blend:?}"), move |ctx| blend_phi(ctx, blend)));
    }
    for (images, side, width) in [(1, 16, 32), (3, 7, 16), (2, 5, 5)] {
        let name = format!("exact convolution {images}×{side}²×{width}");
        checks.push(Check::new(name, move |ctx| exact_convolution(ctx, images, side, width)));
    }
    checks.push(Check::new("look up", look_up));
    for (count, vocabulary, width) in [(256, 4096, 32), (3, 77, 5)] {
        let name = format!("nearest of {vocabulary} codes of {width}");
        checks.push(Check::new(name, move |ctx| nearest(ctx, count, vocabulary, width)));
    }
    checks
}

/// Compares a float32 result with the CPU's; `roundings` of the largest number are allowed.
fn compare(found: &[f32], expected: &[f32], roundings: f64) -> Outcome {
    let largest = expected.iter().fold(0f64, |most, &x| most.max(f64::from(x.abs())));
    let expected: Vec<f64> = expected.iter().map(|&x| f64::from(x)).collect();
    Outcome::within(found, &expected, |_| roundings * f64::from(f32::EPSILON) * largest)
}

fn enlarge(ctx: &Ctx, latent: Latent, cells: usize) -> Result<Outcome> {
    let Latent { images, side, width } = latent;
    let values = Random::new(cells as u64).normals(images * cells * cells * width);
    let length = images * side * side * width;
    let on_gpu = ctx.gpu(Precision::Bf16);
    let mut out = poisoned(on_gpu, length)?;
    on_gpu.enlarge(latent, cells, &uploaded(on_gpu, &values)?, &mut out)?;
    let mut expected = uploaded(&ctx.cpu, &vec![f32::NAN; length])?;
    ctx.cpu.enlarge(latent, cells, &uploaded(&ctx.cpu, &values)?, &mut expected)?;
    // Sixteen products; the weights themselves carry the rounding of their arguments, at most side.
    let roundings = 16.0 + 8.0 * side as f64;
    Ok(compare(&downloaded(on_gpu, &out, length)?, expected.as_slice(), roundings))
}

fn area_pool(ctx: &Ctx, latent: Latent, cells: usize, masked: bool) -> Result<Outcome> {
    let Latent { images, side, width } = latent;
    let mut random = Random::new(cells as u64);
    let values = random.normals(images * side * side * width);
    let mask: Vec<u8> = (0..images * cells * cells).map(|_| random.below(2) as u8).collect();
    let before = random.normals(images * cells * cells * width);
    let found =
        area_pool_on(ctx.gpu(Precision::Bf16), latent, cells, &values, masked.then_some(&mask), &before)?;
    let expected = area_pool_on(&ctx.cpu, latent, cells, &values, masked.then_some(&mask), &before)?;
    Ok(compare(&found, &expected, 4.0 + (side as f64 / cells as f64 + 2.0).powi(2)))
}

fn area_pool_on<B: Backend>(
    backend: &B,
    latent: Latent,
    cells: usize,
    values: &[f32],
    mask: Option<&Vec<u8>>,
    before: &[f32],
) -> Result<Vec<f32>> {
    let mask = mask.map(|mask| uploaded(backend, mask)).transpose()?;
    let mut out = uploaded(backend, before)?;
    backend.area_pool(latent, cells, &uploaded(backend, values)?, mask.as_ref(), &mut out)?;
    downloaded(backend, &out, before.len())
}

fn blend_phi(ctx: &Ctx, blend: Blend) -> Result<Outcome> {
    let latent = Latent { images: 2, side: 16, width: WIDTH };
    let length = 2 * 16 * 16 * WIDTH;
    let mut random = Random::new(3);
    let [input, convolved, before] = [0, 1, 2].map(|_| random.normals(length));
    let found = blend_on(ctx.gpu(Precision::Bf16), latent, blend, &input, &convolved, &before)?;
    Ok(compare(&found, &blend_on(&ctx.cpu, latent, blend, &input, &convolved, &before)?, 4.0))
}

fn blend_on<B: Backend>(
    backend: &B,
    latent: Latent,
    blend: Blend,
    input: &[f32],
    convolved: &[f32],
    before: &[f32],
) -> Result<Vec<f32>> {
    let mut out = uploaded(backend, before)?;
    backend.blend_phi(latent, blend, &uploaded(backend, input)?, &uploaded(backend, convolved)?, &mut out)?;
    downloaded(backend, &out, before.len())
}

fn exact_convolution(ctx: &Ctx, images: usize, side: usize, width: usize) -> Result<Outcome> {
    let mut random = Random::new(side as u64);
    let input = random.normals(images * side * side * width);
    let (weights, bias) = (random.uniforms(9 * width * width), random.normals(width));
    let found = convolve_on(ctx.gpu(Precision::Bf16), images, side, width, &input, &weights, &bias)?;
    let expected = convolve_on(&ctx.cpu, images, side, width, &input, &weights, &bias)?;
    Ok(compare(&found, &expected, 9.0 * width as f64))
}

fn convolve_on<B: Backend>(
    backend: &B,
    images: usize,
    side: usize,
    width: usize,
    input: &[f32],
    weights: &[f32],
    bias: &[f32],
) -> Result<Vec<f32>> {
    let shape = MatrixShape { outputs: width, inputs: width, taps: 9 };
    let weight = matrix(backend, shape, Precision::F32, weights)?;
    let mut out = uploaded(backend, &vec![f32::NAN; input.len()])?;
    let (input, bias) = (uploaded(backend, input)?, backend.bias(bias)?);
    let shape = ConvolutionShape { images, side, walk: Walk::Same };
    backend.exact_convolution(shape, &input, &weight, &bias, &mut out)?;
    downloaded(backend, &out, images * side * side * width)
}

fn look_up(ctx: &Ctx) -> Result<Outcome> {
    let gpu = ctx.gpu(Precision::Bf16);
    let codebook = Random::new(4).normals(50 * WIDTH);
    let tokens = [3u32, 49, 0, 3, 17];
    let mut out = poisoned(gpu, tokens.len() * WIDTH)?;
    gpu.look_up(tokens.len(), WIDTH, &uploaded(gpu, &codebook)?, &uploaded(gpu, &tokens)?, &mut out)?;
    let rows = tokens.iter().flat_map(|&token| &codebook[token as usize * WIDTH..][..WIDTH]);
    Ok(Outcome::equal(&downloaded(gpu, &out, tokens.len() * WIDTH)?, &rows.copied().collect::<Vec<_>>()))
}

/// The distance to the code found is the smallest one, within float32's roundings.
fn nearest(ctx: &Ctx, count: usize, vocabulary: usize, width: usize) -> Result<Outcome> {
    let gpu = ctx.gpu(Precision::Bf16);
    let mut random = Random::new(5);
    let (vectors, codebook) = (random.normals(count * width), random.normals(vocabulary * width));
    let mut tokens = poisoned::<u32>(gpu, count)?;
    let (on_gpu, codes) = (uploaded(gpu, &vectors)?, uploaded(gpu, &codebook)?);
    gpu.nearest_code(count, vocabulary, width, &on_gpu, &codes, &mut tokens)?;
    let distance = |vector: &[f32], code: &[f32]| -> f64 {
        vector.iter().zip(code).map(|(x, y)| f64::from(x - y).powi(2)).sum()
    };
    let found = downloaded(gpu, &tokens, count)?;
    let worst = found.iter().zip(vectors.chunks_exact(width)).map(|(&token, vector)| {
        let smallest =
            codebook.chunks_exact(width).map(|code| distance(vector, code)).fold(f64::MAX, f64::min);
        match codebook.chunks_exact(width).nth(token as usize) {
            Some(code) => distance(vector, code) / smallest - 1.0,
            None => f64::INFINITY,
        }
    });
    Ok(Outcome::new(worst.fold(0.0, f64::max), width as f64 * f64::from(f32::EPSILON)))
}
