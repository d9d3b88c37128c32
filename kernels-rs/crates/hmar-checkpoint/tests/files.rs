//! What is not a checkpoint, what changes underneath, and reading by many threads.

mod support;

use hmar_checkpoint::{Synthetic, TensorInfo, TensorSource, open};
use hmar_error::Code;
use std::fs::{File, OpenOptions};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};
use support::{pth_of, write, write_plain};
use tempfile::TempDir;

#[track_caller]
fn named(name: &str, bytes: &[u8], what: &str) {
    let folder = tempfile::tempdir().unwrap();
    let error = open(&write(folder.path(), name, bytes)).err().unwrap();
    assert_eq!(error.code, Code::NotACheckpoint, "{error}");
    assert!(error.message.contains(what), "{error}");
    assert!(error.remedy.is_some());
}

#[test]
fn row_10_what_people_have_instead() {
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1870000000\n";
    for name in ["hmar-d16.pth", "model.safetensors"] {
        named(name, pointer, "git-lfs pointer");
        named(name, b"<!DOCTYPE html><html><body>404</body></html>", "HTML page");
        named(name, b"\n\n <html lang=en>", "HTML page");
        named(name, b"<?xml version=\"1.0\"?><Error>AccessDenied</Error>", "HTML page");
        named(name, b"", "empty file");
        named(name, b"{\"error\": \"Repository not found\"}", "text file");
        named(
            name,
            b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.",
            "legacy .pth",
        );
    }
    named("weights.pth", b"\x80\x04\x95\x10\0\0\0\0\0\0\0}", "bare pickle");
    named("weights.pth", b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0", "no known format");
}

#[test]
fn files_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(open(&folder.path().join("missing.pth")).err().unwrap().code, Code::FileUnreadable);
    assert_eq!(open(folder.path()).err().unwrap().code, Code::FileUnreadable);
}

/// The same tensors in a file of each format.
fn both_formats() -> (TempDir, [PathBuf; 2], Synthetic) {
    let source = Synthetic::new(vec![
        TensorInfo::f32("large.weight", &[1000, 1000]),
        TensorInfo::f32("small.weight", &[3, 5]),
    ]);
    let folder = tempfile::tempdir().unwrap();
    let safetensors = folder.path().join("file.safetensors");
    write_plain(&safetensors, &source);
    let pth = write(folder.path(), "file.pth", &pth_of(&source));
    (folder, [safetensors, pth], source)
}

#[test]
fn row_11_a_file_cut_while_it_is_read() {
    let (_folder, paths, _) = both_formats();
    for path in paths {
        let checkpoint = open(&path).unwrap();
        let mut chunks = 0;
        let error = checkpoint
            .stream("large.weight", 1000, &mut |_| {
                chunks += 1;
                if chunks == 1 {
                    OpenOptions::new().write(true).open(&path).unwrap().set_len(1 << 20).unwrap();
                }
                Ok(())
            })
            .unwrap_err();
        assert_eq!(error.code, Code::FileChanged, "{error}");
        assert_eq!(checkpoint.read("large.weight").unwrap_err().code, Code::FileChanged);
    }
}

#[test]
fn row_11_a_file_written_or_lengthened_while_it_is_read() {
    let (_folder, paths, _) = both_formats();
    for path in paths {
        let checkpoint = open(&path).unwrap();
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.set_modified(SystemTime::now() + Duration::from_secs(10)).unwrap();
        assert_eq!(checkpoint.read("small.weight").unwrap_err().code, Code::FileChanged);

        let checkpoint = open(&path).unwrap();
        assert!(checkpoint.read("small.weight").is_ok());
        let modified = file.metadata().unwrap().modified().unwrap();
        file.set_len(file.metadata().unwrap().len() + 1).unwrap();
        file.set_modified(modified).unwrap();
        assert_eq!(checkpoint.read("small.weight").unwrap_err().code, Code::FileChanged);
    }
}

#[test]
fn a_file_replaced_while_it_is_read_stays_what_was_opened() {
    let (folder, paths, source) = both_formats();
    for path in paths {
        let checkpoint = open(&path).unwrap();
        let other = folder.path().join("other");
        File::create(&other).unwrap();
        std::fs::rename(&other, &path).unwrap();
        assert_eq!(checkpoint.read("small.weight").unwrap(), source.read("small.weight").unwrap());
    }
}

#[test]
fn many_threads_read_one_file() {
    let (_folder, paths, source) = both_formats();
    let names = ["large.weight", "small.weight"];
    let expected = names.map(|name| source.read(name).unwrap());
    for path in paths {
        let checkpoint = open(&path).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for (name, expected) in names.iter().zip(&expected) {
                        assert_eq!(checkpoint.read(name).unwrap(), *expected);
                    }
                });
            }
        });
    }
}

#[test]
fn chunks_are_exact_whatever_their_size() {
    let (_folder, paths, source) = both_formats();
    let expected = source.read("large.weight").unwrap();
    for path in paths {
        let checkpoint = open(&path).unwrap();
        for chunk in [999, 1000, 131_072, 131_073, 400_000, 1_000_000, 5_000_000] {
            let mut found = Vec::new();
            checkpoint
                .stream("large.weight", chunk, &mut |values| {
                    assert_eq!(values.len(), chunk.min(1_000_000 - found.len()));
                    found.extend_from_slice(values);
                    Ok(())
                })
                .unwrap();
            assert_eq!(found, expected);
        }
        let error = checkpoint.read("unknown").unwrap_err();
        assert_eq!(error.code, Code::TensorMismatch);
    }
}

#[test]
fn an_error_of_the_sink_ends_the_stream() {
    let (_folder, paths, _) = both_formats();
    for path in paths {
        let mut calls = 0;
        let error = open(&path)
            .unwrap()
            .stream("large.weight", 10, &mut |_| {
                calls += 1;
                Err(hmar_error::Error::new(Code::Cancelled, "enough"))
            })
            .unwrap_err();
        assert_eq!((error.code, calls), (Code::Cancelled, 1));
    }
}
