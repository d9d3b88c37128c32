//! Single stacks of blocks against their twin in float64.

use hmar_checkpoint::{Layout, ModelConfig};
use hmar_engine::Cancel;

use super::models::*;
use super::twin::Twin;

const PYRAMID: [usize; 4] = [1, 2, 3, 4];

/// Of logits of deviation 1 the specification allows 1e-3 (5); three blocks in float32 stay far below.
const LOGITS: f64 = 2e-5;

#[test]
fn single_stacks_agree_with_float64() {
    let tokens: Vec<u32> = (0..30).map(|i| i * 29 % 64).collect();
    for layout in [Layout::Var, Layout::NextScale] {
        for (shared_ada_ln, query_key_norm) in [(false, true), (true, true), (true, false)] {
            let config = ModelConfig { shared_ada_ln, query_key_norm, ..config(layout, &PYRAMID) };
            let twin = Twin::new(&config, &tokenizer_config());
            let model = load(config).model;
            for label in [3, 10] {
                let found = model.logits(&tokens, label, None, &Cancel::default()).unwrap();
                let expected = twin.logits(&tokens, label as usize).concat();
                assert_eq!(found.len(), expected.len());
                let errors = found.iter().zip(&expected).map(|(&x, y)| (f64::from(x) - y).abs());
                let largest = errors.fold(0.0, |most: f64, error| if error <= most { most } else { error });
                assert!(largest <= LOGITS, "{layout:?}, shared {shared_ada_ln}, label {label}: {largest}");
            }
        }
    }
}
