//! Linear layers: products with the epilogues of the blocks.

use std::sync::Arc;

use hmar_error::{Code, Error, Result};
use hmar_ops::LinearOutput;

use crate::backend::CudaBackend;
use crate::buffer::CudaBuffer;
use crate::context::Context;
use crate::features::CudaFeatures;
use crate::matrix::CudaMatrix;

/// What the products keep with an open device.
pub(crate) struct State {}

impl State {
    /// Prepares the products.
    pub(crate) fn new(context: &Arc<Context>) -> Result<Self> {
        let _ = context;
        Ok(State {})
    }
}

/// See [`hmar_ops::Backend::linear`].
pub(crate) fn linear(
    backend: &CudaBackend,
    rows: usize,
    input: &CudaFeatures,
    weight: &CudaMatrix,
    bias: &CudaBuffer<f32>,
    out: LinearOutput<'_, CudaBackend>,
) -> Result<()> {
    let _ = (backend, rows, input, weight, bias, out);
    Err(Error::new(Code::Internal, "`linear` is not there yet."))
}

/// See [`hmar_ops::Backend::project`].
pub(crate) fn project(
    backend: &CudaBackend,
    rows: usize,
    input: &CudaBuffer<f32>,
    weight: &CudaMatrix,
    out: &mut CudaBuffer<f32>,
) -> Result<()> {
    let _ = (backend, rows, input, weight, out);
    Err(Error::new(Code::Internal, "`project` is not there yet."))
}
