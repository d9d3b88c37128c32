//! Reading weights from a checkpoint onto a device, many tensors at a time.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use hmar_checkpoint::{TensorSource, all_finite, non_finite_weight};
use hmar_error::{Code, Error, Result};
use hmar_ops::{Backend, Linear, MatrixBuilder, MatrixShape, Precision};
use rayon::prelude::*;

use crate::Cancel;

/// How weights are loaded.
pub struct LoadOptions<'a> {
    /// What the linear layers and convolutions multiply in.
    pub precision: Precision,
    /// Accept NaN and infinite weights instead of refusing them by name.
    pub allow_non_finite: bool,
    /// Ends the loading early.
    pub cancel: Cancel,
    /// Called with bytes read and bytes to read, from any thread.
    pub progress: &'a (dyn Fn(u64, u64) + Sync),
}

/// Elements read at a time where the layout does not ask for a size.
const CHUNK: usize = 1 << 16;

enum Loaded<M> {
    Matrix(M),
    Vector(Vec<f32>),
}

/// The tensors to load, and how each is used.
pub(crate) struct Wanted {
    tensors: Vec<(String, Option<Precision>)>,
    precision: Precision,
}

impl Wanted {
    pub(crate) fn new(precision: Precision) -> Self {
        Wanted { tensors: Vec::new(), precision }
    }

    /// Weights to multiply with, and the bias beside them.
    pub(crate) fn layer(&mut self, name: &str) {
        self.matrix(&format!("{name}.weight"));
        self.vector(&format!("{name}.bias"));
    }

    /// A layer that is always multiplied in float32: small, and close to what decides tokens.
    pub(crate) fn exact_layer(&mut self, name: &str) {
        self.exact_matrix(&format!("{name}.weight"));
        self.vector(&format!("{name}.bias"));
    }

    pub(crate) fn matrix(&mut self, name: &str) {
        self.tensors.push((name.to_owned(), Some(self.precision)));
    }

    pub(crate) fn exact_matrix(&mut self, name: &str) {
        self.tensors.push((name.to_owned(), Some(Precision::F32)));
    }

    pub(crate) fn vector(&mut self, name: &str) {
        self.tensors.push((name.to_owned(), None));
    }
}

/// Loaded tensors, to be taken out by name.
pub(crate) struct Weights<'a, B: Backend> {
    backend: &'a B,
    loaded: HashMap<String, Loaded<B::Matrix>>,
    bytes: u64,
}

/// A matrix and its bias.
pub(crate) struct Layer<B: Backend> {
    pub(crate) weight: B::Matrix,
    pub(crate) bias: B::Bias,
}

impl<B: Backend> Layer<B> {
    pub(crate) fn as_linear(&self) -> Linear<'_, B> {
        Linear { weight: &self.weight, bias: &self.bias }
    }
}

impl<'a, B: Backend> Weights<'a, B> {
    /// Loads what is wanted, the largest tensors first so that no thread is left with one at the end.
    pub(crate) fn load(
        backend: &'a B,
        source: &dyn TensorSource,
        wanted: Wanted,
        options: &LoadOptions<'_>,
    ) -> Result<Self> {
        let mut tensors = Vec::with_capacity(wanted.tensors.len());
        for (name, matrix) in wanted.tensors {
            let info = source.find(&name).ok_or_else(|| {
                Error::new(Code::TensorMismatch, format!("The checkpoint has no tensor `{name}`."))
            })?;
            tensors.push((name, matrix, info));
        }
        tensors.sort_by_key(|(_, _, info)| std::cmp::Reverse(info.elements()));
        let total = tensors.iter().map(|(_, _, info)| info.bytes()).sum();
        let done = AtomicU64::new(0);
        let loaded = Mutex::new(HashMap::new());
        let bytes = AtomicU64::new(0);
        backend.run(|| {
            tensors.par_iter().with_max_len(1).try_for_each(|(name, matrix, info)| {
                options.cancel.check()?;
                let tensor = match matrix {
                    Some(precision) => {
                        let shape = matrix_shape(&info.shape);
                        let mut builder = backend.matrix(shape, *precision)?;
                        let chunk = builder.chunk();
                        stream(source, name, chunk, options, &mut |values| builder.push(values))?;
                        Loaded::Matrix(builder.finish()?)
                    }
                    None => {
                        let mut vector = Vec::with_capacity(info.elements());
                        stream(source, name, CHUNK, options, &mut |values| {
                            vector.extend_from_slice(values);
                            Ok(())
                        })?;
                        Loaded::Vector(vector)
                    }
                };
                let size = if *matrix == Some(Precision::Bf16) { 2 } else { 4 };
                bytes.fetch_add(info.elements() as u64 * size, Ordering::Relaxed);
                loaded.lock().expect("no thread panics here").insert(name.clone(), tensor);
                let so_far = done.fetch_add(info.bytes(), Ordering::Relaxed) + info.bytes();
                (options.progress)(so_far, total);
                Ok(())
            })
        })?;
        let loaded = loaded.into_inner().expect("no thread panicked");
        Ok(Weights { backend, loaded, bytes: bytes.into_inner() })
    }

    /// Bytes the loaded weights take.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn matrix(&mut self, name: &str) -> B::Matrix {
        match self.loaded.remove(name) {
            Some(Loaded::Matrix(matrix)) => matrix,
            _ => unreachable!("{name} was not asked for as a matrix"),
        }
    }

    pub(crate) fn vector(&mut self, name: &str) -> Vec<f32> {
        match self.loaded.remove(name) {
            Some(Loaded::Vector(vector)) => vector,
            _ => unreachable!("{name} was not asked for as a vector"),
        }
    }

    pub(crate) fn buffer(&mut self, name: &str) -> Result<B::Buffer<f32>> {
        let vector = self.vector(name);
        self.to_device(&vector)
    }

    pub(crate) fn bias(&mut self, name: &str) -> Result<B::Bias> {
        let values = self.vector(name);
        self.backend.bias(&values)
    }

    pub(crate) fn to_device(&self, values: &[f32]) -> Result<B::Buffer<f32>> {
        let mut buffer = self.backend.allocate(values.len())?;
        self.backend.upload(values, &mut buffer)?;
        Ok(buffer)
    }

    pub(crate) fn layer(&mut self, name: &str) -> Result<Layer<B>> {
        Ok(Layer {
            weight: self.matrix(&format!("{name}.weight")),
            bias: self.bias(&format!("{name}.bias"))?,
        })
    }
}

/// `[outputs, inputs]`, or `[outputs, inputs, height, width]` of a convolution.
fn matrix_shape(shape: &[usize]) -> MatrixShape {
    MatrixShape { outputs: shape[0], inputs: shape[1], taps: shape[2..].iter().product() }
}

fn stream(
    source: &dyn TensorSource,
    name: &str,
    chunk: usize,
    options: &LoadOptions<'_>,
    take: &mut dyn FnMut(&[f32]) -> Result<()>,
) -> Result<()> {
    source.stream(name, chunk, &mut |values| {
        if !options.allow_non_finite && !all_finite(values) {
            return Err(non_finite_weight(name));
        }
        take(values)
    })
}
