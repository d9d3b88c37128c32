//! A GPU in use: its context, its one queue, its memory, and whether it still lives.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use cudarc::driver::sys::{CUdevice_attribute as Attribute, CUdeviceptr, CUstream};
use cudarc::driver::{CudaContext, CudaStream, DriverError, result};
use hmar_error::{Error, Result};

use crate::{devices, error};

thread_local! {
    /// The stream this thread records to, while it records.
    static RECORDING: Cell<Option<CUstream>> = const { Cell::new(None) };
}

/// Device memory in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// Allocated now.
    pub current: usize,
    /// The most that was allocated at once since the start or the last [`crate::CudaBackend::restart_peak`].
    pub peak: usize,
}

/// A GPU with its queue. All work of all threads goes through one stream, in call order.
pub(crate) struct Context {
    pub(crate) cuda: Arc<CudaContext>,
    stream: Arc<CudaStream>,
    /// Compute capability: major, minor.
    pub(crate) capability: (u32, u32),
    pub(crate) multiprocessors: usize,
    /// Bytes of shared memory that a block may ask for.
    pub(crate) shared_limit: usize,
    dead: OnceLock<Error>,
    allocated: AtomicUsize,
    peak: AtomicUsize,
}

impl Context {
    /// Opens a device after looking whether it can be used.
    ///
    /// # Errors
    /// `DEVICE_UNAVAILABLE` with the reason.
    pub(crate) fn open(ordinal: usize) -> Result<Arc<Self>> {
        devices::check(ordinal)?;
        let unavailable = |error: DriverError| {
            devices::unavailable(&format!("its driver answers {}", error::in_driver_words(error)))
        };
        let cuda = CudaContext::new(ordinal).map_err(unavailable)?;
        // SAFETY: buffers are used on one stream alone, which orders all that happens to them. Tracking would wait
        // for events of outside a recording while recording, which the driver refuses.
        unsafe { cuda.disable_event_tracking() };
        let attribute = |attribute| cuda.attribute(attribute).map(|value| value as usize);
        let capability = (
            attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR).map_err(unavailable)? as u32,
            attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR).map_err(unavailable)? as u32,
        );
        Ok(Arc::new(Context {
            // The default stream cannot be recorded.
            stream: cuda.new_stream().map_err(unavailable)?,
            capability,
            multiprocessors: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)
                .map_err(unavailable)?,
            shared_limit: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)
                .map_err(unavailable)?,
            dead: OnceLock::new(),
            allocated: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
            cuda,
        }))
    }

    /// The queue, where work that is done now goes.
    pub(crate) fn queue(&self) -> &Arc<CudaStream> {
        &self.stream
    }

    /// Where this thread's operations go: the queue, or what it records.
    pub(crate) fn stream(&self) -> CUstream {
        RECORDING.get().unwrap_or(self.stream.cu_stream())
    }

    /// Sends this thread's operations to `stream` while `work` runs.
    pub(crate) fn redirect<R>(&self, stream: CUstream, work: impl FnOnce() -> R) -> R {
        struct Restore(Option<CUstream>);
        impl Drop for Restore {
            fn drop(&mut self) {
                RECORDING.set(self.0);
            }
        }
        let _restore = Restore(RECORDING.replace(Some(stream)));
        work()
    }

    /// Makes the device the calling thread's own.
    ///
    /// # Errors
    /// What it died of, if it is dead.
    pub(crate) fn enter(&self) -> Result<()> {
        match self.dead.get() {
            Some(error) => Err(error.clone()),
            None => self.check("be entered", self.cuda.bind_to_thread()),
        }
    }

    /// The driver's answer in this project's words. `what` completes "the GPU could not …". An error that ends the
    /// device is remembered.
    pub(crate) fn check<T>(&self, what: &str, result: std::result::Result<T, DriverError>) -> Result<T> {
        result.map_err(|error| {
            if error::is_fatal(error) {
                return self.dead.get_or_init(|| error::dead(what, error)).clone();
            }
            if error::is_out_of_memory(error) {
                return error::out_of_memory(None, self.free());
            }
            error::failed(what, error)
        })
    }

    /// Waits until the queue is empty.
    pub(crate) fn synchronize(&self) -> Result<()> {
        self.enter()?;
        self.check("finish its work", self.stream.synchronize())
    }

    /// Bytes of device memory that are free.
    pub(crate) fn free(&self) -> Option<usize> {
        self.cuda.mem_get_info().ok().map(|(free, _)| free)
    }

    pub(crate) fn memory(&self) -> MemoryUse {
        MemoryUse { current: self.allocated.load(Ordering::Relaxed), peak: self.peak.load(Ordering::Relaxed) }
    }

    pub(crate) fn restart_peak(&self) {
        self.peak.store(self.allocated.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

fn allocate(context: &Context, bytes: usize) -> std::result::Result<CUdeviceptr, DriverError> {
    // SAFETY: the pointer is kept in a `Memory` and freed once, by its drop.
    unsafe {
        if context.cuda.has_async_alloc() {
            result::malloc_async(context.queue().cu_stream(), bytes)
        } else {
            result::malloc_sync(bytes)
        }
    }
}

/// Device memory; given back in the queue's order, so that work that still uses it ends first.
pub(crate) struct Memory {
    pointer: CUdeviceptr,
    bytes: usize,
    context: Arc<Context>,
    /// What it is a part of, if it is not its own.
    whole: Option<Arc<Memory>>,
}

impl Memory {
    /// Zeroed memory, aligned to 256 bytes.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`, with what was needed and what is free.
    pub(crate) fn zeroed(context: &Arc<Context>, bytes: usize) -> Result<Self> {
        context.enter()?;
        // Nothing may be allocated with no length at all; vector loads may read past the last element.
        let bytes = bytes
            .max(1)
            .checked_next_multiple_of(256)
            .ok_or_else(|| error::out_of_memory(Some(bytes), None))?;
        let mut allocated = allocate(context, bytes);
        if allocated.is_err_and(error::is_out_of_memory) {
            // What has been given back may still be in use by queued work.
            context.synchronize()?;
            allocated = allocate(context, bytes);
        }
        let pointer = match allocated {
            Err(error) if error::is_out_of_memory(error) => {
                return Err(error::out_of_memory(Some(bytes), context.free()));
            }
            other => context.check("allocate memory", other)?,
        };
        let now = context.allocated.fetch_add(bytes, Ordering::Relaxed) + bytes;
        context.peak.fetch_max(now, Ordering::Relaxed);
        let memory = Memory { pointer, bytes, context: context.clone(), whole: None };
        // SAFETY: the range is the memory just allocated.
        let zeroed = unsafe { result::memset_d8_async(pointer, 0, bytes, context.queue().cu_stream()) };
        context.check("clear memory", zeroed)?;
        Ok(memory)
    }

    /// A part of memory that several share.
    pub(crate) fn part(whole: &Arc<Memory>, start: usize, bytes: usize) -> Self {
        assert!(start + bytes <= whole.bytes, "it lies within");
        let pointer = whole.pointer + start as CUdeviceptr;
        Memory { pointer, bytes, context: whole.context.clone(), whole: Some(Arc::clone(whole)) }
    }

    pub(crate) fn pointer(&self) -> CUdeviceptr {
        self.pointer
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn context(&self) -> &Arc<Context> {
        &self.context
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if self.whole.is_some() {
            return;
        }
        self.context.allocated.fetch_sub(self.bytes, Ordering::Relaxed);
        if self.context.enter().is_err() {
            return;
        }
        // SAFETY: the pointer came from the matching allocation and is not used after this.
        let freed = unsafe {
            if self.context.cuda.has_async_alloc() {
                result::free_async(self.pointer, self.context.queue().cu_stream())
            } else {
                result::free_sync(self.pointer)
            }
        };
        // A drop has nobody to tell; a dead device is remembered for the next call.
        let _ = self.context.check("free memory", freed);
    }
}
