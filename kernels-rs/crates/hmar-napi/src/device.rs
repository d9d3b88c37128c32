//! Which devices there are, and the CPU as one of them.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use hmar_error::{Code, Error, Result};
use hmar_ops::{CpuBackend, Precision};
use napi_derive::napi;

/// A device, and whether it can be used.
#[napi(object)]
pub struct DeviceReport {
    /// `cpu`, or `cuda:n`.
    pub id: String,
    /// `cpu` or `cuda`.
    pub kind: String,
    /// What it is called.
    pub name: String,
    /// Whether it can be used.
    pub available: bool,
    /// Why it cannot.
    pub reason: Option<String>,
    /// Worker threads of the CPU.
    pub threads: Option<u32>,
    /// Vector extensions in use.
    pub features: Vec<String>,
}

/// The devices of this machine.
#[napi]
pub fn inspect_devices() -> napi::Result<Vec<DeviceReport>> {
    let cpu = cpu(None).map_err(|error| crate::error::to_js(&error))?;
    Ok(vec![
        DeviceReport {
            id: "cpu".into(),
            kind: "cpu".into(),
            name: format!("{} processor", std::env::consts::ARCH),
            available: true,
            reason: None,
            threads: Some(cpu.threads() as u32),
            features: cpu.features().iter().map(ToString::to_string).collect(),
        },
        DeviceReport {
            id: "cuda".into(),
            kind: "cuda".into(),
            name: "NVIDIA GPU".into(),
            available: false,
            reason: Some("this version of @hmar/native computes on the CPU only".into()),
            threads: None,
            features: vec![],
        },
    ])
}

/// The CPU with so many threads. Whoever asks for the same number shares them, so that two samplers do not fight
/// for the cores.
pub(crate) fn cpu(threads: Option<u32>) -> Result<Arc<CpuBackend>> {
    static POOLS: LazyLock<Mutex<HashMap<Option<u32>, Weak<CpuBackend>>>> = LazyLock::new(Mutex::default);
    let mut pools = POOLS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(backend) = pools.get(&threads).and_then(Weak::upgrade) {
        return Ok(backend);
    }
    let backend = Arc::new(CpuBackend::new(threads.map(|threads| threads as usize))?);
    pools.insert(threads, Arc::downgrade(&backend));
    Ok(backend)
}

/// A precision by its name.
pub(crate) fn precision(dtype: &str) -> Result<Precision> {
    match dtype {
        "f32" => Ok(Precision::F32),
        "bf16" => Ok(Precision::Bf16),
        other => Err(Error::new(Code::ArgumentOutOfRange, "The dtype is unknown.")
            .found(other)
            .expected("f32 or bf16")),
    }
}
