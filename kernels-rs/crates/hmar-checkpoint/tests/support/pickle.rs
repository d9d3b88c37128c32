//! Pickles of protocol 2, operation by operation.

use hmar_checkpoint::Dtype;

pub struct PickledTensor {
    pub name: String,
    pub key: String,
    pub storage: &'static str,
    pub storage_elements: u64,
    pub offset: u64,
    pub shape: Vec<u64>,
    pub strides: Vec<u64>,
}

impl PickledTensor {
    pub fn contiguous(name: &str, key: &str, shape: &[usize], dtype: Dtype) -> Self {
        let shape: Vec<u64> = shape.iter().map(|size| *size as u64).collect();
        let strides = (0..shape.len()).map(|dimension| shape[dimension + 1..].iter().product()).collect();
        let storage = match dtype {
            Dtype::F32 => "FloatStorage",
            Dtype::F16 => "HalfStorage",
            Dtype::BF16 => "BFloat16Storage",
            Dtype::I64 => "LongStorage",
        };
        PickledTensor {
            name: name.to_string(),
            key: key.to_string(),
            storage,
            storage_elements: shape.iter().product(),
            offset: 0,
            shape,
            strides,
        }
    }
}

/// A growing pickle; every method appends.
pub struct Pickle(pub Vec<u8>);

impl Pickle {
    pub fn new() -> Self {
        Pickle(vec![0x80, 2])
    }

    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub fn text(self, text: &str) -> Self {
        self.raw(b"X").raw(&(text.len() as u32).to_le_bytes()).raw(text.as_bytes())
    }

    pub fn int(self, value: u64) -> Self {
        self.raw(&[0x8a, 9]).raw(&value.to_le_bytes()).raw(&[0]).shorten()
    }

    /// Integers of nine bytes are not read as sizes; eight are enough below 2⁶³.
    fn shorten(mut self) -> Self {
        if self.0[self.0.len() - 2] < 0x80 {
            self.0.pop();
            let length = self.0.len() - 9;
            self.0[length] = 8;
        }
        self
    }

    pub fn global(self, module: &str, name: &str) -> Self {
        self.raw(b"c").raw(module.as_bytes()).raw(b"\n").raw(name.as_bytes()).raw(b"\n")
    }

    pub fn sizes(self, sizes: &[u64]) -> Self {
        sizes.iter().fold(self.raw(b"("), |pickle, size| pickle.int(*size)).raw(b"t")
    }

    /// `torch._utils._rebuild_tensor_v2(…)`.
    pub fn tensor(self, tensor: &PickledTensor) -> Self {
        self.global("torch._utils", "_rebuild_tensor_v2")
            .raw(b"((")
            .text("storage")
            .global("torch", tensor.storage)
            .text(&tensor.key)
            .text("cpu")
            .int(tensor.storage_elements)
            .raw(b"tQ")
            .int(tensor.offset)
            .sizes(&tensor.shape)
            .sizes(&tensor.strides)
            .raw(&[0x89])
            .global("collections", "OrderedDict")
            .raw(b")RtR")
    }

    /// A dictionary of tensors.
    pub fn state_dict(self, tensors: &[PickledTensor]) -> Self {
        let pickle = self.raw(b"}(");
        tensors.iter().fold(pickle, |pickle, tensor| pickle.text(&tensor.name).tensor(tensor)).raw(b"u")
    }

    pub fn finish(self) -> Vec<u8> {
        self.raw(b".").0
    }
}
