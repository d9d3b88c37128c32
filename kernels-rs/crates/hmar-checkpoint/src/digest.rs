use crate::file::SharedFile;
use hmar_error::{Code, Error, Result};
use sha2::{Digest, Sha256};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// The SHA-256 of a file, in hexadecimal. `progress` takes the bytes that are done.
pub(crate) fn sha256(path: &Path, progress: &dyn Fn(u64), cancel: &AtomicBool) -> Result<String> {
    let file = SharedFile::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut position = 0;
    while position < file.len() {
        if cancel.load(Ordering::Relaxed) {
            return Err(Error::new(Code::Cancelled, "Hashing was cancelled."));
        }
        let length = (file.len() - position).min(buffer.len() as u64);
        let block = &mut buffer[..length as usize];
        file.read_at(block, position)?;
        hasher.update(&*block);
        position += length;
        progress(position);
    }
    file.check_unchanged()?;
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
