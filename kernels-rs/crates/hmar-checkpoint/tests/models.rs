//! Which model a file holds, told by its tensors.

mod support;

use hmar_checkpoint::{
    Dtype, Layout, ModelConfig, OpenModel, Synthetic, TensorInfo, TensorSource, TokenizerCheckpoint,
    model_tensors,
};
use hmar_error::Code;
use serde_json::json;
use std::path::PathBuf;
use support::models::{error_at, file_of, known_pyramid, opened};
use support::pickle::Pickle;
use support::{Edited, pth, pth_of, small_model, small_tokenizer, state_dict, write, write_plain};
use tempfile::{TempDir, tempdir};

const LAYOUTS: [Layout; 3] = [Layout::Combined, Layout::NextScale, Layout::Var];

/// Says what shapes cannot.
fn pyramid_json() -> String {
    json!({ "pyramid": [1, 2] }).to_string()
}

#[test]
fn configurations_are_told_by_tensors_alone() {
    for layout in LAYOUTS {
        let folder = tempdir().unwrap();
        let config = known_pyramid(layout);
        let model = opened(OpenModel::at(file_of(&folder, &config))).unwrap();
        assert_eq!(model.config, config);
        assert_eq!(model.license, None);
        let mut names: Vec<_> = model.source.tensors().iter().map(|tensor| tensor.name.clone()).collect();
        let mut expected: Vec<_> = model_tensors(&config).into_iter().map(|tensor| tensor.name).collect();
        names.sort();
        expected.sort();
        assert_eq!(names, expected);
    }
}

/// A state dict as it is, and as VAR's training nests it.
fn pickled(source: &dyn TensorSource) -> [Vec<u8>; 2] {
    let (tensors, members) = state_dict(source);
    let nested = Pickle::new().raw(b"}(").text("trainer").raw(b"}(").text("var_wo_ddp");
    let nested = nested.global("collections", "OrderedDict").raw(b")R(");
    let nested = tensors.iter().fold(nested, |pickle, tensor| pickle.text(&tensor.name).tensor(tensor));
    [pth_of(source), pth(nested.raw(b"uuu").finish(), members)]
}

#[test]
fn all_forms_of_a_file_hold_the_same_model() {
    for layout in LAYOUTS {
        for shared_ada_ln in [false, layout == Layout::Var] {
            let folder = tempdir().unwrap();
            let config = ModelConfig { shared_ada_ln, ..small_model(layout) };
            let source = Synthetic::model(&config);
            for pth in pickled(&source) {
                let path = write(folder.path(), "model.pth", &pth);
                let options = OpenModel { config: Some(pyramid_json()), ..OpenModel::at(path) };
                let model = opened(options).unwrap();
                assert_eq!(model.config, config);
                for tensor in source.tensors() {
                    let found = model.source.read(&tensor.name).unwrap();
                    assert_eq!(found, source.read(&tensor.name).unwrap(), "{}", tensor.name);
                }
            }
        }
    }
}

#[test]
fn options_that_change_the_tensors_are_seen() {
    for (query_key_norm, shared_ada_ln) in [(false, false), (true, true), (false, true)] {
        let folder = tempdir().unwrap();
        let config =
            ModelConfig { query_key_norm, shared_ada_ln, mlp_ratio: 2, ..known_pyramid(Layout::Var) };
        assert_eq!(opened(OpenModel::at(file_of(&folder, &config))).unwrap().config, config);
    }
}

/// A single stack without the buffer that tells layouts apart.
fn without_bias(folder: &TempDir) -> PathBuf {
    let config = known_pyramid(Layout::Var);
    let tensors = model_tensors(&config).into_iter().filter(|tensor| tensor.name != "attn_bias_for_masking");
    let path = folder.path().join("model.safetensors");
    write_plain(&path, &Synthetic::new(tensors.collect()));
    path
}

#[test]
fn an_unknown_layout_is_asked_for() {
    let folder = tempdir().unwrap();
    let path = without_bias(&folder);
    let error = error_at(&path);
    assert_eq!(error.code, Code::ConfigAmbiguous);
    assert!(error.remedy.unwrap().contains("mode"));
    for mode in [Layout::NextScale, Layout::Var] {
        let options = OpenModel { mode: Some(mode), ..OpenModel::at(&path) };
        assert_eq!(opened(options).unwrap().config.layout, mode);
        let config = json!({ "model": { "layout": mode } }).to_string();
        let options = OpenModel { config: Some(config), ..OpenModel::at(&path) };
        assert_eq!(opened(options).unwrap().config.layout, mode);
    }
}

#[test]
fn a_bias_of_neither_layout_tells_nothing() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    write_plain(&path, &Edited { tensors: model_tensors(&known_pyramid(Layout::Var)), value: 0.0 });
    assert_eq!(error_at(&path).code, Code::ConfigAmbiguous);
}

#[test]
fn a_mode_that_the_file_contradicts_is_refused() {
    for (layout, mode) in
        [(Layout::NextScale, Layout::Var), (Layout::Var, Layout::NextScale), (Layout::Combined, Layout::Var)]
    {
        let folder = tempdir().unwrap();
        let path = file_of(&folder, &known_pyramid(layout));
        let error = opened(OpenModel { mode: Some(mode), ..OpenModel::at(path) }).err().unwrap();
        assert_eq!(error.code, Code::ConfigInvalid, "{error}");
    }
}

#[test]
fn row_4_every_difference_is_listed_at_once() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let mut tensors = model_tensors(&known_pyramid(Layout::Combined));
    tensors.retain(|tensor| tensor.name != "class_emb.weight" && !tensor.name.starts_with("ns_head."));
    for tensor in &mut tensors {
        match tensor.name.as_str() {
            "mask_head.bias" => tensor.shape = vec![7],
            "base_blocks.1.ffn.fc1.weight" => tensor.shape = vec![64, 65],
            "mask_blocks.0.attn.q_bias" => tensor.dtype = Dtype::I64,
            _ => {}
        }
    }
    tensors.push(TensorInfo::f32("extra.weight", &[3]));
    tensors.push(TensorInfo::f32("base_blocks.1.attn.extra", &[1]));
    write_plain(&path, &Edited { tensors, value: 0.5 });
    let error = error_at(&path);
    assert_eq!(error.code, Code::TensorMismatch);
    assert!(error.message.contains("8 differences"), "{error}");
    let found = error.found.unwrap();
    for difference in [
        "`class_emb.weight` [1001, 64] is missing",
        "`ns_head.weight` [8, 64] is missing",
        "`ns_head.bias` [8] is missing",
        "`mask_head.bias` has shape [7] instead of [8]",
        "`base_blocks.1.ffn.fc1.weight` has shape [64, 65] instead of [64, 64]",
        "`mask_blocks.0.attn.q_bias` holds i64 instead of floats",
        "`extra.weight` [3] does not belong there",
        "`base_blocks.1.attn.extra` [1] does not belong there",
    ] {
        assert!(found.contains(difference), "{difference} is not in {found}");
    }
}

#[test]
fn row_4_each_tensor_alone() {
    let config = known_pyramid(Layout::NextScale);
    let folder = tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let tensors = model_tensors(&config);
    for missing in 0..tensors.len() {
        let mut rest = tensors.clone();
        let taken = rest.remove(missing);
        write_plain(&path, &Synthetic::new(rest));
        let result = opened(OpenModel { mode: Some(Layout::NextScale), ..OpenModel::at(&path) });
        if hmar_checkpoint::is_constant(&taken.name) {
            assert!(result.is_ok(), "{}", taken.name);
        } else {
            let error = result.err().unwrap();
            assert_eq!(error.code, Code::TensorMismatch, "{}: {error}", taken.name);
            assert!(error.found.unwrap().contains(&format!("`{}`", taken.name)));
        }
    }
}

#[test]
fn row_4_other_tensors_altogether() {
    let folder = tempdir().unwrap();
    let tokenizer = folder.path().join("vae.safetensors");
    write_plain(&tokenizer, &Synthetic::tokenizer(&small_tokenizer()));
    let error = error_at(&tokenizer);
    assert_eq!((error.code, error.found.as_deref()), (Code::TensorMismatch, Some("a tokenizer")));
    let model = file_of(&folder, &small_model(Layout::Var));
    let error = TokenizerCheckpoint::open(&model, None).err().unwrap();
    assert_eq!((error.code, error.found.as_deref()), (Code::TensorMismatch, Some("a transformer")));
    let other = folder.path().join("other.safetensors");
    write_plain(&other, &Synthetic::new(vec![TensorInfo::f32("bert.embeddings", &[4])]));
    assert!(error_at(&other).found.unwrap().contains("bert.embeddings"));
}

#[test]
fn released_weights_have_their_licence() {
    // Opening reads no weights, so a file of holes is as good as the released one.
    let folder = tempdir().unwrap();
    let path = folder.path().join("hmar-d16.safetensors");
    let options = |license: Option<&str>| {
        let mut header = serde_json::Map::new();
        if let Some(license) = license {
            header.insert("__metadata__".into(), json!({ "license": license }));
        }
        let mut end = 0;
        for tensor in model_tensors(&ModelConfig::released(16, Layout::Combined)) {
            let start = end;
            end += tensor.bytes();
            let dtype = tensor.dtype.to_string().to_uppercase();
            header.insert(
                tensor.name,
                json!({ "dtype": dtype, "shape": tensor.shape, "data_offsets": [start, end] }),
            );
        }
        let header = serde_json::to_vec(&header).unwrap();
        let bytes = [&(header.len() as u64).to_le_bytes()[..], &header].concat();
        std::fs::write(&path, &bytes).unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(bytes.len() as u64 + end).unwrap();
        opened(OpenModel::at(&path)).unwrap()
    };
    let model = options(None);
    assert_eq!(model.config, ModelConfig::released(16, Layout::Combined));
    assert_eq!(model.license.as_deref(), Some("NVIDIA One-Way Noncommercial License"));
    assert_eq!(options(Some("CC0-1.0")).license.as_deref(), Some("CC0-1.0"));
}
