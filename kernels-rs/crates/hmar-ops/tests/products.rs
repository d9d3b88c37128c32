//! Products, convolutions and attention against naive twins in float64, on odd sizes, with poisoned outputs.

use hmar_ops::cpu::{CpuBuffer, CpuMatrix};
use hmar_ops::*;

/// A small deterministic stream of values in [−1, 1).
struct Values(u64);

impl Values {
    fn take(&mut self, count: usize) -> Vec<f32> {
        (0..count)
            .map(|_| {
                self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                ((self.0 >> 40) as f32) / (1u64 << 23) as f32 - 1.0
            })
            .collect()
    }
}

fn matrix(backend: &CpuBackend, shape: MatrixShape, precision: Precision, values: &[f32]) -> CpuMatrix {
    let mut builder = backend.matrix(shape, precision).unwrap();
    for chunk in values.chunks(builder.chunk()) {
        builder.push(chunk).unwrap();
    }
    builder.finish().unwrap()
}

fn buffer(backend: &CpuBackend, values: &[f32]) -> CpuBuffer<f32> {
    let mut buffer = backend.allocate(values.len()).unwrap();
    backend.upload(values, &mut buffer).unwrap();
    buffer
}

fn poisoned(backend: &CpuBackend, length: usize) -> CpuBuffer<f32> {
    buffer(backend, &vec![f32::NAN; length])
}

fn backends() -> Vec<CpuBackend> {
    vec![
        CpuBackend::new(Some(2)).unwrap(),
        CpuBackend::new(Some(1)).unwrap(),
        CpuBackend::portable(Some(2)).unwrap(),
    ]
}

/// Six standard deviations for factors uniform in [−1, 1), whose products are about 1/3. A float32 sum is rounded
/// at every step by half an epsilon of its value so far, about √k/3 after k terms: √Σ(ε·√k/6)² = ε·depth/8.5.
/// bfloat16 keeps 8 bits of both factors: √depth terms of 2⁻⁹·√(2/3)/3.
fn tolerance(precision: Precision, depth: usize) -> f64 {
    let sums = f32::EPSILON as f64 * (depth as f64 + 4.0);
    match precision {
        Precision::F32 => sums,
        Precision::Bf16 => sums + 6.0 * 2f64.powi(-9) * 0.28 * (depth as f64).sqrt() + 2f64.powi(-8),
    }
}

#[test]
fn linear_matches_float64_on_odd_sizes() {
    for backend in backends() {
        for precision in [Precision::F32, Precision::Bf16] {
            for (rows, inputs, outputs) in
                [(1, 1, 1), (2, 7, 33), (13, 64, 96), (97, 193, 40), (5, 1537, 64), (200, 3100, 35)]
            {
                let mut values = Values(rows as u64 * 31 + inputs as u64);
                let (a, w, b) =
                    (values.take(rows * inputs), values.take(outputs * inputs), values.take(outputs));
                let weight = matrix(&backend, MatrixShape { outputs, inputs, taps: 1 }, precision, &w);
                let mut out = poisoned(&backend, rows * outputs);
                let (input, bias) = (buffer(&backend, &a), buffer(&backend, &b));
                backend.linear(rows, &input, &weight, &bias, LinearOutput::Features(&mut out)).unwrap();
                for row in 0..rows {
                    for output in 0..outputs {
                        let exact: f64 = b[output] as f64
                            + (0..inputs)
                                .map(|k| a[row * inputs + k] as f64 * w[output * inputs + k] as f64)
                                .sum::<f64>();
                        let error = (out.as_slice()[row * outputs + output] as f64 - exact).abs();
                        assert!(error <= tolerance(precision, inputs), "{rows} {inputs} {outputs}: {error}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_row_has_the_same_bits_in_any_batch_and_on_any_number_of_threads() {
    let (inputs, outputs, most) = (1800, 130, 230);
    let mut values = Values(5);
    let (a, w) = (values.take(most * inputs), values.take(outputs * inputs));
    for (one, other) in [
        (CpuBackend::new(Some(1)).unwrap(), CpuBackend::new(Some(3)).unwrap()),
        (CpuBackend::portable(Some(1)).unwrap(), CpuBackend::portable(Some(3)).unwrap()),
    ] {
        for precision in [Precision::F32, Precision::Bf16] {
            let shape = MatrixShape { outputs, inputs, taps: 1 };
            let input = buffer(&one, &a);
            let mut whole = poisoned(&one, most * outputs);
            let weight = matrix(&one, shape, precision, &w);
            one.project(most, &input, &weight, &mut whole).unwrap();
            for rows in [1, 2, 3, 8, 12, 13, 95, 96, 97, 193, 230] {
                for backend in [&one, &other] {
                    let mut out = poisoned(backend, rows * outputs);
                    backend.project(rows, &input, &weight, &mut out).unwrap();
                    assert_eq!(out.as_slice(), &whole.as_slice()[..rows * outputs], "{rows} rows");
                }
            }
        }
    }
}

#[test]
fn convolutions_match_float64_on_every_walk() {
    for backend in backends() {
        for (walk, taps, side, channels, outputs) in [
            (Walk::Same, 9, 5, 3, 33),
            (Walk::Same, 1, 6, 40, 8),
            (Walk::Same, 9, 12, 171, 5),
            (Walk::Upsample, 9, 5, 7, 34),
            (Walk::Downsample, 9, 8, 6, 3),
        ] {
            let shape = ConvolutionShape { images: 2, side, walk };
            let out_side = shape.output_side();
            let mut values = Values(side as u64);
            let a = values.take(2 * side * side * channels);
            let w = values.take(outputs * channels * taps);
            let b = values.take(outputs);
            let r = values.take(2 * out_side * out_side * outputs);
            let weight =
                matrix(&backend, MatrixShape { outputs, inputs: channels, taps }, Precision::F32, &w);
            let mut out = buffer(&backend, &r);
            let (input, bias) = (buffer(&backend, &a), buffer(&backend, &b));
            backend.convolution(shape, &input, &weight, &bias, Ending::Add, &mut out, None).unwrap();
            let pixel = |image: usize, y: isize, x: isize, c: usize| -> f64 {
                let inside = |v: isize, limit: usize| (0..limit as isize).contains(&v);
                let (y, x) = match walk {
                    Walk::Upsample if inside(y, 2 * side) && inside(x, 2 * side) => (y / 2, x / 2),
                    _ => (y, x),
                };
                if !inside(y, side) || !inside(x, side) {
                    return 0.0;
                }
                a[((image * side + y as usize) * side + x as usize) * channels + c] as f64
            };
            for (index, &got) in out.as_slice().iter().enumerate() {
                let (o, p) = (index % outputs, index / outputs);
                let (x, y, image) = (p % out_side, p / out_side % out_side, p / (out_side * out_side));
                let mut exact = b[o] as f64 + r[index] as f64;
                for c in 0..channels {
                    for tap in 0..taps {
                        let (dy, dx) = ((tap / 3) as isize, (tap % 3) as isize);
                        let (y, x) = (y as isize, x as isize);
                        let source = match walk {
                            Walk::Downsample => (2 * y + dy, 2 * x + dx),
                            _ if taps == 1 => (y, x),
                            _ => (y + dy - 1, x + dx - 1),
                        };
                        exact +=
                            pixel(image, source.0, source.1, c) * w[(o * channels + c) * taps + tap] as f64;
                    }
                }
                let error = (got as f64 - exact).abs();
                assert!(error <= tolerance(Precision::F32, channels * taps), "{walk:?}: {error}");
            }
        }
    }
}

#[test]
fn strips_of_normalised_pictures_are_convolved_to_the_bits_of_whole_ones() {
    let backend = CpuBackend::new(Some(2)).unwrap();
    // Several strips a picture, the last of them shorter; one strip a picture.
    for (images, side, taps, channels, outputs) in
        [(1, 200, 9, 32, 5), (2, 136, 1, 32, 33), (2, 12, 9, 64, 64)]
    {
        let mut values = Values(side as u64);
        let pixels = side * side;
        let input = buffer(&backend, &values.take(images * pixels * channels));
        let shape = MatrixShape { outputs, inputs: channels, taps };
        let weight = matrix(&backend, shape, Precision::F32, &values.take(outputs * channels * taps));
        let bias = buffer(&backend, &values.take(outputs));
        let [factors, offsets] = [(); 2].map(|()| buffer(&backend, &values.take(channels)));
        let norm = || GroupNorm {
            images,
            pixels,
            channels,
            weight: &factors,
            bias: &offsets,
            activate: true,
            sums: None,
        };
        let before = values.take(images * pixels * outputs);
        for ending in [Ending::Store, Ending::Add] {
            let [mut whole, mut by_strips] = [(); 2].map(|()| buffer(&backend, &before));
            let mut normed = poisoned(&backend, images * pixels * channels);
            backend.group_norm(norm(), &input, &mut normed).unwrap();
            let of_pictures = ConvolutionShape { images, side, walk: Walk::Same };
            backend.convolution(of_pictures, &normed, &weight, &bias, ending, &mut whole, None).unwrap();
            let mut room = buffer(&backend, &[]);
            backend
                .normed_convolution(norm(), &input, &mut room, &weight, &bias, ending, &mut by_strips, None)
                .unwrap();
            assert!(whole.as_slice() == by_strips.as_slice(), "{images}×{side}², {ending:?}");
        }
    }
}

#[test]
fn attention_matches_float64_over_blocks_causes_and_both_kinds_of_scores() {
    let diagonal = [
        Span { queries: 0..1, keys: 0..1 },
        Span { queries: 1..5, keys: 1..5 },
        Span { queries: 5..135, keys: 5..135 },
    ];
    let causal = [Span { queries: 4..9, keys: 0..9 }, Span { queries: 9..135, keys: 0..135 }];
    for backend in backends() {
        for spans in [&diagonal[..], &causal[..]] {
            for (heads, head_width, normalized) in [(3, 64, true), (1, 70, false), (2, 16, true)] {
                let (sequences, rows, width) = (2, 135, heads * head_width);
                let qkv = Values(width as u64).take(sequences * rows * 3 * width);
                let factors: Vec<f32> = (0..heads).map(|h| 4.0 + h as f32).collect();
                let first = spans[0].queries.start;
                let queries = rows - first;
                let mut out = poisoned(&backend, sequences * queries * width);
                let factor_buffer = buffer(&backend, &factors);
                let scores =
                    if normalized { Scores::Normalized(&factor_buffer) } else { Scores::Scaled(0.3) };
                let shape = AttentionShape { sequences, rows, heads, head_width, spans };
                backend
                    .attention(shape, &buffer(&backend, &qkv), KeysValues::BesideQueries, scores, &mut out)
                    .unwrap();
                let part = |s: usize, row: usize, which: usize, h: usize| -> Vec<f64> {
                    let start = ((s * rows + row) * 3 + which) * width + h * head_width;
                    qkv[start..start + head_width].iter().map(|&x| x as f64).collect()
                };
                let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
                for s in 0..sequences {
                    for (h, &factor) in factors.iter().enumerate() {
                        for span in spans {
                            for q in span.queries.clone() {
                                let query = part(s, q, 0, h);
                                let scores: Vec<f64> = span
                                    .keys
                                    .clone()
                                    .map(|k| {
                                        let key = part(s, k, 1, h);
                                        let product = dot(&query, &key);
                                        if normalized {
                                            product * factor as f64
                                                / (dot(&query, &query) * dot(&key, &key)).sqrt()
                                        } else {
                                            product * 0.3
                                        }
                                    })
                                    .collect();
                                let largest = scores.iter().copied().fold(f64::MIN, f64::max);
                                let total: f64 = scores.iter().map(|x| (x - largest).exp()).sum();
                                for d in 0..head_width {
                                    let exact: f64 = span
                                        .keys
                                        .clone()
                                        .zip(&scores)
                                        .map(|(k, x)| (x - largest).exp() / total * part(s, k, 2, h)[d])
                                        .sum();
                                    let at = (s * queries + q - first) * width + h * head_width + d;
                                    let error = (out.as_slice()[at] as f64 - exact).abs();
                                    assert!(error < 5e-6, "{heads} {head_width} {normalized}: {error}");
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn cached_keys_and_values_are_attended_to_like_those_beside_the_queries() {
    let (sequences, rows, first, capacity) = (2, 135, 9, 140);
    for backend in backends() {
        for (heads, head_width) in [(3, 64), (2, 16)] {
            let width = heads * head_width;
            let qkv = buffer(&backend, &Values(7).take(sequences * rows * 3 * width));
            let factors = buffer(&backend, &vec![3.0; heads]);
            let attend = |qkv: &CpuBuffer<f32>, keys_values, rows, span: Span| {
                let mut out = poisoned(&backend, sequences * span.queries.len() * width);
                let spans = &[span];
                let shape = AttentionShape { sequences, rows, heads, head_width, spans };
                backend.attention(shape, qkv, keys_values, Scores::Normalized(&factors), &mut out).unwrap();
                out.as_slice().to_vec()
            };
            let whole = Span { queries: first..rows, keys: 0..rows };
            let expected = attend(&qkv, KeysValues::BesideQueries, rows, whole);

            let place = |rows, columns, row, column| RowsPlace { rows, columns, row, column };
            let (all, own) = (place(rows, 3 * width, 0, width), place(rows, 3 * width, first, 0));
            let copied = |rows, columns, from, to: RowsPlace| {
                let mut target = poisoned(&backend, sequences * to.rows * to.columns);
                let copy = RowsCopy { sequences, rows, columns, from, to };
                backend.copy_rows(copy, &qkv, &mut target).unwrap();
                target
            };
            let cache = copied(rows, 2 * width, all, place(capacity, 2 * width, 0, 0));
            let queries = rows - first;
            let own = copied(queries, 3 * width, own, place(queries, 3 * width, 0, 0));
            let span = Span { queries: 0..queries, keys: 0..rows };
            let found = attend(&own, KeysValues::Cached { rows: &cache, capacity }, queries, span);
            assert!(found == expected, "{heads} heads of {head_width}");
        }
    }
}
