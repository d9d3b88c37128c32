//! What the fuzz targets share.

pub mod memory;
pub mod session;
#[allow(clippy::new_without_default, reason = "the tests of hmar-checkpoint own it")]
#[path = "../../crates/hmar-checkpoint/tests/support/mod.rs"]
pub mod support;

use std::cell::RefCell;
use std::io::Write;
use std::path::Path;

use hmar_checkpoint::{TensorSource, inspect, open_bytes};
use tempfile::NamedTempFile;

/// Puts bytes into a file, in memory where the system has such a folder, and hands over its path. The file is the same
/// one every time: making and naming it would take longer than reading it.
pub fn with_file<T>(bytes: &[u8], use_it: impl FnOnce(&Path) -> T) -> T {
    thread_local! {
        static FILE: RefCell<NamedTempFile> = RefCell::new(in_memory());
    }
    FILE.with_borrow_mut(|file| {
        let handle = file.as_file_mut();
        handle.set_len(0).and_then(|()| std::io::Seek::rewind(handle)).expect("the file is ours");
        handle.write_all(bytes).expect("the file is ours");
        use_it(file.path())
    })
}

fn in_memory() -> NamedTempFile {
    NamedTempFile::new_in("/dev/shm").or_else(|_| NamedTempFile::new()).expect("a temporary file can be made")
}

/// Does to a checkpoint what loading, converting and `hmar info` do.
pub fn read_everything(bytes: &[u8]) {
    memory::within_budget(|| {
        let Ok(checkpoint) = open_bytes(Path::new("input"), bytes.to_vec()) else { return };
        for tensor in checkpoint.tensors() {
            let _ = checkpoint.stream(&tensor.name, 1000, &mut |_| Ok(()));
        }
        // Few inputs get as far as this, so that a file costs nothing.
        with_file(bytes, |path| inspect(path, None)).expect("it was opened before");
    });
}
