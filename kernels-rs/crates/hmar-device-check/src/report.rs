//! The results: one JSON, and lines for people.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::part::PartResult;

/// What was found so far; written after every part.
#[derive(Default, Serialize, Deserialize)]
pub struct Report {
    #[serde(skip)]
    file: Option<PathBuf>,
    /// The GPU.
    device: serde_json::Value,
    /// By name.
    parts: BTreeMap<String, Entry>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    #[serde(flatten)]
    result: PartResult,
    seconds: f64,
}

impl Report {
    /// Goes on with the file if it is there.
    pub fn open(file: Option<PathBuf>, device: serde_json::Value) -> Self {
        let earlier = file.as_ref().and_then(|file| std::fs::read(file).ok());
        let earlier: Option<Report> = earlier.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Report { file, device, parts: earlier.unwrap_or_default().parts }
    }

    /// Whether a part's result is there.
    pub fn has(&self, name: &str) -> bool {
        self.parts.contains_key(name)
    }

    /// Adds a result and writes the file.
    pub fn add(&mut self, name: &str, result: PartResult, seconds: f64) {
        if !result.ok {
            println!("FAILED {name}: {}", result.summary);
        }
        self.parts.insert(name.to_owned(), Entry { result, seconds });
        if let Some(file) = &self.file {
            let json = serde_json::to_vec_pretty(self).expect("plain data");
            // A half-written file would lose what is there.
            let partial = file.with_extension("partial");
            let written = std::fs::write(&partial, json).and_then(|()| std::fs::rename(&partial, file));
            if let Err(error) = written {
                println!("{} cannot be written: {error}", file.display());
            }
        }
    }

    /// Prints a line a part; true if all are as they should be.
    pub fn print(&self) -> bool {
        let failed = self.parts.values().filter(|entry| !entry.result.ok).count();
        for (name, Entry { result, .. }) in &self.parts {
            // Checks that pass and were not timed are only counted.
            let worth_reading = !result.ok || result.summary.contains('µ') || !name.starts_with("parity/");
            if worth_reading {
                println!("{} {name}: {}", if result.ok { "ok" } else { "FAILED" }, result.summary);
            }
        }
        println!("{} parts, {failed} failed", self.parts.len());
        failed == 0
    }
}
