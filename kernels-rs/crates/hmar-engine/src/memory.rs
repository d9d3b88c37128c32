//! What a model or tokenizer takes of its device besides weights.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytemuck::Pod;
use hmar_error::Result;
use hmar_ops::{ALIGNMENT, Backend};

/// One piece of device memory in which buffers get places, one after another. Buffers that are never in use at the same time
/// may get the same: see [`Arena::over`].
pub(crate) struct Arena<'a, B: Backend> {
    pub(crate) backend: &'a B,
    memory: B::Memory,
    places: Places,
    /// Buffers are empty, and only the end matters.
    measures: bool,
}

impl<'a, B: Backend> Arena<'a, B> {
    /// What `build` makes, in a piece of memory just as large as that takes, and its bytes.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`; those of `build`.
    pub(crate) fn fill<T>(backend: &'a B, build: impl Fn(&Self) -> Result<T>) -> Result<(T, u64)> {
        let bytes = Self::measure(backend, &build)?;
        let arena = Self::new(backend, backend.reserve(bytes as usize)?, false);
        Ok((build(&arena)?, bytes))
    }

    /// Bytes that [`Arena::fill`] takes.
    ///
    /// # Errors
    /// Those of `build`.
    pub(crate) fn measure<T>(backend: &'a B, build: impl Fn(&Self) -> Result<T>) -> Result<u64> {
        let arena = Self::new(backend, backend.reserve(0)?, true);
        build(&arena)?;
        Ok(arena.places.end.get() as u64)
    }

    fn new(backend: &'a B, memory: B::Memory, measures: bool) -> Self {
        Arena { backend, memory, places: Places::default(), measures }
    }

    /// A buffer behind what was placed before.
    pub(crate) fn place<T: Pod + Send + Sync>(&self, length: usize) -> Result<B::Buffer<T>> {
        let start = self.places.take(length * size_of::<T>());
        let (start, length) = if self.measures { (0, 0) } else { (start, length) };
        self.backend.place(&self.memory, start, length)
    }

    /// Activations behind what was placed before.
    pub(crate) fn place_features(&self, length: usize) -> Result<B::Features> {
        let start = self.places.take(length * self.backend.feature_bytes());
        let (start, length) = if self.measures { (0, 0) } else { (start, length) };
        self.backend.place_features(&self.memory, start, length)
    }

    /// Where the next place begins.
    pub(crate) fn here(&self) -> Place {
        Place(self.places.next.get())
    }

    /// Lets `work` place what is in use only while what lies from `start` on is not, and the other way round: it gets the same
    /// places, where the device's buffers may share them. What comes later lies behind both.
    ///
    /// # Errors
    /// Those of `work`.
    pub(crate) fn over<T>(&self, start: Place, work: impl FnOnce() -> Result<T>) -> Result<T> {
        if B::SHARES_PLACES { self.places.over(start, work) } else { work() }
    }
}

/// Where a place begins.
#[derive(Clone, Copy)]
pub(crate) struct Place(usize);

impl Place {
    /// Where one may begin that leaves so many bytes free.
    pub(crate) fn behind(self, bytes: usize) -> Place {
        Place((self.0 + bytes).next_multiple_of(ALIGNMENT))
    }

    /// Bytes from here to a later one.
    pub(crate) fn up_to(self, later: Place) -> usize {
        later.0.saturating_sub(self.0)
    }
}

/// Where the next place begins, and where all that were taken end.
#[derive(Default)]
struct Places {
    next: Cell<usize>,
    end: Cell<usize>,
}

impl Places {
    fn take(&self, bytes: usize) -> usize {
        let start = self.next.get();
        self.next.set((start + bytes).next_multiple_of(ALIGNMENT));
        self.end.set(self.end.get().max(self.next.get()));
        start
    }

    fn over<T>(&self, Place(start): Place, work: impl FnOnce() -> T) -> T {
        let behind = self.next.replace(start);
        let worked = work();
        self.next.set(self.next.get().max(behind));
        worked
    }
}

/// A part of a total, which goes with it.
pub(crate) struct Claim {
    total: Arc<AtomicU64>,
    bytes: u64,
}

impl Claim {
    /// Adds `bytes` to `total`, for as long as the claim lives.
    pub(crate) fn new(total: &Arc<AtomicU64>, bytes: u64) -> Self {
        total.fetch_add(bytes, Ordering::Relaxed);
        Claim { total: Arc::clone(total), bytes }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.total.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use hmar_ops::CpuBackend;

    use super::*;

    #[test]
    fn places_follow_one_another_unless_their_times_do_not_meet() {
        let places = Places::default();
        assert_eq!([places.take(1), places.take(300), places.take(256)], [0, 256, 768]);
        let start = Place(256);
        // Shorter than what lies there, and longer.
        assert_eq!(places.over(start, || [places.take(256), places.take(10)]), [256, 512]);
        assert_eq!(places.take(1), 1024);
        assert_eq!(places.over(start, || places.take(2_000)), 256);
        assert_eq!(places.take(0), 2_304);
        assert_eq!(places.end.get(), 2_304);
        assert_eq!(start.behind(1).0, 512);
    }

    #[test]
    fn the_cpu_shares_nothing_and_counts_all() {
        let backend = CpuBackend::new(Some(1)).unwrap();
        let build = |arena: &Arena<'_, CpuBackend>| {
            let start = arena.here();
            let first = arena.place::<f32>(100)?;
            Ok((first, arena.over(start, || arena.place_features(10))?))
        };
        let ((mut first, mut second), bytes) = Arena::fill(&backend, build).unwrap();
        assert_eq!((bytes, Arena::measure(&backend, build).unwrap()), (768, 768));
        first.as_mut_slice().fill(1.0);
        second.as_mut_slice().fill(2.0);
        assert_eq!((first.as_slice(), second.as_slice()), (&[1.0; 100][..], &[2.0; 10][..]));
    }
}
