//! Multi-head attention.

use hmar_error::{Code, Error, Result};
use hmar_ops::{AttentionShape, Scores};

use crate::backend::CudaBackend;
use crate::features::CudaFeatures;

/// See [`hmar_ops::Backend::attention`].
pub(crate) fn attention(
    backend: &CudaBackend,
    shape: AttentionShape<'_>,
    qkv: &CudaFeatures,
    scores: Scores<'_, CudaBackend>,
    out: &mut CudaFeatures,
) -> Result<()> {
    let _ = (backend, shape, qkv, scores, out);
    Err(Error::new(Code::Internal, "`attention` is not there yet."))
}

/// See [`hmar_ops::Backend::append_rows`].
#[allow(clippy::too_many_arguments, reason = "the trait says which")]
pub(crate) fn append_rows(
    backend: &CudaBackend,
    sequences: usize,
    rows: usize,
    width: usize,
    source: &CudaFeatures,
    cache: &mut CudaFeatures,
    capacity: usize,
    at: usize,
) -> Result<()> {
    let _ = (backend, sequences, rows, width, source, cache, capacity, at);
    Err(Error::new(Code::Internal, "`append_rows` is not there yet."))
}
