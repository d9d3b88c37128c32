//! Released sizes with made weights: teacher-forced logits, encoder and decoder.

use hmar_checkpoint::{Layout, ModelConfig, PYRAMID_256, Synthetic, TokenizerConfig};
use hmar_cuda::CudaBackend;
use hmar_engine::{Cancel, Model, Tokenizer};
use hmar_error::Result;
use hmar_ops::Precision;
use serde_json::json;

use super::golden::*;
use super::{gpu, open};
use crate::arithmetic::load_options;
use crate::check::PRECISIONS;
use crate::part::{Part, PartResult, World};

/// ‖error‖ / ‖logits‖ allowed in bfloat16: sixteen blocks' roundings.
const LOGITS_BF16: f64 = 2e-2;
/// The same of pictures and latents.
const TOKENIZER_BF16: f64 = 3e-2;
/// Share of rows whose most probable token may differ in bfloat16, ties of made weights being close.
const ARGMAX_BF16: f64 = 0.05;

/// The parts.
pub fn parts() -> Vec<Part> {
    let mut parts = Vec::new();
    for precision in PRECISIONS {
        let part = |what: &str, run: fn(&World, Precision) -> Result<PartResult>| {
            Part::new(format!("goldens/synthetic/{what}, {precision:?}"), 180, move |world| {
                run(world, precision)
            })
        };
        parts.push(part("logits of d16", combined));
        parts.push(part("logits of VAR d16", var));
        parts.push(part("tokenizer", tokenizer));
    }
    parts
}

fn model(world: &World, layout: Layout, precision: Precision) -> Result<Model<CudaBackend>> {
    let (config, tokenizer) = (ModelConfig::released(16, layout), TokenizerConfig::released());
    let (source, quantizer) = (Synthetic::model(&config), Synthetic::tokenizer(&tokenizer));
    Model::load(gpu(world, precision)?, config, &source, &tokenizer, &quantizer, &load_options(precision))
}

/// What a comparison of logits comes to.
#[derive(Default)]
struct Logits {
    largest: f64,
    relative: f64,
    sums: f64,
    argmax: f64,
}

impl Logits {
    fn result(&self, precision: Precision) -> PartResult {
        let Logits { largest, relative, sums, argmax } = *self;
        let ok = match precision {
            Precision::F32 => largest <= LOGITS && sums <= LOGITS && argmax == 0.0,
            Precision::Bf16 => relative <= LOGITS_BF16 && argmax <= ARGMAX_BF16,
        };
        PartResult {
            ok,
            summary: format!(
                "logits off by {largest:.2e} at most, {relative:.2e} in norm; log-sum-exp by {sums:.2e}; {argmax:.4} of \
                 the most probable tokens differ"
            ),
            data: json!({ "largest": largest, "relative": relative, "logSumExp": sums, "argmax": argmax }),
        }
    }

    fn take(&mut self, largest: f64, relative: f64, sums: f64) {
        let worse = |a: f64, b: f64| if b <= a { a } else { b };
        self.largest = worse(self.largest, largest);
        self.relative = worse(self.relative, relative);
        self.sums = worse(self.sums, sums);
    }

    /// Compares one row of a golden's two (label, null class) with logits `[N, V]`.
    fn compare(&mut self, golden: &Golden, prefix: &str, row: usize, first: usize, logits: &[f32]) {
        let vocabulary = 4096;
        let (positions, vocab) = (golden.integers("positions"), golden.integers("vocab"));
        let positions: Vec<_> = positions.into_iter().filter(|&p| p as usize >= first).collect();
        let expected = golden.floats(&format!("{prefix}logits"));
        let size = positions.len() * vocab.len();
        let of_position = |&p: &u32| {
            let row = &logits[p as usize * vocabulary..][..vocabulary];
            vocab.iter().map(|&v| row[v as usize])
        };
        let found: Vec<f32> = positions.iter().flat_map(of_position).collect();
        let distance = Distance::between(&found, &expected[row * size..(row + 1) * size]);

        let rows = logits.chunks_exact(vocabulary).skip(first);
        let sums: Vec<f32> = rows.map(|row| log_sum_exp(row) as f32).collect();
        let expected = golden.floats(&format!("{prefix}logsumexp"));
        let of_sums = Distance::between(&sums, &expected[row * sums.len()..(row + 1) * sums.len()]);
        self.take(distance.largest, distance.relative, of_sums.largest);
    }

    fn compare_argmax(&mut self, golden: &Golden, prefix: &str, row: usize, logits: &[f32]) {
        let expected = golden.integers(&format!("{prefix}argmax"));
        let gaps = golden.floats(&format!("{prefix}top2_gap"));
        let rows = logits.chunks_exact(4096).enumerate();
        let different = rows.filter(|(position, logits)| {
            let at = row * 680 + position;
            gaps[at] > MARGIN && argmax(logits) != expected[at]
        });
        self.argmax = self.argmax.max(different.count() as f64 / 680.0);
    }
}

fn combined(world: &World, precision: Precision) -> Result<PartResult> {
    let golden = open(world, "synthetic-d16")?;
    let model = model(world, Layout::Combined, precision)?;
    let (tokens, masked) = (golden.integers("tokens"), golden.integers("masked_positions"));
    let mut found = Logits::default();
    for (row, label) in [207, 1000].into_iter().enumerate() {
        let logits = model.logits(&tokens, label, None, &Cancel::default())?;
        found.compare(&golden, "ns_", row, 0, &logits);
        found.compare_argmax(&golden, "ns_", row, &logits);
        let logits = model.logits(&tokens, label, Some(&masked), &Cancel::default())?;
        found.compare(&golden, "mask_", row, 1, &logits);
    }
    Ok(found.result(precision))
}

fn var(world: &World, precision: Precision) -> Result<PartResult> {
    let golden = open(world, "synthetic-var-d16")?;
    let model = model(world, Layout::Var, precision)?;
    let mut found = Logits::default();
    for (row, label) in [207, 1000].into_iter().enumerate() {
        let logits = model.logits(&golden.integers("tokens"), label, None, &Cancel::default())?;
        found.compare(&golden, "", row, 0, &logits);
        found.compare_argmax(&golden, "", row, &logits);
    }
    Ok(found.result(precision))
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

fn tokenizer(world: &World, precision: Precision) -> Result<PartResult> {
    let golden = open(world, "synthetic-d16")?;
    let config = TokenizerConfig::released();
    let source = Synthetic::tokenizer(&config);
    let tokenizer = Tokenizer::load(gpu(world, precision)?, config, &source, &load_options(precision))?;
    let cancel = Cancel::default();

    let expected = channels_last(&golden.floats("enc_f"), 32);
    let deviation = standard_deviation(&expected);
    let encoded = Distance::between(&tokenizer.latent_of(&picture(), &PYRAMID_256, &cancel)?, &expected);

    let tokens = tokenizer.encode(&picture(), &PYRAMID_256, &cancel)?;
    let (expected, margins) = (golden.integers("enc_tokens"), golden.floats("enc_margin"));
    let different = (0..tokens.len()).filter(|&i| tokens[i] != expected[i] && margins[i] > MARGIN).count();

    // The latent is float32 in both precisions.
    let latent = tokenizer.latent_of_tokens(&golden.integers("tokens"), &PYRAMID_256)?;
    let expected = channels_last(&golden.floats("f_hat"), 32);
    let added = Distance::between(&latent, &expected).largest / standard_deviation(&expected);

    let expected = channels_last(&golden.floats("image"), 3);
    // Three times, so that it runs as it is, recorded and repeated.
    let values = (0..3).map(|_| tokenizer.values_of(&latent, 16, &cancel)).collect::<Result<Vec<_>>>()?;
    let same = values[0] == values[1] && values[1] == values[2];
    let found: Vec<f32> = (0..64 * 64 * 3)
        .map(|i| values[2][((i / 192 * 4) * 256 + (i / 3 % 64) * 4) * 3 + i % 3].clamp(-1.0, 1.0))
        .collect();
    let decoded = Distance::between(&found, &expected);
    let ok = same
        && added <= LATENTS
        && match precision {
            Precision::F32 => {
                encoded.largest / deviation <= LATENTS && different == 0 && decoded.largest <= LOGITS
            }
            Precision::Bf16 => encoded.relative <= TOKENIZER_BF16 && decoded.relative <= TOKENIZER_BF16,
        };
    Ok(PartResult {
        ok,
        summary: format!(
            "encoder off by {:.2e} of its deviation, {:.2e} in norm, {different} of 680 tokens; latent by {added:.2e}; \
             picture by {:.2e}, {:.2e} in norm; {}",
            encoded.largest / deviation,
            encoded.relative,
            decoded.largest,
            decoded.relative,
            if same { "repeats are equal" } else { "REPEATS DIFFER" }
        ),
        data: json!({
            "encoder": { "largest": encoded.largest, "relative": encoded.relative, "tokens": different },
            "latent": added,
            "picture": { "largest": decoded.largest, "relative": decoded.relative },
            "repeatsEqual": same,
        }),
    })
}
