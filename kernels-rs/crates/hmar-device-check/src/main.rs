//! Holds a GPU to the CPU, to the goldens, to its faults and to its own floor. See [`options::USAGE`].

mod bench;
mod check;
mod faults;
mod floor;
mod goldens;
mod options;
mod parity;
mod part;
mod report;
mod runner;

use std::process::ExitCode;

use self::options::{Options, USAGE};
use self::part::Part;
use self::report::Report;

fn main() -> ExitCode {
    let options = match Options::read(std::env::args().skip(1).collect()) {
        Ok(options) => options,
        Err(problem) => {
            eprintln!("{problem}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let parts = parts_of(&options);
    if let Some(first) = options.child_from {
        runner::run_here(&parts, &options, first);
        return ExitCode::SUCCESS;
    }
    let device = match hmar_cuda::devices() {
        Ok(devices) => devices,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let Some(device) = devices_json(&device, options.device) else {
        eprintln!("there is no GPU of number {}", options.device);
        return ExitCode::FAILURE;
    };
    println!("{device}");
    let mut report = Report::open(options.out.clone(), device);
    runner::run_in_children(&parts, &options, &mut report);
    if report.print() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn parts_of(options: &Options) -> Vec<Part> {
    let all = options.command == "all";
    let wanted = |command: &str| all || options.command == command;
    let mut parts = Vec::new();
    if wanted("parity") {
        parts.extend(parity::parts());
    }
    if wanted("goldens") {
        parts.extend(goldens::parts());
    }
    if wanted("bench") {
        parts.extend(bench::parts(options));
    }
    if wanted("faults") {
        parts.extend(faults::parts());
    }
    parts.retain(|part| options.wants(&part.name));
    parts
}

fn devices_json(devices: &[hmar_cuda::CudaDevice], ordinal: usize) -> Option<serde_json::Value> {
    let device = devices.get(ordinal)?;
    Some(serde_json::json!({
        "name": device.name,
        "capability": format!("{}.{}", device.capability.0, device.capability.1),
        "memory": device.memory,
        "driver": format!("{}.{}", device.driver.0, device.driver.1),
        "reason": device.reason,
    }))
}
