//! The operations of [`hmar_ops::Backend`] on NVIDIA GPUs.
//!
//! Everything of NVIDIA's is opened while the program runs: the crate builds without a CUDA toolkit and loads on
//! machines without a GPU, where [`devices`] says why none is used.

mod attention;
mod attention_backward;
mod backend;
mod bias;
mod buffer;
mod context;
mod convolution;
mod devices;
mod embed;
mod error;
mod features;
mod fp8;
mod graph;
mod group_norm;
mod group_sums;
mod kernels;
mod library;
mod linear;
mod matrix;
mod norm;
mod path;
mod picture;
mod product;
mod profile;
mod quantizer;
mod sampling;
mod staging;
mod strips;
mod tensor_map;

pub use attention::{AttentionForward, Pattern};
pub use attention_backward::{AttentionBackward, AttentionGradients, AttentionInputs};
pub use backend::CudaBackend;
pub use buffer::{CudaBuffer, CudaMemory};
pub use context::MemoryUse;
pub use devices::{CudaDevice, devices};
pub use features::CudaFeatures;
pub use graph::{CudaInstant, CudaMark, CudaRecording};
pub use group_sums::CudaGroupSums;
pub use kernels::{Resources, kernel_names, resources};
pub use matrix::{CudaMatrix, CudaMatrixBuilder, Elements};
pub use profile::OperationTime;
