//! PyTorch's zip archives: `data.pkl` names tensors, `data/<key>` are their storages.

mod global;
mod pickle;
mod storage;
mod unpickle;
mod zip;

use crate::file::SharedFile;
use crate::tensor::{Sink, unknown_tensor};
use crate::{TensorInfo, TensorSource};
use hmar_error::Result;
use pickle::{Fault, Pickle, Value};
use std::collections::HashMap;
use storage::Storages;
use zip::Archive;

/// The pickle of a large model with its optimiser has a megabyte.
const MAX_PICKLE: u64 = 32 << 20;

/// Where training checkpoints keep what this project reads: `trainer` → one of these.
const NESTED: [&str; 3] = ["transformer_wo_ddp", "var_wo_ddp", "vae_local"];

/// An open `.pth` file. Tensors of training checkpoints have their path in front of their names:
/// `trainer.vae_local.quant_conv.bias`.
pub(crate) struct PthFile {
    file: SharedFile,
    tensors: Vec<TensorInfo>,
    index: HashMap<String, usize>,
    storages: Storages,
    /// A tensor's number in `storages`.
    views: Vec<usize>,
}

impl PthFile {
    pub fn open(file: SharedFile) -> Result<Self> {
        let archive = Archive::open(&file)?;
        if archive.read(&file, "byteorder", 16)?.is_some_and(|order| order != b"little") {
            return Err(file.refused("its numbers are big-endian"));
        }
        let Some(bytes) = archive.read(&file, "data.pkl", MAX_PICKLE)? else {
            return Err(zip::not_pytorch(&file));
        };
        let pickle = Pickle::read(&bytes).map_err(|fault| match fault {
            Fault::Corrupt(what) => file.corrupt(what),
            Fault::Refused(what) => file
                .refused(what)
                .expected("tensors in dictionaries, and plain containers, numbers and strings")
                .remedy("Nothing was run. Save the model's state dict alone, or convert it to safetensors."),
        })?;
        Self::collect(file, &archive, &pickle)
    }

    /// Finds the dictionaries that hold tensors, and takes those in.
    fn collect(file: SharedFile, archive: &Archive, pickle: &Pickle<'_>) -> Result<Self> {
        let mut tensors = Vec::new();
        let mut index = HashMap::new();
        let mut views = Vec::new();
        let mut storages = Storages::default();
        for (prefix, dictionary) in dictionaries(&file, pickle)? {
            for (key, value) in pickle.entries(dictionary).unwrap_or_default() {
                let (Value::Text(key), Some(tensor)) = (key, pickle.tensor(*value)) else { continue };
                let name = format!("{prefix}{key}");
                // Seen at once: a long name may be remembered, and used a million times.
                if index.insert(name.clone(), tensors.len()).is_some() {
                    return Err(file.corrupt("two tensors have the same name"));
                }
                let placed = storages.place(&file, archive, &name, tensor)?;
                tensors.push(TensorInfo { name, shape: placed.shape, dtype: placed.dtype });
                views.push(placed.view);
            }
        }
        Ok(PthFile { file, tensors, index, storages, views })
    }
}

/// The state dicts of a file, each with what is put in front of its names.
fn dictionaries<'a>(file: &SharedFile, pickle: &Pickle<'a>) -> Result<Vec<(String, Value<'a>)>> {
    let root = pickle.root();
    if pickle.entries(root).is_none() {
        return Err(file.refused("the pickle is not a dictionary of tensors"));
    }
    let Some(trainer) = pickle.entry(root, "trainer") else { return Ok(vec![(String::new(), root)]) };
    let nested =
        NESTED.iter().filter_map(|name| Some((format!("trainer.{name}."), pickle.entry(trainer, name)?)));
    Ok(nested.filter(|(_, value)| pickle.entries(*value).is_some()).collect())
}

impl TensorSource for PthFile {
    fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    fn find(&self, name: &str) -> Option<&TensorInfo> {
        self.index.get(name).map(|&position| &self.tensors[position])
    }

    fn stream(&self, name: &str, chunk: usize, sink: &mut Sink<'_>) -> Result<()> {
        let position = *self.index.get(name).ok_or_else(|| unknown_tensor(name))?;
        self.storages.stream(&self.file, self.views[position], chunk, sink)
    }
}
