//! Reads HMAR and VAR checkpoints: PyTorch `.pth` archives and `.safetensors`. Everything is checked before it is
//! believed and nothing in a file is ever executed. Writes `.safetensors`.

mod config;
mod finite;
mod model;
mod names;
mod synthetic;
mod tensor;
mod tokenizer;

pub use config::{
    Layout, ModelConfig, PYRAMID_256, PYRAMID_512, PYRAMID_1024, TokenizerConfig, pyramid_tokens,
};
pub use finite::{all_finite, non_finite_weight};
pub use model::{ModelCheckpoint, OpenModel};
pub use names::{is_constant, model_tensors, tokenizer_tensors};
pub use synthetic::Synthetic;
pub use tensor::{CHUNK, Dtype, Sink, TensorInfo, TensorSource};
pub use tokenizer::TokenizerCheckpoint;
