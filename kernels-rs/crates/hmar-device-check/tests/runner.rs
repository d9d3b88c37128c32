//! Parts that crash, hang or kill their device take no other with them, and what is done is not done again.

use std::process::Command;

fn run(results: &std::path::Path) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_hmar-device-check"))
        .args(["self", "--out"])
        .arg(results)
        .output()
        .unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_part_gets_its_result() {
    let folder = tempfile::tempdir().unwrap();
    let results = folder.path().join("results.json");
    let printed = run(&results);
    assert!(printed.ends_with("7 parts, 5 failed\n"), "{printed}");

    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(&results).unwrap()).unwrap();
    let summary = |name: &str| json["parts"][name]["summary"].as_str().unwrap_or("none").to_owned();
    assert_eq!(summary("a good"), "good");
    assert_eq!(summary("b wrong"), "wrong");
    assert_eq!(summary("c panic"), "panicked: a panic");
    assert_eq!(summary("d exit"), "crashed: the process ended");
    assert_eq!(summary("e hang"), "hung: no answer in 1 s");
    assert_eq!(summary("f dead"), "DEVICE_UNAVAILABLE: Dead.");
    assert_eq!(summary("g good"), "good");

    // The hanging part would take its second again.
    let begin = std::time::Instant::now();
    let again = run(&results);
    assert!(again.ends_with("7 parts, 5 failed\n"), "{again}");
    assert!(begin.elapsed().as_secs_f64() < 0.9);
}
