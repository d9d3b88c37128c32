//! Pictures as bytes.

use hmar_error::{Code, Error, Result};

use crate::backend::CudaBackend;
use crate::buffer::CudaBuffer;
use crate::features::CudaFeatures;

/// See [`hmar_ops::Backend::to_bytes`].
pub(crate) fn to_bytes(
    backend: &CudaBackend,
    length: usize,
    input: &CudaFeatures,
    out: &mut CudaBuffer<u8>,
) -> Result<()> {
    let _ = (backend, length, input, out);
    Err(Error::new(Code::Internal, "`to_bytes` is not there yet."))
}
