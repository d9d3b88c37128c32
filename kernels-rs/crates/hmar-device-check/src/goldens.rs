//! Whole networks and generations on the GPU against the repository's goldens.
//!
//! In float32 the specification's tolerances hold (5). In bfloat16 the error is that of the roundings: relative
//! errors are measured and bounded, and the loss may not move.

mod golden;
mod invariance;
mod stacks;
mod stepping;
mod synthetic;
mod tiny;

use std::path::Path;
use std::sync::Arc;

use hmar_cuda::CudaBackend;
use hmar_engine::{Cancel, LoadOptions};
use hmar_error::Result;
use hmar_ops::Precision;

use crate::part::{Part, World};

/// The parts.
pub fn parts() -> Vec<Part> {
    let shapes =
        tiny::parts().into_iter().chain(stepping::parts()).chain(invariance::parts()).chain(stacks::parts());
    synthetic::parts().into_iter().chain(shapes).collect()
}

fn gpu(world: &World, precision: Precision) -> Result<Arc<CudaBackend>> {
    Ok(Arc::new(CudaBackend::open(world.options.device, precision)?))
}

/// What is multiplied in, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    /// As the library finds it fastest.
    Plain(Precision),
    /// The blocks' layers in FP8, the rest in bfloat16.
    Fp8,
    /// In bfloat16, every picture as if it were alone.
    BatchInvariant,
}

impl Arithmetic {
    /// Of everything but the blocks' layers.
    pub fn precision(self) -> Precision {
        match self {
            Arithmetic::Plain(precision) => precision,
            Arithmetic::Fp8 | Arithmetic::BatchInvariant => Precision::Bf16,
        }
    }

    /// A GPU that computes so.
    pub fn open(self, device: usize) -> Result<CudaBackend> {
        let backend = CudaBackend::open(device, self.precision())?;
        Ok(if self == Arithmetic::BatchInvariant { backend.with_batch_invariance() } else { backend })
    }

    /// Loads weights for it.
    pub fn load_options(self) -> LoadOptions<'static> {
        LoadOptions { fp8_blocks: self == Arithmetic::Fp8, ..load_options(self.precision()) }
    }
}

/// Loads without limits.
pub fn load_options(precision: Precision) -> LoadOptions<'static> {
    LoadOptions {
        precision,
        fp8_blocks: false,
        allow_non_finite: false,
        cancel: Cancel::default(),
        progress: &|_, _| {},
    }
}

fn open(world: &World, name: &str) -> Result<golden::Golden> {
    golden::Golden::open(
        &Path::new(&world.options.fixtures).join(format!("fixtures/golden/{name}.safetensors")),
    )
}
