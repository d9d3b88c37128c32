//! Zip archives in which every field can be wrong.

/// A member, and what its two headers say about it.
#[derive(Clone)]
pub struct Member {
    pub data: Vec<u8>,
    pub central: Header,
    pub local: Header,
    /// Where the central directory says that the local header is; `None` is where it is.
    pub position: Option<u64>,
}

#[derive(Clone)]
pub struct Header {
    pub name: String,
    pub flags: u16,
    pub method: u16,
    pub crc: u32,
    pub stored: u32,
    pub bytes: u32,
}

pub const TOP: &str = "archive/";

impl Member {
    pub fn new(name: impl Into<String>, data: Vec<u8>) -> Self {
        let name = format!("{TOP}{}", name.into());
        let crc = crc32fast::hash(&data);
        let bytes = data.len() as u32;
        let header = Header { name, flags: 0, method: 0, crc, stored: bytes, bytes };
        Member { data, central: header.clone(), local: header, position: None }
    }

    /// Sizes and checksum only behind the data, as PyTorch writes them.
    pub fn deferred(mut self) -> Self {
        self.central.flags = 8;
        self.local = Header { flags: 8, crc: 0, stored: 0, bytes: 0, ..self.local };
        self
    }
}

/// The whole archive.
pub fn archive(members: &[Member]) -> Vec<u8> {
    let (mut file, directory) = members_and_directory(members, false);
    let position = file.len() as u32;
    file.extend_from_slice(&directory);
    end(&mut file, members.len() as u16, directory.len() as u32, position);
    file
}

/// The same with all sizes and positions in zip64 fields, and the others all ones.
pub fn archive_64(members: &[Member]) -> Vec<u8> {
    let (mut file, directory) = members_and_directory(members, true);
    let position = file.len() as u64;
    file.extend_from_slice(&directory);
    let end_64 = file.len() as u64;
    let count = members.len() as u64;
    file.extend_from_slice(&0x0606_4b50u32.to_le_bytes());
    file.extend_from_slice(&44u64.to_le_bytes());
    file.extend_from_slice(&[0x1e, 3, 0x2d, 0]);
    file.extend_from_slice(&[0; 8]);
    for field in [count, count, directory.len() as u64, position] {
        file.extend_from_slice(&field.to_le_bytes());
    }
    file.extend_from_slice(&0x0706_4b50u32.to_le_bytes());
    file.extend_from_slice(&0u32.to_le_bytes());
    file.extend_from_slice(&end_64.to_le_bytes());
    file.extend_from_slice(&1u32.to_le_bytes());
    end(&mut file, 0xffff, u32::MAX, u32::MAX);
    file
}

fn members_and_directory(members: &[Member], wide: bool) -> (Vec<u8>, Vec<u8>) {
    let mut file = Vec::new();
    let mut directory = Vec::new();
    for member in members {
        let header = file.len() as u64;
        file.extend_from_slice(&0x0403_4b50u32.to_le_bytes());
        file.extend_from_slice(&20u16.to_le_bytes());
        common(&mut file, &member.local, 0, false);
        file.extend_from_slice(member.local.name.as_bytes());
        file.extend_from_slice(&member.data);

        let position = member.position.unwrap_or(header);
        let mut extra = Vec::new();
        if wide {
            extra.extend_from_slice(&[1, 0, 24, 0]);
            for field in [u64::from(member.central.bytes), u64::from(member.central.stored), position] {
                extra.extend_from_slice(&field.to_le_bytes());
            }
        }
        directory.extend_from_slice(&0x0201_4b50u32.to_le_bytes());
        directory.extend_from_slice(&[20, 0, 20, 0]);
        common(&mut directory, &member.central, extra.len() as u16, wide);
        directory.extend_from_slice(&[0; 10]);
        directory.extend_from_slice(&if wide { u32::MAX } else { position as u32 }.to_le_bytes());
        directory.extend_from_slice(member.central.name.as_bytes());
        directory.extend_from_slice(&extra);
    }
    (file, directory)
}

/// The fields that both headers have, from the flags to the length of the extra field.
fn common(out: &mut Vec<u8>, header: &Header, extra: u16, wide: bool) {
    out.extend_from_slice(&header.flags.to_le_bytes());
    out.extend_from_slice(&header.method.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&header.crc.to_le_bytes());
    for size in [header.stored, header.bytes] {
        out.extend_from_slice(&if wide { u32::MAX } else { size }.to_le_bytes());
    }
    out.extend_from_slice(&(header.name.len() as u16).to_le_bytes());
    out.extend_from_slice(&extra.to_le_bytes());
}

fn end(file: &mut Vec<u8>, count: u16, bytes: u32, position: u32) {
    file.extend_from_slice(&0x0605_4b50u32.to_le_bytes());
    file.extend_from_slice(&[0; 4]);
    file.extend_from_slice(&count.to_le_bytes());
    file.extend_from_slice(&count.to_le_bytes());
    file.extend_from_slice(&bytes.to_le_bytes());
    file.extend_from_slice(&position.to_le_bytes());
    file.extend_from_slice(&[0; 2]);
}
