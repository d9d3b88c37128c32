//! The directory of a zip archive of stored members.
//!
//! Written here rather than taken from a zip library: members are read at their positions by many threads, and an
//! archive that says one thing in its central directory and another in its local headers, or whose members overlap,
//! is to be refused rather than interpreted.

use crate::file::SharedFile;
use hmar_error::{Code, Error, Result};
use std::collections::HashMap;

const LOCAL: u32 = 0x0403_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;
const END_64: u32 = 0x0606_4b50;
const LOCATOR_64: u32 = 0x0706_4b50;

const LOCAL_BYTES: u64 = 30;
const CENTRAL_BYTES: usize = 46;
const END_BYTES: u64 = 22;
const END_64_BYTES: u64 = 56;
const LOCATOR_64_BYTES: u64 = 20;

/// A directory of a checkpoint takes some kilobytes.
const MAX_DIRECTORY: u64 = 64 << 20;

const ENCRYPTED: u16 = 1;
/// Sizes and checksum stand behind the data; the local header may have zeros.
const DEFERRED: u16 = 1 << 3;

/// One stored member.
#[derive(Clone, Debug)]
pub(super) struct Member {
    /// Where its bytes start in the file.
    pub position: u64,
    pub bytes: u64,
    pub crc: u32,
}

/// The members by name, without the top folder that they all stand in.
pub(super) struct Archive {
    members: HashMap<String, Member>,
}

impl Archive {
    pub fn open(file: &SharedFile) -> Result<Self> {
        let directory = find_directory(file)?;
        let bytes = file.bytes_at(directory.position, directory.bytes as usize)?;
        let mut entries = read_directory(file, &bytes, directory.entries)?;
        for entry in &mut entries {
            check_local_header(file, entry, directory.position)?;
        }
        check_overlaps(file, &mut entries)?;
        let members = strip_top_folder(file, entries)?;
        Ok(Archive { members })
    }

    pub fn member(&self, name: &str) -> Option<&Member> {
        self.members.get(name)
    }

    /// The whole of a small member, its checksum checked.
    pub fn read(&self, file: &SharedFile, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let Some(member) = self.member(name) else { return Ok(None) };
        if member.bytes > limit {
            return Err(file.refused(format_args!("`{name}` has {} bytes, more than {limit}", member.bytes)));
        }
        let bytes = file.bytes_at(member.position, member.bytes as usize)?;
        if crc32fast::hash(&bytes) != member.crc {
            return Err(bad_checksum(file, name));
        }
        Ok(Some(bytes))
    }
}

pub(super) fn bad_checksum(file: &SharedFile, name: &str) -> Error {
    file.corrupt(format_args!("the checksum of `{name}` does not fit its bytes"))
        .remedy("Get the file again.")
}

struct Directory {
    position: u64,
    bytes: u64,
    entries: u64,
}

fn find_directory(file: &SharedFile) -> Result<Directory> {
    let truncated = || {
        file.corrupt(
            "the zip archive has no end record as its last bytes, so the file was cut or appended to",
        )
        .remedy("Get the file again.")
    };
    let inconsistent = || file.corrupt("the zip archive's end records contradict each other or the file");
    let end_position = file.len().checked_sub(END_BYTES).ok_or_else(truncated)?;
    let end = file.bytes_at(end_position, END_BYTES as usize)?;
    let end = Fields(&end);
    // No comment: its length is the record's last field.
    if end.u32(0) != END || end.u16(20) != 0 {
        return Err(truncated());
    }
    let disks = [end.u16(4), end.u16(6)];
    let short =
        [u64::from(end.u16(8)), u64::from(end.u16(10)), u64::from(end.u32(12)), u64::from(end.u32(16))];

    let (full, directory_end) = match find_end_64(file, end_position)? {
        Some((full, position)) => {
            let sentinels = [0xffff, 0xffff, 0xffff_ffff, 0xffff_ffff];
            let agree = (0..4).all(|field| short[field] == full[field] || short[field] == sentinels[field]);
            if !agree {
                return Err(inconsistent());
            }
            (full, position)
        }
        None => (short, end_position),
    };
    let [here, entries, bytes, position] = full;
    if disks.iter().any(|disk| *disk != 0) || here != entries {
        return Err(file.refused("the zip archive spans several disks"));
    }
    if position.checked_add(bytes) != Some(directory_end) || entries > bytes / CENTRAL_BYTES as u64 {
        return Err(inconsistent());
    }
    if bytes > MAX_DIRECTORY {
        return Err(
            file.refused(format_args!("the zip directory has {bytes} bytes, more than {MAX_DIRECTORY}"))
        );
    }
    Ok(Directory { position, bytes, entries })
}

/// The zip64 end record's counts, sizes and position, and where it stands itself.
fn find_end_64(file: &SharedFile, end_position: u64) -> Result<Option<([u64; 4], u64)>> {
    let Some(locator_position) = end_position.checked_sub(LOCATOR_64_BYTES) else { return Ok(None) };
    let locator = file.bytes_at(locator_position, LOCATOR_64_BYTES as usize)?;
    let locator = Fields(&locator);
    if locator.u32(0) != LOCATOR_64 {
        return Ok(None);
    }
    let inconsistent = || file.corrupt("the zip archive's zip64 records contradict each other or the file");
    let position = locator.u64(8);
    if position.checked_add(END_64_BYTES) != Some(locator_position) || locator.u32(4) != 0 {
        return Err(inconsistent());
    }
    let record = file.bytes_at(position, END_64_BYTES as usize)?;
    let record = Fields(&record);
    if record.u32(0) != END_64
        || record.u64(4) != END_64_BYTES - 12
        || record.u32(16) != 0
        || record.u32(20) != 0
    {
        return Err(inconsistent());
    }
    Ok(Some(([record.u64(24), record.u64(32), record.u64(40), record.u64(48)], position)))
}

struct Entry {
    name: String,
    flags: u16,
    crc: u32,
    bytes: u64,
    header: u64,
    /// Where the data starts; known once the local header has been read.
    data: u64,
}

fn read_directory(file: &SharedFile, directory: &[u8], count: u64) -> Result<Vec<Entry>> {
    let damaged = || file.corrupt("the zip directory is damaged");
    let mut entries = Vec::with_capacity(count as usize);
    let mut rest = directory;
    for _ in 0..count {
        let (head, tail) = rest.split_at_checked(CENTRAL_BYTES).ok_or_else(damaged)?;
        let head = Fields(head);
        if head.u32(0) != CENTRAL {
            return Err(damaged());
        }
        let (name, tail) = tail.split_at_checked(head.u16(28).into()).ok_or_else(damaged)?;
        let (extra, tail) = tail.split_at_checked(head.u16(30).into()).ok_or_else(damaged)?;
        let (_comment, tail) = tail.split_at_checked(head.u16(32).into()).ok_or_else(damaged)?;
        rest = tail;
        let name = std::str::from_utf8(name).map_err(|_| damaged())?.to_string();
        let flags = head.u16(8);
        if flags & ENCRYPTED != 0 {
            return Err(file.refused(format_args!("the zip member `{name}` is encrypted")));
        }
        check_method(file, &name, head.u16(10))?;
        let mut wide = [head.u32(24).into(), head.u32(20).into(), head.u32(42).into()];
        widen(&mut wide, extra).ok_or_else(damaged)?;
        let [bytes, stored, header] = wide;
        if bytes != stored {
            return Err(file.corrupt(format_args!("the stored zip member `{name}` has two sizes")));
        }
        if head.u16(34) != 0 {
            return Err(file.refused("the zip archive spans several disks"));
        }
        entries.push(Entry { name, flags, crc: head.u32(16), bytes, header, data: 0 });
    }
    if rest.is_empty() { Ok(entries) } else { Err(damaged()) }
}

fn check_method(file: &SharedFile, name: &str, method: u16) -> Result<()> {
    if method == 0 {
        return Ok(());
    }
    Err(file
        .refused(format_args!("the zip member `{name}` is compressed (method {method})"))
        .expected("members stored as they are, as PyTorch writes them")
        .remedy("Do not repack checkpoints; get the file again."))
}

/// Replaces fields that are all ones by their 64-bit values from the zip64 extra field, in the order it has them.
fn widen(fields: &mut [u64], extra: &[u8]) -> Option<()> {
    let mut rest = extra;
    while !rest.is_empty() {
        let (head, tail) = rest.split_at_checked(4)?;
        let (mut body, tail) = tail.split_at_checked(Fields(head).u16(2).into())?;
        rest = tail;
        if Fields(head).u16(0) != 1 {
            continue;
        }
        for field in fields.iter_mut().filter(|field| **field == 0xffff_ffff) {
            let (value, tail) = body.split_at_checked(8)?;
            *field = Fields(value).u64(0);
            body = tail;
        }
        return Some(());
    }
    Some(())
}

/// Reads the local header in front of a member: it must say what the central directory says.
fn check_local_header(file: &SharedFile, entry: &mut Entry, directory: u64) -> Result<()> {
    let differs =
        |what: &str| file.corrupt(format_args!("the local header of the zip member `{}` {what}", entry.name));
    let outside = || differs("lies outside the file's data");
    let data = entry.header.checked_add(LOCAL_BYTES + entry.name.len() as u64).ok_or_else(outside)?;
    if data > directory {
        return Err(outside());
    }
    let header = file.bytes_at(entry.header, (data - entry.header) as usize)?;
    let (head, name) = header.split_at(LOCAL_BYTES as usize);
    let head = Fields(head);
    if head.u32(0) != LOCAL {
        return Err(differs("is missing"));
    }
    if usize::from(head.u16(26)) != entry.name.len() || name != entry.name.as_bytes() {
        return Err(differs("has another name"));
    }
    if head.u16(8) != 0 {
        return Err(differs("has another compression method"));
    }
    if head.u16(6) & (ENCRYPTED | DEFERRED) != entry.flags & (ENCRYPTED | DEFERRED) {
        return Err(differs("has other flags"));
    }
    let extra_bytes = u64::from(head.u16(28));
    entry.data = data + extra_bytes;
    if entry.data.checked_add(entry.bytes).is_none_or(|end| end > directory) {
        return Err(outside());
    }
    let mut sizes = [u64::from(head.u32(22)), u64::from(head.u32(18))];
    if sizes.contains(&0xffff_ffff) {
        let extra = file.bytes_at(data, extra_bytes as usize)?;
        widen(&mut sizes, &extra).ok_or_else(|| differs("is damaged"))?;
    }
    let deferred = entry.flags & DEFERRED != 0;
    let agrees = |found: u64, expected: u64| found == expected || (deferred && found == 0);
    if !sizes.iter().all(|size| agrees(*size, entry.bytes)) || !agrees(head.u32(14).into(), entry.crc.into())
    {
        return Err(differs("has other sizes or another checksum"));
    }
    Ok(())
}

fn check_overlaps(file: &SharedFile, entries: &mut [Entry]) -> Result<()> {
    entries.sort_by_key(|entry| entry.header);
    for pair in entries.windows(2) {
        if pair[0].data + pair[0].bytes > pair[1].header {
            let (first, second) = (&pair[0].name, &pair[1].name);
            return Err(file.corrupt(format_args!("the zip members `{first}` and `{second}` overlap")));
        }
    }
    Ok(())
}

fn strip_top_folder(file: &SharedFile, entries: Vec<Entry>) -> Result<HashMap<String, Member>> {
    let mut members = HashMap::with_capacity(entries.len());
    let mut top: Option<String> = None;
    for entry in entries {
        let unsafe_name = || file.refused(format_args!("the zip member `{}` has an unsafe name", entry.name));
        let parts = entry.name.split('/');
        if parts.into_iter().any(|part| matches!(part, "" | "." | ".."))
            || entry.name.contains(['\\', '\0', ':'])
        {
            return Err(unsafe_name());
        }
        let Some((folder, name)) = entry.name.split_once('/') else {
            return Err(not_pytorch(file));
        };
        if top.get_or_insert_with(|| folder.to_string()) != folder {
            return Err(not_pytorch(file));
        }
        let member = Member { position: entry.data, bytes: entry.bytes, crc: entry.crc };
        if members.insert(name.to_string(), member).is_some() {
            return Err(file.corrupt(format_args!("the zip archive has two members named `{}`", entry.name)));
        }
    }
    Ok(members)
}

pub(super) fn not_pytorch(file: &SharedFile) -> Error {
    let path = file.path().display();
    Error::new(Code::NotACheckpoint, format!("{path} is a zip archive, but not one that PyTorch wrote."))
        .expected("one folder with `data.pkl` and `data/…` in it")
}

/// Little-endian fields of a record whose size has been checked.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn array<const COUNT: usize>(&self, position: usize) -> [u8; COUNT] {
        std::array::from_fn(|index| self.0[position + index])
    }

    fn u16(&self, position: usize) -> u16 {
        u16::from_le_bytes(self.array(position))
    }

    fn u32(&self, position: usize) -> u32 {
        u32::from_le_bytes(self.array(position))
    }

    fn u64(&self, position: usize) -> u64 {
        u64::from_le_bytes(self.array(position))
    }
}
