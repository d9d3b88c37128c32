use super::HEADER_LENGTH_BYTES;
use crate::file::{Extent, SharedFile};
use crate::tensor::{Sink, index_by_name, unknown_tensor};
use crate::{Dtype, TensorInfo, TensorSource};
use hmar_error::Result;
use safetensors::SafeTensorError;
use safetensors::tensor::{Dtype as StoredDtype, Metadata, TensorInfo as StoredInfo};
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

/// The limit that the format itself sets.
const MAX_HEADER: u64 = 100_000_000;

/// An open `.safetensors` file.
pub(crate) struct SafetensorsFile {
    file: SharedFile,
    tensors: Vec<TensorInfo>,
    index: HashMap<String, usize>,
    positions: Vec<u64>,
    metadata: BTreeMap<String, String>,
}

impl SafetensorsFile {
    pub fn open(file: SharedFile) -> Result<Self> {
        let truncated = || file.corrupt("the file ends within its header").remedy("Get the file again.");
        let Some(limit) = file.len().checked_sub(HEADER_LENGTH_BYTES) else { return Err(truncated()) };
        let mut length = [0; HEADER_LENGTH_BYTES as usize];
        file.read_at(&mut length, 0)?;
        let length = u64::from_le_bytes(length);
        if length > MAX_HEADER {
            return Err(file
                .corrupt("its header would be too long for a safetensors file")
                .found(format_args!("{length} bytes"))
                .expected(format_args!("at most {MAX_HEADER}")));
        }
        if length > limit {
            return Err(truncated());
        }
        let header = file.bytes_at(HEADER_LENGTH_BYTES, length as usize)?;
        if header.first() != Some(&b'{') {
            return Err(file.corrupt("its header does not start with `{`"));
        }
        let header: Header = serde_json::from_slice(&header)
            .map_err(|error| file.corrupt(format_args!("its header is not understood ({error})")))?;
        let data = HEADER_LENGTH_BYTES + length;
        let layout = check_layout(&file, header.tensors, file.len() - data)?;

        let mut tensors = Vec::new();
        let mut positions = Vec::new();
        for name in layout.offset_keys() {
            let Some(info) = layout.info(&name) else { continue };
            let dtype = dtype(info.dtype).ok_or_else(|| {
                file.refused(format_args!("the tensor `{name}` is of a type that weights do not have"))
                    .found(info.dtype)
                    .expected("F32, F16, BF16 or I64")
            })?;
            positions.push(data + info.data_offsets.0 as u64);
            tensors.push(TensorInfo { name, shape: info.shape.clone(), dtype });
        }
        let index = index_by_name(&tensors);
        Ok(SafetensorsFile { file, tensors, index, positions, metadata: header.metadata })
    }

    /// The strings under `__metadata__`.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }
}

/// Checks that the tensors' bytes follow one another without holes, as many as their shapes want, up to the end.
fn check_layout(
    file: &SharedFile,
    mut tensors: Vec<(String, StoredInfo)>,
    available: u64,
) -> Result<Metadata> {
    tensors.sort_by_key(|(_, info)| info.data_offsets);
    let layout = Metadata::new(None, tensors).map_err(|error| match error {
        SafeTensorError::InvalidOffset(name) => file.corrupt(format_args!(
            "the bytes of the tensor `{name}` overlap others, leave a hole or end before they start"
        )),
        SafeTensorError::TensorInvalidInfo => {
            file.corrupt("a tensor has more or fewer bytes than its shape wants")
        }
        SafeTensorError::ValidationOverflow => file.corrupt("a tensor's shape overflows"),
        other => file.corrupt(format_args!("its header is inconsistent ({other})")),
    })?;
    let wanted = layout.data_len() as u64;
    if wanted != available {
        let what = if wanted > available {
            "the file ends before its tensors do"
        } else {
            "the file goes on after its tensors"
        };
        return Err(file
            .corrupt(what)
            .found(format_args!("{available} bytes of data"))
            .expected(wanted)
            .remedy("Get the file again."));
    }
    Ok(layout)
}

fn dtype(stored: StoredDtype) -> Option<Dtype> {
    match stored {
        StoredDtype::F32 => Some(Dtype::F32),
        StoredDtype::F16 => Some(Dtype::F16),
        StoredDtype::BF16 => Some(Dtype::BF16),
        StoredDtype::I64 => Some(Dtype::I64),
        _ => None,
    }
}

impl TensorSource for SafetensorsFile {
    fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    fn find(&self, name: &str) -> Option<&TensorInfo> {
        self.index.get(name).map(|&position| &self.tensors[position])
    }

    fn stream(&self, name: &str, chunk: usize, sink: &mut Sink<'_>) -> Result<()> {
        let index = *self.index.get(name).ok_or_else(|| unknown_tensor(name))?;
        let TensorInfo { dtype, .. } = self.tensors[index];
        let extent =
            Extent { position: self.positions[index], elements: self.tensors[index].elements(), dtype };
        self.file.stream(extent, chunk, &mut |_| (), sink)
    }
}

/// The header's JSON, read by hand because maps would let the last of equal keys win.
#[derive(Default)]
struct Header {
    tensors: Vec<(String, StoredInfo)>,
    metadata: BTreeMap<String, String>,
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = Header;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Header, A::Error> {
        let mut header = Header::default();
        let mut names = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if !names.insert(name.clone()) {
                return Err(de::Error::custom(format_args!("`{name}` occurs twice")));
            }
            if name == "__metadata__" {
                header.metadata = map.next_value::<UniqueStrings>()?.0;
            } else {
                header.tensors.push((name, map.next_value()?));
            }
        }
        Ok(header)
    }
}

struct UniqueStrings(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for UniqueStrings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_map(UniqueStringsVisitor)
    }
}

struct UniqueStringsVisitor;

impl<'de> Visitor<'de> for UniqueStringsVisitor {
    type Value = UniqueStrings;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of strings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<UniqueStrings, A::Error> {
        let mut strings = BTreeMap::new();
        while let Some((key, value)) = map.next_entry::<String, String>()? {
            if strings.contains_key(&key) {
                return Err(de::Error::custom(format_args!("`{key}` occurs twice")));
            }
            strings.insert(key, value);
        }
        Ok(UniqueStrings(strings))
    }
}
