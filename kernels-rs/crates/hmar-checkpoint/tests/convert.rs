//! Writing: conversion, synthetic folders, and what inspection says about them.

mod support;

use half::bf16;
use hmar_checkpoint::{
    Convert, Converted, Dtype, Format, Kind, Layout, ModelCheckpoint, ModelConfig, OpenModel, PYRAMID_256,
    PYRAMID_512, Part, StoreAs, Synthesize, Synthetic, TensorInfo, TensorSource, TokenizerCheckpoint,
    TokenizerConfig, convert, inspect, model_tensors, open, synthesize, tokenizer_tensors,
};
use hmar_error::{Code, Error};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use support::{Edited, pth_of, small_model, small_tokenizer, write, write_plain};
use tempfile::{TempDir, tempdir};

fn options(input: &Path, output: &Path) -> Convert {
    Convert {
        inputs: vec![input.to_path_buf()],
        output: output.to_path_buf(),
        store: StoreAs::F32,
        part: None,
        mode: None,
        config: Some(json!({ "pyramid": [1, 2], "name": "small", "labels": ["a", "b", "c"] }).to_string()),
        license: None,
        allow_non_finite: false,
    }
}

fn run(options: &Convert) -> Result<Converted, Error> {
    convert(options, &|_, _| (), &AtomicBool::new(false))
}

fn model_file(folder: &TempDir, layout: Layout) -> PathBuf {
    write(folder.path(), "input.pth", &pth_of(&Synthetic::model(&small_model(layout))))
}

/// Names of what is in a folder.
fn listing(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_converted_model_is_the_same_and_needs_nothing_beside_it() {
    for layout in [Layout::Combined, Layout::NextScale, Layout::Var] {
        let folder = tempdir().unwrap();
        let input = model_file(&folder, layout);
        let output = folder.path().join("output.safetensors");
        let summary = run(&Convert { license: Some("CC0-1.0".into()), ..options(&input, &output) }).unwrap();

        let model = ModelCheckpoint::open(&OpenModel::at(&output)).unwrap();
        let expected = ModelConfig {
            name: Some("small".into()),
            labels: Some(["a", "b", "c"].map(String::from).to_vec()),
            ..small_model(layout)
        };
        assert_eq!(model.config, expected);
        assert_eq!(model.license.as_deref(), Some("CC0-1.0"));
        let source = Synthetic::model(&expected);
        for tensor in source.tensors() {
            assert_eq!(model.source.find(&tensor.name), Some(tensor));
            assert_eq!(model.source.read(&tensor.name).unwrap(), source.read(&tensor.name).unwrap());
        }

        let bytes = std::fs::read(&output).unwrap();
        let hash: String =
            Sha256::digest(std::fs::read(&input).unwrap()).iter().map(|byte| format!("{byte:02x}")).collect();
        let metadata = open(&output).unwrap().metadata().clone();
        assert_eq!(metadata["source_sha256"], hash);
        assert_eq!(metadata["license"], "CC0-1.0");
        assert_eq!(
            (summary.part, summary.bytes, summary.source_sha256),
            (Part::Model, bytes.len() as u64, hash)
        );
        assert_eq!(summary.tensors, source.tensors().len());
        // The format's own reader agrees.
        let peer = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let head = peer.tensor("pos_start").unwrap();
        assert_eq!(head.shape(), [1, 1, 64]);
        assert_eq!(head.data(), bytemuck::cast_slice::<f32, u8>(&source.read("pos_start").unwrap()));
    }
}

#[test]
fn bf16_rounds_to_nearest_even_and_converts_again_without_loss() {
    let folder = tempdir().unwrap();
    let input = model_file(&folder, Layout::Var);
    let first = folder.path().join("first.safetensors");
    run(&Convert { store: StoreAs::Bf16, ..options(&input, &first) }).unwrap();
    let source = Synthetic::model(&small_model(Layout::Var));
    let rounded = open(&first).unwrap();
    for tensor in source.tensors() {
        let dtype = if tensor.name == "lvl_1L" { Dtype::I64 } else { Dtype::BF16 };
        assert_eq!(rounded.find(&tensor.name).unwrap().dtype, dtype);
        let expected: Vec<f32> =
            source.read(&tensor.name).unwrap().iter().map(|value| bf16::from_f32(*value).to_f32()).collect();
        assert_eq!(rounded.read(&tensor.name).unwrap(), expected, "{}", tensor.name);
    }
    let second = folder.path().join("second.safetensors");
    run(&Convert { config: None, ..options(&first, &second) }).unwrap();
    for tensor in rounded.tensors() {
        assert_eq!(open(&second).unwrap().read(&tensor.name).unwrap(), rounded.read(&tensor.name).unwrap());
    }
    // In place: the file is replaced when the new one is complete.
    run(&Convert { config: None, store: StoreAs::Bf16, ..options(&second, &second) }).unwrap();
    assert_eq!(ModelCheckpoint::open(&OpenModel::at(&second)).unwrap().config.name.as_deref(), Some("small"));
    assert_eq!(listing(folder.path()), ["first.safetensors", "input.pth", "second.safetensors"]);
}

#[test]
fn a_converted_tokenizer_is_the_same() {
    let folder = tempdir().unwrap();
    let source = Synthetic::tokenizer(&small_tokenizer());
    let input = write(folder.path(), "vae.pth", &pth_of(&source));
    let output = folder.path().join("vae.safetensors");
    let config = Some(json!({ "pyramid": [1, 2] }).to_string());
    assert_eq!(run(&Convert { config, ..options(&input, &output) }).unwrap().part, Part::Tokenizer);
    let tokenizer = TokenizerCheckpoint::open(&output, None).unwrap();
    assert_eq!(tokenizer.config, small_tokenizer());
    for tensor in source.tensors() {
        assert_eq!(tokenizer.source.read(&tensor.name).unwrap(), source.read(&tensor.name).unwrap());
    }
}

#[test]
fn progress_reaches_its_total() {
    let folder = tempdir().unwrap();
    let input = model_file(&folder, Layout::Combined);
    let output = folder.path().join("output.safetensors");
    let (done, total) = (AtomicU64::new(0), AtomicU64::new(0));
    let progress = |now: u64, all: u64| {
        done.fetch_max(now, Ordering::Relaxed);
        total.store(all, Ordering::Relaxed);
    };
    convert(&options(&input, &output), &progress, &AtomicBool::new(false)).unwrap();
    assert!(done.load(Ordering::Relaxed) > 0);
    assert_eq!(done.load(Ordering::Relaxed), total.load(Ordering::Relaxed));
}

#[test]
fn row_5_nan_and_infinity_are_named_or_allowed() {
    let folder = tempdir().unwrap();
    let input = folder.path().join("input.safetensors");
    let output = folder.path().join("output.safetensors");
    for value in [f32::NAN, f32::INFINITY] {
        let config = ModelConfig { pyramid: PYRAMID_256.to_vec(), ..small_model(Layout::Combined) };
        write_plain(&input, &Edited { tensors: model_tensors(&config), value });
        let options = Convert { config: None, ..options(&input, &output) };
        let error = run(&options).unwrap_err();
        assert_eq!(error.code, Code::NonFiniteWeight);
        let named =
            model_tensors(&config).iter().any(|tensor| error.message.contains(&format!("`{}`", tensor.name)));
        assert!(named, "{error}");
        assert_eq!(listing(folder.path()), ["input.safetensors"]);
        run(&Convert { allow_non_finite: true, ..options }).unwrap();
        std::fs::remove_file(&output).unwrap();
    }
}

#[test]
fn nothing_half_written_is_left() {
    let folder = tempdir().unwrap();
    let input = model_file(&folder, Layout::Combined);
    let output = write(folder.path(), "output.safetensors", b"what was there");
    let before = listing(folder.path());
    let cancel = AtomicBool::new(false);
    let input_bytes = std::fs::metadata(&input).unwrap().len();
    // Cancelled after the first bytes have been written.
    let progress = |done: u64, _: u64| {
        if done > input_bytes {
            cancel.store(true, Ordering::Relaxed);
        }
    };
    let error = convert(&options(&input, &output), &progress, &cancel).unwrap_err();
    assert_eq!(error.code, Code::Cancelled);
    let error = convert(&options(&input, &output), &|_, _| (), &AtomicBool::new(true)).unwrap_err();
    assert_eq!(error.code, Code::Cancelled);
    assert_eq!(listing(folder.path()), before);
    assert_eq!(std::fs::read(&output).unwrap(), b"what was there");

    let nowhere = folder.path().join("missing/output.safetensors");
    assert_eq!(run(&options(&input, &nowhere)).unwrap_err().code, Code::FileUnwritable);
    let taken = folder.path().join("folder");
    std::fs::create_dir(&taken).unwrap();
    assert_eq!(run(&options(&input, &taken)).unwrap_err().code, Code::FileUnwritable);
    assert_eq!(listing(folder.path()), ["folder", "input.pth", "output.safetensors"]);
}

#[cfg(unix)]
#[test]
fn written_files_have_the_usual_permissions() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempdir().unwrap();
    let usual = write(folder.path(), "usual", b"");
    let output = folder.path().join("output.safetensors");
    run(&options(&model_file(&folder, Layout::Combined), &output)).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&output), mode(&usual));
}

#[test]
fn inspection_says_what_is_there() {
    let folder = tempdir().unwrap();
    let input = model_file(&folder, Layout::NextScale);
    let found = inspect(&input, None).unwrap();
    assert_eq!((found.format, found.kind, found.layout), (Format::Pth, Kind::Model, None));
    assert!(found.problems[0].contains("config.json"), "{:?}", found.problems);
    assert_eq!(found.tensors, model_tensors(&small_model(Layout::NextScale)));
    assert_eq!(found.bytes, std::fs::metadata(&input).unwrap().len());
    let elements: usize = found.tensors.iter().map(TensorInfo::elements).sum();
    assert_eq!(found.parameters, elements as u64);

    let output = folder.path().join("output.safetensors");
    run(&options(&input, &output)).unwrap();
    let found = inspect(&output, None).unwrap();
    assert_eq!(
        (found.format, found.kind, found.layout),
        (Format::Safetensors, Kind::Model, Some(Layout::NextScale))
    );
    assert_eq!(found.problems, Vec::<String>::new());
    assert!(found.metadata.contains_key("source_sha256"));
    let json = serde_json::to_value(&found).unwrap();
    assert_eq!(json["kind"], "model");
    assert_eq!(json["format"], "safetensors");
    assert_eq!(json["modelConfig"]["branchDepth"], 0);
    assert_eq!(json["modelConfig"]["sharedAdaLN"], false);
    assert_eq!(json["tensors"][0]["dtype"], "i64");

    let tokenizer = folder.path().join("vae.safetensors");
    write_plain(&tokenizer, &Synthetic::tokenizer(&small_tokenizer()));
    let found = inspect(&tokenizer, None).unwrap();
    assert_eq!(found.kind, Kind::Tokenizer);
    assert_eq!(found.tokenizer_config.unwrap().phi_count, 2);
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/training.pth");
    let found = inspect(&fixture, None).unwrap();
    assert_eq!((found.kind, found.problems.len()), (Kind::Training, 2));
    let other = folder.path().join("other.safetensors");
    write_plain(&other, &Synthetic::new(vec![TensorInfo::f32("bert.embeddings", &[4])]));
    assert_eq!(inspect(&other, None).unwrap().kind, Kind::Unknown);
}

#[test]
fn a_synthetic_folder_opens_as_it_is() {
    let folder = tempdir().unwrap();
    let output = folder.path().join("new/d1");
    let options = Synthesize {
        depth: 1,
        layout: Layout::Var,
        resolution: 512,
        output: output.clone(),
        store: StoreAs::Bf16,
    };
    synthesize(&options, &|_, _| (), &AtomicBool::new(false)).unwrap();
    assert_eq!(listing(&output), ["config.json", "model.safetensors", "tokenizer.safetensors"]);
    let model = ModelCheckpoint::open(&OpenModel::at(&output)).unwrap();
    let pyramid = PYRAMID_512.to_vec();
    let expected = ModelConfig {
        name: Some("synthetic-d1".into()),
        pyramid: pyramid.clone(),
        ..ModelConfig::released(1, Layout::Var)
    };
    assert_eq!(model.config, expected);
    assert_eq!(model.license.as_deref(), Some("MIT OR Apache-2.0"));
    let values = Synthetic::model(&expected).read("word_embed.weight").unwrap();
    let rounded: Vec<f32> = values.iter().map(|value| bf16::from_f32(*value).to_f32()).collect();
    assert_eq!(model.source.read("word_embed.weight").unwrap(), rounded);
    let tokenizer = TokenizerCheckpoint::open(&output, None).unwrap();
    let expected = TokenizerConfig { pyramid: Some(pyramid), ..TokenizerConfig::released() };
    assert_eq!(tokenizer.source.tensors().len(), tokenizer_tensors(&expected).len());
    assert_eq!(tokenizer.config, expected);
    let config: serde_json::Value =
        serde_json::from_slice(&std::fs::read(output.join("config.json")).unwrap()).unwrap();
    assert_eq!(config["resolution"], 512);
    assert_eq!(config["model"]["file"], "model.safetensors");
    assert_eq!(config["tokenizer"]["file"], "tokenizer.safetensors");
}

#[test]
fn a_cancelled_synthesis_leaves_what_was_there() {
    let folder = tempdir().unwrap();
    let kept = write(folder.path(), "model.safetensors", b"mine");
    let options = |depth, resolution| Synthesize {
        depth,
        layout: Layout::Combined,
        resolution,
        output: folder.path().into(),
        store: StoreAs::F32,
    };
    let error = synthesize(&options(2, 256), &|_, _| (), &AtomicBool::new(true)).unwrap_err();
    assert_eq!(error.code, Code::Cancelled);
    for (depth, resolution) in [(0, 256), (65, 256), (2, 300)] {
        let error = synthesize(&options(depth, resolution), &|_, _| (), &AtomicBool::new(false)).unwrap_err();
        assert_eq!(error.code, Code::ArgumentOutOfRange);
    }
    assert_eq!(listing(folder.path()), ["model.safetensors"]);
    assert_eq!(std::fs::read(kept).unwrap(), b"mine");
}
