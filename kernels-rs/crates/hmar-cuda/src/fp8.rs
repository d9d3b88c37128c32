//! Products in FP8: weights in e4m3 with a scale an output, inputs rounded to e4m3 with a scale a row.

use hmar_error::{Code, Error, Result};
use hmar_ops::{MatrixShape, Precision, no_fp8};

use crate::backend::CudaBackend;
use crate::features::E4m3Rows;
use crate::kernels::{DevicePointer, Kernels, Place};
use crate::matrix::{CudaMatrix, Elements};

/// The capability whose products take a scale a row and a scale an output.
const CAPABILITY: (u32, u32) = (9, 0);

/// Threads of a row's block.
const THREADS: usize = 128;

/// Inputs and outputs come in so many.
const GRAIN: usize = 16;

/// Whether a matrix can be multiplied with in FP8.
///
/// # Errors
/// `DEVICE_UNAVAILABLE` when nothing can here; `CONFIG_INVALID` when this shape cannot.
pub(crate) fn check(backend: &CudaBackend, MatrixShape { outputs, inputs, taps }: MatrixShape) -> Result<()> {
    let (major, minor) = backend.context.capability;
    if (major, minor) != CAPABILITY {
        return Err(no_fp8(format!("compute capability {major}.{minor}")));
    }
    if backend.precision() == Precision::F32 {
        return Err(no_fp8("activations in float32"));
    }
    match &backend.library {
        None => return Err(no_fp8("no cuBLASLt")),
        Some(library) if !library.scales_rows() => return Err(no_fp8("an older cuBLASLt")),
        Some(_) => {}
    }
    if outputs.is_multiple_of(GRAIN) && inputs.is_multiple_of(GRAIN) && taps == 1 {
        return Ok(());
    }
    Err(Error::new(Code::ConfigInvalid, "A layer's shape cannot be multiplied in FP8.")
        .found(format!("{inputs} inputs, {outputs} outputs"))
        .expected(format!("multiples of {GRAIN}"))
        .remedy("Choose dtype 'bf16'."))
}

/// Whether a layer multiplies in FP8.
pub(crate) fn is_e4m3(reader: Option<&CudaMatrix>) -> bool {
    reader.is_some_and(|weight| weight.elements() == Elements::E4m3)
}

/// Rounds rows of bfloat16 to e4m3, each relative to its own scale. `largest_norm`, zero before, is made as large as the
/// largest Euclidean norm of a row.
pub(crate) fn quantize_rows(
    kernels: &Kernels,
    [rows, width]: [usize; 2],
    input: &impl DevicePointer,
    out: &E4m3Rows,
    largest_norm: Option<&Place>,
) -> Result<()> {
    let launch = kernels.launch("quantize_rows", rows, THREADS)?.overlapping();
    let launch = launch.read(input).read(&out.numbers).read(&out.scales).read_optional(largest_norm);
    // SAFETY: input and output hold `rows` rows of `width` numbers, a multiple of 8, the scales one for each; whoever names
    // places to write to has them to itself.
    unsafe { launch.count(width).submit() }
}
