//! Memory a thread keeps between operations.

use std::cell::RefCell;

use super::buffer::CpuBuffer;
use super::kernel::{Instructions, Packed};

/// A buffer that grows to the largest size asked of it and stays there.
pub(super) struct Grown(CpuBuffer<f32>);

impl Grown {
    fn new() -> Self {
        Grown(CpuBuffer::zeroed(0).expect("nothing fits in memory"))
    }

    /// The first `length` elements, their values unspecified.
    pub(super) fn at_least(&mut self, length: usize) -> &mut [f32] {
        if self.0.as_slice().len() < length {
            self.0 = CpuBuffer::zeroed(length).expect("a thread's workspace fits in memory");
        }
        &mut self.0.as_mut_slice()[..length]
    }
}

/// What one thread needs for products and attention.
pub(super) struct Workspace {
    pub(super) packed: Packed,
    pub(super) sums: Grown,
    pub(super) keys: Grown,
    pub(super) values: Grown,
    pub(super) scores: Grown,
}

impl Workspace {
    /// Runs `work` with this thread's workspace. Threads belong to one backend, and so to one set of instructions.
    pub(super) fn with<R>(instructions: Instructions, work: impl FnOnce(&mut Workspace) -> R) -> R {
        thread_local! {
            static WORKSPACE: RefCell<Option<Box<Workspace>>> = const { RefCell::new(None) };
        }
        WORKSPACE
            .with_borrow_mut(|slot| work(slot.get_or_insert_with(|| Box::new(Workspace::new(instructions)))))
    }

    fn new(instructions: Instructions) -> Self {
        Workspace {
            packed: Packed::new(instructions),
            sums: Grown::new(),
            keys: Grown::new(),
            values: Grown::new(),
            scores: Grown::new(),
        }
    }
}
