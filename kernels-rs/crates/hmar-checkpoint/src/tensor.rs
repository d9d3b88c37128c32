//! Tensors by name, and the one way to get at their values.

use hmar_error::{Code, Error, Result};
use serde::Serialize;
use std::collections::HashMap;
use std::fmt;

/// How a tensor's elements are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of a single.
    BF16,
    /// Signed 64-bit integer.
    I64,
}

impl Dtype {
    /// Bytes per element.
    pub fn size(self) -> usize {
        match self {
            Dtype::F32 => 4,
            Dtype::F16 | Dtype::BF16 => 2,
            Dtype::I64 => 8,
        }
    }

    /// Whether elements are floating-point numbers, as weights have to be.
    pub fn is_float(self) -> bool {
        self != Dtype::I64
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Dtype::F32 => "f32",
            Dtype::F16 => "f16",
            Dtype::BF16 => "bf16",
            Dtype::I64 => "i64",
        })
    }
}

/// A tensor's name, shape (row-major) and stored type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TensorInfo {
    /// The name, e.g. `class_emb.weight`.
    pub name: String,
    /// The dimensions, outermost first; empty for a scalar.
    pub shape: Vec<usize>,
    /// How the elements are stored.
    pub dtype: Dtype,
}

impl TensorInfo {
    /// A tensor of the given shape in single precision.
    pub fn f32(name: impl Into<String>, shape: &[usize]) -> Self {
        TensorInfo { name: name.into(), shape: shape.to_vec(), dtype: Dtype::F32 }
    }

    /// Number of elements. Readers refuse shapes whose product overflows, so this cannot.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Bytes as stored.
    pub fn bytes(&self) -> u64 {
        self.elements() as u64 * self.dtype.size() as u64
    }
}

/// Takes one chunk of a tensor's values; an error ends the stream.
pub type Sink<'a> = dyn FnMut(&[f32]) -> Result<()> + 'a;

/// Named tensors whose values can be streamed, by many threads at once.
pub trait TensorSource: Send + Sync {
    /// All tensors, in the file's order.
    fn tensors(&self) -> &[TensorInfo];

    /// The tensor of that name.
    fn find(&self, name: &str) -> Option<&TensorInfo>;

    /// Streams a tensor's values row-major, in order, as `f32`: every call of `sink` gets exactly `chunk` elements,
    /// the last one what is left. What the format lets one check (checksum, end of file, a file that changes
    /// underneath) is checked by the end, so what the sink took is only good once this returns `Ok`.
    ///
    /// # Errors
    /// `TENSOR_MISMATCH` for an unknown name, `CHECKPOINT_CORRUPT`, `FILE_CHANGED`, `FILE_UNREADABLE`; any error of `sink`.
    ///
    /// # Panics
    /// When `chunk` is 0.
    fn stream(&self, name: &str, chunk: usize, sink: &mut Sink<'_>) -> Result<()>;

    /// The whole tensor, row-major.
    ///
    /// # Errors
    /// Those of [`TensorSource::stream`].
    fn read(&self, name: &str) -> Result<Vec<f32>> {
        let elements = self.find(name).ok_or_else(|| unknown_tensor(name))?.elements();
        let mut values = Vec::with_capacity(elements);
        self.stream(name, CHUNK, &mut |chunk| {
            values.extend_from_slice(chunk);
            Ok(())
        })?;
        Ok(values)
    }
}

/// Elements handed over at a time where the caller has no wish of its own: half a megabyte, which stays in cache
/// between being read, checked and used.
pub const CHUNK: usize = 1 << 17;

pub(crate) fn unknown_tensor(name: &str) -> Error {
    Error::new(Code::TensorMismatch, format!("There is no tensor `{name}`."))
}

/// Positions of tensors by name.
pub(crate) fn index_by_name(tensors: &[TensorInfo]) -> HashMap<String, usize> {
    tensors.iter().enumerate().map(|(position, tensor)| (tensor.name.clone(), position)).collect()
}
