//! The names a checkpoint's pickle may use.

use crate::Dtype;

/// The allow-list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Storage(StorageType),
}

impl Global {
    pub fn named(module: &str, name: &str) -> Option<Self> {
        match (module, name) {
            ("collections", "OrderedDict") => Some(Global::OrderedDict),
            ("torch._utils", "_rebuild_tensor_v2") => Some(Global::RebuildTensor),
            ("torch._utils", "_rebuild_parameter") => Some(Global::RebuildParameter),
            ("torch", name) => StorageType::named(name).map(Global::Storage),
            _ => None,
        }
    }
}

/// The type of a storage's elements. The state of optimisers and random generators, which is skipped, has more types
/// than weights do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StorageType {
    Weights(Dtype),
    Other(&'static str),
}

impl StorageType {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "FloatStorage" => StorageType::Weights(Dtype::F32),
            "HalfStorage" => StorageType::Weights(Dtype::F16),
            "BFloat16Storage" => StorageType::Weights(Dtype::BF16),
            "LongStorage" => StorageType::Weights(Dtype::I64),
            "DoubleStorage" => StorageType::Other("float64"),
            "IntStorage" => StorageType::Other("int32"),
            "ShortStorage" => StorageType::Other("int16"),
            "CharStorage" => StorageType::Other("int8"),
            "ByteStorage" => StorageType::Other("uint8"),
            "BoolStorage" => StorageType::Other("bool"),
            _ => return None,
        })
    }
}
