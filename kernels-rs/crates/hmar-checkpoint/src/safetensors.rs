//! The format this project writes: a JSON header naming tensors, then their bytes.

mod read;
mod write;

pub(crate) use read::SafetensorsFile;
pub use write::{Progress, StoreAs, WriteOptions, write_safetensors};
pub(crate) use write::{stored_bytes, unwritable};

/// A file starts with the header's length, as 64 bits.
const HEADER_LENGTH_BYTES: u64 = 8;
