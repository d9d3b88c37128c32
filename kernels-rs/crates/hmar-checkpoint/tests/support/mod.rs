//! Writers of `.pth` archives, right ones and wrong ones.
#![allow(dead_code, reason = "every test binary uses a part of this")]

pub mod models;
pub mod pickle;
pub mod zip;

use hmar_checkpoint::{Dtype, Layout, ModelConfig, Synthetic, TensorInfo, TensorSource, TokenizerConfig};
use hmar_checkpoint::{StoreAs, WriteOptions, write_safetensors};
use pickle::{Pickle, PickledTensor};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use zip::Member;

/// A model of 3 blocks, small enough to be written hundreds of times.
pub fn small_model(layout: Layout) -> ModelConfig {
    ModelConfig {
        depth: 3,
        branch_depth: if layout == Layout::Combined { 1 } else { 0 },
        width: 64,
        heads: 1,
        mlp_ratio: 1,
        classes: 3,
        codebook_size: 8,
        code_dimension: 4,
        pyramid: vec![1, 2],
        ..ModelConfig::released(3, layout)
    }
}

/// A tokenizer of 2 levels.
pub fn small_tokenizer() -> TokenizerConfig {
    TokenizerConfig {
        channels: 32,
        channel_multipliers: vec![1, 2],
        residual_blocks: 1,
        codebook_size: 8,
        code_dimension: 4,
        phi_count: 2,
        pyramid: Some(vec![1, 2]),
    }
}

/// A source's tensors as PyTorch saves a state dict: a storage each.
pub fn state_dict(source: &dyn TensorSource) -> (Vec<PickledTensor>, Vec<Member>) {
    let mut tensors = Vec::new();
    let mut members = Vec::new();
    for (key, tensor) in source.tensors().iter().enumerate() {
        tensors.push(PickledTensor::contiguous(&tensor.name, &key.to_string(), &tensor.shape, tensor.dtype));
        members.push(Member::new(format!("data/{key}"), bytes_of(source, tensor)));
    }
    (tensors, members)
}

/// The stored bytes of an f32 or i64 tensor.
fn bytes_of(source: &dyn TensorSource, tensor: &TensorInfo) -> Vec<u8> {
    let values = source.read(&tensor.name).unwrap();
    match tensor.dtype {
        Dtype::I64 => values.iter().flat_map(|value| (*value as i64).to_le_bytes()).collect(),
        _ => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
    }
}

/// A whole `.pth` file with a source's tensors.
pub fn pth_of(source: &dyn TensorSource) -> Vec<u8> {
    let (tensors, members) = state_dict(source);
    pth(Pickle::new().state_dict(&tensors).finish(), members)
}

/// An archive with that pickle and those storages.
pub fn pth(pickle: Vec<u8>, storages: Vec<Member>) -> Vec<u8> {
    zip::archive(&pth_members(pickle, storages))
}

/// The members of an archive, as PyTorch orders them.
pub fn pth_members(pickle: Vec<u8>, storages: Vec<Member>) -> Vec<Member> {
    let mut members = vec![Member::new("data.pkl", pickle), Member::new("byteorder", b"little".to_vec())];
    members.extend(storages);
    members.push(Member::new("version", b"3\n".to_vec()));
    members
}

/// An archive with one tensor `weight` of four floats.
pub fn four_floats() -> (Vec<u8>, Vec<Member>) {
    let source = Synthetic::new(vec![TensorInfo::f32("weight", &[4])]);
    let (tensors, members) = state_dict(&source);
    (Pickle::new().state_dict(&tensors).finish(), members)
}

/// Writes a file into a folder.
pub fn write(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// Writes a source in single precision, without metadata.
pub fn write_plain(path: &Path, source: &dyn TensorSource) {
    let options = WriteOptions {
        store: StoreAs::F32,
        metadata: &BTreeMap::new(),
        allow_non_finite: true,
        progress: &|_, _| (),
        cancel: &AtomicBool::new(false),
    };
    write_safetensors(path, source, &options).unwrap();
}

/// A source with some tensors taken away, added or changed.
pub struct Edited {
    pub tensors: Vec<TensorInfo>,
    pub value: f32,
}

impl TensorSource for Edited {
    fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    fn find(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.iter().find(|tensor| tensor.name == name)
    }

    fn stream(
        &self,
        name: &str,
        chunk: usize,
        sink: &mut hmar_checkpoint::Sink<'_>,
    ) -> hmar_error::Result<()> {
        let values = vec![self.value; self.find(name).unwrap().elements()];
        values.chunks(chunk).try_for_each(sink)
    }
}
