//! Damaged and hostile `.pth` archives.

mod support;

use hmar_checkpoint::{Dtype, TensorSource, open_bytes};
use hmar_error::{Code, Error};
use std::path::Path;
use support::pickle::{Pickle, PickledTensor};
use support::zip::{Member, archive, archive_64};
use support::{four_floats, pth, pth_members};

fn error_of(bytes: &[u8]) -> Error {
    open_bytes(Path::new("file.pth"), bytes.to_vec()).err().expect("the file must be refused")
}

#[track_caller]
fn refused(bytes: &[u8], code: Code, what: &str) {
    let error = error_of(bytes);
    assert_eq!(error.code, code, "{error}");
    assert!(error.to_string().contains(what), "{error}");
}

/// Refused with that pickle, whatever the storages.
#[track_caller]
fn pickle_refused(pickle: Pickle, code: Code, what: &str) {
    refused(&pth(pickle.finish(), four_floats().1), code, what);
}

/// The values of `weight`.
fn weight(bytes: &[u8]) -> Result<Vec<f32>, Error> {
    open_bytes(Path::new("file.pth"), bytes.to_vec())?.read("weight")
}

#[test]
fn the_writer_of_these_tests_writes_what_can_be_read() {
    let (pickle, storages) = four_floats();
    let plain = weight(&pth(pickle.clone(), storages.clone())).unwrap();
    assert_eq!(plain.len(), 4);
    let members = pth_members(pickle, storages);
    assert_eq!(weight(&archive_64(&members)).unwrap(), plain);
    let deferred: Vec<Member> = members.into_iter().map(Member::deferred).collect();
    assert_eq!(weight(&archive(&deferred)).unwrap(), plain);
}

#[test]
fn row_1_truncated_at_any_byte() {
    let (pickle, storages) = four_floats();
    let file = pth(pickle, storages);
    for length in 0..file.len() {
        let error = error_of(&file[..length]);
        let expected = if length < 4 { Code::NotACheckpoint } else { Code::CheckpointCorrupt };
        assert_eq!(error.code, expected, "cut to {length} bytes: {error}");
    }
}

#[test]
fn row_6_foreign_names_are_refused_by_name() {
    for (module, name) in [
        ("os", "system"),
        ("posix", "system"),
        ("builtins", "eval"),
        ("torch", "load"),
        ("torch", "UntypedStorage"),
        ("torch._utils", "_rebuild_tensor"),
        ("collections", "OrderedDict.__init__"),
    ] {
        let call = Pickle::new().global(module, name).text("echo").raw(b"\x85R");
        pickle_refused(call, Code::CheckpointRefused, &format!("`{module}.{name}`"));
    }
}

#[test]
fn row_6_what_is_on_the_list_cannot_be_called_otherwise() {
    let list = Pickle::new().global("collections", "OrderedDict").raw(b"]\x85R");
    pickle_refused(list, Code::CheckpointRefused, "OrderedDict from arguments");
    let storage = Pickle::new().global("torch", "FloatStorage").raw(b")R");
    pickle_refused(storage, Code::CheckpointRefused, "storage from arguments");
    pickle_refused(Pickle::new().text("f").raw(b")R"), Code::CheckpointCorrupt, "not a function");
    let parameter = Pickle::new().global("torch._utils", "_rebuild_parameter").raw(b"N\x89N\x87R");
    pickle_refused(parameter, Code::CheckpointCorrupt, "not a tensor");
    pickle_refused(Pickle::new().raw(b"]}b"), Code::CheckpointRefused, "state of something");
    pickle_refused(Pickle::new().raw(b"}i"), Code::CheckpointRefused, "0x69");
    let newer = Pickle(vec![0x80, 4]).raw(b"}");
    pickle_refused(newer, Code::CheckpointRefused, "protocol 2");
}

#[test]
fn row_7_memo_doubling_takes_no_more_than_its_bytes() {
    // A list of the previous list twice, eighty times over: 2⁸⁰ elements if it were expanded.
    let mut lists = b"]q\0".to_vec();
    for level in 0..80 {
        lists.extend_from_slice(&[b']', b'q', level + 1, b'(', b'h', level, b'h', level, b'e']);
    }
    let tensor = PickledTensor::contiguous("weight", "0", &[4], Dtype::F32);
    let bomb = Pickle::new().raw(b"}(").text("bomb").raw(b"(").raw(&lists).raw(b"t");
    let doubled = bomb.text("weight").tensor(&tensor).raw(b"u").finish();
    let storages = four_floats().1;
    assert_eq!(weight(&pth(doubled, storages)).unwrap().len(), 4);
}

#[test]
#[cfg_attr(miri, ignore = "a million operations take Miri too long")]
fn row_7_nesting_has_a_budget() {
    let lists = Pickle::new().raw(&vec![b']'; 1_000_000]).raw(&vec![b'a'; 999_999]);
    pickle_refused(lists, Code::CheckpointRefused, "values open");
    let marks = Pickle::new().raw(&vec![b'('; 1_000_000]);
    pickle_refused(marks, Code::CheckpointRefused, "1000 deep");
    let tuples = Pickle::new().raw(b"N").raw(&vec![0x85; 1_000_000]);
    pickle_refused(tuples, Code::CheckpointRefused, "1000 deep");
    // Each list in the next, through the memo: the stack stays flat.
    let mut chain = Pickle::new().raw(b"]q\0");
    for _ in 0..1_000_000 {
        chain = chain.raw(b"]h\0aq\0");
    }
    pickle_refused(chain, Code::CheckpointRefused, "1000 deep");
}

#[test]
#[cfg_attr(miri, ignore = "a million operations take Miri too long")]
fn row_7_values_and_bytes_have_a_budget() {
    let mut many = Pickle::new().raw(b"]");
    for _ in 0..12 {
        many = many.raw(b"(").raw(&vec![b'N'; 90_000]).raw(b"e");
    }
    pickle_refused(many, Code::CheckpointRefused, "1000000 values");
    let huge = Pickle::new().raw(&vec![b'N'; 33 << 20]);
    pickle_refused(huge, Code::CheckpointRefused, "`data.pkl` has");
    let text = Pickle::new().raw(b"X\xff\xff\xff\xffshort");
    pickle_refused(text, Code::CheckpointCorrupt, "ends in the middle");
    let mut remembered = Pickle::new().raw(b"N");
    for slot in 0..=1_000_000u32 {
        remembered = remembered.raw(b"r").raw(&slot.to_le_bytes());
    }
    pickle_refused(remembered, Code::CheckpointRefused, "remembers more than 1000000 values");
    // Every tensor copies its shape, which thousands can share.
    let tensor = PickledTensor::contiguous("weight", "0", &[1; 9], Dtype::F32);
    pickle_refused(Pickle::new().state_dict(&[tensor]), Code::CheckpointRefused, "more than 8 dimensions");
    let name = Pickle::new().raw(b"c").raw(&vec![b'a'; 1 << 20]);
    pickle_refused(name, Code::CheckpointCorrupt, "does not end");
}

#[test]
fn row_7_short_tuples_and_empty_stacks() {
    let rebuild = || Pickle::new().global("torch._utils", "_rebuild_tensor_v2");
    pickle_refused(rebuild().raw(b")R"), Code::CheckpointCorrupt, "unknown way");
    pickle_refused(rebuild().raw(b"N\x85R"), Code::CheckpointCorrupt, "unknown way");
    pickle_refused(rebuild().raw(b"NR"), Code::CheckpointCorrupt, "tuple");
    pickle_refused(Pickle::new().text("storage").raw(b"\x85Q"), Code::CheckpointCorrupt, "unknown way");
    pickle_refused(Pickle::new().raw(b"NQ"), Code::CheckpointCorrupt, "tuple");
    for operations in
        [&b"a"[..], b"t", b"u", b"e", b"R", b"Q", b"b", b"h\x05", b"q\x05", b"\x87", b"N(\x85", b"}Ns", b""]
    {
        pickle_refused(Pickle::new().raw(operations), Code::CheckpointCorrupt, "pickle");
    }
    pickle_refused(Pickle::new().raw(b"}."), Code::CheckpointCorrupt, "does not end");
    pickle_refused(Pickle::new().raw(b"]"), Code::CheckpointRefused, "not a dictionary");
}

fn with_tensor(change: impl FnOnce(&mut PickledTensor)) -> Vec<u8> {
    let mut tensor = PickledTensor::contiguous("weight", "0", &[2, 2], Dtype::F32);
    change(&mut tensor);
    pth(Pickle::new().state_dict(&[tensor]).finish(), four_floats().1)
}

#[test]
fn row_8_a_tensor_stays_within_its_storage() {
    assert_eq!(weight(&with_tensor(|_| ())).unwrap().len(), 4);
    let outside: [fn(&mut PickledTensor); 8] = [
        |tensor| tensor.shape = vec![5],
        |tensor| tensor.offset = 1,
        |tensor| tensor.offset = u64::MAX >> 1,
        |tensor| tensor.strides = vec![3, 1],
        |tensor| tensor.strides = vec![u64::MAX >> 1, 1],
        |tensor| tensor.shape = vec![1 << 40, 1 << 40],
        |tensor| {
            tensor.shape = vec![1 << 40, 1];
            tensor.strides = vec![0, 0];
        },
        |tensor| {
            tensor.shape = vec![0];
            tensor.offset = 5;
        },
    ];
    for change in outside {
        let file = with_tensor(|tensor| {
            change(tensor);
            tensor.strides.resize(tensor.shape.len(), 1);
        });
        refused(&file, Code::CheckpointCorrupt, "reaches out of its storage");
    }
    let strides = with_tensor(|tensor| tensor.strides = vec![1]);
    refused(&strides, Code::CheckpointCorrupt, "more or fewer strides");
}

#[test]
fn row_8_a_storage_is_its_member() {
    let larger = with_tensor(|tensor| tensor.storage_elements = 5);
    refused(&larger, Code::CheckpointCorrupt, "has the wrong size");
    let overflowing = with_tensor(|tensor| tensor.storage_elements = u64::MAX >> 1);
    refused(&overflowing, Code::CheckpointCorrupt, "has the wrong size");
    let missing = with_tensor(|tensor| tensor.key = "7".into());
    refused(&missing, Code::CheckpointCorrupt, "is missing");
    let elsewhere = with_tensor(|tensor| tensor.key = "../../etc/passwd".into());
    refused(&elsewhere, Code::CheckpointCorrupt, "is missing");
    let two_types = [
        PickledTensor::contiguous("weight", "0", &[4], Dtype::F32),
        PickledTensor::contiguous("other", "0", &[8], Dtype::F16),
    ];
    let file = pth(Pickle::new().state_dict(&two_types).finish(), four_floats().1);
    refused(&file, Code::CheckpointCorrupt, "in two ways");
    let twice = [(); 2].map(|()| PickledTensor::contiguous("weight", "0", &[4], Dtype::F32));
    let file = pth(Pickle::new().state_dict(&twice).finish(), four_floats().1);
    refused(&file, Code::CheckpointCorrupt, "same name");
}

/// An archive whose storage member has been changed.
fn with_storage(change: impl FnOnce(&mut Member)) -> Vec<u8> {
    let (pickle, mut storages) = four_floats();
    change(&mut storages[0]);
    pth(pickle, storages)
}

#[test]
fn row_9_compressed_and_encrypted_members() {
    let compressed = with_storage(|member| {
        member.central.method = 8;
        member.local.method = 8;
    });
    refused(&compressed, Code::CheckpointRefused, "is compressed (method 8)");
    let encrypted = with_storage(|member| member.central.flags = 1);
    refused(&encrypted, Code::CheckpointRefused, "is encrypted");
}

#[test]
fn row_9_headers_that_contradict_each_other() {
    let name = with_storage(|member| member.local.name = "archive/data/1".into());
    refused(&name, Code::CheckpointCorrupt, "another name");
    let longer = with_storage(|member| member.local.name = "archive/data/01".into());
    refused(&longer, Code::CheckpointCorrupt, "another name");
    let method = with_storage(|member| member.local.method = 8);
    refused(&method, Code::CheckpointCorrupt, "another compression method");
    let sizes = with_storage(|member| member.local.bytes = 12);
    refused(&sizes, Code::CheckpointCorrupt, "other sizes");
    let crc = with_storage(|member| member.local.crc ^= 1);
    refused(&crc, Code::CheckpointCorrupt, "other sizes or another checksum");
    let undeferred = with_storage(|member| {
        member.local.crc = 0;
        member.local.bytes = 0;
        member.local.stored = 0;
    });
    refused(&undeferred, Code::CheckpointCorrupt, "other sizes");
    let two_sizes = with_storage(|member| member.central.stored = 12);
    refused(&two_sizes, Code::CheckpointCorrupt, "two sizes");
}

#[test]
fn row_9_members_overlap_or_leave_the_file() {
    let (pickle, storages) = four_floats();
    let mut members = pth_members(pickle, storages);
    // A second member whose header stands within the first one's data.
    let inner = Member::new("data/9", b"secret".to_vec());
    let hidden = archive(std::slice::from_ref(&inner));
    let start = 30 + inner.local.name.len();
    let mut outer = Member::new("data/8", hidden[..start + 6].to_vec());
    outer.central.name = "archive/data/8".into();
    let position =
        archive(&members).len() as u64 - directory_and_end(&members) + 30 + outer.local.name.len() as u64;
    members.push(outer);
    let mut overlapping = inner;
    overlapping.position = Some(position);
    members.push(overlapping);
    refused(&archive(&members), Code::CheckpointCorrupt, "overlap");

    let outside = with_storage(|member| member.position = Some(1 << 30));
    refused(&outside, Code::CheckpointCorrupt, "lies outside");
    let beyond = with_storage(|member| {
        for header in [&mut member.central, &mut member.local] {
            header.bytes = 1 << 20;
            header.stored = 1 << 20;
        }
    });
    refused(&beyond, Code::CheckpointCorrupt, "lies outside");
}

fn directory_and_end(members: &[Member]) -> u64 {
    members.iter().map(|member| 46 + member.central.name.len() as u64).sum::<u64>() + 22
}

#[test]
fn row_9_unsafe_and_repeated_names() {
    for name in [
        "archive/../etc/passwd",
        "archive//data",
        "archive/data/..\\x",
        "archive/./x",
        "/archive/x",
        "archive/",
    ] {
        let file = with_storage(|member| {
            member.central.name = name.into();
            member.local.name = name.into();
        });
        refused(&file, Code::CheckpointRefused, "unsafe name");
    }
    let elsewhere = with_storage(|member| {
        member.central.name = "other/data/0".into();
        member.local.name = "other/data/0".into();
    });
    refused(&elsewhere, Code::NotACheckpoint, "not one that PyTorch wrote");
    let (pickle, mut storages) = four_floats();
    storages.push(Member::new("data.pkl", Pickle::new().raw(b"}").finish()));
    refused(&pth(pickle, storages), Code::CheckpointCorrupt, "two members named `archive/data.pkl`");
}

#[test]
fn row_9_bad_checksums() {
    let (pickle, storages) = four_floats();
    let mut members = pth_members(pickle.clone(), storages.clone());
    members[0].central.crc ^= 1;
    members[0].local.crc ^= 1;
    refused(&archive(&members), Code::CheckpointCorrupt, "checksum of `data.pkl`");

    // A storage's is found when it is read: whole, in part, and from several tensors.
    let mut damaged = storages;
    damaged[0].data[5] ^= 0x10;
    for tensor in [&[4][..], &[2], &[2, 2]] {
        let mut tensor = PickledTensor::contiguous("weight", "0", tensor, Dtype::F32);
        tensor.storage_elements = 4;
        if tensor.shape.len() == 2 {
            tensor.strides = vec![1, 2];
        }
        let file = pth(Pickle::new().state_dict(&[tensor]).finish(), damaged.clone());
        let error = weight(&file).unwrap_err();
        assert_eq!(error.code, Code::CheckpointCorrupt);
        assert!(error.message.contains("checksum of `data/0`"), "{error}");
    }
}

#[test]
fn row_9_what_stands_behind_the_archive() {
    let (pickle, storages) = four_floats();
    let mut file = pth(pickle, storages);
    file.push(0);
    refused(&file, Code::CheckpointCorrupt, "cut or appended to");
}

#[test]
fn big_endian_files_and_other_archives_are_named() {
    let (pickle, storages) = four_floats();
    let mut members = pth_members(pickle, storages);
    members[1] = Member::new("byteorder", b"big".to_vec());
    refused(&archive(&members), Code::CheckpointRefused, "big-endian");
    let other = archive(&[Member::new("word/document.xml", b"<xml/>".to_vec())]);
    refused(&other, Code::NotACheckpoint, "not one that PyTorch wrote");
    refused(&archive(&[]), Code::NotACheckpoint, "not one that PyTorch wrote");
}
