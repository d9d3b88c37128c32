//! Hostile files are refused before memory is asked for: the largest request of each thread is watched.

mod support;

use hmar_checkpoint::open;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use support::pickle::Pickle;
use support::{four_floats, pth, write};

struct Watched;

thread_local! {
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is handed to the system's allocator unchanged.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.set(LARGEST.get().max(layout.size()));
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watched = Watched;

/// The largest request while such a file is refused.
fn largest_request(name: &str, bytes: &[u8]) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), name, bytes);
    LARGEST.set(0);
    let refused = open(&path).is_err();
    let largest = LARGEST.get();
    assert!(refused);
    largest
}

#[test]
fn rows_1_and_2_headers_that_promise_too_much() {
    let header = br#"{"a":{"dtype":"F32","shape":[250000000000],"data_offsets":[0,1000000000000]}}"#;
    let mut promising = (header.len() as u64).to_le_bytes().to_vec();
    promising.extend_from_slice(header);
    assert!(largest_request("truncated.safetensors", &promising) < 10_000);
    for length in [99_000_000u64, 100_000_001, u64::MAX] {
        let mut bytes = length.to_le_bytes().to_vec();
        bytes.extend_from_slice(b"{}");
        assert!(largest_request("header.safetensors", &bytes) < 10_000);
    }
}

#[test]
fn row_7_pickles_that_promise_too_much() {
    let text = Pickle::new().raw(b"X\xff\xff\xff\xff").finish();
    assert!(largest_request("text.pth", &pth(text, four_floats().1)) < 10_000);
    // The stack grows to its budget of 100,000 values and no further.
    let nested = Pickle::new().raw(&vec![b']'; 1_000_000]).finish();
    assert!(largest_request("nested.pth", &pth(nested, four_floats().1)) < 10_000_000);
}
