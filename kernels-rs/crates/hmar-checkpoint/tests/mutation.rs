//! Files with random damage: opening and reading them fails or succeeds, and never panics. Failures name the seed.

mod support;

use hmar_checkpoint::{Layout, Synthetic, TensorInfo, TensorSource, inspect, open};
use std::panic::catch_unwind;
use std::path::Path;
use std::time::{Duration, Instant};
use support::zip::{Member, archive, archive_64};
use support::{pth_members, small_model, state_dict, write, write_plain};

/// xorshift64*; the seed is not 0.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(4) {
        let position = random.below(bytes.len());
        match random.below(6) {
            0 => bytes[position] ^= 1 << random.below(8),
            1 => bytes[position] = random.next() as u8,
            2 => bytes[position] = [0, 1, 0x7f, 0x80, 0xff][random.below(5)],
            3 => drop(bytes.remove(position)),
            4 => bytes.insert(position, random.next() as u8),
            _ => {
                let end = (position + random.below(64)).min(bytes.len());
                let piece = bytes[position..end].to_vec();
                let target = random.below(bytes.len());
                bytes.splice(target..target, piece);
            }
        }
    }
}

fn use_everything(path: &Path) {
    if let Ok(checkpoint) = open(path) {
        for tensor in checkpoint.tensors() {
            let _ = checkpoint.stream(&tensor.name, 1000, &mut |_| Ok(()));
        }
    }
    let _ = inspect(path, None);
}

fn attack(name: &str, original: &[u8], first_seed: u64) {
    let folder = tempfile::tempdir().unwrap();
    let end = Instant::now() + Duration::from_millis(1200);
    let mut seed = first_seed;
    while seed < first_seed + 20_000 && Instant::now() < end {
        let mut bytes = original.to_vec();
        mutate(&mut bytes, &mut Random(seed));
        let path = write(folder.path(), name, &bytes);
        assert!(catch_unwind(|| use_everything(&path)).is_ok(), "{name} with seed {seed}");
        seed += 1;
    }
}

/// Tensors of the right names but without a stack, so that most bytes are structure.
fn few_tensors() -> Synthetic {
    let tensors = Synthetic::model(&small_model(Layout::NextScale)).tensors().to_vec();
    let small = |tensor: &TensorInfo| tensor.elements() < 100;
    Synthetic::new(tensors.into_iter().filter(small).collect())
}

#[test]
fn archives() {
    let (tensors, storages) = state_dict(&few_tensors());
    let pickle = support::pickle::Pickle::new().state_dict(&tensors).finish();
    let members = pth_members(pickle, storages);
    attack("file.pth", &archive(&members), 1);
    let deferred: Vec<Member> = members.into_iter().map(Member::deferred).collect();
    attack("file.pth", &archive_64(&deferred), 1_000_000);
}

#[test]
fn pickles() {
    // The checksum is right, so that the damage gets as far as the unpickler.
    let (tensors, storages) = state_dict(&few_tensors());
    let original = support::pickle::Pickle::new().state_dict(&tensors).finish();
    let folder = tempfile::tempdir().unwrap();
    let end = Instant::now() + Duration::from_millis(2400);
    for seed in 2_000_000..2_020_000 {
        if Instant::now() > end {
            break;
        }
        let mut pickle = original.clone();
        mutate(&mut pickle, &mut Random(seed));
        let path = write(folder.path(), "file.pth", &support::pth(pickle, storages.clone()));
        assert!(catch_unwind(|| use_everything(&path)).is_ok(), "seed {seed}");
    }
}

#[test]
fn headers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file.safetensors");
    write_plain(&path, &few_tensors());
    attack("file.safetensors", &std::fs::read(&path).unwrap(), 3_000_000);
}

#[test]
fn training_files_that_pytorch_wrote() {
    for (index, name) in ["training.pth", "views.pth", "state_dict.pth"].into_iter().enumerate() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
        attack(name, &std::fs::read(path).unwrap(), 4_000_000 + index as u64 * 100_000);
    }
}
