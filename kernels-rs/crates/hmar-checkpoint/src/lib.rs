//! Reads HMAR and VAR checkpoints: PyTorch `.pth` archives and `.safetensors`. Everything is checked before it is
//! believed and nothing in a file is ever executed. Writes `.safetensors`.
//!
//! ```no_run
//! use hmar_checkpoint::{CHUNK, ModelCheckpoint, OpenModel, TensorSource};
//!
//! # fn main() -> hmar_error::Result<()> {
//! let model = ModelCheckpoint::open(&OpenModel::at("hmar-d16.pth"))?;
//! println!("{:?}: {} blocks", model.config.layout, model.config.depth);
//! model.source.stream("class_emb.weight", CHUNK, &mut |values| {
//!     println!("{} values", values.len());
//!     Ok(())
//! })
//! # }
//! ```

#![forbid(unsafe_code)]

mod assemble;
mod checkpoint;
mod config;
mod convert;
mod digest;
mod file;
mod finite;
mod infer;
mod inspect;
mod license;
mod locate;
mod model;
mod names;
mod pth;
mod safetensors;
mod sniff;
mod synthesize;
mod synthetic;
mod tensor;
mod tokenizer;
mod view;

pub use checkpoint::{Checkpoint, Format, Part, open, open_bytes};
pub use config::{
    ConfigFile, Layout, ModelConfig, ModelSection, PYRAMID_256, PYRAMID_512, PYRAMID_1024, TokenizerConfig,
    TokenizerSection, pyramid_tokens,
};
pub use convert::{Convert, Converted, convert};
pub use finite::{all_finite, non_finite_weight};
pub use inspect::{Inspection, Kind, inspect};
pub use locate::find_tokenizer_beside;
pub use model::{ModelCheckpoint, OpenModel};
pub use names::{is_constant, model_tensors, tokenizer_tensors};
pub use safetensors::{Progress, StoreAs, WriteOptions, write_safetensors};
pub use synthesize::{Synthesize, synthesize};
pub use synthetic::Synthetic;
pub use tensor::{CHUNK, Dtype, Sink, TensorInfo, TensorSource};
pub use tokenizer::TokenizerCheckpoint;
