//! Device memory of a fixed number of elements.

use std::marker::PhantomData;
use std::sync::Arc;

use cudarc::driver::sys::CUdeviceptr;
use hmar_error::Result;

use crate::context::{Context, Memory};
use crate::error;
use crate::kernels::DevicePointer;

/// A fixed number of elements on the GPU, zeroed when made.
pub struct CudaBuffer<T> {
    memory: Memory,
    length: usize,
    element: PhantomData<T>,
}

/// Memory in which buffers have places.
pub struct CudaMemory(Arc<Memory>);

impl CudaMemory {
    pub(crate) fn zeroed(context: &Arc<Context>, bytes: usize) -> Result<Self> {
        Ok(CudaMemory(Arc::new(Memory::zeroed(context, bytes)?)))
    }

    /// A part of it, which keeps all of it alive.
    pub(crate) fn part(&self, start: usize, bytes: usize) -> Memory {
        Memory::part(&self.0, start, bytes)
    }
}

impl<T> CudaBuffer<T> {
    /// Zeroed elements.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`
    pub(crate) fn zeroed(context: &Arc<Context>, length: usize) -> Result<Self> {
        let bytes =
            length.checked_mul(size_of::<T>()).ok_or_else(|| error::out_of_memory(None, context.free()))?;
        Ok(CudaBuffer { memory: Memory::zeroed(context, bytes)?, length, element: PhantomData })
    }

    /// So many elements, from byte `start` of memory that others may share.
    pub(crate) fn placed(whole: &CudaMemory, start: usize, length: usize) -> Self {
        let memory = whole.part(start, length * size_of::<T>());
        CudaBuffer { memory, length, element: PhantomData }
    }

    /// Elements.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }
}

impl<T> DevicePointer for CudaBuffer<T> {
    fn pointer(&self) -> CUdeviceptr {
        self.memory.pointer()
    }
}
