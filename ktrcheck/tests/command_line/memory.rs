//! Tests that memory is bounded, with files that demand as much as a file can.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;

use ktrace_format::{HEADER_LEN, Header, Kind, Payload, encode_header};

use crate::{directory, header, of_thread, record, run, text};

/// Number of processes that a file can name (`PID_MAX`).
const PROCESSES: i32 = 99_999;

/// Returns the header of a record of this type that claims a payload of `len` bytes.
fn claims(kind: Kind, len: u32) -> [u8; HEADER_LEN] {
    let mut bytes = [0; HEADER_LEN];
    encode_header(&Header { len, kind, ..header((845, 100_123), 1) }, &mut bytes).expect("it is a length");
    bytes
}

#[test]
fn every_process_and_more_threads_than_are_followed() {
    let directory = directory();
    let file = File::create(directory.path().join("threads")).expect("the file can be made");
    let mut file = BufWriter::new(file);
    // The worst case: one thread of each process, then processes with so many threads that the
    // total exceeds the limit of followed threads.
    let first = (1..=PROCESSES).map(|pid| (pid, 0));
    let others = (1..=6000).flat_map(|pid| (1..29).map(move |number| (pid, number)));
    for (pid, number) in first.chain(others) {
        let thread = (pid, i64::from(number * 1_000_000 + pid));
        file.write_all(&of_thread(thread, 1, false, Payload::User(b""))).expect("the file can be written");
    }
    file.flush().expect("the file can be written");
    let output = run(directory.path(), &["-v", "threads"]);
    let shown = text(&output.stdout);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
    assert!(shown.contains("\n  6000 sh                             29         0  user 29\n"));
    assert!(shown.contains("\nthreads: more than 262144 threads: 5855 records were checked for less\n"));
    assert!(shown.ends_with("\nthreads: records 267999 processes 99999 threads 262144: whole\n"));
}

#[test]
fn something_wrong_in_every_record() {
    let directory = directory();
    let file = File::create(directory.path().join("wrong")).expect("the file can be made");
    let mut file = BufWriter::new(file);
    for microsecond in (1..20_000).rev() {
        file.write_all(&record(microsecond, true, Payload::User(b""))).expect("the file can be written");
    }
    file.flush().expect("the file can be written");
    for (option, lines) in [("-q", 0), ("-ov", 3 * 19_998 + 1)] {
        let output = run(directory.path(), &[option, "wrong"]);
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(1), ""));
        let found = text(&output.stdout).lines().filter(|line| line.starts_with("wrong: byte ")).count();
        assert_eq!(found, lines);
    }
}

#[test]
fn a_whole_trace_of_100_gib() {
    const LEN: u32 = 64 << 20;
    let directory = directory();
    let file = File::create(directory.path().join("long")).expect("the file can be made");
    file.set_len(100 << 30).expect("the file can have holes");
    // A descriptor, a direction and data, all zero.
    let header = claims(Kind::Genio, LEN - HEADER_LEN as u32);
    for number in 0..(100 << 30) / u64::from(LEN) {
        file.write_all_at(&header, number * u64::from(LEN)).expect("the file can be written");
    }
    let output = run(directory.path(), &["long"]);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
    assert!(text(&output.stdout).ends_with("\nlong: records 1600 processes 1 threads 1: whole\n"));
}

#[test]
fn lengths_that_are_larger_than_the_file() {
    for kind in [Kind::Genio, Kind::Struct, Kind::StructArray, Kind::Args, Kind::Envs] {
        let directory = directory();
        let file = File::create(directory.path().join("lengths")).expect("the file can be made");
        file.set_len(1 << 30).expect("the file can have holes");
        let header = claims(kind, i32::MAX.cast_unsigned());
        for number in 0..1000 {
            file.write_all_at(&header, number * HEADER_LEN as u64).expect("the file can be written");
        }
        let output = run(directory.path(), &["lengths"]);
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(1), ""));
        let expected = "\
lengths: byte 0: the file ends inside this record
lengths: records 0 processes 0 threads 0: not whole: 1 damaged
";
        assert_eq!(text(&output.stdout), expected);
    }
}
