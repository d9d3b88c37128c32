//! Which NVIDIA GPUs there are, and why one cannot be used.

use cudarc::driver::sys::{self, CUdevice_attribute as Attribute, CUresult};
use cudarc::driver::{DriverError, result};
use hmar_error::{Code, Error, Result};

use crate::{error, kernels};

/// The oldest compute capability the kernels are made for: bfloat16 on tensor cores.
const OLDEST: (u32, u32) = (8, 0);

/// An NVIDIA GPU of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CudaDevice {
    /// Its number: the n of `cuda:n`.
    pub ordinal: usize,
    /// What its maker calls it.
    pub name: String,
    /// Compute capability: major, minor.
    pub capability: (u32, u32),
    /// Bytes of memory.
    pub memory: usize,
    /// The CUDA version its driver speaks: major, minor.
    pub driver: (u32, u32),
    /// Why it cannot be used, if it cannot.
    pub reason: Option<String>,
}

/// The GPUs of this machine, usable or not.
///
/// # Errors
/// `DEVICE_UNAVAILABLE` with the reason where there is no driver or no GPU.
pub fn devices() -> Result<Vec<CudaDevice>> {
    (0..count()?).map(describe).collect()
}

/// Whether a device can be used.
///
/// # Errors
/// `DEVICE_UNAVAILABLE` with the reason.
pub(crate) fn check(ordinal: usize) -> Result<()> {
    let count = count()?;
    if ordinal >= count {
        return Err(unavailable(&format!("this machine has no GPU of number {ordinal}"))
            .expected(format!("a number below {count}")));
    }
    describe(ordinal)?.reason.map_or(Ok(()), |reason| Err(unavailable(&reason)))
}

/// An error whose sentence is the reason.
pub(crate) fn unavailable(reason: &str) -> Error {
    Error::new(Code::DeviceUnavailable, "The GPU cannot be used.").found(reason)
}

fn count() -> Result<usize> {
    // SAFETY: opens the driver's library, which has no side effects beyond that.
    if !unsafe { sys::is_culib_present() } {
        return Err(unavailable("this machine has no NVIDIA driver")
            .remedy("Install NVIDIA's driver, or use the CPU."));
    }
    let counted = result::init().and_then(|()| result::device::get_count());
    match counted {
        Ok(0) | Err(DriverError(CUresult::CUDA_ERROR_NO_DEVICE)) => {
            let reason = match std::env::var("CUDA_VISIBLE_DEVICES") {
                Ok(visible) => format!("the driver finds no GPU; CUDA_VISIBLE_DEVICES is `{visible}`"),
                Err(_) => "the driver finds no GPU".to_owned(),
            };
            Err(unavailable(&reason))
        }
        Ok(count) => Ok(count as usize),
        Err(error) => Err(unavailable(&format!("its driver answers {}", error::in_driver_words(error)))),
    }
}

fn describe(ordinal: usize) -> Result<CudaDevice> {
    let unknown = |error| unavailable(&format!("its driver answers {}", error::in_driver_words(error)));
    let device = result::device::get(ordinal as i32).map_err(unknown)?;
    // SAFETY: the device is one the driver named.
    let attribute = |attribute| unsafe { result::device::get_attribute(device, attribute) }.map_err(unknown);
    let capability = (
        attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)? as u32,
        attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)? as u32,
    );
    let driver = driver_version().map_err(unknown)?;
    Ok(CudaDevice {
        ordinal,
        name: result::device::get_name(device).map_err(unknown)?,
        capability,
        // SAFETY: as above.
        memory: unsafe { result::device::total_mem(device) }.map_err(unknown)?,
        driver,
        reason: reason_against(capability, driver),
    })
}

fn driver_version() -> std::result::Result<(u32, u32), DriverError> {
    let mut version = 0;
    // SAFETY: the number is written where it is expected.
    unsafe { sys::cuDriverGetVersion(&mut version) }.result()?;
    Ok((version as u32 / 1000, version as u32 % 1000 / 10))
}

fn reason_against(capability: (u32, u32), driver: (u32, u32)) -> Option<String> {
    if kernels::kernel_names().next().is_none() {
        return Some("this program was built without GPU kernels, because nvcc was not found".to_owned());
    }
    if capability < OLDEST {
        let ((major, minor), (oldest, _)) = (capability, OLDEST);
        return Some(format!(
            "its compute capability is {major}.{minor}, and the kernels need {oldest}.0 or later"
        ));
    }
    let oldest = kernels::oldest_driver();
    (driver < oldest).then(|| {
        let ((major, minor), (oldest, _)) = (driver, oldest);
        format!(
            "its driver speaks CUDA {major}.{minor}, and the kernels need {oldest}.0: update NVIDIA's driver"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asking_never_panics_and_says_why() {
        match devices() {
            Ok(devices) => assert!(!devices.is_empty()),
            Err(error) => {
                assert_eq!(error.code, Code::DeviceUnavailable);
                assert!(error.found.is_some());
            }
        }
    }

    #[test]
    fn a_number_nobody_has_is_refused() {
        assert_eq!(check(4096).unwrap_err().code, Code::DeviceUnavailable);
    }
}
