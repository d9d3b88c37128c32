//! Tensors as views of storages, and the storages as members of the archive.

use super::global::StorageType;
use super::pickle;
use super::zip::{Archive, bad_checksum};
use crate::Dtype;
use crate::file::{Extent, SharedFile};
use crate::tensor::{CHUNK, Sink};
use hmar_error::Result;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

/// The numbers of one member, which several tensors may share.
struct Storage {
    member: String,
    position: u64,
    elements: u64,
    dtype: Dtype,
    crc: u32,
    /// Whether its checksum has been found right.
    checked: AtomicBool,
}

/// Where a tensor's elements stand in its storage.
struct View {
    storage: usize,
    offset: u64,
    shape: Vec<usize>,
    strides: Vec<u64>,
}

/// A tensor's shape, the type it is stored in, and the number by which [`Storages::stream`] knows it.
pub(super) struct Placed {
    pub shape: Vec<usize>,
    pub dtype: Dtype,
    pub view: usize,
}

/// All storages that tensors use, and how they use them.
#[derive(Default)]
pub(super) struct Storages {
    storages: Vec<Storage>,
    by_key: HashMap<String, usize>,
    views: Vec<View>,
}

impl Storages {
    /// Takes a tensor in, after checking that it lies within its storage, and the storage within the archive.
    pub fn place(
        &mut self,
        file: &SharedFile,
        archive: &Archive,
        name: &str,
        tensor: &pickle::Tensor<'_>,
    ) -> Result<Placed> {
        let storage = self.storage(file, archive, name, &tensor.storage)?;
        let Storage { elements: available, dtype, .. } = self.storages[storage];
        let outside = || {
            file.corrupt(format_args!("the tensor `{name}` reaches out of its storage"))
                .found(format_args!(
                    "shape {:?}, strides {:?}, offset {}",
                    tensor.shape, tensor.strides, tensor.offset
                ))
                .expected(format_args!("at most {available} elements"))
        };
        let elements = tensor.shape.iter().try_fold(1u64, |product, size| product.checked_mul(*size));
        // An expanded tensor would have more elements than its storage: none that holds weights does.
        if elements.is_none_or(|elements| elements > available) || tensor.offset > available {
            return Err(outside());
        }
        if elements != Some(0) {
            let mut steps = tensor.shape.iter().zip(&tensor.strides);
            let last = steps.try_fold(tensor.offset, |last, (size, stride)| {
                last.checked_add((size - 1).checked_mul(*stride)?)
            });
            if last.is_none_or(|last| last >= available) {
                return Err(outside());
            }
        }
        // Now no dimension exceeds the storage, whose bytes are in the file.
        let shape: Vec<usize> = tensor.shape.iter().map(|size| *size as usize).collect();
        // The stride of a dimension of one is never taken, and may be anything.
        let strides =
            shape.iter().zip(&tensor.strides).map(|(size, stride)| if *size == 1 { 0 } else { *stride });
        let strides = strides.collect();
        self.views.push(View { storage, offset: tensor.offset, shape: shape.clone(), strides });
        Ok(Placed { shape, dtype, view: self.views.len() - 1 })
    }

    fn storage(
        &mut self,
        file: &SharedFile,
        archive: &Archive,
        name: &str,
        storage: &pickle::Storage<'_>,
    ) -> Result<usize> {
        let dtype = match storage.kind {
            StorageType::Weights(dtype) => dtype,
            StorageType::Other(found) => {
                return Err(file
                    .refused(format_args!("the tensor `{name}` is of a type that weights do not have"))
                    .found(found)
                    .expected("float32, float16, bfloat16 or int64"));
            }
        };
        if let Some(&known) = self.by_key.get(storage.key) {
            let Storage { dtype: same, elements, .. } = self.storages[known];
            if same != dtype || elements != storage.elements {
                return Err(
                    file.corrupt(format_args!("the storage `{}` is described in two ways", storage.key))
                );
            }
            return Ok(known);
        }
        let member = format!("data/{}", storage.key);
        let Some(found) = archive.member(&member) else {
            return Err(
                file.corrupt(format_args!("`{member}`, the storage of the tensor `{name}`, is missing"))
            );
        };
        if storage.elements.checked_mul(dtype.size() as u64) != Some(found.bytes) {
            return Err(file
                .corrupt(format_args!("`{member}`, the storage of the tensor `{name}`, has the wrong size"))
                .found(format_args!("{} bytes", found.bytes))
                .expected(format_args!("{} elements of {dtype}", storage.elements)));
        }
        self.storages.push(Storage {
            member,
            position: found.position,
            elements: storage.elements,
            dtype,
            crc: found.crc,
            checked: AtomicBool::new(false),
        });
        self.by_key.insert(storage.key.to_string(), self.storages.len() - 1);
        Ok(self.storages.len() - 1)
    }

    /// Streams a tensor, as [`crate::TensorSource::stream`] says. The storage's checksum is computed on the way where
    /// the tensor is all of it, and once beforehand where it is not.
    pub fn stream(&self, file: &SharedFile, view: usize, chunk: usize, sink: &mut Sink<'_>) -> Result<()> {
        let view = &self.views[view];
        let storage = &self.storages[view.storage];
        let elements: usize = view.shape.iter().product();
        if view.is_contiguous() {
            if elements as u64 == storage.elements {
                return storage.stream_whole(file, chunk, sink);
            }
            storage.check_once(file)?;
            return file.stream(storage.extent(view.offset, elements), chunk, &mut |_| (), sink);
        }
        storage.check_once(file)?;
        let last: u64 =
            view.shape.iter().zip(&view.strides).map(|(size, stride)| (*size as u64 - 1) * stride).sum();
        let mut span = Vec::with_capacity(last as usize + 1);
        file.stream(storage.extent(view.offset, last as usize + 1), CHUNK, &mut |_| (), &mut |values| {
            span.extend_from_slice(values);
            Ok(())
        })?;
        view.gather(&span, chunk, sink)
    }
}

impl Storage {
    fn extent(&self, offset: u64, elements: usize) -> Extent {
        Extent { position: self.position + offset * self.dtype.size() as u64, elements, dtype: self.dtype }
    }

    fn stream_whole(&self, file: &SharedFile, chunk: usize, sink: &mut Sink<'_>) -> Result<()> {
        let mut crc = crc32fast::Hasher::new();
        file.stream(self.extent(0, self.elements as usize), chunk, &mut |bytes| crc.update(bytes), sink)?;
        if crc.finalize() != self.crc {
            return Err(bad_checksum(file, &self.member));
        }
        self.checked.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn check_once(&self, file: &SharedFile) -> Result<()> {
        if self.checked.load(Ordering::Relaxed) {
            Ok(())
        } else {
            self.stream_whole(file, CHUNK, &mut |_| Ok(()))
        }
    }
}

impl View {
    /// Whether elements stand next to each other in row-major order.
    fn is_contiguous(&self) -> bool {
        let mut expected = 1;
        let dimensions = self.shape.iter().zip(&self.strides).rev();
        self.shape.contains(&0)
            || dimensions.filter(|(size, _)| **size != 1).all(|(size, stride)| {
                let fits = *stride == expected;
                expected *= *size as u64;
                fits
            })
    }

    /// Hands the elements over in row-major order; `span` starts at the first of them.
    fn gather(&self, span: &[f32], chunk: usize, sink: &mut Sink<'_>) -> Result<()> {
        let mut indices = vec![0usize; self.shape.len()];
        let mut position = 0usize;
        let mut remaining: usize = self.shape.iter().product();
        let mut values = vec![0.0; chunk.min(remaining)];
        while remaining > 0 {
            let values = &mut values[..chunk.min(remaining)];
            for value in values.iter_mut() {
                *value = span[position];
                self.advance(&mut indices, &mut position);
            }
            sink(values)?;
            remaining -= values.len();
        }
        Ok(())
    }

    fn advance(&self, indices: &mut [usize], position: &mut usize) {
        for dimension in (0..indices.len()).rev() {
            let stride = self.strides[dimension] as usize;
            indices[dimension] += 1;
            *position += stride;
            if indices[dimension] < self.shape[dimension] {
                return;
            }
            *position -= stride * self.shape[dimension];
            indices[dimension] = 0;
        }
    }
}
