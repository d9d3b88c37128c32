//! The operations HMAR is made of: one trait, [`Backend`], and its implementation for the CPU.
//!
//! The engine is written once against the trait; a device joins by implementing it.

mod backend;
pub mod cpu;
pub mod math;
mod path;
pub mod philox;
pub mod sampling;

pub use backend::*;
pub use cpu::CpuBackend;
pub use path::{Linear, Path, PathBlock, PathBuffers};
