//! A pickle, in an archive that is right otherwise: its checksum fits, and its storages have what seeds name.
#![no_main]

use std::sync::LazyLock;

use hmar_fuzz::read_everything;
use hmar_fuzz::support::pth_members;
use hmar_fuzz::support::zip::{Member, archive};
use libfuzzer_sys::fuzz_target;

/// Storages of several sizes, named as PyTorch names them.
static STORAGES: LazyLock<Vec<Member>> = LazyLock::new(|| {
    let sizes = [16, 48, 24, 32];
    let storage = |(key, bytes): (usize, usize)| Member::new(format!("data/{key}"), vec![1; bytes]);
    sizes.into_iter().enumerate().map(storage).collect()
});

fuzz_target!(|pickle: &[u8]| {
    let file = archive(&pth_members(pickle.to_vec(), STORAGES.clone()));
    read_everything(&file);
});
