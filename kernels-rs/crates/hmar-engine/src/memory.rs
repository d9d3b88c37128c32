//! What a model or tokenizer takes of its device besides weights.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytemuck::Pod;
use hmar_error::Result;
use hmar_ops::{Backend, Overlapping};

/// Allocates on a device, and counts.
pub(crate) struct Allocator<'a, B: Backend> {
    backend: &'a B,
    bytes: Cell<u64>,
}

impl<'a, B: Backend> Allocator<'a, B> {
    pub(crate) fn new(backend: &'a B) -> Self {
        Allocator { backend, bytes: Cell::new(0) }
    }

    pub(crate) fn allocate<T: Pod + Send + Sync>(&self, length: usize) -> Result<B::Buffer<T>> {
        let buffer = self.backend.allocate(length)?;
        self.count(length * size_of::<T>());
        Ok(buffer)
    }

    pub(crate) fn allocate_features(&self, length: usize) -> Result<B::Features> {
        let features = self.backend.allocate_features(length)?;
        self.count(length * self.backend.feature_bytes());
        Ok(features)
    }

    pub(crate) fn allocate_overlapping(&self, features: [usize; 2], floats: usize) -> Result<Overlapping<B>> {
        let overlapping = self.backend.allocate_overlapping(features, floats)?;
        self.count(overlapping.bytes);
        Ok(overlapping)
    }

    fn count(&self, bytes: usize) {
        self.bytes.set(self.bytes.get() + bytes as u64);
    }

    /// Adds what was allocated to `total`, for as long as the claim lives.
    pub(crate) fn claim(&self, total: &Arc<AtomicU64>) -> Claim {
        let bytes = self.bytes.get();
        total.fetch_add(bytes, Ordering::Relaxed);
        Claim { total: Arc::clone(total), bytes }
    }
}

/// A part of a total, which goes with it.
pub(crate) struct Claim {
    total: Arc<AtomicU64>,
    bytes: u64,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.total.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
