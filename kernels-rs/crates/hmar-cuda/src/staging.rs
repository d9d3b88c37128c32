//! Copies between the host and the device, through page-locked memory that the device reads and writes itself.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use cudarc::driver::sys::{CUdeviceptr, CUevent, CUevent_flags};
use cudarc::driver::{DriverError, result};
use hmar_error::Result;

use crate::backend::CudaBackend;
use crate::context::Context;
use crate::kernels::Argument;

/// Bytes of a block.
pub(crate) const BLOCK: usize = 2 << 20;

/// Blocks there are at most.
const BLOCKS: usize = 24;

/// Bytes that travel as a kernel's argument: no copy engine, nothing to wait for.
const INLINE: usize = 1024;

/// Blocks of page-locked memory, passed from hand to hand.
pub(crate) struct Staging {
    context: Arc<Context>,
    pool: Mutex<Pool>,
    returned: Condvar,
}

#[derive(Default)]
struct Pool {
    /// The one free for longest first.
    free: VecDeque<Block>,
    made: usize,
}

/// A block, and the points in the queue from which its halves are free again.
struct Block {
    memory: *mut u8,
    events: [CUevent; 2],
}

// SAFETY: the memory belongs to whoever holds the block; events may be used from any thread.
unsafe impl Send for Block {}

/// A block in somebody's hands; goes back when dropped.
pub(crate) struct Lease<'a> {
    staging: &'a Staging,
    /// There until the drop.
    block: Option<Block>,
}

impl Staging {
    pub(crate) fn new(context: Arc<Context>) -> Self {
        Staging { context, pool: Mutex::default(), returned: Condvar::new() }
    }

    /// A block that nothing uses any more. Waits for one when all are in use.
    pub(crate) fn lease(&self) -> Result<Lease<'_>> {
        self.context.enter()?;
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let idle = |block: &Block| {
                // SAFETY: the event lives as long as its block.
                block.events.iter().all(|&event| unsafe { result::event::query(event) }.is_ok())
            };
            let oldest_is_idle = pool.free.front().is_some_and(idle);
            if !oldest_is_idle && pool.made < BLOCKS {
                pool.made += 1;
                drop(pool);
                let made = self.context.check("lock memory for copies", make_block());
                if made.is_err() {
                    self.pool.lock().unwrap_or_else(PoisonError::into_inner).made -= 1;
                }
                return Ok(Lease { staging: self, block: Some(made?) });
            }
            if let Some(block) = pool.free.pop_front() {
                drop(pool);
                let lease = Lease { staging: self, block: Some(block) };
                (0..2).try_for_each(|half| lease.wait(half))?;
                return Ok(lease);
            }
            pool = self.returned.wait(pool).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn make_block() -> std::result::Result<Block, DriverError> {
    let event = || result::event::create(CUevent_flags::CU_EVENT_DISABLE_TIMING);
    let events = [event()?, event()?];
    // Not write-combined, which is the wrapper's default and very slow to read.
    // SAFETY: freed by the pool's drop.
    let memory = unsafe { result::malloc_host(BLOCK, 0) }?.cast();
    Ok(Block { memory, events })
}

impl Lease<'_> {
    fn block(&self) -> &Block {
        self.block.as_ref().expect("it goes back in the drop alone")
    }

    /// Its memory.
    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        let memory = self.block().memory;
        // SAFETY: `BLOCK` bytes that this lease alone holds; page-locked memory is page-aligned and the device
        // writes it only between `receive` and `wait`.
        unsafe { std::slice::from_raw_parts_mut(memory, BLOCK) }
    }

    /// Queues a copy of bytes `from ..` of the block to the device.
    pub(crate) fn send(&self, from: usize, bytes: usize, to: CUdeviceptr) -> Result<()> {
        assert!(from + bytes <= BLOCK, "the copy stays in the block");
        let Block { memory, events } = self.block();
        let context = &self.staging.context;
        let queue = context.queue().cu_stream();
        // SAFETY: the source is in the block, which nobody gets before the event; the caller names memory of so
        // many bytes.
        let copied = unsafe {
            let source = std::slice::from_raw_parts(memory.add(from), bytes);
            result::memcpy_htod_async(to, source, queue)
                .and_then(|()| result::event::record(events[usize::from(from != 0)], queue))
        };
        context.check("take a copy", copied)
    }

    /// Queues a copy from the device to the block's half; to be waited for.
    fn receive(&self, half: usize, bytes: usize, from: CUdeviceptr) -> Result<()> {
        assert!(bytes <= BLOCK / 2, "the copy stays in its half");
        let Block { memory, events } = self.block();
        let context = &self.staging.context;
        let queue = context.queue().cu_stream();
        // SAFETY: as in `send`, the other way round.
        let copied = unsafe {
            let target = std::slice::from_raw_parts_mut(memory.add(half * (BLOCK / 2)), bytes);
            result::memcpy_dtoh_async(target, from, queue)
                .and_then(|()| result::event::record(events[half], queue))
        };
        context.check("give a copy", copied)
    }

    fn wait(&self, half: usize) -> Result<()> {
        // SAFETY: the event lives as long as its block.
        let waited = unsafe { result::event::synchronize(self.block().events[half]) };
        self.staging.context.check("finish a copy", waited)
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let mut pool = self.staging.pool.lock().unwrap_or_else(PoisonError::into_inner);
        pool.free.extend(self.block.take());
        self.staging.returned.notify_one();
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // A dead device takes its page-locked memory with it.
        if self.context.synchronize().is_err() {
            return;
        }
        let pool = self.pool.get_mut().unwrap_or_else(PoisonError::into_inner);
        for Block { memory, events } in pool.free.drain(..) {
            // SAFETY: all copies are done, and nobody holds the block.
            unsafe {
                let _ = result::free_host(memory.cast());
                for event in events {
                    let _ = result::event::destroy(event);
                }
            }
        }
    }
}

/// Up to [`INLINE`] bytes as a kernel's argument.
#[repr(C)]
#[derive(Clone, Copy)]
struct Words([u32; INLINE / 4]);

// SAFETY: an array of integers in a `repr(C)` wrapper.
unsafe impl bytemuck::Zeroable for Words {}
// SAFETY: as above.
unsafe impl bytemuck::Pod for Words {}
impl Argument for Words {}

/// A place on the device as an argument.
struct Target(CUdeviceptr);

impl crate::kernels::DevicePointer for Target {
    fn pointer(&self) -> CUdeviceptr {
        self.0
    }
}

impl CudaBackend {
    /// Queues a copy of `data` to the device; `data` may change when this returns.
    pub(crate) fn send(&self, data: &[u8], to: CUdeviceptr) -> Result<()> {
        if data.len() <= INLINE {
            let mut words = Words([0; INLINE / 4]);
            bytemuck::bytes_of_mut(&mut words)[..data.len()].copy_from_slice(data);
            let launch = self.launch("store_bytes", 1, INLINE / 4)?;
            // SAFETY: the kernel writes `data.len()` bytes, for which the caller answers.
            return unsafe { launch.value(words).count(data.len()).write(&mut Target(to)).submit() };
        }
        for (index, part) in data.chunks(BLOCK).enumerate() {
            let mut lease = self.staging.lease()?;
            lease.bytes()[..part.len()].copy_from_slice(part);
            lease.send(0, part.len(), to + (index * BLOCK) as CUdeviceptr)?;
        }
        Ok(())
    }

    /// Waits for what is queued and copies from the device.
    pub(crate) fn receive(&self, from: CUdeviceptr, data: &mut [u8]) -> Result<()> {
        const HALF: usize = BLOCK / 2;
        let mut lease = self.staging.lease()?;
        let length = data.len();
        let start = |part: usize, lease: &Lease<'_>| -> Result<()> {
            let begin = part * HALF;
            if begin >= length {
                return Ok(());
            }
            lease.receive(part % 2, (length - begin).min(HALF), from + begin as CUdeviceptr)
        };
        start(0, &lease)?;
        for (part, data) in data.chunks_mut(HALF).enumerate() {
            start(part + 1, &lease)?;
            lease.wait(part % 2)?;
            data.copy_from_slice(&lease.bytes()[part % 2 * HALF..][..data.len()]);
        }
        Ok(())
    }

    /// Queues a copy within the device.
    pub(crate) fn copy_bytes(&self, from: CUdeviceptr, to: CUdeviceptr, bytes: usize) -> Result<()> {
        self.context.enter()?;
        // SAFETY: the caller names memory of so many bytes, twice.
        let copied = unsafe { result::memcpy_dtod_async(to, from, bytes, self.context.stream()) };
        self.context.check("copy memory", copied)
    }

    /// Queues a setting of bytes.
    pub(crate) fn fill(&self, at: CUdeviceptr, bytes: usize, byte: u8) -> Result<()> {
        self.context.enter()?;
        if bytes == 0 {
            return Ok(());
        }
        // SAFETY: the caller names memory of so many bytes.
        let filled = unsafe { result::memset_d8_async(at, byte, bytes, self.context.stream()) };
        self.context.check("set memory", filled)
    }
}
