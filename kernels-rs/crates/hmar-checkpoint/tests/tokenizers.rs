//! Which tokenizer a file holds, and where it is found.

mod support;

use hmar_checkpoint::{
    Synthetic, TokenizerCheckpoint, TokenizerConfig, find_tokenizer_beside, tokenizer_tensors,
};
use hmar_error::Code;
use serde_json::json;
use support::models::{error_at, write_json};
use support::{small_tokenizer, write, write_plain};
use tempfile::tempdir;

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
