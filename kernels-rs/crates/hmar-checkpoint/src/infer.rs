//! Configurations from the names and shapes of tensors, completed by what a JSON says.

mod attention;
mod fit;
mod model;
mod tokenizer;

pub(crate) use fit::{Described, differences, fit, mismatch};
pub(crate) use model::{ModelEvidence, resolve_layout, resolve_model};
pub(crate) use tokenizer::resolve_tokenizer;

use crate::TensorSource;
use hmar_error::{Code, Error, Result};

/// The largest size that is believed; far beyond any model, and small enough that products cannot overflow.
const MAX_SIZE: usize = 1 << 24;

/// The most blocks or levels that are believed.
const MAX_COUNT: usize = 256;

/// A dimension of a tensor, if the tensor is there and the size is believable.
fn size(source: &dyn TensorSource, name: &str, dimension: usize) -> Option<usize> {
    let size = *source.find(name)?.shape.get(dimension)?;
    (1..=MAX_SIZE).contains(&size).then_some(size)
}

/// The value that most witnesses name, the earliest among equals: one damaged tensor does not decide.
fn vote(witnesses: impl IntoIterator<Item = Option<usize>>) -> Option<usize> {
    let witnesses: Vec<usize> = witnesses.into_iter().flatten().collect();
    let support = |value: usize| witnesses.iter().filter(|witness| **witness == value).count();
    witnesses.iter().copied().rev().max_by_key(|value| support(*value))
}

/// How many modules `prefix.0.`, `prefix.1.`, … there are: one more than the highest number.
fn count(source: &dyn TensorSource, prefix: &str) -> usize {
    let index = |name: &str| {
        let (index, _) = name.strip_prefix(prefix)?.strip_prefix('.')?.split_once('.')?;
        index.parse().ok().filter(|index: &usize| *index < MAX_COUNT)
    };
    source.tensors().iter().filter_map(|tensor| index(&tensor.name)).max().map_or(0, |highest| highest + 1)
}

/// Refuses a configured number that no model has.
fn check_range(name: &str, value: usize, largest: usize) -> Result<usize> {
    if (1..=largest).contains(&value) {
        return Ok(value);
    }
    Err(Error::new(Code::ConfigInvalid, format!("The configuration's `{name}` is out of range."))
        .found(value)
        .expected(format_args!("1 to {largest}")))
}
