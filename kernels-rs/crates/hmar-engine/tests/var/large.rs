//! The pyramid of 1024 px: 9,451 tokens, here for models a hundredth as wide.

use hmar_checkpoint::{Layout, ModelConfig, PYRAMID_1024};
use hmar_engine::Cancel;

use super::models::*;

#[test]
fn all_scales_of_1024_px_are_generated_with_and_without_a_cache() {
    for layout in [Layout::Combined, Layout::Var] {
        let config =
            ModelConfig { depth: 2, width: 64, heads: 1, mlp_ratio: 1, ..config(layout, &PYRAMID_1024) };
        let loaded = load(config);
        let generated = generate(&loaded, &request(plan(&PYRAMID_1024, 0.0), &[7]));
        assert_eq!(generated.tokens.len(), 9451);
        assert_eq!(generated.pixels.len(), 3 * 128 * 128);
        // Where nothing is drawn by chance, the tokens are the most probable of teacher forcing.
        let mut greedy = plan(&PYRAMID_1024, 0.0);
        greedy.passes.iter_mut().for_each(|pass| pass.sampling.top_k = 1);
        let tokens = generate(&loaded, &request(greedy, &[7])).tokens;
        let logits = loaded.model.logits(&tokens, 7, None, &Cancel::default()).unwrap();
        for (position, (row, &token)) in logits.chunks_exact(64).zip(&tokens).enumerate() {
            let largest = row.iter().copied().fold(f32::MIN, f32::max);
            assert_eq!(row[token as usize], largest, "{layout:?}, position {position}");
        }
    }
}
