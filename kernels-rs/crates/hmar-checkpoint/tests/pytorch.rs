//! Files that PyTorch wrote; see `fixtures/make_fixtures.py`. Element i of every tensor is i / 8.

use hmar_checkpoint::{Checkpoint, Dtype, Format, Part, TensorInfo, TensorSource, open, open_bytes};
use hmar_error::{Code, Error};
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn opened(name: &str) -> Checkpoint {
    open(&fixture(name)).unwrap()
}

fn eighths(indices: impl IntoIterator<Item = usize>) -> Vec<f32> {
    indices.into_iter().map(|index| index as f32 / 8.0).collect()
}

fn check(source: &dyn TensorSource, name: &str, shape: &[usize], values: &[f32]) {
    assert_eq!(source.find(name).unwrap().shape, shape, "{name}");
    assert_eq!(source.read(name).unwrap(), values, "{name}");
    for chunk in [1, 3, 7] {
        let mut found = Vec::new();
        let mut last = chunk;
        source
            .stream(name, chunk, &mut |values| {
                assert_eq!(last, chunk, "only the last chunk may be short");
                last = values.len();
                found.extend_from_slice(values);
                Ok(())
            })
            .unwrap();
        assert_eq!(found, values, "{name} in chunks of {chunk}");
    }
}

#[test]
fn a_dictionary_of_tensors() {
    let file = opened("plain.pth");
    assert_eq!(file.format(), Format::Pth);
    assert!(!file.is_training());
    let names: Vec<&str> = file.tensors().iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(names, ["pos_start", "class_emb.weight"]);
    check(&file, "pos_start", &[1, 1, 4], &eighths(0..4));
    check(&file, "class_emb.weight", &[3, 4], &eighths(0..12));
}

#[test]
fn a_state_dict_with_its_metadata() {
    let file = opened("state_dict.pth");
    check(&file, "weight", &[2, 3], &eighths(0..6));
    check(&file, "bias", &[2], &eighths(0..2));
}

#[test]
fn parameters() {
    let file = opened("parameters.pth");
    check(&file, "weight", &[2, 3], &eighths(0..6));
    check(&file, "frozen", &[2], &eighths(0..2));
}

#[test]
fn every_type_that_occurs() {
    let file = opened("types.pth");
    for (name, dtype) in [("single", Dtype::F32), ("half", Dtype::F16), ("bfloat", Dtype::BF16)] {
        assert_eq!(file.find(name).unwrap().dtype, dtype);
        check(&file, name, &[20], &eighths(0..20));
    }
    assert_eq!(file.find("integer").unwrap().dtype, Dtype::I64);
    check(&file, "integer", &[20], &eighths((0..20).map(|index| index * 8)));
}

#[test]
fn shared_and_strided_storages() {
    let file = opened("views.pth");
    let at = |row: usize, column: usize| row * 6 + column;
    check(&file, "whole", &[4, 6], &eighths(0..24));
    check(&file, "transposed", &[6, 4], &eighths((0..24).map(|index| at(index % 4, index / 4))));
    check(&file, "rows", &[2, 6], &eighths(6..18));
    check(&file, "columns", &[4, 2], &eighths((0..8).map(|index| at(index / 2, 2 + index % 2))));
    check(&file, "every_second", &[2, 2], &eighths([at(0, 0), at(0, 3), at(2, 0), at(2, 3)]));
    let permuted = (0..24).map(|index| {
        let (outer, row, column) = (index / 6, index / 3 % 2, index % 3);
        row * 12 + column * 4 + outer
    });
    check(&file, "permuted", &[4, 2, 3], &eighths(permuted));
    check(&file, "scalar", &[], &[2.5]);
    check(&file, "empty", &[0, 4], &[]);
}

#[test]
fn a_training_checkpoint() {
    let file = opened("training.pth");
    assert!(file.is_training());
    let names: Vec<&str> = file.tensors().iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(names, ["trainer.transformer_wo_ddp.weight", "trainer.vae_local.bias"]);
    check(&*file.part(Part::Model).unwrap(), "weight", &[2, 3], &eighths(0..6));
    check(&*file.part(Part::Tokenizer).unwrap(), "bias", &[2], &eighths(0..2));
}

#[test]
fn types_that_weights_do_not_have_are_named() {
    let error = open(&fixture("unsupported_type.pth")).err().unwrap();
    assert_eq!(error.code, Code::CheckpointRefused);
    assert_eq!(error.found.as_deref(), Some("float64"));
}

#[test]
fn row_6_a_pickled_module_is_refused_by_name() {
    let error = open(&fixture("whole_module.pth")).err().unwrap();
    assert_eq!(error.code, Code::CheckpointRefused);
    assert!(error.message.contains("`torch.nn.modules.linear.Linear`"), "{error}");
}

#[test]
fn row_10_a_legacy_file_is_called_that() {
    let error = open(&fixture("legacy.pth")).err().unwrap();
    assert_eq!(error.code, Code::NotACheckpoint);
    assert!(error.message.contains("legacy .pth"), "{error}");
}

/// Every file that can be read, with its bytes.
fn readable() -> Vec<(&'static str, Vec<u8>)> {
    let names = ["plain", "parameters", "state_dict", "training", "types", "views"];
    names.into_iter().map(|name| (name, std::fs::read(fixture(&format!("{name}.pth"))).unwrap())).collect()
}

/// All tensors and their values.
fn contents(bytes: Vec<u8>) -> Result<Vec<(TensorInfo, Vec<u32>)>, Error> {
    let checkpoint = open_bytes(Path::new("file.pth"), bytes)?;
    let tensors = checkpoint.tensors().iter();
    let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect();
    tensors.map(|tensor| Ok((tensor.clone(), bits(checkpoint.read(&tensor.name)?)))).collect()
}

#[test]
#[cfg_attr(miri, ignore = "thousands of files take Miri too long")]
fn row_1_truncated_at_any_byte() {
    for (name, bytes) in readable() {
        for length in 0..bytes.len() {
            assert!(contents(bytes[..length].to_vec()).is_err(), "{name} cut to {length} bytes");
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "thousands of files take Miri too long")]
fn no_byte_changes_unseen() {
    for (name, bytes) in readable() {
        let original = contents(bytes.clone()).unwrap();
        for position in 0..bytes.len() {
            for change in [0x01, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[position] ^= change;
                if let Ok(found) = contents(changed) {
                    assert_eq!(found, original, "{name}, byte {position} changed by {change:#x}");
                }
            }
        }
    }
}
