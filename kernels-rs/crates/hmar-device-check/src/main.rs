//! Holds a GPU to the CPU, to the goldens, to its faults and to its own floor. See [`options::USAGE`].

#![forbid(unsafe_code)]

mod arithmetic;
mod bench;
mod check;
mod compare;
mod faults;
mod floor;
mod goldens;
mod options;
mod parity;
mod part;
mod released;
mod report;
mod runner;
mod segments;

use std::process::ExitCode;

use hmar_error::{Code, Error, Result};

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
    let device = match describe(&options) {
        Ok(device) => device,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
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
        parts.extend(parity::parts(options));
    }
    if wanted("goldens") {
        parts.extend(goldens::parts());
    }
    if wanted("bench") {
        parts.extend(bench::parts(options));
    }
    // Half an hour of a GPU, and only asked for by name.
    if options.command == "compare" {
        parts.extend(compare::parts(options));
    }
    if wanted("faults") {
        parts.extend(faults::parts());
    }
    if options.command == "self" {
        parts.extend(runner::own_parts());
    }
    parts.retain(|part| options.wants(&part.name));
    parts
}

fn describe(options: &Options) -> Result<serde_json::Value> {
    if options.command == "self" {
        return Ok(serde_json::Value::Null);
    }
    let devices = hmar_cuda::devices()?;
    let device = devices.get(options.device).ok_or_else(|| {
        Error::new(Code::DeviceUnavailable, format!("There is no GPU of number {}.", options.device))
    })?;
    Ok(serde_json::json!({
        "name": device.name,
        "capability": format!("{}.{}", device.capability.0, device.capability.1),
        "memory": device.memory,
        "driver": format!("{}.{}", device.driver.0, device.driver.1),
        "reason": device.reason,
    }))
}
