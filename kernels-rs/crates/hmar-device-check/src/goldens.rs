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

fn open(world: &World, name: &str) -> Result<golden::Golden> {
    golden::Golden::open(
        &Path::new(&world.options.fixtures).join(format!("fixtures/golden/{name}.safetensors")),
    )
}
