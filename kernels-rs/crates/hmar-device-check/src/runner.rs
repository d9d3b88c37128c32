//! Runs parts in child processes, so that one that crashes, hangs or kills its GPU takes no other with it.

use std::io::{BufRead, BufReader, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use hmar_error::Code;
use serde::{Deserialize, Serialize};

use crate::options::Options;
use crate::part::{Part, PartResult, World};
use crate::report::Report;

/// A child's line about one part.
#[derive(Serialize, Deserialize)]
struct Line {
    index: usize,
    result: PartResult,
    seconds: f64,
    /// The process is of no more use.
    last: bool,
}

/// Marks a child's lines among what else is printed.
const MARK: &str = "@hmar ";

/// Runs the parts from `first` on in this process and prints a line about each.
pub fn run_here(parts: &[Part], options: &Options, first: usize) {
    let world = World::new(options.clone());
    for (index, part) in parts.iter().enumerate().skip(first) {
        let begin = Instant::now();
        let (result, last) = match catch_unwind(AssertUnwindSafe(|| (part.run)(&world))) {
            Ok(Ok(result)) => (result, false),
            Ok(Err(error)) => {
                let dead = error.code == Code::DeviceUnavailable;
                (PartResult::failure(format!("{}: {error}", error.code.as_str())), dead)
            }
            Err(panic) => {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
                (PartResult::failure(format!("panicked: {text}")), true)
            }
        };
        let line = Line { index, result, seconds: begin.elapsed().as_secs_f64(), last };
        println!("{MARK}{}", serde_json::to_string(&line).expect("plain data"));
        std::io::stdout().flush().expect("the parent listens");
        if last {
            return;
        }
    }
}

/// Runs all parts that the report does not have yet, in as many child processes as it takes.
pub fn run_in_children(parts: &[Part], options: &Options, report: &mut Report) {
    let begin = Instant::now();
    let mut next = 0;
    while let Some(index) = (next..parts.len()).find(|&index| !report.has(&parts[index].name)) {
        next = index;
        if begin.elapsed().as_secs_f64() > options.seconds {
            println!("the time is over before `{}`", parts[index].name);
            return;
        }
        let (mut child, lines) = start(options, index);
        loop {
            if next >= parts.len() || report.has(&parts[next].name) {
                // The child goes on to parts that are done: the next child starts where it is needed.
                break;
            }
            if begin.elapsed().as_secs_f64() > options.seconds {
                break;
            }
            let part = &parts[next];
            let (result, seconds, last) = match lines.recv_timeout(Duration::from_secs(part.limit)) {
                Ok(line) => {
                    debug_assert_eq!(line.index, next);
                    (line.result, line.seconds, line.last)
                }
                Err(RecvTimeoutError::Timeout) => {
                    let why = format!("hung: no answer in {} s", part.limit);
                    (PartResult::failure(why), part.limit as f64, true)
                }
                Err(RecvTimeoutError::Disconnected) => {
                    (PartResult::failure("crashed: the process ended"), 0.0, true)
                }
            };
            report.add(&part.name, result, seconds);
            next += 1;
            if last {
                break;
            }
        }
        // It may have ended already, and has nothing left to say.
        let _ = child.kill();
        let _ = child.wait();
    }
}

fn start(options: &Options, first: usize) -> (Child, Receiver<Line>) {
    let mut child = Command::new(std::env::current_exe().expect("a program knows its file"))
        .args(&options.arguments)
        .args(["--child-from", &first.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .expect("this program can be started again");
    let (sender, receiver) = channel();
    let output = BufReader::new(child.stdout.take().expect("piped"));
    thread::spawn(move || {
        for line in output.lines().map_while(Result::ok) {
            match line.strip_prefix(MARK).and_then(|text| serde_json::from_str(text).ok()) {
                Some(line) => drop(sender.send(line)),
                None => println!("{line}"),
            }
        }
    });
    (child, receiver)
}

/// Parts that go wrong in every way, for the test of this file.
pub fn own_parts() -> Vec<Part> {
    let good = || Ok(PartResult { ok: true, summary: "good".into(), ..PartResult::default() });
    let dead = || Err(hmar_error::Error::new(Code::DeviceUnavailable, "Dead."));
    vec![
        Part::new("a good", 5, move |_| good()),
        Part::new("b wrong", 5, |_| Ok(PartResult::failure("wrong"))),
        Part::new("c panic", 5, |_| panic!("a panic")),
        Part::new("d exit", 5, |_| std::process::exit(3)),
        Part::new("e hang", 1, |_| {
            loop {
                thread::sleep(Duration::from_secs(1));
            }
        }),
        Part::new("f dead", 5, move |_| dead()),
        Part::new("g good", 5, move |_| good()),
    ]
}
