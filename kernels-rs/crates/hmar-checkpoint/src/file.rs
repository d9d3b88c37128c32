//! A file read at many places at once, and watched for changes; or bytes that are in memory already.

use crate::Dtype;
use crate::tensor::{CHUNK, Sink};
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use hmar_error::{Code, Error, Result};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

#[cfg(target_endian = "big")]
compile_error!("checkpoints are little-endian, and their bytes are used as they are");

/// An open file. Reads name their position, so threads do not disturb one another; a mapping would be as fast, but
/// kills the process when the file shrinks.
pub(crate) struct SharedFile {
    contents: Contents,
    path: PathBuf,
    length: u64,
    modified: Option<SystemTime>,
}

enum Contents {
    File(File),
    Memory(Vec<u8>),
}

impl SharedFile {
    pub fn open(path: &Path) -> Result<Self> {
        let unreadable = |error| unreadable(path, &error);
        // Asked before opening: opening a pipe would wait for its writer.
        if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
            return Err(Error::new(Code::FileUnreadable, format!("{} is not a file.", path.display())));
        }
        let file = File::open(path).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        let modified = metadata.modified().ok();
        let (path, length) = (path.to_path_buf(), metadata.len());
        Ok(SharedFile { contents: Contents::File(file), path, length, modified })
    }

    /// What a file of that name would be with these bytes.
    pub fn in_memory(name: &Path, bytes: Vec<u8>) -> Self {
        let (path, length) = (name.to_path_buf(), bytes.len() as u64);
        SharedFile { contents: Contents::Memory(bytes), path, length, modified: None }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes in the file when it was opened.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Fills `bytes` from a position. The caller has checked that the range lies within [`SharedFile::len`], so a file
    /// that ends before it has been cut since.
    pub fn read_at(&self, bytes: &mut [u8], position: u64) -> Result<()> {
        let read = match &self.contents {
            Contents::File(file) => read_exact_at(file, bytes, position),
            Contents::Memory(all) => copy_exact_at(all, bytes, position),
        };
        read.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => self.changed(),
            _ => unreadable(&self.path, &error),
        })
    }

    /// Bytes at a position, as a vector; for headers, whose size the caller has bounded.
    pub fn bytes_at(&self, position: u64, length: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.read_at(&mut bytes, position)?;
        Ok(bytes)
    }

    /// Fails if the file is not the one that was opened any more.
    pub fn check_unchanged(&self) -> Result<()> {
        let Contents::File(file) = &self.contents else { return Ok(()) };
        let metadata = file.metadata().map_err(|error| unreadable(&self.path, &error))?;
        if metadata.len() == self.length && metadata.modified().ok() == self.modified {
            Ok(())
        } else {
            Err(self.changed())
        }
    }

    /// An error about damaged contents.
    pub fn corrupt(&self, what: impl std::fmt::Display) -> Error {
        Error::new(Code::CheckpointCorrupt, format!("{}: {what}.", self.path.display()))
    }

    /// An error about contents that are understood but not accepted.
    pub fn refused(&self, what: impl std::fmt::Display) -> Error {
        Error::new(Code::CheckpointRefused, format!("{}: {what}.", self.path.display()))
    }

    /// Streams consecutive elements as `f32`, in chunks as [`crate::TensorSource::stream`] says; `check` sees all bytes.
    pub fn stream(
        &self,
        extent: Extent,
        chunk: usize,
        check: &mut dyn FnMut(&[u8]),
        sink: &mut Sink<'_>,
    ) -> Result<()> {
        assert!(chunk > 0, "a chunk has elements");
        let Extent { position, elements, dtype } = extent;
        // As many whole chunks as fit the cache are read at once.
        let block = chunk * (CHUNK / chunk).max(1);
        let mut values = vec![0f32; block.min(elements)];
        let converted = if dtype == Dtype::F32 { 0 } else { CHUNK.min(elements) * dtype.size() };
        let mut raw = vec![0u64; converted.div_ceil(8)];
        let mut position = position;
        for start in (0..elements).step_by(block) {
            let values = &mut values[..block.min(elements - start)];
            for values in values.chunks_mut(CHUNK) {
                let size = values.len() * dtype.size();
                if dtype == Dtype::F32 {
                    let bytes = bytemuck::cast_slice_mut(values);
                    self.read_at(bytes, position)?;
                    check(bytes);
                } else {
                    let bytes = &mut bytemuck::cast_slice_mut(&mut raw)[..size];
                    self.read_at(bytes, position)?;
                    check(bytes);
                    convert(bytes, dtype, values);
                }
                position += size as u64;
            }
            values.chunks(chunk).try_for_each(&mut *sink)?;
        }
        self.check_unchanged()
    }

    fn changed(&self) -> Error {
        Error::new(Code::FileChanged, format!("{} changed while it was read.", self.path.display()))
            .remedy("Load it again once nothing writes to it any more.")
    }
}

/// Consecutive elements in a file.
#[derive(Clone, Copy)]
pub(crate) struct Extent {
    pub position: u64,
    pub elements: usize,
    pub dtype: Dtype,
}

/// `bytes` are aligned to eight.
fn convert(bytes: &[u8], dtype: Dtype, values: &mut [f32]) {
    match dtype {
        Dtype::F32 => values.copy_from_slice(bytemuck::cast_slice(bytes)),
        Dtype::F16 => bytemuck::cast_slice::<u8, f16>(bytes).convert_to_f32_slice(values),
        Dtype::BF16 => bytemuck::cast_slice::<u8, bf16>(bytes).convert_to_f32_slice(values),
        Dtype::I64 => {
            for (value, integer) in values.iter_mut().zip(bytemuck::cast_slice::<u8, i64>(bytes)) {
                *value = *integer as f32;
            }
        }
    }
}

pub(crate) fn unreadable(path: &Path, error: &io::Error) -> Error {
    Error::new(Code::FileUnreadable, format!("{} cannot be read: {error}.", path.display()))
}

fn copy_exact_at(all: &[u8], bytes: &mut [u8], position: u64) -> io::Result<()> {
    let start = usize::try_from(position).unwrap_or(usize::MAX);
    let found = all.get(start..).and_then(|rest| rest.get(..bytes.len()));
    bytes.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
    Ok(())
}

#[cfg(unix)]
fn read_exact_at(file: &File, bytes: &mut [u8], position: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, position)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut bytes: &mut [u8], mut position: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, bytes, position) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                bytes = &mut bytes[read..];
                position += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
