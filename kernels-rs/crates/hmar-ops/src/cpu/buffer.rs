//! Memory aligned to cache lines, so that no vector load straddles two of them.

use bytemuck::{Pod, Zeroable};
use std::marker::PhantomData;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// A fixed number of elements, zeroed when made.
pub struct CpuBuffer<T> {
    lines: Vec<Line>,
    length: usize,
    element: PhantomData<T>,
}

impl<T: Pod> CpuBuffer<T> {
    /// A zeroed buffer; `None` when memory runs out.
    pub fn zeroed(length: usize) -> Option<Self> {
        let lines = length.checked_mul(size_of::<T>())?.div_ceil(size_of::<Line>());
        Some(CpuBuffer {
            lines: bytemuck::allocation::try_zeroed_vec(lines).ok()?,
            length,
            element: PhantomData,
        })
    }

    /// The elements.
    pub fn as_slice(&self) -> &[T] {
        &bytemuck::cast_slice(&self.lines)[..self.length]
    }

    /// The elements, to be written.
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.length]
    }
}
