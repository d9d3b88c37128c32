//! The pyramid of 1024 px: 9,451 tokens, here for models a twentieth as wide.

use hmar_checkpoint::{Layout, ModelConfig, PYRAMID_1024};
use hmar_engine::{Cancel, Pass, PassKind, Plan, Request};

use super::models::*;

const VOCABULARY: usize = 64;

fn large(layout: Layout) -> Loaded {
    load(ModelConfig { depth: 2, width: 64, heads: 1, mlp_ratio: 1, ..config(layout, &PYRAMID_1024) })
}

#[test]
fn the_most_probable_tokens_are_those_of_teacher_forcing() {
    for layout in [Layout::Combined, Layout::Var] {
        let loaded = large(layout);
        let mut greedy = plan(&PYRAMID_1024, 0.0);
        greedy.passes.iter_mut().for_each(|pass| pass.sampling.top_k = 1);
        let generated = generate(&loaded, &request(greedy, &[7]));
        assert_eq!(generated.pixels.len(), 3 * 128 * 128);
        let logits = loaded.model.logits(&generated.tokens, 7, None, &Cancel::default()).unwrap();
        assert_eq!(logits.len(), 9451 * VOCABULARY);
        for (position, (row, &token)) in logits.chunks_exact(VOCABULARY).zip(&generated.tokens).enumerate() {
            let largest = row.iter().copied().fold(f32::MIN, f32::max);
            assert_eq!(row[token as usize], largest, "{layout:?}, position {position}");
        }
    }
}

/// The last scale in two passes, where there are masked ones; else decoded softly.
fn guided(layout: Layout) -> Plan {
    let mut plan = plan(&PYRAMID_1024, 1.5);
    let last = plan.passes.last_mut().unwrap();
    if layout == Layout::Combined {
        last.commits = 1000;
        let masked = Pass { kind: PassKind::Masked, commits: 3096, ..last.clone() };
        plan.passes.push(masked);
    } else {
        last.smooth = true;
    }
    plan
}

#[test]
fn an_image_is_the_same_beside_others() {
    for layout in [Layout::Combined, Layout::Var] {
        let loaded = large(layout);
        let request =
            |labels: &[u32], first_image| Request { first_image, ..request(guided(layout), labels) };
        let both = generate(&loaded, &request(&[7, 3], 0));
        let alone = generate(&loaded, &request(&[3], 1));
        assert_eq!(both.tokens[9451..], alone.tokens);
        assert_eq!(both.latents[both.latents.len() / 2..], alone.latents);
        assert_eq!(both.pixels[both.pixels.len() / 2..], alone.pixels);
    }
}
