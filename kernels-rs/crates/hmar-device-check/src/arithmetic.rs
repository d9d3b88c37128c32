//! What a model is multiplied in: how a GPU is opened for it, and its weights loaded.

use hmar_cuda::CudaBackend;
use hmar_engine::{Cancel, LoadOptions};
use hmar_error::{Code, Error, Result};
use hmar_ops::Precision;

/// What is multiplied in, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    /// As the library finds it fastest.
    Plain(Precision),
    /// The blocks' layers in FP8, the rest in bfloat16.
    Fp8,
    /// In bfloat16, every picture as if it were alone.
    BatchInvariant,
}

impl Arithmetic {
    /// Of everything but the blocks' layers.
    pub fn precision(self) -> Precision {
        match self {
            Arithmetic::Plain(precision) => precision,
            Arithmetic::Fp8 | Arithmetic::BatchInvariant => Precision::Bf16,
        }
    }

    /// A GPU that computes so.
    pub fn open(self, device: usize) -> Result<CudaBackend> {
        let backend = CudaBackend::open(device, self.precision())?;
        Ok(if self == Arithmetic::BatchInvariant { backend.with_batch_invariance() } else { backend })
    }

    /// Loads weights for it.
    pub fn load_options(self) -> LoadOptions<'static> {
        LoadOptions { fp8_blocks: self == Arithmetic::Fp8, ..load_options(self.precision()) }
    }
}

/// Loads without limits.
pub fn load_options(precision: Precision) -> LoadOptions<'static> {
    LoadOptions {
        precision,
        fp8_blocks: false,
        allow_non_finite: false,
        cancel: Cancel::default(),
        progress: &|_, _| {},
    }
}

/// How a model computes: `d30+fp8`, `d16+invariant`.
pub fn arithmetic_of(model: &str) -> Result<(&str, Arithmetic)> {
    match model.split_once('+') {
        None => Ok((model, Arithmetic::Plain(Precision::Bf16))),
        Some((model, "fp8")) => Ok((model, Arithmetic::Fp8)),
        Some((model, "invariant")) => Ok((model, Arithmetic::BatchInvariant)),
        Some(_) => Err(Error::new(Code::ArgumentOutOfRange, format!("`{model}` cannot be measured."))
            .expected("+fp8 or +invariant after a model")),
    }
}
