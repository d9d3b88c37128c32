//! What a file is, by its first bytes.

use crate::file::SharedFile;
use hmar_error::{Code, Error, Result};

/// What can be opened.
pub(crate) enum Contents {
    Zip,
    Safetensors,
}

/// What PyTorch before 1.6 wrote first: a pickled magic number.
const LEGACY_PTH: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";

/// Tells a checkpoint from what people have instead of one.
pub(crate) fn sniff(file: &SharedFile) -> Result<Contents> {
    let head = file.bytes_at(0, file.len().min(512) as usize)?;
    let extension = file.path().extension().and_then(|extension| extension.to_str());
    if head.is_empty() {
        return Err(not_a_checkpoint(file, "an empty file", "Download it again."));
    }
    if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
        return Ok(Contents::Zip);
    }
    if head.starts_with(b"version https://git-lfs") {
        let remedy = "Fetch the file itself: `git lfs pull`, or download it from the hub's page.";
        return Err(not_a_checkpoint(file, "a git-lfs pointer, not the file it points to", remedy));
    }
    if is_markup(&head) {
        let remedy = "The download gave an error or log-in page; open the address in a browser to see it.";
        return Err(not_a_checkpoint(file, "an HTML page", remedy));
    }
    if head.starts_with(LEGACY_PTH) {
        let remedy = "Load it with PyTorch and save it again with `torch.save`.";
        return Err(not_a_checkpoint(file, "a legacy .pth file, as PyTorch wrote before 1.6", remedy));
    }
    // A header's length has zeros in its upper bytes, which text never has.
    if head.iter().take(8).all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace()) {
        return Err(not_a_checkpoint(file, "a text file", "Check the path."));
    }
    if head.get(8) == Some(&b'{') || extension == Some("safetensors") {
        return Ok(Contents::Safetensors);
    }
    if head[0] == 0x80 {
        let remedy = "Load it with PyTorch and save it again with `torch.save`.";
        return Err(not_a_checkpoint(file, "a bare pickle", remedy));
    }
    Err(not_a_checkpoint(file, "of no known format", "Check the path."))
}

fn is_markup(head: &[u8]) -> bool {
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start().to_ascii_lowercase();
    [&b"<!doctype"[..], b"<html", b"<head", b"<?xml", b"<!--"].iter().any(|start| text.starts_with(start))
}

fn not_a_checkpoint(file: &SharedFile, found: &str, remedy: &str) -> Error {
    Error::new(Code::NotACheckpoint, format!("{} is {found}.", file.path().display()))
        .found(found)
        .expected("a PyTorch .pth archive or a .safetensors file")
        .remedy(remedy)
}
