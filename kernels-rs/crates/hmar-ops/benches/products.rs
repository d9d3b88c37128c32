//! Speed of the products at the sizes of depth 16: `cargo bench -p hmar-ops`. Prints the best of several runs.

use std::time::{Duration, Instant};

use hmar_ops::cpu::{CpuBuffer, CpuMatrix};
use hmar_ops::*;

fn filled(backend: &CpuBackend, length: usize) -> CpuBuffer<f32> {
    let mut buffer = backend.allocate(length).unwrap();
    let values: Vec<f32> = (0..length).map(|i| (i * 37 % 101) as f32 / 101.0 - 0.5).collect();
    backend.upload(&values, &mut buffer).unwrap();
    buffer
}

fn matrix(backend: &CpuBackend, shape: MatrixShape, precision: Precision) -> CpuMatrix {
    let mut builder = backend.matrix(shape, precision).unwrap();
    let chunk: Vec<f32> = (0..builder.chunk()).map(|i| (i * 53 % 97) as f32 / 97.0 - 0.5).collect();
    let elements = shape.outputs * shape.inputs * shape.taps;
    for start in (0..elements).step_by(chunk.len()) {
        builder.push(&chunk[..chunk.len().min(elements - start)]).unwrap();
    }
    builder.finish().unwrap()
}

fn best(mut work: impl FnMut()) -> Duration {
    work();
    let start = Instant::now();
    let mut best = Duration::MAX;
    while start.elapsed() < Duration::from_millis(300) {
        let run = Instant::now();
        work();
        best = best.min(run.elapsed());
    }
    best
}

fn report(name: &str, flops: f64, time: Duration) {
    println!(
        "{name:<44} {:>9.3} ms {:>8.1} GFLOP/s",
        time.as_secs_f64() * 1e3,
        flops / time.as_secs_f64() / 1e9
    );
}

fn main() {
    for (kind, backend) in
        [("", CpuBackend::new(None).unwrap()), ("portable ", CpuBackend::portable(None).unwrap())]
    {
        for precision in [Precision::F32, Precision::Bf16] {
            for (rows, outputs, inputs) in [
                (2, 4096, 1024),
                (8, 3072, 1024),
                (32, 4096, 1024),
                (128, 1024, 1024),
                (512, 4096, 1024),
                (512, 1024, 4096),
            ] {
                let weight = matrix(&backend, MatrixShape { outputs, inputs, taps: 1 }, precision);
                let (input, bias) = (filled(&backend, rows * inputs), filled(&backend, outputs));
                let mut out = filled(&backend, rows * outputs);
                let time = best(|| {
                    backend.linear(rows, &input, &weight, &bias, LinearOutput::Features(&mut out)).unwrap()
                });
                let name = format!("{kind}linear {precision:?} {rows}×{inputs} → {outputs}");
                report(&name, 2.0 * (rows * outputs * inputs) as f64, time);
            }
            for (side, inputs, outputs) in [(256, 160, 160), (64, 320, 320), (16, 640, 640)] {
                let weight = matrix(&backend, MatrixShape { outputs, inputs, taps: 9 }, precision);
                let (input, bias) = (filled(&backend, side * side * inputs), filled(&backend, outputs));
                let mut out = filled(&backend, side * side * outputs);
                let shape = ConvolutionShape { images: 1, side, walk: Walk::Same };
                let time = best(|| {
                    backend.convolution(shape, &input, &weight, &bias, Ending::Store, &mut out, None).unwrap()
                });
                let name = format!("{kind}convolution {precision:?} {side}² {inputs} → {outputs}");
                report(&name, 2.0 * (side * side * 9 * inputs * outputs) as f64, time);
            }
        }
        let (heads, head_width, rows) = (16, 64, 256);
        let qkv = filled(&backend, 2 * rows * 3 * heads * head_width);
        let mut out = filled(&backend, 2 * rows * heads * head_width);
        let factors = filled(&backend, heads);
        let spans = [Span { queries: 0..rows, keys: 0..rows }];
        let time = best(|| {
            let shape = AttentionShape { sequences: 2, rows, heads, head_width, spans: &spans };
            let scores = Scores::Normalized(&factors);
            backend.attention(shape, &qkv, KeysValues::BesideQueries, scores, &mut out).unwrap();
        });
        let flops = 2.0 * 4.0 * (rows * rows * heads * head_width) as f64;
        report(&format!("{kind}attention 2×{rows}, {heads} heads"), flops, time);

        let (side, channels) = (256, 160);
        let input = filled(&backend, side * side * channels);
        let mut out = filled(&backend, side * side * channels);
        let (weight, bias) = (filled(&backend, channels), filled(&backend, channels));
        let time = best(|| {
            let norm = GroupNorm {
                images: 1,
                pixels: side * side,
                channels,
                weight: &weight,
                bias: &bias,
                activate: true,
                sums: None,
            };
            backend.group_norm(norm, &input, &mut out).unwrap();
        });
        report(&format!("{kind}group norm + silu 256² 160"), 0.0, time);
    }
}
