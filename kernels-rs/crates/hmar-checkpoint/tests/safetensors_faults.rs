//! Damaged and hostile `.safetensors` files.

mod support;

use hmar_checkpoint::{Dtype, Synthetic, TensorInfo, TensorSource, open, open_bytes};
use hmar_error::{Code, Error};
use std::path::Path;
use support::{write, write_plain};

fn file(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend(std::iter::repeat_n(0, data));
    bytes
}

fn error_of(bytes: &[u8]) -> Error {
    open_bytes(Path::new("file.safetensors"), bytes.to_vec()).err().expect("the file must be refused")
}

#[track_caller]
fn refused(bytes: &[u8], code: Code, what: &str) {
    let error = error_of(bytes);
    assert_eq!(error.code, code, "{error}");
    assert!(error.to_string().contains(what), "{error}");
}

#[test]
fn row_1_truncated_at_any_byte() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("whole.safetensors");
    write_plain(&path, &Synthetic::new(vec![TensorInfo::f32("weight", &[4]), TensorInfo::f32("bias", &[2])]));
    let bytes = std::fs::read(&path).unwrap();
    for length in 0..bytes.len() {
        let error = error_of(&bytes[..length]);
        // The first bytes alone are a header's length, or text.
        let codes = if length < 8 {
            vec![Code::NotACheckpoint, Code::CheckpointCorrupt]
        } else {
            vec![Code::CheckpointCorrupt]
        };
        assert!(codes.contains(&error.code), "cut to {length} bytes: {error}");
    }
    let mut longer = bytes;
    longer.push(0);
    refused(&longer, Code::CheckpointCorrupt, "goes on after its tensors");
}

#[test]
fn row_2_header_lengths() {
    for length in [100u64, 100_000_001, 1 << 40, u64::MAX] {
        let mut bytes = length.to_le_bytes().to_vec();
        bytes.extend_from_slice(b"{}");
        let what = if length > 100_000_000 { "too long" } else { "ends within its header" };
        refused(&bytes, Code::CheckpointCorrupt, what);
    }
    refused(&u64::MAX.to_le_bytes(), Code::CheckpointCorrupt, "too long");
    refused(&file("", 0), Code::CheckpointCorrupt, "does not start with `{`");
    refused(&file(" {}", 0), Code::CheckpointCorrupt, "does not start with `{`");
    refused(&file("{\"a\":", 0), Code::CheckpointCorrupt, "not understood");
    refused(&file("{} x", 0), Code::CheckpointCorrupt, "not understood");
}

fn entry(shape: &str, start: u64, end: u64) -> String {
    format!(r#"{{"dtype":"F32","shape":{shape},"data_offsets":[{start},{end}]}}"#)
}

#[test]
fn row_3_offsets_and_shapes() {
    let two = |first: String, second: String| format!(r#"{{"a":{first},"b":{second}}}"#);
    let good = two(entry("[2]", 0, 8), entry("[1]", 8, 12));
    let folder = tempfile::tempdir().unwrap();
    assert!(open(&write(folder.path(), "good.safetensors", &file(&good, 12))).is_ok());

    let overlapping = two(entry("[2]", 0, 8), entry("[1]", 4, 8));
    refused(&file(&overlapping, 8), Code::CheckpointCorrupt, "overlap others, leave a hole");
    let hole = two(entry("[2]", 0, 8), entry("[1]", 12, 16));
    refused(&file(&hole, 16), Code::CheckpointCorrupt, "`b` overlap others, leave a hole");
    let leading_hole = two(entry("[1]", 4, 8), entry("[1]", 8, 12));
    refused(&file(&leading_hole, 12), Code::CheckpointCorrupt, "`a` overlap others, leave a hole");
    let reversed = two(entry("[2]", 0, 8), entry("[1]", 8, 4));
    refused(&file(&reversed, 8), Code::CheckpointCorrupt, "overlap others, leave a hole");
    let outside = two(entry("[2]", 0, 8), entry("[100]", 8, 408));
    refused(&file(&outside, 12), Code::CheckpointCorrupt, "ends before its tensors do");
    let wrong_size = two(entry("[3]", 0, 8), entry("[1]", 8, 12));
    refused(&file(&wrong_size, 12), Code::CheckpointCorrupt, "more or fewer bytes than its shape");
    let overflow = format!(r#"{{"a":{}}}"#, entry("[4294967296,4294967296,2]", 0, 8));
    refused(&file(&overflow, 8), Code::CheckpointCorrupt, "overflows");
    let bits = format!(r#"{{"a":{}}}"#, entry("[4611686018427387904]", 0, 8));
    refused(&file(&bits, 8), Code::CheckpointCorrupt, "overflows");
    for shape in ["[-1]", "[1.5]", "[18446744073709551616]", "{}", "null"] {
        refused(
            &file(&format!(r#"{{"a":{}}}"#, entry(shape, 0, 4)), 4),
            Code::CheckpointCorrupt,
            "not understood",
        );
    }
}

#[test]
fn row_3_duplicate_keys() {
    let twice = format!(r#"{{"a":{},"a":{}}}"#, entry("[1]", 0, 4), entry("[1]", 4, 8));
    refused(&file(&twice, 8), Code::CheckpointCorrupt, "`a` occurs twice");
    let escaped = format!(r#"{{"a":{},"\u0061":{}}}"#, entry("[1]", 0, 4), entry("[1]", 4, 8));
    refused(&file(&escaped, 8), Code::CheckpointCorrupt, "`a` occurs twice");
    let metadata = r#"{"__metadata__":{"license":"x","license":"y"}}"#;
    refused(&file(metadata, 0), Code::CheckpointCorrupt, "`license` occurs twice");
    let field = r#"{"a":{"dtype":"F32","shape":[1],"shape":[1],"data_offsets":[0,4]}}"#;
    refused(&file(field, 4), Code::CheckpointCorrupt, "not understood");
}

#[test]
fn types_that_weights_do_not_have_are_named() {
    let header = r#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}"#;
    refused(&file(header, 4), Code::CheckpointRefused, "U8");
    let unknown = r#"{"a":{"dtype":"F12","shape":[4],"data_offsets":[0,4]}}"#;
    refused(&file(unknown, 4), Code::CheckpointCorrupt, "not understood");
}

#[test]
fn every_type_is_read() {
    let header = concat!(
        r#"{"__metadata__":{"license":"MIT"},"#,
        r#""integer":{"dtype":"I64","shape":[1],"data_offsets":[0,8]},"#,
        r#""half":{"dtype":"F16","shape":[2],"data_offsets":[8,12]},"#,
        r#""bfloat":{"dtype":"BF16","shape":[1,1],"data_offsets":[12,14]},"#,
        r#""single":{"dtype":"F32","shape":[],"data_offsets":[14,18]}}  "#
    );
    let mut bytes = file(header, 0);
    bytes.extend_from_slice(&(-3i64).to_le_bytes());
    bytes.extend_from_slice(&[0x00, 0x3c, 0x00, 0xc0]);
    bytes.extend_from_slice(&[0x20, 0x40]);
    bytes.extend_from_slice(&0.1f32.to_le_bytes());
    let folder = tempfile::tempdir().unwrap();
    let source = open(&write(folder.path(), "types.safetensors", &bytes)).unwrap();
    assert_eq!(source.read("integer").unwrap(), [-3.0]);
    assert_eq!(source.read("half").unwrap(), [1.0, -2.0]);
    assert_eq!(source.read("bfloat").unwrap(), [2.5]);
    assert_eq!(source.read("single").unwrap(), [0.1]);
    assert_eq!(source.find("bfloat").unwrap().dtype, Dtype::BF16);
    assert_eq!(source.metadata()["license"], "MIT");
}
