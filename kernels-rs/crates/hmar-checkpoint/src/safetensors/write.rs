use super::HEADER_LENGTH_BYTES;
use crate::finite::{all_finite, non_finite_weight};
use crate::tensor::CHUNK;
use crate::{Dtype, TensorInfo, TensorSource, is_constant};
use half::bf16;
use half::slice::HalfFloatSliceExt;
use hmar_error::{Code, Error, Result};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Takes what is done and what there is to do, in bytes. Called from several threads.
pub type Progress<'a> = dyn Fn(u64, u64) + Sync + 'a;

/// How weights are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreAs {
    /// Single precision.
    F32,
    /// Brain floating point, rounded to nearest even.
    Bf16,
}

/// How [`write_safetensors`] writes, and what watches it.
pub struct WriteOptions<'a> {
    /// How weights are stored; integers stay integers.
    pub store: StoreAs,
    /// The strings of the header's `__metadata__`.
    pub metadata: &'a BTreeMap<String, String>,
    /// Whether weights that are NaN or infinite are written rather than refused.
    pub allow_non_finite: bool,
    /// Told how many of the tensors' bytes are written.
    pub progress: &'a Progress<'a>,
    /// Ends the work when it becomes true.
    pub cancel: &'a AtomicBool,
}

/// Writes all tensors of a source, several at a time, holding a chunk of each. The file appears under its name when it
/// is complete; until then, and after any failure, what stood there before stays.
///
/// Returns the file's size in bytes.
///
/// # Errors
/// `FILE_UNWRITABLE`, `NON_FINITE_WEIGHT`, `CANCELLED`; any error of the source.
pub fn write_safetensors(path: &Path, source: &dyn TensorSource, options: &WriteOptions<'_>) -> Result<u64> {
    let plan = Plan::new(source.tensors(), options)?;
    let unwritable = |error: io::Error| unwritable(path, &error);
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
        _ => PathBuf::from("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".hmar-").suffix(".partial");
    // Readable as any new file is, not only by its owner as temporary files are.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let temporary = builder.tempfile_in(&folder).map_err(unwritable)?;

    let file = temporary.as_file();
    file.set_len(plan.bytes).map_err(unwritable)?;
    write_all_at(file, &plan.header, 0).map_err(unwritable)?;
    let done = AtomicU64::new(0);
    let total = stored_bytes(source.tensors(), options.store);
    plan.tensors.par_iter().try_for_each(|(tensor, position)| {
        let write = |bytes: &[u8], position| write_all_at(file, bytes, position).map_err(unwritable);
        let advance =
            |bytes: u64| (options.progress)(done.fetch_add(bytes, Ordering::Relaxed) + bytes, total);
        write_tensor(source, tensor, *position, options, &write, &advance)
    })?;
    file.sync_all().map_err(unwritable)?;
    temporary.persist(path).map_err(|error| unwritable(error.error))?;
    sync_folder(&folder).map_err(unwritable)?;
    Ok(plan.bytes)
}

/// Where everything goes.
struct Plan {
    /// The header with its length in front.
    header: Vec<u8>,
    /// Tensors as they will be stored, and their positions in the file.
    tensors: Vec<(TensorInfo, u64)>,
    bytes: u64,
}

impl Plan {
    fn new(tensors: &[TensorInfo], options: &WriteOptions<'_>) -> Result<Self> {
        let mut tensors: Vec<TensorInfo> = tensors
            .iter()
            .map(|tensor| TensorInfo { dtype: stored_dtype(tensor, options.store), ..tensor.clone() })
            .collect();
        // The widest first: then all of them are aligned to their elements.
        tensors.sort_by_key(|tensor| std::cmp::Reverse(tensor.dtype.size()));

        let mut entries = serde_json::Map::new();
        if !options.metadata.is_empty() {
            entries.insert("__metadata__".into(), serde_json::json!(options.metadata));
        }
        let mut offset = 0;
        let mut offsets = Vec::with_capacity(tensors.len());
        for tensor in &tensors {
            let end = offset + tensor.bytes();
            let entry = serde_json::json!({
                "dtype": tensor.dtype.to_string().to_uppercase(),
                "shape": tensor.shape,
                "data_offsets": [offset, end],
            });
            entries.insert(tensor.name.clone(), entry);
            offsets.push(offset);
            offset = end;
        }
        let mut json = serde_json::to_vec(&entries)
            .map_err(|error| Error::new(Code::Internal, format!("A header cannot be written: {error}.")))?;
        json.resize(json.len().next_multiple_of(8), b' ');
        let mut header = (json.len() as u64).to_le_bytes().to_vec();
        debug_assert_eq!(header.len() as u64, HEADER_LENGTH_BYTES);
        header.append(&mut json);
        let data = header.len() as u64;
        let tensors =
            tensors.into_iter().zip(offsets).map(|(tensor, offset)| (tensor, data + offset)).collect();
        Ok(Plan { header, tensors, bytes: data + offset })
    }
}

fn stored_dtype(tensor: &TensorInfo, store: StoreAs) -> Dtype {
    match (tensor.dtype, store) {
        (Dtype::I64, _) => Dtype::I64,
        (_, StoreAs::F32) => Dtype::F32,
        (_, StoreAs::Bf16) => Dtype::BF16,
    }
}

/// Bytes that tensors will take.
pub(crate) fn stored_bytes(tensors: &[TensorInfo], store: StoreAs) -> u64 {
    tensors.iter().map(|tensor| tensor.elements() as u64 * stored_dtype(tensor, store).size() as u64).sum()
}

fn write_tensor(
    source: &dyn TensorSource,
    tensor: &TensorInfo,
    position: u64,
    options: &WriteOptions<'_>,
    write: &dyn Fn(&[u8], u64) -> Result<()>,
    advance: &dyn Fn(u64),
) -> Result<()> {
    let check = !options.allow_non_finite && !is_constant(&tensor.name);
    let mut position = position;
    let mut halves = Vec::new();
    source.stream(&tensor.name, CHUNK, &mut |values| {
        if options.cancel.load(Ordering::Relaxed) {
            return Err(Error::new(Code::Cancelled, "Writing was cancelled."));
        }
        if check && !all_finite(values) {
            return Err(non_finite_weight(&tensor.name));
        }
        let bytes = encode(values, tensor.dtype, &mut halves);
        write(&bytes, position)?;
        position += bytes.len() as u64;
        advance(bytes.len() as u64);
        Ok(())
    })
}

fn encode<'a>(values: &'a [f32], dtype: Dtype, halves: &'a mut Vec<bf16>) -> Cow<'a, [u8]> {
    match dtype {
        Dtype::F32 => bytemuck::cast_slice(values).into(),
        Dtype::I64 => values.iter().flat_map(|value| (*value as i64).to_le_bytes()).collect(),
        Dtype::F16 | Dtype::BF16 => {
            halves.resize(values.len(), bf16::ZERO);
            halves.convert_from_f32_slice(values);
            bytemuck::cast_slice::<bf16, u8>(halves).into()
        }
    }
}

pub(crate) fn unwritable(path: &Path, error: &io::Error) -> Error {
    Error::new(Code::FileUnwritable, format!("{} cannot be written: {error}.", path.display()))
}

#[cfg(unix)]
fn write_all_at(file: &File, bytes: &[u8], position: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, position)
}

#[cfg(windows)]
fn write_all_at(file: &File, mut bytes: &[u8], mut position: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = std::os::windows::fs::FileExt::seek_write(file, bytes, position)?;
        bytes = &bytes[written..];
        position += written as u64;
    }
    Ok(())
}

/// Makes the new name last, where folders can be synchronised.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}
