//! What the JSON beside a file says, and where it counts.

mod support;

use hmar_checkpoint::{
    Layout, ModelConfig, OpenModel, StoreAs, Synthetic, WriteOptions, model_tensors, write_safetensors,
};
use hmar_error::Code;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use support::models::{error_at, file_of, known_pyramid, opened, write_json};
use support::{small_model, write, write_plain};
use tempfile::tempdir;

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
fn metadata_of_another_program_are_ignored() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let config = known_pyramid(Layout::Combined);
    for text in ["0.4.2", "[1]", "{\"hidden_size\":768}"] {
        let metadata = BTreeMap::from([("config".to_string(), text.to_string())]);
        let options = WriteOptions {
            store: StoreAs::F32,
            metadata: &metadata,
            allow_non_finite: false,
            progress: &|_, _| (),
            cancel: &AtomicBool::new(false),
        };
        write_safetensors(&path, &Synthetic::model(&config), &options).unwrap();
        assert_eq!(opened(OpenModel::at(&path)).unwrap().config, config);
    }
}
