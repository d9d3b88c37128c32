//! What models and tokenizers are made of.

mod file;
mod model;
mod tokenizer;

pub use file::{ConfigFile, ModelSection, TokenizerSection};
pub use model::{Layout, ModelConfig};
pub use tokenizer::TokenizerConfig;

/// Sides of the token maps of a 256 px image (680 tokens).
pub const PYRAMID_256: [usize; 10] = [1, 2, 3, 4, 5, 6, 8, 10, 13, 16];
/// Sides of the token maps of a 512 px image (2,240 tokens).
pub const PYRAMID_512: [usize; 10] = [1, 2, 3, 4, 6, 9, 13, 18, 24, 32];
/// Sides of the token maps of a 1024 px image (9,451 tokens).
pub const PYRAMID_1024: [usize; 14] = [1, 2, 3, 4, 5, 7, 9, 12, 16, 21, 27, 36, 48, 64];

/// Tokens in a whole pyramid, Σ p².
pub fn pyramid_tokens(pyramid: &[usize]) -> usize {
    pyramid.iter().map(|side| side * side).sum()
}
