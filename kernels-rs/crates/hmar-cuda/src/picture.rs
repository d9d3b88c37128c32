//! Pictures as bytes.

use hmar_error::Result;

use crate::backend::CudaBackend;
use crate::buffer::CudaBuffer;
use crate::features::CudaFeatures;

const THREADS: usize = 256;

/// See [`hmar_ops::Backend::to_bytes`].
pub(crate) fn to_bytes(
    backend: &CudaBackend,
    length: usize,
    input: &CudaFeatures,
    out: &mut CudaBuffer<u8>,
) -> Result<()> {
    let launch = backend.launch_features("to_bytes", length.div_ceil(THREADS), THREADS)?;
    // SAFETY: both hold `length` elements.
    unsafe { launch.read(input).write(out).count(length).submit() }
}
