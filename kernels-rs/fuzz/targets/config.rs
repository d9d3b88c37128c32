//! A configuration, for a model whose file says nothing itself, and for a tokenizer.
#![no_main]

use std::sync::LazyLock;

use hmar_checkpoint::{ConfigFile, Layout, ModelCheckpoint, OpenModel, Synthetic, TokenizerCheckpoint};
use hmar_fuzz::memory::within_budget;
use hmar_fuzz::support::{small_model, small_tokenizer, write_plain};
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    write_plain(&folder.path().join("model.safetensors"), &Synthetic::model(&small_model(Layout::Combined)));
    write_plain(&folder.path().join("tokenizer.safetensors"), &Synthetic::tokenizer(&small_tokenizer()));
    folder
});

fuzz_target!(|json: &str| {
    let path = |name: &str| FOLDER.path().join(name);
    let (model, tokenizer) = (path("model.safetensors"), path("tokenizer.safetensors"));
    within_budget(|| {
        if ConfigFile::parse(json, "the input").is_err() {
            return;
        }
        let options = OpenModel { config: Some(json.to_owned()), ..OpenModel::at(model) };
        let _ = ModelCheckpoint::open(&options);
        let _ = TokenizerCheckpoint::open(&tokenizer, Some(json));
    });
});
