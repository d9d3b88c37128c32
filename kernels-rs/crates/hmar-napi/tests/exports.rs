//! A panic that leaves an export ends the process of whoever called it, so every export catches its own.

use std::fs;
use std::path::Path;

#[test]
fn every_exported_function_catches_panics() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut exports = 0;
    for file in fs::read_dir(sources).unwrap() {
        let path = file.unwrap().path();
        for (attribute, item) in exported(&fs::read_to_string(&path).unwrap()) {
            let is_function = item.split_whitespace().any(|word| word == "fn");
            assert!(
                !is_function || attribute.contains("catch_unwind"),
                "{}: `{item}` has {attribute}",
                path.display()
            );
            exports += usize::from(is_function);
        }
    }
    assert!(exports > 40, "exports are found at all: {exports}");
}

/// What `#[napi…]` stands before: the attribute, and the first line that is not another attribute.
fn exported(source: &str) -> Vec<(&str, &str)> {
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let of_item =
        |at: usize| lines[at..].iter().find(|line| line.starts_with("pub ") || line.starts_with("impl "));
    let attributes = lines.iter().enumerate().filter(|(_, line)| line.starts_with("#[napi"));
    attributes.filter_map(|(at, attribute)| Some((*attribute, *of_item(at)?))).collect()
}
