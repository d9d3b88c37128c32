//! Memory counts: an input that makes its reader ask for more than the budget is a finding.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// Bytes that reading one input may hold at once. Inputs have some kilobytes; the largest allowance that a reader makes
/// without asking the file's size is its chunk of half a megabyte, for values and again for raw bytes.
const BUDGET: isize = 16 << 20;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static WATCHED: Cell<bool> = const { Cell::new(false) };
}

/// Runs what may not hold more than the budget on this thread.
pub fn within_budget(work: impl FnOnce()) {
    HELD.set(0);
    WATCHED.set(true);
    work();
    WATCHED.set(false);
}

/// The system's allocator, ending the process where a budget is exceeded.
struct Watched;

fn take(bytes: isize) {
    let held = HELD.get() + bytes;
    HELD.set(held);
    if held > BUDGET && WATCHED.get() {
        WATCHED.set(false);
        eprintln!("{held} bytes are held at once, more than {BUDGET}.");
        std::process::abort();
    }
}

// SAFETY: every call is handed to the system's allocator unchanged.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        take(layout.size() as isize);
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        take(layout.size() as isize);
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        take(size as isize - layout.size() as isize);
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        take(-(layout.size() as isize));
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watched = Watched;
