//! Tests of the program `ktrstat` on a host without the module: its status and its output.

use std::process::{Command, Output};

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ktrstat")).args(arguments).output().expect("the program runs")
}

/// Checks that the program exits with status 2, prints `complaint` on standard error, and shows
/// nothing.
fn check_fails(arguments: &[&str], complaint: &str) {
    let output = run(arguments);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(2), b"".as_slice()), "{arguments:?}");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.starts_with(complaint), "{arguments:?}: {error}");
}

/// Returns whether the module is loaded here, in which case the program succeeds.
fn is_loaded() -> bool {
    cfg!(target_os = "freebsd")
        && Command::new("sysctl")
            .args(["-n", "kern.ktrace_rs.version"])
            .output()
            .is_ok_and(|it| it.status.success())
}

#[test]
fn without_the_module() {
    if is_loaded() {
        return;
    }
    for arguments in [&[] as &[&str], &["-1"], &["-j"], &["-s", "0.1", "-d", "1"]] {
        check_fails(arguments, "ktrstat: ktrace_rs is not loaded: kldload ktrace_rs\n");
    }
}

#[test]
fn options_that_make_no_sense() {
    for arguments in [
        &["-s", "0"] as &[&str],
        &["-s", "0.09"],
        &["-s", "86401"],
        &["-s", "x"],
        &["-s", "NaN"],
        &["-d", "-1"],
        &["-x"],
        &["more"],
    ] {
        check_fails(arguments, "error: ");
    }
}

#[test]
fn help_tells_of_every_option_of_the_page() {
    let page = include_str!("../../share/man/man1/ktrstat.1");
    let help = run(&["-h"]);
    let help = String::from_utf8_lossy(&help.stdout);
    let (_, options) = page.split_once("The options are as follows:").expect("the page has options");
    let (options, _) = options.split_once(".El").expect("they end");
    let options: Vec<_> = options.lines().filter_map(|line| line.strip_prefix(".It Fl ")?.get(..1)).collect();
    assert_eq!(options, ["1", "d", "h", "j", "s", "V"]);
    let told =
        |line: &str| line.trim_start().strip_prefix('-').and_then(|rest| rest.get(..1)).map(str::to_owned);
    let mut told: Vec<_> = help.lines().filter_map(told).collect();
    told.sort_by_key(|letter| letter.to_lowercase());
    assert_eq!(told, options);
}
