//! Each check finds the fault that is put in for it, and a run without one finds nothing.

use std::path::PathBuf;
use std::process::{Command, Output};

fn module() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").join(env!("KTRACE_RS_MODULE"))
}

fn standin(arguments: &[&str]) -> Output {
    standin_with(module().to_str().expect("a path"), arguments)
}

fn standin_with(module: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ktrace-standin"));
    command.arg("--module").arg(module).args(arguments);
    command.output().expect("the program runs")
}

/// The run ends with a report of one of these checks.
#[track_caller]
fn finds(checks: &str, arguments: &[&str]) {
    let output = standin(&[&["run"], arguments, &["--deterministic"]].concat());
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{arguments:?}: {text}");
    let found = checks.split(", ").any(|check| text.starts_with(&format!("standin: {check}: ")));
    assert!(found, "{arguments:?}: {text}");
    assert!(text.contains("standin: seed 1: again with --seed 1 --deterministic"), "{text}");
}

#[test]
fn without_a_flaw_nothing_is_found() {
    for how in [&["run", "policies"][..], &["run", "policies", "--deterministic"]] {
        let output = standin(how);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn the_demo_prints_a_trace_and_the_counters() {
    let output = standin(&["demo"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for words in [" CALL ", " RET ", " NAMI ", "kern.ktrace_rs.stats.dropped: 0\n", "The module is unloaded"]
    {
        assert!(text.contains(words), "no {words:?} in: {text}");
    }
}

#[test]
fn a_mutex_that_is_not_released() {
    // It is found where the thread does next what it may not with it.
    finds("return, sleep, recursion", &["policies", "--omit", "__mtx_unlock_flags:400"]);
}

#[test]
fn a_commit_lock_that_is_not_released() {
    finds("return, lock use", &["policies", "--omit", "_sx_xunlock:20"]);
}

#[test]
fn leave_to_write_that_is_not_given_back() {
    finds("return, lock order", &["policies", "--omit", "vn_finished_write:3"]);
}

#[test]
fn a_record_that_is_not_written() {
    finds("record", &["policies", "--omit", "vn_rdwr:5"]);
}

#[test]
fn records_that_are_lost_on_a_disk_that_fails_later() {
    finds("record", &["full", "--omit", "vn_rdwr:1"]);
    finds("record", &["filesize", "--omit", "vn_rdwr:1"]);
    finds("record", &["failing", "--omit", "vn_rdwr:5"]);
    finds("record", &["dead", "--omit", "vn_rdwr:2"]);
}

#[test]
fn a_record_that_is_written_twice() {
    finds("record", &["policies", "--flaw", "record-twice"]);
}

#[test]
fn a_record_that_is_not_what_was_made() {
    finds("record", &["policies", "--flaw", "bit-flipped"]);
    finds("record", &["lifetimes", "--flaw", "bit-flipped"]);
}

#[test]
fn time_that_goes_back() {
    finds("record", &["policies", "--flaw", "clock-back"]);
}

#[test]
fn a_byte_that_is_not_restored() {
    finds("text", &["policies", "--flaw", "byte-left"]);
}

#[test]
fn a_call_into_text_that_is_gone() {
    finds("text", &["policies", "--flaw", "called-late"]);
}

#[test]
fn text_that_is_written_to_while_protected() {
    finds("text", &["policies", "--omit", "disable_wp:2"]);
}

#[test]
fn memory_that_is_used_after_it_is_freed() {
    finds("memory", &["policies", "--flaw", "freed-early"]);
}

#[test]
fn memory_that_is_written_behind() {
    finds("memory", &["policies", "--flaw", "written-behind"]);
}

#[test]
fn memory_of_the_kernel_in_a_record() {
    finds("record", &["policies", "--flaw", "uninitialised"]);
}

#[test]
fn a_lock_that_is_not_initialised() {
    finds("lock use", &["policies", "--omit", "_mtx_init:1"]);
}

#[test]
fn a_lock_that_is_taken_twice() {
    finds("recursion", &["policies", "--flaw", "recursed"]);
}

#[test]
fn a_mutex_that_the_module_takes_twice() {
    // Where threads take the queue lock again and again. The stand-in itself finds the locks of the
    // kernel that are taken twice.
    let panics = |number: &u32| {
        let omit = format!("__mtx_unlock_flags:{number}");
        let output = standin(&["run", "forks", "--omit", &omit, "--deterministic"]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!text.starts_with("standin: recursion: \"ktrace_rs"), "{omit}: {text}");
        text.starts_with("standin: panic: ") && text.contains("a lock is taken by the thread that holds it")
    };
    assert!((80..250).any(|number| panics(&number)), "the module never panics");
}

#[test]
fn an_unload_that_does_not_end() {
    finds("hang", &["policies", "--flaw", "not-woken"]);
}

#[test]
fn locks_in_both_orders() {
    finds("lock order", &["forks", "--flaw", "order-reversed"]);
}

#[test]
fn sleep_where_it_is_not_allowed() {
    finds("sleep", &["faults", "--flaw", "sleep-in-fault"]);
}

#[test]
fn sleep_with_a_mutex_held() {
    finds("sleep", &["policies", "--flaw", "sleep-under-lock"]);
}

#[test]
fn pageable_memory_that_is_touched_with_a_mutex_held() {
    finds("sleep", &["policies", "--flaw", "pageable-under-lock"]);
}

#[test]
fn what_is_left_behind() {
    for omitted in [
        "free:50",
        "counter_u64_free:3",
        "vn_close:1",
        "crfree:1",
        "_mtx_destroy:2",
        "sx_destroy:1",
        "ast_deregister:1",
        "sysctl_ctx_free:1",
    ] {
        finds("leak", &["policies", "--omit", omitted]);
    }
}

#[test]
fn a_name_that_the_kernel_does_not_have_is_refused() {
    let mut bytes = std::fs::read(module()).expect("make has built the module");
    let (from, to) = (b"\0vn_fullpath\0", b"\0vn_nosuchfn\0");
    let at = bytes.windows(from.len()).position(|window| window == from).expect("it calls vn_fullpath()");
    bytes[at..at + to.len()].copy_from_slice(to);
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), bytes).expect("room for it");
    let path = file.path().to_str().expect("a path");
    let output = standin_with(path, &["run", "policies"]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && text.contains("vn_nosuchfn: the stand-in has no such symbol"),
        "{text}"
    );
}

#[test]
fn a_record_that_costs_more_or_far_less_than_its_budget() {
    let budget =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/budget.txt")).expect("a budget");
    let run = |change: fn(u64) -> u64| {
        let number = |word: &str| word.parse().ok().map(change);
        let change = |word: &str| number(word).map_or(word.to_owned(), |number| number.to_string());
        let lines = budget.lines().map(|line| line.split(' ').map(change).collect::<Vec<_>>().join(" "));
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), lines.collect::<Vec<_>>().join("\n")).expect("room for it");
        let output = standin(&["budget", file.path().to_str().expect("a path")]);
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (half, double) = (run(|budget| budget / 2), run(|budget| budget * 2));
    for ((code, text), words) in [(half, "over the budget"), (double, "far below the budget")] {
        assert!(code == Some(1) && text.matches(words).count() == 6, "{text}");
    }
}

#[test]
fn a_seed_gives_the_same_run_again() {
    let run = || {
        String::from_utf8_lossy(&standin(&["run", "limit", "--deterministic", "--seed", "7"]).stdout)
            .into_owned()
    };
    let first = run();
    assert!(first.contains("lost and counted"), "{first}");
    assert_eq!(first, run());
}

#[test]
fn what_stress_finds_is_found_again_with_the_command_that_it_prints() {
    let output = standin(&["stress", "--seconds", "120", "--flaw", "record-twice"]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "nothing is found");
    let (found, command) = text.split_once("\nagain with: ").expect("a command");
    let words = command.trim_end().split_once(" -- ").expect("what the program is given").1;
    let again = Command::new(env!("CARGO_BIN_EXE_ktrace-standin"))
        .args(words.split(' '))
        .output()
        .expect("the program runs");
    assert_eq!(again.status.code(), Some(3));
    let report = String::from_utf8_lossy(&again.stderr);
    assert!(!words.contains("--deterministic") || found.contains(report.trim_end()), "{found}\n{report}");
}
