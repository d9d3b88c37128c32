use crate::config::ConfigFile;
use crate::{TensorInfo, TensorSource, is_constant};
use hmar_error::{Code, Error, Result};
use serde::Serialize;
use std::collections::HashSet;
use std::path::Path;

/// A JSON that may describe a file.
pub(crate) struct Described {
    pub json: ConfigFile,
    /// How messages call it.
    pub origin: String,
    /// Whether it says that it is about this file; otherwise it counts only where it fits.
    pub binding: bool,
}

/// Finds the configuration whose tensors a source has. `resolve` makes one with or without a JSON, `expected` lists its
/// tensors.
///
/// # Errors
/// `TENSOR_MISMATCH` with every difference; `CONFIG_INVALID` when the file is whole and a binding JSON describes
/// another one; whatever `resolve` says.
pub(crate) fn fit<C: Serialize>(
    path: &Path,
    source: &dyn TensorSource,
    described: Option<&Described>,
    resolve: impl Fn(Option<&Described>) -> Result<C>,
    expected: impl Fn(&C) -> Vec<TensorInfo>,
) -> Result<C> {
    let compare = |config: &C| differences(&expected(config), source);
    let alone = || {
        let config = resolve(None)?;
        let differences = compare(&config);
        if differences.is_empty() { Ok(config) } else { Err(mismatch(path, &differences)) }
    };
    let Some(json) = described else { return alone() };
    if !json.binding {
        let Ok(config) = resolve(Some(json)) else { return alone() };
        let differences = compare(&config);
        if differences.is_empty() {
            return Ok(config);
        }
        // A JSON that most tensors fit is about this file, and the tensors are what is wrong.
        let about_this_file = differences.len() * 2 < source.tensors().len();
        return alone().map_err(|error| match error.code {
            Code::ConfigAmbiguous if about_this_file => mismatch(path, &differences),
            _ => error,
        });
    }
    let config = resolve(Some(json))?;
    let differences = compare(&config);
    if differences.is_empty() {
        return Ok(config);
    }
    Err(match alone() {
        Ok(alone) => contradiction(path, &json.origin, &config, &alone),
        Err(_) => mismatch(path, &differences),
    })
}

/// What is missing, superfluous, or of another shape or type. Constants do not count.
pub(crate) fn differences(expected: &[TensorInfo], source: &dyn TensorSource) -> Vec<String> {
    let mut differences = Vec::new();
    let mut names = HashSet::new();
    for tensor in expected {
        names.insert(tensor.name.as_str());
        if is_constant(&tensor.name) {
            continue;
        }
        match source.find(&tensor.name) {
            None => differences.push(format!("`{}` {:?} is missing", tensor.name, tensor.shape)),
            Some(found) if found.shape != tensor.shape => differences
                .push(format!("`{}` has shape {:?} instead of {:?}", tensor.name, found.shape, tensor.shape)),
            Some(found) if !found.dtype.is_float() => {
                differences.push(format!("`{}` holds {} instead of floats", tensor.name, found.dtype));
            }
            Some(_) => {}
        }
    }
    for tensor in source.tensors() {
        if !names.contains(tensor.name.as_str()) && !is_constant(&tensor.name) {
            differences.push(format!("`{}` {:?} does not belong there", tensor.name, tensor.shape));
        }
    }
    differences
}

/// The one error that lists every difference.
pub(crate) fn mismatch(path: &Path, differences: &[String]) -> Error {
    let count = differences.len();
    let plural = if count == 1 { "difference" } else { "differences" };
    Error::new(
        Code::TensorMismatch,
        format!("{} does not have the tensors that its layout wants: {count} {plural}.", path.display()),
    )
    .found(differences.join("; "))
}

fn contradiction<C: Serialize>(path: &Path, origin: &str, said: &C, found: &C) -> Error {
    let fields = |config: &C| match serde_json::to_value(config) {
        Ok(serde_json::Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    };
    let (said, found) = (fields(said), fields(found));
    // What the tensors do not say (name, labels, sampling) cannot differ.
    let differing = || said.keys().filter(|key| found.get(*key).is_some_and(|value| *value != said[*key]));
    let list = |fields: &serde_json::Map<String, serde_json::Value>| {
        differing().map(|key| format!("{key} {}", fields[key])).collect::<Vec<_>>().join(", ")
    };
    Error::new(Code::ConfigInvalid, format!("{origin} contradicts the tensors of {}.", path.display()))
        .found(list(&found))
        .expected(list(&said))
        .remedy("Correct it, or take it away.")
}
