//! What generating takes of a GPU: device time, memory, and the time of every operation.

use std::sync::Arc;

use hmar_cuda::{CudaBackend, OperationTime};
use hmar_engine::{Generated, Model};
use hmar_error::Result;
use napi_derive::napi;

use crate::CancelToken;
use crate::error::to_js;
use crate::job::{Promised, start_converted};
use crate::on_device::OnDevice;
use crate::sampler::{GenerateRequest, NativeSampler};

/// Bytes of a GPU's memory that models, tokenizers and samplers of one precision take there together.
#[napi(object)]
pub struct DeviceMemory {
    /// Now.
    pub current_bytes: f64,
    /// The most since the peak was restarted.
    pub peak_bytes: f64,
}

/// Device time of all calls of one operation at one shape.
#[napi(object)]
pub struct ProfiledOperation {
    /// The operation and its dimensions.
    pub name: String,
    /// How often it was called.
    pub calls: u32,
    /// Of all calls together.
    pub microseconds: f64,
}

#[napi]
impl NativeSampler {
    /// The memory it takes of its GPU; null on the CPU.
    #[napi(catch_unwind)]
    pub fn device_memory(&self) -> napi::Result<Option<DeviceMemory>> {
        Ok(match self.open()? {
            OnDevice::Cpu(_) => None,
            OnDevice::Cuda(parts) => {
                let memory = parts.model.backend().memory();
                let (current_bytes, peak_bytes) = (memory.current as f64, memory.peak as f64);
                Some(DeviceMemory { current_bytes, peak_bytes })
            }
        })
    }

    /// Counts the peak of [`NativeSampler::device_memory`] from now on.
    #[napi(catch_unwind)]
    pub fn restart_peak(&self) -> napi::Result<()> {
        if let OnDevice::Cuda(parts) = self.open()? {
            parts.model.backend().restart_peak();
        }
        Ok(())
    }

    /// Generates once with a measurement around every operation, which slows it down; the costliest first. Nothing
    /// on the CPU.
    #[napi(catch_unwind)]
    pub fn profile(
        &self,
        request: GenerateRequest,
        token: &CancelToken,
    ) -> napi::Result<Promised<Vec<OperationTime>, Vec<ProfiledOperation>>> {
        let (parts, cancel) = (self.open()?, token.cancel.clone());
        let request = parts.request(request).map_err(|error| to_js(&error))?;
        let work = move || match parts {
            OnDevice::Cpu(_) => Ok(Vec::new()),
            OnDevice::Cuda(parts) => {
                let generate = || parts.generate(&request, &cancel, &|_| {});
                parts.model.backend().profile(generate).map(|(_, operations)| operations)
            }
        };
        Ok(start_converted(work, operations_for_js))
    }
}

/// Runs a generation between two of the device's events; the milliseconds between them.
pub(crate) fn between_events(
    model: &Arc<Model<CudaBackend>>,
    generate: impl FnOnce() -> Result<Generated>,
) -> Result<(Generated, Option<f64>)> {
    let mut generated = Generated::default();
    let milliseconds = model.backend().milliseconds(|| {
        generated = generate()?;
        Ok(())
    })?;
    Ok((generated, Some(milliseconds)))
}

fn operations_for_js(operations: Vec<OperationTime>) -> Vec<ProfiledOperation> {
    operations
        .into_iter()
        .map(|OperationTime { name, calls, microseconds }| ProfiledOperation {
            name,
            calls: calls as u32,
            microseconds,
        })
        .collect()
}
