//! A combined model from the two files that its training leaves behind.

use crate::checkpoint::{Checkpoint, Part};
use crate::config::ConfigFile;
use crate::infer::{Described, ModelEvidence, differences, fit, mismatch, resolve_layout, resolve_model};
use crate::license::license_of;
use crate::locate::describe;
use crate::model::ModelCheckpoint;
use crate::names::model_tensors;
use crate::view::View;
use crate::{Layout, ModelConfig, TensorInfo, TensorSource};
use hmar_error::{Code, Error, Result};
use std::sync::Arc;

/// M of the released models.
const RELEASED_BRANCH_DEPTH: usize = 8;

/// Assembles a combined model: shared and next-scale blocks from the one file, masked ones from the other. Which is
/// which their tensors tell.
pub(crate) fn assemble(
    first: &Checkpoint,
    second: &Checkpoint,
    config: Option<&str>,
) -> Result<ModelCheckpoint> {
    let opened = [first, second].map(|checkpoint| Ok((checkpoint, checkpoint.require(Part::Model)?)));
    let [first, second]: [Result<(&Checkpoint, Arc<dyn TensorSource>)>; 2] = opened;
    let (first, second) = (first?, second?);
    let masked = [&first, &second].map(|(_, source)| ModelEvidence::of(&**source).masked);
    let ((next_file, next), (masked_file, masked)) = match masked {
        [false, true] => (first, second),
        [true, false] => (second, first),
        both => {
            let what = if both[0] { "masked finetuned" } else { "next-scale" };
            return Err(Error::new(Code::TensorMismatch, "These two files do not make one model.")
                .found(format_args!("two {what} models"))
                .expected(
                    "a next-scale training file, and the masked finetuned one with its `mask_embed.weight`",
                ));
        }
    };
    let described = describe(config, next_file.metadata(), next_file.path(), Part::Model)?;
    let stack = fit_next_scale(next_file, &*next, described.as_ref())?;

    let masked = with_training_names(&masked);
    let mut expected = model_tensors(&stack);
    expected.push(TensorInfo::f32("mask_embed.weight", &[1, stack.width]));
    let wrong = differences(&expected, &*masked);
    if !wrong.is_empty() {
        return Err(mismatch(masked_file.path(), &wrong));
    }

    let said = described.and_then(|described| described.json.model?.branch_depth);
    let branch_depth = match said {
        Some(branch_depth) if (1..=stack.depth).contains(&branch_depth) => branch_depth,
        Some(branch_depth) => {
            return Err(Error::new(
                Code::ConfigInvalid,
                "The configuration's `branchDepth` is out of range.",
            )
            .found(branch_depth)
            .expected(format_args!("1 to {}", stack.depth)));
        }
        None => branch_depth(&stack, &*next, &*masked)?,
    };
    let config = ModelConfig { layout: Layout::Combined, branch_depth, ..stack };
    let license = license_of(next_file.metadata(), Some(&config));
    let source = Arc::new(combine(&config, &next, &masked));
    Ok(ModelCheckpoint { config, source, license })
}

/// The configuration of the next-scale file. A JSON beside it describes the combined model.
fn fit_next_scale(
    file: &Checkpoint,
    source: &dyn TensorSource,
    described: Option<&Described>,
) -> Result<ModelConfig> {
    let evidence = ModelEvidence::of(source);
    let resolve = |described: Option<&Described>| {
        let json = described.map(|described| {
            let mut json: ConfigFile = described.json.clone();
            if let Some(model) = &mut json.model {
                model.layout = None;
            }
            json
        });
        let layout = resolve_layout(&evidence, source, Some(Layout::NextScale), json.as_ref())?;
        resolve_model(&evidence, json.as_ref(), layout)
    };
    fit(file.path(), source, described, resolve, model_tensors)
}

/// The finetuned file's tensors as a next-scale file names them.
fn with_training_names(source: &Arc<dyn TensorSource>) -> Arc<dyn TensorSource> {
    let mut view = View::default();
    for tensor in source.tensors() {
        let name = if tensor.name == "word_embed_bias" { "word_embed.bias" } else { &tensor.name };
        view.add(source, &tensor.name, name.to_string());
    }
    Arc::new(view)
}

/// M: finetuning changes the last blocks and leaves the others as they were.
fn branch_depth(stack: &ModelConfig, next: &dyn TensorSource, masked: &dyn TensorSource) -> Result<usize> {
    let mut first_changed = None;
    for block in 0..stack.depth {
        // Small, and trained in every block.
        let name = format!("blocks.{block}.ffn.fc2.bias");
        if next.read(&name)? != masked.read(&name)? {
            first_changed = Some(block);
            break;
        }
    }
    match first_changed {
        Some(block) if block > 0 => Ok(stack.depth - block),
        None if stack.depth > RELEASED_BRANCH_DEPTH => Ok(RELEASED_BRANCH_DEPTH),
        _ => Err(Error::new(
            Code::ConfigAmbiguous,
            "How many blocks were finetuned cannot be told: the two files differ in all of them, or in none.",
        )
        .remedy("Check that the files belong together, and state model.branchDepth in a configuration.")),
    }
}

fn combine(config: &ModelConfig, next: &Arc<dyn TensorSource>, masked: &Arc<dyn TensorSource>) -> View {
    let base = config.base_depth();
    let mut view = View::default();
    for tensor in model_tensors(config) {
        let (source, original) = origin(&tensor.name, base);
        view.add(if source == Half::Masked { masked } else { next }, &original, tensor.name);
    }
    view
}

#[derive(PartialEq)]
enum Half {
    NextScale,
    Masked,
}

/// Where a combined model's tensor comes from, and its name there.
fn origin(name: &str, base: usize) -> (Half, String) {
    let block = |stack: &str, first: usize| {
        let (index, rest) = name.strip_prefix(stack)?.split_once('.')?;
        Some(format!("blocks.{}.{rest}", index.parse::<usize>().ok()? + first))
    };
    if let Some(original) = block("base_blocks.", 0).or_else(|| block("ns_blocks.", base)) {
        return (Half::NextScale, original);
    }
    if let Some(original) = block("mask_blocks.", base) {
        return (Half::Masked, original);
    }
    if let Some(head) = name.strip_prefix("ns_") {
        return (Half::NextScale, head.to_string());
    }
    match name {
        "word_embed_bias" => (Half::NextScale, "word_embed.bias".to_string()),
        "mask_embed.weight" => (Half::Masked, name.to_string()),
        _ => match name.strip_prefix("mask_") {
            Some(head) => (Half::Masked, head.to_string()),
            None => (Half::NextScale, name.to_string()),
        },
    }
}
