//! Opening a checkpoint and keeping its weights, beside one plain parallel reading of the same file into memory:
//! `cargo bench -p hmar-checkpoint -- FILE`. Each runs in a process of its own, so that its peak memory is its own.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use hmar_checkpoint::{ModelCheckpoint, OpenModel};
use rayon::prelude::*;

const ROUNDS: usize = 5;
const CHUNK: usize = 1 << 20;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [file] => compare(file),
        ["read", file] => report(|| read(Path::new(file))),
        ["open", file] => report(|| open(Path::new(file))),
        _ => eprintln!("Which file? cargo bench -p hmar-checkpoint -- model.pth"),
    }
}

/// Alternates the two, the file in the page cache, and prints the best of each.
fn compare(file: &str) {
    let measure = |what: &str| {
        let program = std::env::current_exe().expect("this program is a file");
        let output = Command::new(program).args([what, file]).output().expect("this program runs again");
        let text = String::from_utf8(output.stdout).expect("it prints text");
        let numbers: Vec<f64> = text.split_whitespace().map(|word| word.parse().expect("numbers")).collect();
        (numbers[0], numbers[1])
    };
    measure("read");
    let least = |what: &str, best: (f64, f64)| {
        let (time, memory) = measure(what);
        (best.0.min(time), best.1.min(memory))
    };
    let (mut reading, mut opening) = ((f64::MAX, f64::MAX), (f64::MAX, f64::MAX));
    for _ in 0..ROUNDS {
        reading = least("read", reading);
        opening = least("open", opening);
    }
    println!("reading  {:.3} s, peak {:.0} MB", reading.0, reading.1 / 1e6);
    println!("opening  {:.3} s, peak {:.0} MB", opening.0, opening.1 / 1e6);
    println!("ratio    {:.2} in time, {:.2} in memory", opening.0 / reading.0, opening.1 / reading.1);
}

/// Prints the seconds that `work` takes and the process's peak memory in bytes.
fn report<T>(work: impl FnOnce() -> T) {
    let start = Instant::now();
    let kept = work();
    let seconds = start.elapsed().as_secs_f64();
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells a process's memory");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the peak is told");
    let kilobytes: f64 = peak.trim().trim_end_matches(" kB").parse().expect("in kB");
    println!("{seconds} {}", kilobytes * 1024.0);
    drop(kept);
}

fn read(path: &Path) -> Vec<Vec<u8>> {
    let file = File::open(path).expect("the file opens");
    let length = file.metadata().expect("it has a length").len() as usize;
    let chunks: Vec<usize> = (0..length).step_by(CHUNK).collect();
    chunks
        .par_iter()
        .map(|&start| {
            let mut bytes = vec![0; CHUNK.min(length - start)];
            file.read_exact_at(&mut bytes, start as u64).expect("it can be read");
            bytes
        })
        .collect()
}

fn open(path: &Path) -> Vec<Vec<f32>> {
    let model = ModelCheckpoint::open(&OpenModel::at(path)).expect("the file holds a model");
    let tensors = model.source.tensors();
    let read = |name: &str| model.source.read(name).expect("its tensors can be read");
    tensors.par_iter().with_max_len(1).map(|tensor| read(&tensor.name)).collect()
}
