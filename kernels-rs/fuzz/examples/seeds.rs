//! Writes the inputs that fuzzing starts from: `cargo run --release --example seeds`.

use std::fs;
use std::path::Path;

use hmar_checkpoint::{ConfigFile, Layout, Synthetic, TensorInfo, TensorSource};
use hmar_fuzz::support::pickle::{Pickle, PickledTensor};
use hmar_fuzz::support::zip::{Member, archive, archive_64};
use hmar_fuzz::support::{pth_members, small_model, small_tokenizer, state_dict, write_plain};
use hmar_fuzz::{session, with_file};

fn main() {
    let model = few_tensors(&Synthetic::model(&small_model(Layout::NextScale)));
    let tokenizer = few_tensors(&Synthetic::tokenizer(&small_tokenizer()));
    let fixtures = fixtures();

    let mut pickles: Vec<Vec<u8>> = fixtures.iter().filter_map(|file| pickle_of(file)).collect();
    pickles.extend([&model, &tokenizer].map(|source| state_pickle(source)));
    write("pickle", pickles);

    let mut archives = fixtures;
    for source in [&model, &tokenizer] {
        let members = pth_members(state_pickle(source), state_dict(source).1);
        archives.push(archive(&members));
        let deferred: Vec<Member> = members.into_iter().map(Member::deferred).collect();
        archives.push(archive(&deferred));
        archives.push(archive_64(&deferred));
    }
    write("pth", archives);

    let plain = [&model, &tokenizer].map(|source| {
        with_file(b"", |path| {
            let path = path.with_extension("safetensors");
            write_plain(&path, source);
            let bytes = fs::read(&path).expect("it was written");
            fs::remove_file(path).expect("it is ours");
            bytes
        })
    });
    write("safetensors", plain);

    let model = ConfigFile::of_model(&small_model(Layout::Combined));
    let tokenizer = ConfigFile::of_tokenizer(&small_tokenizer());
    let both = ConfigFile { tokenizer: tokenizer.tokenizer.clone(), ..model.clone() };
    let json = |config: &ConfigFile| serde_json::to_vec(config).expect("it is plain data");
    let shapes = include_bytes!("../../../packages/shapes/weights/config.json").to_vec();
    write("config", [json(&model), json(&tokenizer), json(&both), shapes]);

    write("session", session::saved(&session::model()));
    write("plan", [vec![0; 64], (0..=255).collect(), [1, 0, 0, 2, 1, 3].repeat(32)]);
}

/// The smallest tensors, so that most bytes are structure.
fn few_tensors(source: &Synthetic) -> Synthetic {
    let small = |tensor: &&TensorInfo| tensor.elements() < 100;
    Synthetic::new(source.tensors().iter().filter(small).take(4).cloned().collect())
}

fn state_pickle(source: &dyn TensorSource) -> Vec<u8> {
    let tensors: Vec<PickledTensor> = state_dict(source).0;
    Pickle::new().state_dict(&tensors).finish()
}

/// The files that PyTorch wrote for the reader's tests.
fn fixtures() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/hmar-checkpoint/tests/fixtures");
    let mut paths: Vec<_> = fs::read_dir(folder)
        .expect("the tests are there")
        .map(|entry| entry.expect("it is listed").path())
        .collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "pth"));
    paths.sort();
    paths.iter().map(|path| fs::read(path).expect("it is listed")).collect()
}

/// What stands between a pickle's first bytes of protocol 2 and the header behind it.
fn pickle_of(archive: &[u8]) -> Option<Vec<u8>> {
    let find = |pattern: &[u8]| archive.windows(pattern.len()).position(|window| window == pattern);
    let start = find(&[0x80, 2])?;
    let length =
        archive[start..].windows(4).position(|window| window == b"PK\x07\x08" || window == b"PK\x03\x04")?;
    Some(archive[start..start + length].to_vec())
}

fn write(target: &str, inputs: impl IntoIterator<Item = Vec<u8>>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
    fs::create_dir_all(&folder).expect("the folder can be made");
    for (index, input) in inputs.into_iter().enumerate() {
        fs::write(folder.join(format!("{index:02}")), input).expect("the folder is ours");
    }
}
