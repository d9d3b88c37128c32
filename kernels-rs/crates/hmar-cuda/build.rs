//! Compiles `kernels/*.cu` to one fatbin each, where nvcc is found; where it is not, the crate has no kernels and says
//! so when a device is asked for.
//!
//! `HMAR_NVCC` names the compiler (empty: none), else it is looked for in `CUDA_HOME`, in the toolkit that
//! `scripts/cuda-toolkit.mjs` fetches, and on the `PATH`. `HMAR_CUDA_ARCHITECTURES` (e.g. `90a`) builds for these
//! alone.

use std::collections::hash_map::DefaultHasher;
use std::fmt::Write as _;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, fs, thread};

const FLAGS: [&str; 6] = ["-O3", "-std=c++17", "-Werror", "all-warnings", "-Xptxas", "-v"];

fn main() {
    for variable in ["HMAR_NVCC", "CUDA_HOME", "PATH", "HMAR_CUDA_ARCHITECTURES"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    println!("cargo::rerun-if-changed=kernels");
    println!("cargo::rerun-if-changed=build.rs");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let (version, modules) = match find_nvcc() {
        Some(nvcc) => {
            let version = version_of(&nvcc);
            (version, build(&nvcc, version, &out))
        }
        None => {
            println!("cargo::warning=nvcc was not found: built without GPU kernels");
            Default::default()
        }
    };
    fs::write(out.join("modules.rs"), source_of(version, &modules)).expect("OUT_DIR is writable");
}

fn find_nvcc() -> Option<PathBuf> {
    if let Some(named) = env::var_os("HMAR_NVCC") {
        return Some(PathBuf::from(named)).filter(|path| !path.as_os_str().is_empty());
    }
    let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.cuda/nvidia/cu13/bin/nvcc");
    let installed = env::var_os("CUDA_HOME").map(|home| PathBuf::from(home).join("bin/nvcc"));
    let on_path = env::var_os("PATH").unwrap_or_default();
    let on_path = env::split_paths(&on_path).map(|folder| folder.join("nvcc"));
    installed.into_iter().chain([fetched]).chain(on_path).find(|path| path.is_file())
}

/// What one `.cu` file is compiled for.
#[derive(Clone, Copy)]
struct Target {
    architecture: &'static str,
    /// PTX, which later GPUs' drivers compile.
    portable: bool,
}

fn targets(version: (u32, u32)) -> Vec<Target> {
    let code = |architecture| Target { architecture, portable: false };
    let mut targets = vec![code("80"), code("90a")];
    if version >= (12, 8) {
        targets.extend([code("100"), code("120")]);
    }
    targets.push(Target { architecture: "90", portable: true });
    if let Ok(wanted) = env::var("HMAR_CUDA_ARCHITECTURES") {
        let wanted: Vec<_> = wanted.split(',').collect();
        targets.retain(|target| !target.portable && wanted.contains(&target.architecture));
    }
    targets
}

/// A `.cu` file's machine code and the kernels in it.
struct Module {
    file: String,
    image: PathBuf,
    /// By architecture, each kernel's line of ptxas' report.
    reports: Vec<(&'static str, Vec<Resources>)>,
}

/// What a kernel takes, as ptxas reports it.
#[derive(Default)]
struct Resources {
    kernel: String,
    registers: u32,
    stack: u32,
    spilled: u32,
    shared: u32,
}

fn build(nvcc: &Path, version: (u32, u32), out: &Path) -> Vec<Module> {
    let targets = targets(version);
    let entries = fs::read_dir("kernels").expect("the kernels are there");
    let mut sources: Vec<_> = entries
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "cu"))
        .collect();
    sources.sort();
    let jobs: Vec<_> =
        sources.iter().flat_map(|source| targets.iter().map(move |&target| (source, target))).collect();
    let compiled = in_parallel(&jobs, |(source, target)| compile(nvcc, version, source, *target, out));
    sources
        .iter()
        .zip(compiled.chunks(targets.len().max(1)))
        .map(|(source, compiled)| join(nvcc, source, &targets, compiled, out))
        .collect()
}

/// Runs `work` over all jobs on as many threads as cargo allows.
fn in_parallel<J: Sync, R: Send>(jobs: &[J], work: impl Fn(&J) -> R + Sync) -> Vec<R> {
    let threads: usize = env::var("NUM_JOBS").ok().and_then(|jobs| jobs.parse().ok()).unwrap_or(1);
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((index, job)) = {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    jobs.get(index).map(|job| (index, job))
                } {
                    let result = work(job);
                    results.lock().expect("no thread panics here").push((index, result));
                }
            });
        }
    });
    let mut results = results.into_inner().expect("no thread panicked");
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

fn version_of(nvcc: &Path) -> (u32, u32) {
    let output = Command::new(nvcc).arg("--version").output().expect("nvcc runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let release = text.split("release ").nth(1).and_then(|rest| rest.split(',').next()).unwrap_or("0.0");
    let mut numbers = release.split('.').map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// Compiles one file for one target; returns the result and ptxas' report, from an earlier build if nothing changed.
fn compile(nvcc: &Path, version: (u32, u32), source: &Path, target: Target, out: &Path) -> (PathBuf, String) {
    let Target { architecture, portable } = target;
    let mut hasher = DefaultHasher::new();
    (version, FLAGS).hash(&mut hasher);
    hash_with_headers(source, &mut Vec::new(), &mut hasher);
    let stem = source.file_stem().expect("a file").to_string_lossy();
    let kind = if portable { "ptx" } else { "cubin" };
    let result = out.join(format!("{stem}-{architecture}-{:016x}.{kind}", hasher.finish()));
    let report = result.with_extension(format!("{kind}.txt"));
    if let Ok(report) = fs::read_to_string(&report) {
        return (result, report);
    }
    let code = if portable { format!("compute_{architecture}") } else { format!("sm_{architecture}") };
    // What only later GPUs can do leaves its constants unused on this one.
    let unused = (architecture == "80").then_some("--diag-suppress=177");
    let output = Command::new(nvcc)
        .args(FLAGS)
        .args(unused)
        .arg(format!("-{kind}"))
        .arg(format!("-gencode=arch=compute_{architecture},code={code}"))
        .arg("-o")
        .arg(&result)
        .arg(source)
        .output()
        .expect("nvcc runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{} for {code}:\n{text}", source.display());
    fs::write(report, &text).expect("OUT_DIR is writable");
    (result, text)
}

/// Hashes a file and, once each, the files of this folder that it includes.
fn hash_with_headers(file: &Path, seen: &mut Vec<PathBuf>, hasher: &mut DefaultHasher) {
    if seen.iter().any(|path| path == file) {
        return;
    }
    seen.push(file.to_owned());
    let text = fs::read_to_string(file).expect("readable");
    text.hash(hasher);
    let included = text.lines().filter_map(|line| line.strip_prefix("#include \"")?.split('"').next());
    included.for_each(|name| hash_with_headers(&file.with_file_name(name), seen, hasher));
}

/// Joins the code for all targets into one fatbin.
fn join(
    nvcc: &Path,
    source: &Path,
    targets: &[Target],
    compiled: &[(PathBuf, String)],
    out: &Path,
) -> Module {
    let stem = source.file_stem().expect("a file").to_string_lossy();
    let image = out.join(format!("{stem}.fatbin"));
    let mut command = Command::new(nvcc.with_file_name("fatbinary"));
    command.arg("-64").arg(format!("--create={}", image.display()));
    let mut reports = Vec::new();
    for (target, (file, report)) in targets.iter().zip(compiled) {
        let Target { architecture, portable } = *target;
        let kind = if portable { "ptx" } else { "elf" };
        command.arg(format!("--image3=kind={kind},sm={architecture},file={}", file.display()));
        if !portable {
            reports.push((architecture, resources(report)));
        }
    }
    let output = command.output().expect("fatbinary runs");
    assert!(output.status.success(), "fatbinary: {}", String::from_utf8_lossy(&output.stderr));
    Module { file: stem.into_owned(), image, reports }
}

/// Reads ptxas' report.
fn resources(report: &str) -> Vec<Resources> {
    let mut kernels: Vec<Resources> = Vec::new();
    for line in report.lines() {
        if let Some(name) =
            line.split("Compiling entry function '").nth(1).and_then(|rest| rest.split('\'').next())
        {
            kernels.push(Resources { kernel: name.to_owned(), ..Resources::default() });
        }
        let Some(kernel) = kernels.last_mut() else { continue };
        for (what, field) in [
            (" registers", &mut kernel.registers),
            (" bytes stack frame", &mut kernel.stack),
            (" bytes spill stores", &mut kernel.spilled),
            (" bytes smem", &mut kernel.shared),
        ] {
            let before = line.find(what).map(|at| &line[..at]);
            let number = before.and_then(|text| text.rsplit(|c: char| !c.is_ascii_digit()).next());
            if let Some(number) = number.and_then(|digits| digits.parse().ok()) {
                *field = number;
            }
        }
    }
    kernels
}

/// The Rust source that embeds the modules.
fn source_of(version: (u32, u32), modules: &[Module]) -> String {
    let mut source = String::from("static MODULES: &[Module] = &[\n");
    let mut resources = String::from("static RESOURCES: &[Resources] = &[\n");
    for Module { file, image, reports } in modules {
        let names: Vec<_> =
            reports.first().into_iter().flat_map(|(_, kernels)| kernels).map(|k| &k.kernel).collect();
        let image = image.display().to_string();
        writeln!(
            source,
            "    Module {{ file: {file:?}, image: &Aligned(*include_bytes!({image:?})).0, kernels: &{names:?} }},"
        )
        .expect("a string takes it");
        for (architecture, kernels) in reports {
            for Resources { kernel, registers, stack, spilled, shared } in kernels {
                writeln!(
                    resources,
                    "    Resources {{ kernel: {kernel:?}, architecture: {architecture:?}, registers: {registers}, \
                     stack: {stack}, spilled: {spilled}, shared: {shared} }},"
                )
                .expect("a string takes it");
            }
        }
    }
    format!("{source}];\n{resources}];\nconst COMPILER: (u32, u32) = {version:?};\n")
}
