//! Hostile files are refused before memory is asked for: what each thread holds at most is watched.

mod support;

use hmar_checkpoint::{Dtype, open};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use support::pickle::{Pickle, PickledTensor};
use support::{four_floats, pth, write};

struct Watched;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

fn take(bytes: isize) {
    HELD.set(HELD.get() + bytes);
    MOST.set(MOST.get().max(HELD.get()));
}

// SAFETY: every call is handed to the system's allocator unchanged.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        take(layout.size() as isize);
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        take(-(layout.size() as isize));
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watched = Watched;

/// The most bytes held at once while such a file is refused.
fn held(name: &str, bytes: &[u8]) -> isize {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), name, bytes);
    HELD.set(0);
    MOST.set(0);
    let refused = open(&path).is_err();
    let most = MOST.get();
    assert!(refused);
    most
}

#[test]
fn rows_1_and_2_headers_that_promise_too_much() {
    let header = br#"{"a":{"dtype":"F32","shape":[250000000000],"data_offsets":[0,1000000000000]}}"#;
    let mut promising = (header.len() as u64).to_le_bytes().to_vec();
    promising.extend_from_slice(header);
    assert!(held("truncated.safetensors", &promising) < 10_000);
    for length in [99_000_000u64, 100_000_001, u64::MAX] {
        let mut bytes = length.to_le_bytes().to_vec();
        bytes.extend_from_slice(b"{}");
        assert!(held("header.safetensors", &bytes) < 10_000);
    }
}

#[test]
fn row_7_pickles_that_promise_too_much() {
    let text = Pickle::new().raw(b"X\xff\xff\xff\xff").finish();
    assert!(held("text.pth", &pth(text, four_floats().1)) < 10_000);
    // The stack grows to its budget of 100,000 values and no further.
    let nested = Pickle::new().raw(&vec![b']'; 1_000_000]).finish();
    assert!(held("nested.pth", &pth(nested, four_floats().1)) < 20_000_000);
    // Remembered at a million places, of 64 bytes each if the table grew on.
    let mut remembered = Pickle::new().raw(b"N");
    for slot in 0..2_000_000u32 {
        remembered = remembered.raw(b"r").raw(&slot.to_le_bytes());
    }
    let remembered = remembered.finish();
    let size = remembered.len() as isize;
    assert!(held("remembered.pth", &pth(remembered, four_floats().1)) < size + (100 << 20));
}

#[test]
fn row_7_what_is_remembered_once_is_not_copied_a_thousand_times() {
    let name = "n".repeat(1 << 20);
    let tensor = PickledTensor::contiguous("weight", "0", &[4], Dtype::F32);
    // One name and one tensor, remembered and set again and again.
    let first = Pickle::new().raw(b"}(").text(&name).raw(b"q\x00").tensor(&tensor).raw(b"q\x01");
    let again = first.raw(&b"h\x00h\x01".repeat(10_000)).raw(b"u").finish();
    assert!(held("names.pth", &pth(again, four_floats().1)) < 20 << 20);
}
