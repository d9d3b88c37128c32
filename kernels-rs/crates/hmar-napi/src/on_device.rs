//! What a model or tokenizer is loaded on, told apart once; everything behind it is written for any device.

use std::sync::Arc;

use hmar_cuda::CudaBackend;
use hmar_engine::{Model, Tokenizer};
use hmar_ops::CpuBackend;

/// Something on one of the devices there are.
pub enum OnDevice<C, G> {
    /// On the processor.
    Cpu(C),
    /// On an NVIDIA GPU.
    Cuda(G),
}

/// A model, wherever it is.
pub type AnyModel = OnDevice<Arc<Model<CpuBackend>>, Arc<Model<CudaBackend>>>;

/// A tokenizer, wherever it is.
pub type AnyTokenizer = OnDevice<Arc<Tokenizer<CpuBackend>>, Arc<Tokenizer<CudaBackend>>>;

impl<C: Clone, G: Clone> Clone for OnDevice<C, G> {
    fn clone(&self) -> Self {
        match self {
            OnDevice::Cpu(it) => OnDevice::Cpu(it.clone()),
            OnDevice::Cuda(it) => OnDevice::Cuda(it.clone()),
        }
    }
}

/// Evaluates an expression with whatever is on the device.
macro_rules! on_device {
    ($value:expr, $it:ident => $body:expr) => {
        match $value {
            $crate::on_device::OnDevice::Cpu($it) => $body,
            $crate::on_device::OnDevice::Cuda($it) => $body,
        }
    };
}
pub(crate) use on_device;
