//! The program `ktrace-sim`, as a user sees it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use ktrace_format::{Kind, Records};
use tempfile::TempDir;

fn run(arguments: &[&str], directory: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ktrace-sim"))
        .args(arguments)
        .current_dir(directory)
        .output()
        .expect("the program runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("the output is text")
}

/// Creates a directory with the demo's trace file.
fn with_trace() -> (TempDir, Vec<u8>) {
    let directory = tempfile::tempdir().expect("there is room for a directory");
    assert!(run(&["demo"], directory.path()).status.success());
    let bytes = fs::read(directory.path().join("ktrace.out")).expect("the demo writes ktrace.out");
    (directory, bytes)
}

/// Dumps `bytes`, which are no trace file. Returns the error line.
fn complaint(bytes: &[u8]) -> String {
    let directory = tempfile::tempdir().expect("there is room for a directory");
    fs::write(directory.path().join("bad"), bytes).expect("the file can be written");
    let output = run(&["dump", "bad"], directory.path());
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert_eq!(error.lines().count(), 1, "{error}");
    error.trim_end().to_owned()
}

#[test]
fn the_demo_says_what_it_is_and_prints_each_record() {
    let directory = tempfile::tempdir().expect("there is room for a directory");
    let output = run(&["demo", "--output", "out"], directory.path());
    assert!(output.status.success());
    let shown = text(&output.stdout);
    let first = shown.lines().next().expect("there is a first line");
    assert!(first.contains("host simulation") && first.contains("not a kernel"), "{first}");
    let bytes = fs::read(directory.path().join("out")).expect("the file is where it was asked for");
    let records: Vec<_> = Records::new(&bytes).map(|record| record.expect("whole records")).collect();
    for kind in [Kind::Syscall, Kind::Sysret, Kind::Csw, Kind::Psig, Kind::ProcCtor, Kind::ProcDtor] {
        assert!(records.iter().any(|record| record.header.kind == kind), "{}", kind.name());
    }
    let dump = run(&["dump", "out"], directory.path());
    assert!(dump.status.success());
    assert_eq!(text(&dump.stdout).lines().count(), records.len());
    assert!(shown.contains(text(&dump.stdout)));
    assert!(shown.contains(&format!("records: {}\n", records.len())));
    assert!(shown.contains("dropped: 0\n"));
}

#[test]
fn a_demo_without_a_place_for_its_file() {
    let directory = tempfile::tempdir().expect("there is room for a directory");
    let output = run(&["demo", "--output", "no/such/place"], directory.path());
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).starts_with("ktrace-sim: no/such/place: "));
}

#[test]
fn no_file() {
    let directory = tempfile::tempdir().expect("there is room for a directory");
    let output = run(&["dump", "missing"], directory.path());
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).starts_with("ktrace-sim: missing: "));
}

#[test]
fn an_empty_file() {
    assert_eq!(complaint(b""), "ktrace-sim: bad: offset 0: the file is empty");
}

#[test]
fn garbage() {
    let line = "ktrace-sim: bad: offset 0: this is not the header of a trace record";
    assert_eq!(complaint(&[b'x'; 1000]), line);
    assert_eq!(complaint(b"x"), "ktrace-sim: bad: offset 0: the file ends inside this record");
}

#[test]
fn a_truncated_file_is_printed_up_to_where_it_ends() {
    let (directory, bytes) = with_trace();
    let bytes = &bytes[..bytes.len() - 1];
    let whole = Records::new(bytes).filter(Result::is_ok).count();
    fs::write(directory.path().join("ktrace.out"), bytes).expect("the file can be written");
    let output = run(&["dump", "ktrace.out"], directory.path());
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout).lines().count(), whole);
    // The last record is a KTR_PROCDTOR, which is only a header.
    let offset = bytes.len() + 1 - 64;
    let line = format!("ktrace-sim: ktrace.out: offset {offset}: the file ends inside this record\n");
    assert_eq!(text(&output.stderr), line);
}

#[test]
fn a_record_that_is_not_what_its_type_says() {
    let (_directory, mut bytes) = with_trace();
    // The first record is a KTR_PROCCTOR; as a KTR_CSW it is too short.
    bytes[4..6].copy_from_slice(&0x4006_u16.to_ne_bytes());
    let line = "ktrace-sim: bad: offset 0: this record does not hold what its type, csw, asks for";
    assert_eq!(complaint(&bytes), line);
}
