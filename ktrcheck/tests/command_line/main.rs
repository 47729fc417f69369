//! Tests of the program `ktrcheck` as a user runs it.

mod memory;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Output};

use ktrace_format::{Header, Kind, Payload, Record, Syscall, Sysret, Timespec};
use tempfile::TempDir;

/// Kilobytes of address space that the program gets for any file: the 100 megabytes of ktrcheck(1).
const MEMORY: u32 = 96 * 1024;

fn run(directory: &Path, arguments: &[&str]) -> Output {
    Command::new("sh")
        .args(["-c", &format!("ulimit -v {MEMORY} && exec \"$@\""), "sh", env!("CARGO_BIN_EXE_ktrcheck")])
        .args(arguments)
        .current_dir(directory)
        .output()
        .expect("the program runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("the output is text")
}

fn directory() -> TempDir {
    tempfile::tempdir().expect("there is room for a directory")
}

/// Returns a record of process 845, made at this microsecond.
fn record(microsecond: i64, drop: bool, payload: Payload<'_>) -> Vec<u8> {
    of_thread((845, 100_123), microsecond, drop, payload)
}

/// Returns the same record for another process and thread.
fn of_thread(thread: (i32, i64), microsecond: i64, drop: bool, payload: Payload<'_>) -> Vec<u8> {
    let header = Header { drop, ..header(thread, microsecond) };
    let mut bytes = vec![0; Record::encoded_len(&payload)];
    Record { header, payload }.encode(&mut bytes).expect("the record is small");
    bytes
}

/// Returns the header that all these records share.
fn header((pid, tid): (i32, i64), microsecond: i64) -> Header {
    Header {
        len: 0,
        kind: Kind::User,
        drop: false,
        pid,
        comm: *b"sh\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        time: Timespec { sec: 1, nsec: microsecond * 1000 },
        tid,
        cpu: 1,
    }
}

/// Returns a system call that lasts from this microsecond to the next.
fn call(microsecond: i64) -> Vec<u8> {
    let args: &[u64] = &[3];
    let call = Payload::Syscall(Syscall { code: 6, args: args.into() });
    let ret = Payload::Sysret(Sysret { code: 6, error: 0, retval: 0 });
    [record(microsecond, false, call), record(microsecond + 1, false, ret)].concat()
}

/// Checks a file of these bytes, and returns the exit status and the output.
fn check(bytes: &[u8], arguments: &[&str]) -> (Option<i32>, String) {
    let directory = directory();
    fs::write(directory.path().join("ktrace.out"), bytes).expect("the file can be written");
    let output = run(directory.path(), arguments);
    assert_eq!(text(&output.stderr), "");
    (output.status.code(), text(&output.stdout).to_owned())
}

#[test]
fn a_whole_trace() {
    let (status, shown) = check(&[call(1), call(3)].concat(), &[]);
    let expected = "\
TYPE                 RECORDS     DROPS
syscall                    2         0
sysret                     2         0
   PID COMMAND                   RECORDS     DROPS  TYPES
   845 sh                              4         0  syscall 2, sysret 2
ktrace.out: records 4 processes 1 threads 1: whole
";
    assert_eq!((status, shown.as_str()), (Some(0), expected));
}

#[test]
fn no_bytes() {
    let expected = "\
ktrace.out: byte 0: the file is empty
ktrace.out: records 0 processes 0 threads 0: not whole: 1 damaged
";
    assert_eq!(check(b"", &[]), (Some(1), expected.to_owned()));
}

#[test]
fn one_byte() {
    let expected = "\
ktrace.out: byte 0: the file ends inside this record
ktrace.out: records 0 processes 0 threads 0: not whole: 1 damaged
";
    assert_eq!(check(b"x", &[]), (Some(1), expected.to_owned()));
}

#[test]
fn random_bytes() {
    let mut seed = 2005_u64;
    let bytes: Vec<u8> = std::iter::repeat_with(|| {
        seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        (seed >> 56) as u8
    })
    .take(4 << 20)
    .collect();
    let (status, shown) = check(&bytes, &[]);
    assert_eq!(status, Some(1));
    assert!(shown.contains("byte 0: this is not the header of a trace record"), "{shown}");
    assert!(shown.ends_with("records 0 processes 0 threads 0: not whole: 1 damaged\n"), "{shown}");
}

#[test]
fn another_byte_order() {
    let mut bytes = call(1);
    for field in [0..4, 4..6, 6..8, 8..12, 32..40, 40..48, 48..56, 56..60] {
        bytes[field].reverse();
    }
    let expected = "\
ktrace.out: byte 0: the file is of another byte order, and was not read
ktrace.out: records 0 processes 0 threads 0: not whole: 1 damaged
";
    assert_eq!(check(&bytes, &[]), (Some(1), expected.to_owned()));
}

#[test]
fn a_sparse_file_of_100_gib() {
    const SIZE: u64 = 100 << 30;
    let directory = directory();
    let file = File::create(directory.path().join("zeroes")).expect("the file can be made");
    file.set_len(SIZE).expect("the file can have holes");
    let output = run(directory.path(), &["zeroes"]);
    let expected = "\
zeroes: byte 0: this is not the header of a trace record (ktr_type); there is none behind it
zeroes: records 0 processes 0 threads 0: not whole: 1 damaged
";
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), expected));

    // Records at the start, in the middle and at the end.
    let (start, middle, end) = (call(1), call(3), call(5));
    let places = [0, SIZE / 2 + 7, SIZE - end.len() as u64];
    for (offset, bytes) in places.into_iter().zip([&start, &middle, &end]) {
        file.write_all_at(bytes, offset).expect("the file can be written");
    }
    let output = run(directory.path(), &["zeroes"]);
    let shown = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1));
    for (from, to) in [(160, places[1]), (places[1] + 160, places[2])] {
        let line = format!("zeroes: byte {from}: this is not the header of a trace record (ktr_type);");
        let next = format!("at byte {to}, is one\n");
        assert!(shown.contains(&line) && shown.contains(&next), "{shown}");
    }
    assert!(shown.ends_with("records 6 processes 1 threads 1: not whole: 2 damaged\n"), "{shown}");
}

#[test]
fn what_cannot_be_read() {
    let directory = directory();
    for (arguments, complaint) in [
        (&["missing"] as &[&str], "ktrcheck: missing: No such file or directory"),
        (&["."], "ktrcheck: .: not a regular file"),
        (&["--no-such-option"], "error: unexpected argument"),
    ] {
        let output = run(directory.path(), arguments);
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).starts_with(complaint), "{}", text(&output.stderr));
        assert_eq!(text(&output.stdout), "");
    }
}

#[test]
fn several_files_have_the_worst_status() {
    let directory = directory();
    fs::write(directory.path().join("good"), call(1)).expect("the file can be written");
    fs::write(directory.path().join("bad"), b"x").expect("the file can be written");
    let status = |arguments: &[&str]| run(directory.path(), arguments).status.code();
    assert_eq!(status(&["good", "good"]), Some(0));
    assert_eq!(status(&["bad", "good"]), Some(1));
    assert_eq!(status(&["missing", "bad", "good"]), Some(2));
}

#[test]
fn a_quiet_check_has_a_status_only() {
    assert_eq!(check(&call(1), &["-q"]), (Some(0), String::new()));
    assert_eq!(check(b"x", &["-q"]), (Some(1), String::new()));
}

#[test]
fn the_order_of_the_file_is_asked_for_with_o() {
    let args: &[u64] = &[3];
    let mut late = record(1, false, Payload::Syscall(Syscall { code: 6, args: args.into() }));
    late[48] += 1; // ktr_tid
    let bytes = [call(2), late].concat();
    let (status, shown) = check(&bytes, &["-o"]);
    assert_eq!(status, Some(1));
    assert!(
        shown.starts_with("ktrace.out: byte 160: pid 845 tid 100124: older than the record before"),
        "{shown}"
    );
    assert_eq!(check(&bytes, &["-q"]).0, Some(0));
}

#[test]
fn the_first_of_each_sort_are_shown_and_all_with_v() {
    let bytes: Vec<u8> =
        (1..=30).flat_map(|microsecond| record(microsecond, true, Payload::User(b""))).collect();
    let shown_drops = |arguments: &[&str]| {
        let (status, shown) = check(&bytes, arguments);
        assert_eq!(status, Some(1));
        assert!(shown.ends_with("not whole: 30 marked KTR_DROP\n"), "{shown}");
        let lines = shown.lines().filter(|line| line.contains("records of the process were dropped")).count();
        (lines, shown.contains("shown with -v"))
    };
    assert_eq!(shown_drops(&[]), (20, true));
    assert_eq!(shown_drops(&["-v"]), (30, false));
}
