//! A slice whose parts several threads write at once.

use std::marker::PhantomData;

/// Hands out parts of a slice that the caller keeps from overlapping: tiles of a product are columns of rows,
/// which safe splitting cannot express.
pub(super) struct Disjoint<'a> {
    start: *mut f32,
    length: usize,
    slice: PhantomData<&'a mut [f32]>,
}

// SAFETY: access goes through `slice`, whose callers keep parts from overlapping.
unsafe impl Sync for Disjoint<'_> {}

impl<'a> Disjoint<'a> {
    pub(super) fn new(slice: &'a mut [f32]) -> Self {
        Disjoint { start: slice.as_mut_ptr(), length: slice.len(), slice: PhantomData }
    }

    /// # Safety
    /// No two parts in use at once overlap.
    #[allow(clippy::mut_from_ref, reason = "that is what this type is for; the caller keeps parts apart")]
    pub(super) unsafe fn slice(&self, at: usize, length: usize) -> &'a mut [f32] {
        assert!(at + length <= self.length);
        // SAFETY: within the slice by the assertion, alone by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(at), length) }
    }
}
