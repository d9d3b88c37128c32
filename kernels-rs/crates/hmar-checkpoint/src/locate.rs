//! Which file is meant, and what stands beside it.

use crate::checkpoint::Part;
use crate::config::ConfigFile;
use crate::infer::Described;
use hmar_error::{Code, Error, Result};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

const CONFIG: &str = "config.json";

/// A configuration has some kilobytes.
const MAX_CONFIG: u64 = 1 << 20;

/// The file that a path means: itself, or for a folder what its `config.json` names, else `model.safetensors` or
/// `tokenizer.safetensors`.
pub(crate) fn file_of(path: &Path, part: Part) -> Result<PathBuf> {
    if !path.is_dir() {
        return Ok(path.to_path_buf());
    }
    let named = match config_in(path)? {
        Some(json) => named_file(&json, part)?,
        None => None,
    };
    Ok(path.join(named.unwrap_or_else(|| default_name(part).to_string())))
}

fn default_name(part: Part) -> &'static str {
    match part {
        Part::Model => "model.safetensors",
        Part::Tokenizer => "tokenizer.safetensors",
    }
}

/// The tokenizer in the folder of a model: what `config.json` names, else `tokenizer.safetensors`, else the released
/// file or a `vae` of either format.
///
/// `model` is a model's file, or the folder it is in. A `config.json` that cannot be used counts as none.
pub fn find_tokenizer_beside(model: &Path) -> Option<PathBuf> {
    let folder = if model.is_dir() { model.to_path_buf() } else { folder_of(model) };
    let named =
        config_in(&folder).ok().flatten().and_then(|json| named_file(&json, Part::Tokenizer).ok().flatten());
    let known = [
        "tokenizer.safetensors",
        "vae_ch160v4096z32.safetensors",
        "vae_ch160v4096z32.pth",
        "vae.safetensors",
        "vae.pth",
    ];
    let names = named.into_iter().chain(known.map(String::from));
    names.map(|name| folder.join(name)).find(|path| path.is_file())
}

/// The JSON that describes a file: what the caller gives, else what stands in its metadata, else beside it.
pub(crate) fn describe(
    explicit: Option<&str>,
    metadata: &BTreeMap<String, String>,
    path: &Path,
    part: Part,
) -> Result<Option<Described>> {
    if let Some(json) = explicit {
        let origin = "The given configuration".to_string();
        return Ok(Some(Described { json: ConfigFile::parse(json, &origin)?, origin, binding: true }));
    }
    if let Some(json) = metadata.get("config").filter(|json| is_ours(json)) {
        let origin = format!("The configuration in {}", path.display());
        return Ok(Some(Described { json: ConfigFile::parse(json, &origin)?, origin, binding: true }));
    }
    let folder = folder_of(path);
    let Some(json) = config_in(&folder)? else { return Ok(None) };
    let file = match part {
        Part::Model => json.model.as_ref().map(|section| &section.file),
        Part::Tokenizer => json.tokenizer.as_ref().map(|section| &section.file),
    };
    let Some(file) = file else { return Ok(None) };
    // A converted file keeps its stem, and what is said about it.
    let binding = file.as_ref().is_some_and(|file| Path::new(file).file_stem() == path.file_stem());
    Ok(Some(Described { origin: folder.join(CONFIG).display().to_string(), json, binding }))
}

/// A folder's `config.json`, unless there is none or another program's.
fn config_in(folder: &Path) -> Result<Option<ConfigFile>> {
    let path = folder.join(CONFIG);
    let mut text = String::new();
    let read = File::open(&path).and_then(|file| file.take(MAX_CONFIG).read_to_string(&mut text));
    if read.is_ok() && is_ours(&text) {
        ConfigFile::parse(&text, &path.display().to_string()).map(Some)
    } else {
        Ok(None)
    }
}

/// Whether a text is a configuration of this form, well made or not, rather than another program's.
fn is_ours(text: &str) -> bool {
    serde_json::from_str(text).is_ok_and(|json| ConfigFile::is_ours(&json))
}

/// The file that a configuration names; it has to be in the same folder.
fn named_file(json: &ConfigFile, part: Part) -> Result<Option<String>> {
    let file = match part {
        Part::Model => json.model.as_ref().and_then(|section| section.file.clone()),
        Part::Tokenizer => json.tokenizer.as_ref().and_then(|section| section.file.clone()),
    };
    let Some(file) = file else { return Ok(None) };
    let mut components = Path::new(&file).components();
    match (components.next(), components.next()) {
        (Some(Component::Normal(name)), None) if name == OsStr::new(&file) => Ok(Some(file)),
        _ => {
            Err(Error::new(Code::ConfigInvalid, "A configuration names a file outside its folder.")
                .found(file))
        }
    }
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
        _ => PathBuf::from("."),
    }
}
