//! Convolutions against float64.

use hmar_error::Result;
use hmar_ops::{Backend, ConvolutionShape, Ending, GroupNorm, MatrixShape, Precision, Walk};

use crate::check::{
    Check, Ctx, Outcome, PRECISIONS, Random, Timing, as_held, features, matrix, poisoned_features, rounding,
    uploaded, widened,
};

/// GroupNorm's.
const GROUPS: usize = 32;

/// A convolution to check.
#[derive(Clone, Copy, Debug)]
struct Case {
    images: usize,
    side: usize,
    walk: Walk,
    taps: usize,
    inputs: usize,
    outputs: usize,
}

impl Case {
    fn shape(&self) -> ConvolutionShape {
        ConvolutionShape { images: self.images, side: self.side, walk: self.walk }
    }

    fn matrix(&self) -> MatrixShape {
        MatrixShape { outputs: self.outputs, inputs: self.inputs, taps: self.taps }
    }

    fn rows(&self) -> usize {
        self.images * self.shape().output_side().pow(2)
    }

    fn name(&self) -> String {
        let Case { images, side, walk, taps, inputs, outputs } = self;
        format!("{images}×{side}², {walk:?}, {taps} taps, {inputs} → {outputs}")
    }
}

/// The checks.
pub fn checks() -> Vec<Check> {
    use Walk::{Downsample, Same, Upsample};
    let cases = [
        (2, 5, Same, 9, 3, 33),
        (1, 6, Same, 1, 40, 8),
        (1, 16, Same, 9, 32, 640),
        (1, 16, Same, 9, 640, 640),
        (1, 16, Same, 1, 640, 1920),
        (3, 7, Same, 9, 24, 50),
        (2, 9, Upsample, 9, 32, 64),
        (1, 16, Upsample, 9, 160, 160),
        (2, 8, Downsample, 9, 16, 48),
        (1, 12, Downsample, 9, 6, 3),
        (1, 40, Same, 9, 160, 160),
        (4, 64, Same, 9, 160, 160),
        (1, 24, Same, 9, 160, 3),
        // Enough blocks for the kernels that boxes are copied for, of every kind; edges that do not fill them.
        (1, 128, Same, 9, 160, 160),
        (1, 64, Same, 9, 320, 320),
        (8, 60, Same, 9, 72, 160),
        (3, 70, Same, 9, 72, 88),
        (1, 130, Same, 9, 40, 3),
        (3, 70, Same, 1, 104, 50),
        (1, 64, Upsample, 9, 96, 80),
        (4, 128, Same, 9, 40, 80),
        (3, 37, Upsample, 9, 72, 160),
        // Many rectangles one after another.
        (5, 128, Same, 9, 160, 160),
        (2, 128, Upsample, 9, 96, 320),
    ];
    let cases = cases.map(|(images, side, walk, taps, inputs, outputs)| Case {
        images,
        side,
        walk,
        taps,
        inputs,
        outputs,
    });
    let parities = cases.into_iter().flat_map(|case| {
        PRECISIONS.into_iter().flat_map(move |precision| {
            [false, true].map(|residual| {
                let name = format!("convolution {}, residual: {residual}, {precision:?}", case.name());
                Check::new(name, move |ctx| parity(ctx, precision, case, residual))
            })
        })
    });
    // Every kind of block; groups of 5, 10, 20 and of 3 channels, which blocks of 80 do not make whole.
    let normalised = [
        (1, 16, Same, 9, 640, 640),
        (1, 32, Same, 9, 640, 320),
        (1, 16, Upsample, 9, 640, 640),
        (3, 37, Upsample, 9, 72, 160),
        (3, 70, Same, 9, 72, 160),
        (1, 64, Same, 9, 320, 320),
        (2, 13, Same, 9, 96, 96),
        (1, 9, Same, 1, 40, 32),
        (1, 256, Same, 9, 160, 160),
    ];
    let normalised = normalised.into_iter().flat_map(|(images, side, walk, taps, inputs, outputs)| {
        let case = Case { images, side, walk, taps, inputs, outputs };
        PRECISIONS.map(|precision| {
            let name = format!("convolution normalised by its own sums, {}, {precision:?}", case.name());
            Check::new(name, move |ctx| normalised_by_sums(ctx, precision, case))
        })
    });
    // One strip, pictures, rows, an odd number of rectangles, single pixels under a 1×1 kernel, three outputs.
    let strips = [
        (2, 16, 9, 64, 96),
        (2, 256, 9, 160, 160),
        (1, 296, 9, 160, 160),
        (1, 296, 1, 160, 96),
        (1, 296, 9, 160, 3),
    ];
    let strips = strips.into_iter().flat_map(|(images, side, taps, inputs, outputs)| {
        let case = Case { images, side, walk: Same, taps, inputs, outputs };
        PRECISIONS.into_iter().flat_map(move |precision| {
            [Ending::Store, Ending::Add].map(|ending| {
                let name = format!("convolution by strips {ending:?} {precision:?}, {}", case.name());
                Check::new(name, move |ctx| by_strips(ctx, precision, case, ending))
            })
        })
    });
    let layers = [
        (16, Same, 9, 32, 640),
        (16, Same, 9, 640, 640),
        (16, Same, 1, 640, 1920),
        (16, Upsample, 9, 640, 640),
        (32, Same, 9, 640, 320),
        (32, Same, 9, 320, 320),
        (32, Upsample, 9, 320, 320),
        (64, Same, 9, 320, 320),
        (64, Upsample, 9, 320, 320),
        (128, Same, 9, 320, 160),
        (128, Same, 9, 160, 160),
        (128, Upsample, 9, 160, 160),
        (256, Same, 9, 160, 160),
        (256, Same, 9, 160, 3),
    ];
    let timings = layers.into_iter().flat_map(|(side, walk, taps, inputs, outputs)| {
        [1, 16].map(|images| {
            let case = Case { images, side, walk, taps, inputs, outputs };
            Check::timing(format!("convolution timed, {}", case.name()), move |ctx| timed(ctx, case))
        })
    });
    let normed = [(1, 1024, 160), (16, 256, 160), (16, 128, 160), (16, 64, 320)];
    let normed = normed.into_iter().map(|(images, side, channels)| {
        let case = Case { images, side, walk: Same, taps: 9, inputs: channels, outputs: channels };
        Check::timing(format!("normed convolution timed, {}", case.name()), move |ctx| {
            timed_normed(ctx, case)
        })
    });
    parities.chain(normalised).chain(strips).chain(timings).chain(normed).collect()
}

fn parity(ctx: &Ctx, precision: Precision, case: Case, residual: bool) -> Result<Outcome> {
    let gpu = ctx.gpu(precision);
    let mut random = Random::new((case.inputs * case.outputs + case.side) as u64);
    let depth = case.inputs * case.taps;
    let input = as_held(precision, &random.normals(case.images * case.side.pow(2) * case.inputs));
    let weights: Vec<f32> = random.uniforms(case.outputs * depth).iter().map(|x| x / 16.0).collect();
    let weights = as_held(precision, &weights);
    let bias = random.normals(case.outputs);
    let length = case.rows() * case.outputs;
    let added = as_held(precision, &random.normals(length));

    let weight = matrix(gpu, case.matrix(), precision, &weights)?;
    let (ending, mut out) = match residual {
        true => (Ending::Add, features(gpu, &added)?),
        false => (Ending::Store, poisoned_features(gpu, length)?),
    };
    let (on_gpu, bias_on_gpu) = (features(gpu, &input)?, gpu.bias(&bias)?);
    gpu.convolution(case.shape(), &on_gpu, &weight, &bias_on_gpu, ending, &mut out, None)?;
    let found = widened(gpu, &out, length)?;

    // Large layers are checked at some of their pixels.
    let step = (length * depth / 50_000_000).max(1);
    let (mut some, mut exact, mut bounds) = (Vec::new(), Vec::new(), Vec::new());
    let sums = f64::from(f32::EPSILON) * ((depth as f64).sqrt() + 8.0);
    for row in (0..case.rows()).step_by(step) {
        let patch = patch(&case, &input, row);
        for output in 0..case.outputs {
            let at = row * case.outputs + output;
            let (mut sum, mut magnitude) = (f64::from(bias[output]), f64::from(bias[output].abs()));
            let mut squares = 0.0;
            for &(tap, channel, x) in &patch {
                let term = x * f64::from(weights[(output * case.inputs + channel) * case.taps + tap]);
                sum += term;
                magnitude += term.abs();
                squares += term * term;
            }
            if residual {
                sum += f64::from(added[at]);
                magnitude += f64::from(added[at].abs());
            }
            some.push(found[at]);
            exact.push(sum);
            // Taps that fall on one pixel of an enlarged picture may be added up before, and rounded: errors of either
            // sign, one a term at most, of which six standard deviations are allowed.
            let folded =
                if case.walk == Walk::Upsample { rounding(precision) * 6.0 * squares.sqrt() } else { 0.0 };
            bounds.push(rounding(precision) * sum.abs() + sums * magnitude + folded);
        }
    }
    Ok(Outcome::within(&some, &exact, |at| bounds[at]))
}

/// GroupNorm with the sums that a convolution made of its result, against GroupNorm that sums the result itself; and the
/// same again, which must be equal.
fn normalised_by_sums(ctx: &Ctx, precision: Precision, case: Case) -> Result<Outcome> {
    let gpu = ctx.gpu(precision);
    let mut random = Random::new(case.side as u64);
    let depth = case.inputs * case.taps;
    let weights: Vec<f32> = random.uniforms(case.outputs * depth).iter().map(|x| x / 16.0).collect();
    let weight = matrix(gpu, case.matrix(), precision, &weights)?;
    let input = features(gpu, &random.normals(case.images * case.side.pow(2) * case.inputs))?;
    let bias = gpu.bias(&random.normals(case.outputs))?;
    let length = case.rows() * case.outputs;
    let residual = random.normals(length);
    let side = case.shape().output_side();
    let room = gpu.allocate(gpu.group_sums_length(case.images, side))?;
    let mut sums = gpu.group_sums(case.images, room);
    let [factors, offsets] = [(); 2].map(|()| random.normals(case.outputs));
    let (factors, offsets) = (uploaded(gpu, &factors)?, uploaded(gpu, &offsets)?);
    let mut convolve_and_normalise = |with_sums: bool| {
        let shape = case.shape();
        let mut out = features(gpu, &residual)?;
        gpu.convolution(shape, &input, &weight, &bias, Ending::Add, &mut out, Some(&mut sums))?;
        let norm = GroupNorm {
            images: case.images,
            pixels: side * side,
            channels: case.outputs,
            weight: &factors,
            bias: &offsets,
            activate: false,
            sums: with_sums.then_some(&sums),
        };
        let mut normed = poisoned_features(gpu, length)?;
        gpu.group_norm(norm, &out, &mut normed)?;
        widened(gpu, &normed, length)
    };
    let (found, again, expected) =
        (convolve_and_normalise(true)?, convolve_and_normalise(true)?, convolve_and_normalise(false)?);
    if found != again {
        return Ok(Outcome::new(f64::INFINITY, 0.0).note("other numbers the second time"));
    }
    let expected: Vec<f64> = expected.iter().map(|&x| f64::from(x)).collect();
    // Both round once; their means and deviations differ by the order of float32 sums of at most 512 pixels.
    let sums = 64.0 * f64::from(f32::EPSILON);
    Ok(Outcome::within(&found, &expected, |at| {
        2.0 * rounding(precision) * expected[at].abs() + sums * (1.0 + expected[at].abs())
    }))
}

/// So many numbers, of which a few thousand are random: those of large pictures take long to draw.
fn repeated(random: &mut Random, length: usize) -> Vec<f32> {
    const PERIOD: usize = 4099;
    random.normals(PERIOD).into_iter().cycle().take(length).collect()
}

/// Normalised and convolved strip by strip, against one after the other with all of it in between: the same bits, and the
/// same sums.
fn by_strips(ctx: &Ctx, precision: Precision, case: Case, ending: Ending) -> Result<Outcome> {
    let gpu = ctx.gpu(precision);
    let mut random = Random::new(case.side as u64);
    let pixels = case.side * case.side;
    let weight =
        matrix(gpu, case.matrix(), precision, &random.uniforms(case.outputs * case.inputs * case.taps))?;
    let input = features(gpu, &repeated(&mut random, case.images * pixels * case.inputs))?;
    let bias = gpu.bias(&random.normals(case.outputs))?;
    let [factors, offsets] = [(); 2].map(|()| random.normals(case.inputs));
    let (factors, offsets) = (uploaded(gpu, &factors)?, uploaded(gpu, &offsets)?);
    let length = case.rows() * case.outputs;
    let before = repeated(&mut random, length);
    let norm = || GroupNorm {
        images: case.images,
        pixels,
        channels: case.inputs,
        weight: &factors,
        bias: &offsets,
        activate: true,
        sums: None,
    };
    let run = |room: Option<usize>| {
        let mut out = features(gpu, &before)?;
        let mut sums =
            gpu.group_sums(case.images, gpu.allocate(gpu.group_sums_length(case.images, case.side))?);
        if let Some(room) = room {
            let mut room = poisoned_features(gpu, room)?;
            gpu.normed_convolution(
                norm(),
                &input,
                &mut room,
                &weight,
                &bias,
                ending,
                &mut out,
                Some(&mut sums),
            )?;
        } else {
            let mut normed = poisoned_features(gpu, case.images * pixels * case.inputs)?;
            gpu.group_norm(norm(), &input, &mut normed)?;
            gpu.convolution(case.shape(), &normed, &weight, &bias, ending, &mut out, Some(&mut sums))?;
        }
        let convolved = widened(gpu, &out, length)?;
        if !case.outputs.is_multiple_of(GROUPS) {
            return Ok([convolved, Vec::new()]);
        }
        let ones = uploaded(gpu, &vec![1f32; case.outputs])?;
        let norm =
            GroupNorm { channels: case.outputs, weight: &ones, bias: &ones, sums: Some(&sums), ..norm() };
        let mut normed = poisoned_features(gpu, length)?;
        gpu.group_norm(norm, &out, &mut normed)?;
        Ok([convolved, widened(gpu, &normed, length)?])
    };
    // Strips in the room that the device has itself, then all in one.
    let most = gpu.room_for_normed(case.images, pixels * case.inputs).end;
    let [strips, whole] = [0, most].map(|room| run(Some(room)).map(|found| found.concat()));
    let expected = run(None)?.concat();
    let different = |found: Vec<f32>| found.iter().zip(&expected).filter(|(a, b)| a != b).count();
    Ok(Outcome::new((different(strips?) + different(whole?)) as f64, 0.0))
}

/// What a pixel of the result is made of: tap, channel, value.
fn patch(case: &Case, input: &[f32], row: usize) -> Vec<(usize, usize, f64)> {
    let out_side = case.shape().output_side();
    let (image, y, x) = (row / out_side.pow(2), row / out_side % out_side, row % out_side);
    let side = case.side as isize;
    let mut patch = Vec::new();
    for tap in 0..case.taps {
        let along = |at: usize, tap: usize| -> Option<usize> {
            let (at, tap) = (at as isize, tap as isize);
            let source = match case.walk {
                Walk::Same if case.taps == 1 => at,
                Walk::Same => at + tap - 1,
                Walk::Upsample => (at + tap - 1).div_euclid(2),
                Walk::Downsample => 2 * at + tap,
            };
            (0..side).contains(&source).then_some(source as usize)
        };
        let (Some(y), Some(x)) = (along(y, tap / 3), along(x, tap % 3)) else { continue };
        let start = ((image * case.side + y) * case.side + x) * case.inputs;
        patch.extend((0..case.inputs).map(|channel| (tap, channel, f64::from(input[start + channel]))));
    }
    patch
}

fn timed(ctx: &Ctx, case: Case) -> Result<Outcome> {
    let gpu = ctx.gpu(Precision::Bf16);
    let mut random = Random::new(4);
    let depth = case.inputs * case.taps;
    let weight = matrix(gpu, case.matrix(), Precision::Bf16, &random.uniforms(case.outputs * depth))?;
    let pixels = case.images * case.side.pow(2);
    let input = features(gpu, &random.uniforms(pixels * case.inputs))?;
    let bias = gpu.bias(&random.normals(case.outputs))?;
    let length = case.rows() * case.outputs;
    let mut out = gpu.allocate_features(length)?;
    let microseconds = ctx.time(gpu, |_| {
        gpu.convolution(case.shape(), &input, &weight, &bias, Ending::Store, &mut out, None)
    })?;
    let bytes = 2.0 * (pixels * case.inputs + case.outputs * depth + length) as f64;
    Ok(Outcome::default().timed(Timing { microseconds, bytes, flops: 2.0 * (length * depth) as f64 }))
}

/// As in a residual block: what is normalised comes with its sums, what is added to gets them.
fn timed_normed(ctx: &Ctx, case: Case) -> Result<Outcome> {
    let gpu = ctx.gpu(Precision::Bf16);
    let mut random = Random::new(5);
    let depth = case.inputs * case.taps;
    let weight = matrix(gpu, case.matrix(), Precision::Bf16, &random.uniforms(case.outputs * depth))?;
    let bias = gpu.bias(&random.normals(case.outputs))?;
    let pixels = case.side.pow(2);
    let length = case.images * pixels * case.inputs;
    let source = features(gpu, &repeated(&mut random, length))?;
    let ones = uploaded(gpu, &vec![1f32; case.inputs])?;
    let sums = || -> Result<_> {
        let room = gpu.allocate(gpu.group_sums_length(case.images, case.side))?;
        Ok(gpu.group_sums(case.images, room))
    };
    let (mut before, mut after) = (sums()?, sums()?);
    let (mut input, mut out) = (gpu.allocate_features(length)?, gpu.allocate_features(length)?);
    let least = gpu.room_for_normed(case.images, pixels * case.inputs).start;
    let mut room = gpu.allocate_features(least)?;
    gpu.convolution(case.shape(), &source, &weight, &bias, Ending::Store, &mut input, Some(&mut before))?;
    let norm = || GroupNorm {
        images: case.images,
        pixels,
        channels: case.inputs,
        weight: &ones,
        bias: &ones,
        activate: true,
        sums: Some(&before),
    };
    let microseconds = ctx.time(gpu, |_| {
        gpu.normed_convolution(
            norm(),
            &input,
            &mut room,
            &weight,
            &bias,
            Ending::Add,
            &mut out,
            Some(&mut after),
        )
    })?;
    let bytes = 6.0 * length as f64;
    Ok(Outcome::default().timed(Timing { microseconds, bytes, flops: 2.0 * (length * depth) as f64 }))
}
