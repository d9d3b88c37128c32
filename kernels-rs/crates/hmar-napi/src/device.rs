//! Which devices there are, and each of them opened once.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use hmar_cuda::{CudaBackend, CudaDevice};
use hmar_error::{Code, Error, Result};
use hmar_ops::{CpuBackend, Precision};
use napi_derive::napi;

use crate::on_device::OnDevice;

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
#[napi(catch_unwind)]
pub fn inspect_devices() -> napi::Result<Vec<DeviceReport>> {
    let cpu = cpu(None).map_err(|error| crate::error::to_js(&error))?;
    let mut reports = vec![DeviceReport {
        id: "cpu".into(),
        kind: "cpu".into(),
        name: format!("{} processor", std::env::consts::ARCH),
        available: true,
        reason: None,
        threads: Some(cpu.threads() as u32),
        features: cpu.features().iter().map(ToString::to_string).collect(),
    }];
    match hmar_cuda::devices() {
        Ok(devices) => reports.extend(devices.into_iter().map(describe_gpu)),
        Err(error) => reports.push(DeviceReport {
            id: "cuda".into(),
            kind: "cuda".into(),
            name: "NVIDIA GPU".into(),
            available: false,
            reason: error.found,
            threads: None,
            features: vec![],
        }),
    }
    Ok(reports)
}

fn describe_gpu(device: CudaDevice) -> DeviceReport {
    let CudaDevice { ordinal, name, capability: (major, minor), memory, driver, reason } = device;
    DeviceReport {
        id: format!("cuda:{ordinal}"),
        kind: "cuda".into(),
        name,
        available: reason.is_none(),
        reason,
        threads: None,
        features: vec![
            format!("compute capability {major}.{minor}"),
            format!("{:.0} GB", memory as f64 / 1e9),
            format!("CUDA {}.{}", driver.0, driver.1),
        ],
    }
}

/// A device by its id and what is multiplied in there. The CPU's results are the same at any batch size as they are.
pub(crate) fn open_device(
    id: &str,
    precision: Precision,
    batch_invariant: bool,
    threads: Option<u32>,
) -> Result<OnDevice<Arc<CpuBackend>, Arc<CudaBackend>>> {
    if id == "cpu" {
        return cpu(threads).map(OnDevice::Cpu);
    }
    let ordinal = match id.strip_prefix("cuda") {
        Some("") => Some(0),
        Some(number) => number.strip_prefix(':').and_then(|number| number.parse().ok()),
        None => None,
    };
    match ordinal {
        Some(ordinal) => cuda(ordinal, precision, batch_invariant).map(OnDevice::Cuda),
        None => Err(Error::new(Code::ArgumentOutOfRange, "The device is unknown.")
            .found(id)
            .expected("cpu, cuda or cuda:n")),
    }
}

/// A GPU. Models and tokenizers of the same settings share it, and so its queue of work.
fn cuda(ordinal: usize, precision: Precision, batch_invariant: bool) -> Result<Arc<CudaBackend>> {
    static OPEN: LazyLock<Opened<(usize, Precision, bool), CudaBackend>> = LazyLock::new(Mutex::default);
    shared(&OPEN, (ordinal, precision, batch_invariant), || {
        let backend = CudaBackend::open(ordinal, precision)?;
        Ok(if batch_invariant { backend.with_batch_invariance() } else { backend })
    })
}

/// The CPU with so many threads. Whoever asks for the same number shares them, so that two samplers do not fight
/// for the cores.
pub(crate) fn cpu(threads: Option<u32>) -> Result<Arc<CpuBackend>> {
    static POOLS: LazyLock<Opened<Option<u32>, CpuBackend>> = LazyLock::new(Mutex::default);
    shared(&POOLS, threads, || CpuBackend::new(threads.map(|threads| threads as usize)))
}

/// Backends by what they were opened with, as long as anybody uses them.
type Opened<K, B> = Mutex<HashMap<K, Weak<B>>>;

/// What is open under a key already, or a new one.
fn shared<K: Eq + Hash, B>(open: &Opened<K, B>, key: K, make: impl FnOnce() -> Result<B>) -> Result<Arc<B>> {
    let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(backend) = open.get(&key).and_then(Weak::upgrade) {
        return Ok(backend);
    }
    let backend = Arc::new(make()?);
    open.insert(key, Arc::downgrade(&backend));
    Ok(backend)
}

/// How a model is multiplied, by name: the precision, and whether the blocks' layers are in FP8 instead.
pub(crate) fn dtype(name: &str) -> Result<(Precision, bool)> {
    match name {
        "fp8" => Ok((Precision::Bf16, true)),
        other => Ok((precision(other)?, false)),
    }
}

/// A precision by its name.
pub(crate) fn precision(name: &str) -> Result<Precision> {
    match name {
        "f32" => Ok(Precision::F32),
        "bf16" => Ok(Precision::Bf16),
        other => Err(Error::new(Code::ArgumentOutOfRange, "The dtype is unknown.")
            .found(other)
            .expected("f32, bf16 or fp8")),
    }
}
