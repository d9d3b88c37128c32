//! `synthetic-d16` and `synthetic-var-d16`: released sizes, made weights.

use std::sync::Arc;

use hmar_checkpoint::{Layout, ModelConfig, PYRAMID_256, Synthetic, TokenizerConfig};
use hmar_engine::{Cancel, LoadOptions, Model, Tokenizer};
use hmar_ops::{CpuBackend, Precision};

use super::golden::*;

fn options() -> LoadOptions<'static> {
    LoadOptions {
        precision: Precision::F32,
        fp8_blocks: false,
        allow_non_finite: false,
        cancel: Cancel::default(),
        progress: &|_, _| {},
    }
}

fn model(layout: Layout) -> Model<CpuBackend> {
    let backend = Arc::new(CpuBackend::new(None).unwrap());
    let (config, tokenizer) = (ModelConfig::released(16, layout), TokenizerConfig::released());
    let (source, quantizer) = (Synthetic::model(&config), Synthetic::tokenizer(&tokenizer));
    Model::load(backend, config, &source, &tokenizer, &quantizer, &options()).unwrap()
}

/// Compares one row of a golden's two (label, null class) with logits `[N, V]`.
fn compare(golden: &Golden, prefix: &str, row: usize, first: usize, logits: &[f32]) {
    let vocabulary = 4096;
    let (positions, vocab) = (golden.integers("positions"), golden.integers("vocab"));
    let positions: Vec<_> = positions.into_iter().filter(|&p| p as usize >= first).collect();
    let expected = golden.floats(&format!("{prefix}logits"));
    let size = positions.len() * vocab.len();
    let found: Vec<f32> = positions
        .iter()
        .flat_map(|&p| vocab.iter().map(move |&v| (p as usize, v as usize)))
        .map(|(p, v)| logits[p * vocabulary + v])
        .collect();
    let error = largest_difference(&found, &expected[row * size..(row + 1) * size]);
    assert!(error <= LOGITS, "{prefix} row {row}: {error}");

    let sums: Vec<f32> = logits.chunks_exact(vocabulary).skip(first).map(log_sum_exp).collect();
    let expected = golden.floats(&format!("{prefix}logsumexp"));
    let error = largest_difference(&sums, &expected[row * sums.len()..(row + 1) * sums.len()]);
    assert!(error <= LOGITS, "{prefix} log-sum-exp row {row}: {error}");
}

fn compare_argmax(golden: &Golden, prefix: &str, row: usize, logits: &[f32]) {
    let (argmaxes, gaps) =
        (golden.integers(&format!("{prefix}argmax")), golden.floats(&format!("{prefix}top2_gap")));
    for (position, logits) in logits.chunks_exact(4096).enumerate() {
        let at = row * 680 + position;
        assert!(gaps[at] <= MARGIN || argmax(logits) == argmaxes[at], "{prefix} position {position}");
    }
}

#[test]
fn logits_of_depth_16_agree() {
    let golden = Golden::open("synthetic-d16");
    let model = model(Layout::Combined);
    let (tokens, masked) = (golden.integers("tokens"), golden.integers("masked_positions"));
    for (row, label) in [207, 1000].into_iter().enumerate() {
        let logits = model.logits(&tokens, label, None, &Cancel::default()).unwrap();
        compare(&golden, "ns_", row, 0, &logits);
        compare_argmax(&golden, "ns_", row, &logits);
        let logits = model.logits(&tokens, label, Some(&masked), &Cancel::default()).unwrap();
        assert!(logits[..4096].iter().all(|x| x.is_nan()));
        compare(&golden, "mask_", row, 1, &logits);
    }
}

#[test]
fn logits_of_var_agree() {
    let golden = Golden::open("synthetic-var-d16");
    let model = model(Layout::Var);
    for (row, label) in [207, 1000].into_iter().enumerate() {
        let logits = model.logits(&golden.integers("tokens"), label, None, &Cancel::default()).unwrap();
        compare(&golden, "", row, 0, &logits);
        compare_argmax(&golden, "", row, &logits);
    }
}

/// The specification's test picture, `[3, 256, 256]`.
fn picture() -> Vec<f32> {
    let at = |i: usize| (i as f64 + 0.5) / 256.0;
    let pixel = |channel: usize, x: f64, y: f64| match channel {
        0 => (7.0 * x + 3.0 * y).sin(),
        1 => (5.0 * x * y + 1.0).cos(),
        _ => {
            let inside = (x - 0.55).powi(2) + (y - 0.45).powi(2) < 0.08;
            ((if inside { 0.8 } else { -0.4 }) + 0.2 * (20.0 * y).sin()).clamp(-1.0, 1.0)
        }
    };
    (0..3 * 65536).map(|i| pixel(i / 65536, at(i % 256), at(i / 256 % 256)) as f32).collect()
}

#[test]
fn the_tokenizer_of_released_size_agrees() {
    let golden = Golden::open("synthetic-d16");
    let backend = Arc::new(CpuBackend::new(None).unwrap());
    let config = TokenizerConfig::released();
    let source = Synthetic::tokenizer(&config);
    let tokenizer = Tokenizer::load(backend, config, &source, &options()).unwrap();
    let cancel = Cancel::default();

    let expected = channels_last(&golden.floats("enc_f"), 32);
    let found = tokenizer.latent_of(&picture(), &PYRAMID_256, &cancel).unwrap();
    let error = largest_difference(&found, &expected) / standard_deviation(&expected);
    assert!(error <= LATENTS, "encoder: {error}");

    let tokens = tokenizer.encode(&picture(), &PYRAMID_256, &cancel).unwrap();
    let margins = golden.floats("enc_margin");
    for (position, (token, expected)) in tokens.iter().zip(golden.integers("enc_tokens")).enumerate() {
        assert!(*token == expected || margins[position] <= MARGIN, "token {position}");
    }

    let latent = tokenizer.latent_of_tokens(&golden.integers("tokens"), &PYRAMID_256).unwrap();
    let expected = channels_last(&golden.floats("f_hat"), 32);
    let error = largest_difference(&latent, &expected) / standard_deviation(&expected);
    assert!(error <= LATENTS, "latent: {error}");

    let values = tokenizer.values_of(&latent, 16, &cancel).unwrap();
    let expected = channels_last(&golden.floats("image"), 3);
    let found: Vec<f32> = (0..64 * 64 * 3)
        .map(|i| values[((i / 192 * 4) * 256 + (i / 3 % 64) * 4) * 3 + i % 3].clamp(-1.0, 1.0))
        .collect();
    // Pictures are not in the specification's list of tolerances; their values are of the size of logits.
    let error = largest_difference(&found, &expected);
    assert!(error <= LOGITS, "picture: {error}");
}
