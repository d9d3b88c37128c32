//! Which model a file holds, told by its tensors and by the JSON beside it.

mod support;

use hmar_checkpoint::{
    Dtype, Layout, ModelCheckpoint, ModelConfig, OpenModel, Synthetic, TensorInfo, TensorSource,
    TokenizerCheckpoint, TokenizerConfig, find_tokenizer_beside, model_tensors, tokenizer_tensors,
};
use hmar_error::{Code, Error};
use serde_json::json;
use std::path::{Path, PathBuf};
use support::{Edited, pth_of, small_model, small_tokenizer, write, write_plain};
use tempfile::{TempDir, tempdir};

const LAYOUTS: [Layout; 3] = [Layout::Combined, Layout::NextScale, Layout::Var];

fn write_json(folder: &TempDir, json: &serde_json::Value) {
    write(folder.path(), "config.json", json.to_string().as_bytes());
}

/// A small model's file, without anything beside it.
fn file_of(folder: &TempDir, config: &ModelConfig) -> PathBuf {
    let path = folder.path().join("model.safetensors");
    write_plain(&path, &Synthetic::model(config));
    path
}

fn opened(options: OpenModel) -> Result<ModelCheckpoint, Error> {
    ModelCheckpoint::open(&options)
}

fn error_at(path: &Path) -> Error {
    opened(OpenModel::at(path)).err().expect("the model must be refused")
}

/// Says what shapes cannot.
fn pyramid_json() -> String {
    json!({ "pyramid": [1, 2] }).to_string()
}

/// As [`small_model`], with the released pyramid.
fn known_pyramid(layout: Layout) -> ModelConfig {
    ModelConfig { pyramid: hmar_checkpoint::PYRAMID_256.to_vec(), ..small_model(layout) }
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

#[test]
fn both_formats_hold_the_same_model() {
    let folder = tempdir().unwrap();
    let source = Synthetic::model(&small_model(Layout::Combined));
    let path = write(folder.path(), "model.pth", &pth_of(&source));
    let model = opened(OpenModel { config: Some(pyramid_json()), ..OpenModel::at(path) }).unwrap();
    assert_eq!(model.config, small_model(Layout::Combined));
    for tensor in source.tensors() {
        assert_eq!(
            model.source.read(&tensor.name).unwrap(),
            source.read(&tensor.name).unwrap(),
            "{}",
            tensor.name
        );
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
fn an_unknown_pyramid_is_asked_for() {
    let folder = tempdir().unwrap();
    let path = file_of(&folder, &small_model(Layout::Combined));
    let error = error_at(&path);
    assert_eq!(error.code, Code::ConfigAmbiguous);
    assert_eq!(error.found.as_deref(), Some("5 tokens"));
    assert!(error.remedy.unwrap().contains("config.json"));
    write_json(&folder, &json!({ "pyramid": [1, 2], "model": { "file": "model.safetensors" } }));
    assert_eq!(opened(OpenModel::at(path)).unwrap().config.pyramid, [1, 2]);
}

#[test]
fn the_json_beside_a_file_completes_it() {
    let folder = tempdir().unwrap();
    let path = file_of(&folder, &small_model(Layout::Combined));
    let sampling = json!({ "guidance": 1.5, "schedule": [[1], [1, 3]] });
    write_json(
        &folder,
        &json!({
            "name": "small", "resolution": 4, "pyramid": [1, 2],
            "tokenizer": { "file": "vae.pth", "channels": 32, "codebookSize": 8, "codeDimension": 4 },
            "model": {
                "file": "model.pth", "depth": 3, "branchDepth": 1, "width": 64, "heads": 1, "mlpRatio": 1,
                "queryKeyNorm": true, "sharedAdaLN": false, "classes": 3
            },
            "labels": ["a", "b", "c"],
            "sampling": sampling
        }),
    );
    let config = opened(OpenModel::at(&path)).unwrap().config;
    let expected = ModelConfig {
        name: Some("small".into()),
        labels: Some(["a", "b", "c"].map(String::from).to_vec()),
        sampling: Some(sampling),
        ..small_model(Layout::Combined)
    };
    assert_eq!(config, expected);
    assert_eq!(
        opened(OpenModel::at(folder.path())).err().unwrap().code,
        Code::FileUnreadable,
        "it names model.pth"
    );
    std::fs::rename(&path, folder.path().join("model.pth")).unwrap();
    assert_eq!(opened(OpenModel::at(folder.path())).unwrap().config, expected);
}

#[test]
fn the_json_of_another_program_or_model_is_ignored() {
    let folder = tempdir().unwrap();
    let config = known_pyramid(Layout::Combined);
    let path = file_of(&folder, &config);
    let strangers = [
        json!({ "architectures": ["BertModel"], "hidden_size": 768 }),
        json!([1, 2, 3]),
        json!({ "pyramid": "giza" }),
        json!({ "model": { "depth": "deep" } }),
        json!({ "pyramid": [1, 2], "model": { "file": "other.pth", "depth": 30, "width": 1920 } }),
        json!({ "pyramid": [1, 2], "tokenizer": { "file": "model.safetensors" } }),
    ];
    for stranger in strangers {
        write_json(&folder, &stranger);
        assert_eq!(opened(OpenModel::at(&path)).unwrap().config, config, "{stranger}");
    }
    write(folder.path(), "config.json", b"{ not json");
    assert_eq!(opened(OpenModel::at(&path)).unwrap().config, config);
}

#[test]
fn a_json_about_the_file_must_not_contradict_it() {
    let folder = tempdir().unwrap();
    let path = file_of(&folder, &known_pyramid(Layout::Combined));
    write_json(
        &folder,
        &json!({ "pyramid": [1, 2], "model": { "file": "model.safetensors", "depth": 5, "classes": 9 } }),
    );
    let error = error_at(&path);
    assert_eq!(error.code, Code::ConfigInvalid);
    assert!(error.message.contains("config.json contradicts"), "{error}");
    let (found, expected) = (error.found.unwrap(), error.expected.unwrap());
    assert!(found.contains("depth 3") && found.contains("classes 3"), "{found}");
    assert!(expected.contains("depth 5") && expected.contains("classes 9"), "{expected}");
    assert!(!found.contains("width"), "{found}");
}

#[test]
fn numbers_that_no_model_has_are_refused() {
    let folder = tempdir().unwrap();
    let path = file_of(&folder, &known_pyramid(Layout::Combined));
    for config in [
        json!({ "model": { "depth": 0 } }),
        json!({ "model": { "depth": 1_000_000_000u64 } }),
        json!({ "model": { "branchDepth": 4 } }),
        json!({ "model": { "width": 100 } }),
        json!({ "model": { "heads": 2 } }),
        json!({ "model": { "classes": 1u64 << 62 } }),
        json!({ "model": { "mlpRatio": -1 } }),
        json!({ "pyramid": [1, 3, 2] }),
        json!({ "pyramid": [2, 3] }),
        json!({ "pyramid": [1, 1_000_000] }),
        json!({ "labels": ["only one"] }),
        json!("text"),
    ] {
        let error =
            opened(OpenModel { config: Some(config.to_string()), ..OpenModel::at(&path) }).err().unwrap();
        assert_eq!(error.code, Code::ConfigInvalid, "{config}: {error}");
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
fn row_4_a_json_that_mostly_fits_makes_a_missing_tensor_visible() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("damaged.safetensors");
    let tensors = model_tensors(&small_model(Layout::Combined)).into_iter();
    write_plain(&path, &Synthetic::new(tensors.filter(|tensor| tensor.name != "pos_start").collect()));
    write_json(&folder, &json!({ "pyramid": [1, 2], "model": { "file": "model.pth", "depth": 3 } }));
    let error = error_at(&path);
    assert_eq!(error.code, Code::TensorMismatch, "{error}");
    assert_eq!(error.found.as_deref(), Some("`pos_start` [1, 1, 64] is missing"));
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
fn tokenizers_are_told_by_tensors_alone() {
    for config in [
        TokenizerConfig { pyramid: None, ..small_tokenizer() },
        TokenizerConfig { channel_multipliers: vec![1, 1, 2, 4], residual_blocks: 2, ..small_tokenizer() },
        TokenizerConfig {
            channel_multipliers: vec![1],
            phi_count: 5,
            code_dimension: 7,
            ..small_tokenizer()
        },
    ] {
        let folder = tempdir().unwrap();
        let path = folder.path().join("tokenizer.safetensors");
        write_plain(&path, &Synthetic::tokenizer(&config));
        let expected = TokenizerConfig { pyramid: None, ..config };
        let found = TokenizerCheckpoint::open(folder.path(), None).unwrap();
        assert_eq!(found.config, expected);
        write_json(&folder, &json!({ "pyramid": [1, 2], "tokenizer": { "file": "tokenizer.pth" } }));
        let config = TokenizerCheckpoint::open(&path, None).unwrap().config;
        assert_eq!(config.pyramid, Some(vec![1, 2]));
    }
    assert_eq!(TokenizerConfig::released().downsample(), 16);
    assert_eq!(small_tokenizer().downsample(), 2);
}

#[test]
fn row_4_each_tensor_of_a_tokenizer_alone() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("vae.safetensors");
    let tensors = tokenizer_tensors(&small_tokenizer());
    for missing in 0..tensors.len() {
        let mut rest = tensors.clone();
        let taken = rest.remove(missing);
        write_plain(&path, &Synthetic::new(rest));
        let result = TokenizerCheckpoint::open(&path, None);
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
fn a_tokenizer_is_found_beside_its_model() {
    let folder = tempdir().unwrap();
    let model = folder.path().join("hmar-d16.pth");
    assert_eq!(find_tokenizer_beside(&model), None);
    for name in ["vae.pth", "vae_ch160v4096z32.pth", "tokenizer.safetensors"] {
        let path = write(folder.path(), name, b"");
        assert_eq!(find_tokenizer_beside(&model), Some(path.clone()));
        assert_eq!(find_tokenizer_beside(folder.path()), Some(path));
    }
    let named = write(folder.path(), "other.pth", b"");
    write_json(&folder, &json!({ "pyramid": [1, 2], "tokenizer": { "file": "other.pth" } }));
    assert_eq!(find_tokenizer_beside(&model), Some(named));
    write_json(
        &folder,
        &json!({ "pyramid": [1, 2], "tokenizer": { "file": "../vae.pth" }, "model": { "file": "/m" } }),
    );
    assert_eq!(find_tokenizer_beside(&model), Some(folder.path().join("tokenizer.safetensors")));
    assert_eq!(error_at(folder.path()).code, Code::ConfigInvalid);
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
