//! Tensors of several sources under new names.

use crate::tensor::{Sink, unknown_tensor};
use crate::{TensorInfo, TensorSource};
use hmar_error::Result;
use std::collections::HashMap;
use std::sync::Arc;

/// A selection of tensors, renamed.
#[derive(Default)]
pub(crate) struct View {
    tensors: Vec<TensorInfo>,
    index: HashMap<String, usize>,
    /// Where each tensor comes from, and its name there.
    origins: Vec<(Arc<dyn TensorSource>, String)>,
}

impl View {
    /// Adds a tensor of `source` under a new name, if it is there.
    pub fn add(&mut self, source: &Arc<dyn TensorSource>, original: &str, name: String) {
        if let Some(tensor) = source.find(original) {
            self.index.insert(name.clone(), self.tensors.len());
            self.tensors.push(TensorInfo { name, ..tensor.clone() });
            self.origins.push((Arc::clone(source), original.to_string()));
        }
    }

    /// The tensors whose names start with `prefix`, without it.
    pub fn below(source: &Arc<dyn TensorSource>, prefix: &str) -> Self {
        let mut view = View::default();
        for tensor in source.tensors() {
            if let Some(name) = tensor.name.strip_prefix(prefix) {
                view.add(source, &tensor.name, name.to_string());
            }
        }
        view
    }
}

impl TensorSource for View {
    fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    fn find(&self, name: &str) -> Option<&TensorInfo> {
        self.index.get(name).map(|&position| &self.tensors[position])
    }

    fn stream(&self, name: &str, chunk: usize, sink: &mut Sink<'_>) -> Result<()> {
        let position = *self.index.get(name).ok_or_else(|| unknown_tensor(name))?;
        let (source, original) = &self.origins[position];
        source.stream(original, chunk, sink)
    }
}
