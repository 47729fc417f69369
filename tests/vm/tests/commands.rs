//! Tests of the program as a user runs it, with a fake QEMU and guest.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use sha2::{Digest, Sha512};
use tempfile::TempDir;

/// A directory with an image, a module and guest tests, in which the program runs.
struct Place {
    dir: TempDir,
}

impl Place {
    fn new(tests: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let place = Self { dir };
        fs::create_dir_all(place.path("target/15-amd64/guest/tests")).unwrap();
        fs::write(place.path("target/15-amd64/ktrace_rs.ko"), "module").unwrap();
        fs::write(place.path("my.img"), [0; 512]).unwrap();
        let may_skip = "b-skip 14-amd64 why it is skipped\nd-skip * why it is skipped\n\
            a-part-ok * some program\n";
        fs::write(place.path("target/15-amd64/guest/tests/may_skip.txt"), may_skip).unwrap();
        for test in tests {
            let script = place.path(&format!("target/15-amd64/guest/tests/{test}.sh"));
            let panics = if test.contains("panics") { "# panics\n" } else { "" };
            let boots = if test.contains("boots") { "# boots\n" } else { "" };
            fs::write(script, format!("# timeout: 1\n{panics}{boots}")).unwrap();
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let qemu = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fake-qemu.sh");
        let mut command = Command::new(env!("CARGO_BIN_EXE_ktrace-vm"));
        command
            .args(args)
            .current_dir(self.dir.path())
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env("KTRACE_VM_ACCEL", "tcg")
            .env("KTRACE_VM_QEMU_AMD64", &qemu)
            .env("KTRACE_VM_QEMU_ARM64", &qemu)
            .env("KTRACE_VM_FIRMWARE", "firmware");
        command
    }

    fn run(&self, args: &[&str]) -> Ran {
        Ran::from(self.command(args).output().unwrap())
    }

    fn check(&self) -> Ran {
        self.run(&["check", "--image", "my.img", "--grace", "1"])
    }
}

struct Ran {
    status: i32,
    out: String,
    err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            status: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ran {
    /// Returns the lines that begin at the margin, without times.
    fn verdicts(&self) -> Vec<&str> {
        let own = self.out.lines().filter(|line| !line.starts_with([' ', '=']));
        own.map(|line| line.split(" (").next().unwrap()).collect()
    }

    #[track_caller]
    fn says(&self, what: &str) {
        assert!(self.out.contains(what) || self.err.contains(what), "{}{}", self.out, self.err);
    }
}

#[test]
fn all_ok() {
    let ran = Place::new(&["a-ok", "b-skip", "c-ok"]).check();
    assert_eq!(
        ran.verdicts(),
        ["ok a-ok", "skip b-skip: why it is skipped", "ok c-ok", "2 passed, 0 failed, 1 skipped"]
    );
    assert_eq!(ran.status, 0);
    ran.says("== my.img: FreeBSD 14.2-FAKE amd64 GENERIC, up after");
}

#[test]
fn a_part_that_is_left_out_is_named() {
    let ran = Place::new(&["a-part-ok"]).check();
    assert_eq!(ran.verdicts(), ["ok a-part-ok", "1 passed, 0 failed, 0 skipped"]);
    ran.says("    a-part-ok without some program\n");
}

#[test]
fn only_the_skips_on_the_list_are_no_failures() {
    let place = Place::new(&["a-skip", "b-skip", "c-part-ok"]);
    let ran = place.check();
    assert_eq!(
        ran.verdicts(),
        ["FAIL a-skip", "skip b-skip: why it is skipped", "FAIL c-part-ok", "0 passed, 2 failed, 1 skipped"]
    );
    ran.says("skipped, and may_skip.txt does not have it: why it is skipped");
    ran.says("skipped, and may_skip.txt does not have it: some program");
    assert_eq!(place.run(&["check", "--image", "my.img", "--only", "b*"]).status, 1, "nothing has run");
    let ran = place.run(&["check", "--image", "my.img", "--no-module", "--only", "[ac]*"]);
    assert_eq!(ran.verdicts()[..2], ["skip a-skip: why it is skipped", "ok c-part-ok"]);
}

#[test]
fn a_run_leaves_its_system_and_the_files_of_its_tests() {
    let place = Place::new(&["a-ok", "b-load"]);
    let script = "# full timeout: 9\n# load: much\n";
    fs::write(place.path("target/15-amd64/guest/tests/b-load.sh"), script).unwrap();
    let ran = place.run(&["check", "--image", "my.img", "--full"]);
    assert_eq!(ran.verdicts(), ["ok b-load", "1 passed, 0 failed, 0 skipped"], "a-ok has one length");
    let left = |file| fs::read_to_string(place.path("target/vm/my").join(file)).unwrap();
    assert!(left("system").starts_with("FreeBSD 14.2-FAKE amd64 GENERIC\n-accel tcg"), "{}", left("system"));
    assert_eq!(left("b-load/figures"), "1000,900,1000,4096,2\n");
}

#[test]
fn failures_come_with_their_log() {
    let place = Place::new(&["a-fail", "b-late", "c-traced", "d-stuck", "e-unread", "f-ok"]);
    let ran = place.check();
    assert_eq!(
        ran.verdicts(),
        [
            "FAIL a-fail",
            "FAIL b-late",
            "FAIL c-traced",
            "FAIL d-stuck",
            "FAIL e-unread",
            "ok f-ok",
            "1 passed, 5 failed, 0 skipped"
        ]
    );
    assert_eq!(ran.status, 1);
    for what in [
        "status 3",
        "    log of a-fail",
        "timed out",
        "left behind: traced",
        "left behind: module",
        "left behind: stuck",
        "results cannot be read",
    ] {
        ran.says(what);
    }
    assert_eq!(ran.out.matches("== my.img").count(), 2, "a stuck guest is replaced");
    assert_eq!(fs::read_to_string(place.path("target/vm/my/a-fail/log")).unwrap(), "log of a-fail\n");
}

#[test]
fn after_a_panic_the_next_test_runs_on_a_new_machine() {
    let place = Place::new(&["a-ok", "b-panic", "c-ok", "d-off", "e-ok"]);
    let ran = place.check();
    assert_eq!(
        ran.verdicts(),
        ["ok a-ok", "FAIL b-panic", "ok c-ok", "FAIL d-off", "ok e-ok", "3 passed, 2 failed, 0 skipped"]
    );
    for what in ["the kernel died: panic: boom", "    step one", "    cpuid = 0", "went off or rebooted"] {
        ran.says(what);
    }
    assert_eq!(ran.out.matches("== my.img").count(), 3);
    let log = fs::read_to_string(place.path("target/vm/my/console-1.log")).unwrap();
    assert!(log.contains("panic: boom"));
    assert_eq!(fs::read_to_string(place.path("target/vm/my/b-panic/log")).unwrap(), "step one\n");
}

#[test]
fn a_kernel_debugger_is_asked_where_it_stands() {
    let ran = Place::new(&["a-ddb", "b-ok"]).check();
    assert_eq!(ran.verdicts(), ["FAIL a-ddb", "ok b-ok", "1 passed, 1 failed, 0 skipped"]);
    ran.says("the kernel died: panic: boom");
    ran.says("the debugger on bt");
}

#[test]
fn a_panic_between_tests_is_not_lost() {
    let ran = Place::new(&["a-dies-later", "b-ok", "c-dies-later"]).check();
    assert_eq!(ran.verdicts().last(), Some(&"2 passed, 2 failed, 0 skipped"));
    ran.says("FAIL b-ok");
    ran.says("this test had not begun yet; the one before was a-dies-later");
    ran.says("FAIL end");
}

#[test]
fn an_image_may_ask_for_an_empty_password_but_not_for_another() {
    let place = Place::new(&["a-ok"]);
    for (fake, status) in [("password", 0), ("refuses", 1)] {
        let output = place.command(&["check", "--image", "my.img"]).env("FAKE_QEMU", fake).output();
        let ran = Ran::from(output.unwrap());
        assert_eq!(ran.status, status, "{}", ran.out);
        assert_eq!(ran.out.contains("root cannot log in without a password"), status == 1);
    }
}

#[test]
fn no_qemu_survives_the_program() {
    let place = Place::new(&["a-hang"]);
    let mut child = place
        .command(&["check", "--image", "my.img"])
        .env("TMPDIR", place.path("target"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let left = || fs::read_dir(place.path("target")).unwrap().count();
    // The guest has booted when the report says so.
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(left(), 3, "15-amd64, vm, and the machine's directory");
    child.kill().unwrap();
    child.wait().unwrap();
    for _ in 0..200 {
        if left() == 2 {
            return;
        }
        thread::sleep(Duration::from_millis(50));
    }
    panic!("the watchdog has not cleaned up");
}

#[test]
fn a_hang_is_told_from_a_lost_marker() {
    let ran = Place::new(&["a-lost", "b-hang", "c-ok"]).check();
    assert_eq!(ran.verdicts(), ["ok a-lost", "FAIL b-hang", "ok c-ok", "2 passed, 1 failed, 0 skipped"]);
    ran.says("the system hangs: b-hang has not ended after 1 s");
}

#[test]
fn a_reboot_that_is_none_fails() {
    let names =
        ["a-reset-boots", "b-panic-boots", "c-hang-boots", "d-never-boots", "e-lor-boots", "f-log-boots"];
    let ran = Place::new(&names).check();
    let mut verdicts: Vec<_> = names.iter().map(|name| format!("FAIL {name}")).collect();
    verdicts.push("0 passed, 6 failed, 0 skipped".into());
    assert_eq!(ran.verdicts(), verdicts, "{}", ran.out);
    for what in [
        "gone off without an orderly reboot",
        "the kernel died: panic: boom",
        "the system hangs: c-hang-boots",
        "the system has not rebooted",
        "    lock order reversal:\n",
        "    ktrace write failed, errno 5",
    ] {
        ran.says(what);
    }
    assert_eq!(ran.out.matches("== my.img").count(), 6, "after each there is a new machine");
}

#[test]
fn a_test_that_panics_goes_on_in_the_next_system() {
    let place = Place::new(&["a-ok", "b-panics", "c-ok"]);
    let ran = place.check();
    assert_eq!(ran.verdicts(), ["ok a-ok", "ok b-panics", "ok c-ok", "3 passed, 0 failed, 0 skipped"]);
    assert_eq!(ran.out.matches("== my.img").count(), 2);
    let log = fs::read_to_string(place.path("target/vm/my/b-panics/log")).unwrap();
    assert_eq!(log, "panics before: 1\n");
}

#[test]
fn a_test_that_boots_goes_on_with_the_same_root() {
    let place = Place::new(&["a-boots", "b-ok"]);
    let ran = place.check();
    assert_eq!(ran.verdicts(), ["ok a-boots", "ok b-ok", "2 passed, 0 failed, 0 skipped"], "{}", ran.out);
    let log = fs::read_to_string(place.path("target/vm/my/a-boots/log")).unwrap();
    assert_eq!(log, "boots before: 1\n");
    assert_eq!(ran.out.matches("== my.img").count(), 2);
}

#[test]
fn a_panic_that_is_none_fails() {
    let names = ["a-always-panics", "b-boom-panics", "c-lor-panics", "d-never-panics", "e-trap-panics"];
    let ran = Place::new(&names).check();
    let mut verdicts: Vec<_> = names.iter().map(|name| format!("FAIL {name}")).collect();
    verdicts.push("0 passed, 5 failed, 0 skipped".into());
    assert_eq!(ran.verdicts(), verdicts, "{}", ran.out);
    for what in [
        "the kernel died: panic: kdb_sysctl_panic",
        "the kernel died: panic: boom",
        "    lock order reversal:\n",
        "the system has not panicked",
        "the kernel died: Fatal trap 12",
    ] {
        ran.says(what);
    }
    assert_eq!(ran.out.matches("== my.img").count(), 8, "five for the first, and one for each of the others");
}

#[test]
fn lock_order_reversals_count_where_the_module_has_a_part() {
    let ran = Place::new(&["a-stock-lor", "b-module", "c-our-lor", "d-stock-lor"]).check();
    assert_eq!(ran.verdicts()[..4], ["ok a-stock-lor", "ok b-module", "FAIL c-our-lor", "FAIL d-stock-lor"]);
    ran.says("complaints of the stock kernel of my.img, not counted:\n    lock order reversal: ufs");
    ran.says("    lock order reversal:\n     1st 0xfffff80003c7a068 vnode");
}

#[test]
fn an_image_that_does_not_boot_fails_every_test() {
    let place = Place::new(&["a-ok", "b-ok"]);
    let output = place.command(&["check", "--image", "my.img"]).env("FAKE_QEMU", "broken").output();
    let ran = Ran::from(output.unwrap());
    assert_eq!(ran.verdicts(), ["FAIL a-ok", "FAIL b-ok", "0 passed, 2 failed, 0 skipped"]);
    ran.says("does not boot");
    ran.says("Could not open disk");
    assert_eq!(ran.status, 1);
}

#[test]
fn several_machines_share_the_tests() {
    let place = Place::new(&["a-ok", "b-panic", "c-ok", "d-skip", "e-ok", "f-ok", "g-ok"]);
    let ran = place.run(&["check", "--image", "my.img", "--jobs", "2"]);
    assert_eq!(ran.verdicts().last(), Some(&"5 passed, 1 failed, 1 skipped"), "{}", ran.out);
    assert_eq!(ran.out.matches("== my.img").count(), 3, "one of two is replaced");
}

#[test]
fn without_an_image_one_line_says_so() {
    let ran = Place::new(&["a-ok"]).run(&["check"]);
    assert_eq!((ran.status, ran.out.lines().count(), ran.err.as_str()), (77, 1, ""));
    ran.says("VM tests skipped: no image in ");
    ran.says("make vm-image");
}

#[test]
fn the_images_that_are_there_are_used_and_the_others_named() {
    let place = Place::new(&["a-ok", "b-ok"]);
    let core = "# timeout: 1\n# core\n";
    fs::write(place.path("target/15-amd64/guest/tests/a-ok.sh"), core).unwrap();
    for module in ["15-arm64/ktrace_rs.ko", "14-amd64/invariants/ktrace_rs.ko"] {
        let module = place.path("target").join(module);
        fs::create_dir_all(module.parent().unwrap()).unwrap();
        fs::write(module, "module").unwrap();
    }
    fs::create_dir_all(place.path("cache/ktrace_rs")).unwrap();
    for image in ["15-amd64.img", "14-amd64.img", "14-amd64-debug.img", "15-arm64.img"] {
        fs::write(place.path("cache/ktrace_rs").join(image), [0; 512]).unwrap();
    }
    let ran = place.run(&["check"]);
    let ok =
        ["ok a-ok on 14-amd64-debug", "ok a-ok on 15-arm64", "ok a-ok on 15-amd64", "ok b-ok on 15-amd64"];
    assert_eq!(ran.verdicts()[2..6], ok, "{}", ran.err);
    // With three machines, each has an image.
    let ran = place.run(&["check", "--jobs", "3"]);
    let mut verdicts = ran.verdicts()[2..6].to_vec();
    verdicts.sort_unstable();
    assert_eq!(verdicts, [ok[0], ok[2], ok[1], ok[3]], "{}", ran.out);
    assert_eq!(ran.out.matches(".img: FreeBSD").count(), 3);
    ran.says("ktrace_rs for: 15-amd64-debug, 15-arm64-debug\n");
    ran.says("no module in target for: 14-amd64\n");
    ran.says("/14-amd64-debug.img: FreeBSD");
    ran.says("/15-amd64.img: FreeBSD");
    assert_eq!(place.run(&["check", "--all"]).verdicts().last(), Some(&"6 passed, 0 failed, 0 skipped"));
}

#[test]
fn a_guest_says_why_it_runs_no_tests() {
    let place = Place::new(&["a-ok"]);
    let output = place.command(&["check", "--image", "my.img"]).env("FAKE_QEMU", "unfit").output();
    Ran::from(output.unwrap()).says("the guest cannot run tests: no module for 14-amd64");
}

#[test]
fn what_is_missing_is_named() {
    let place = Place::new(&["a-ok"]);
    place.run(&["check", "--image", "none.img"]).says("cannot open image none.img");
    place.run(&["check", "--image", "my.img", "--only", "x"]).says("no test in");
    place.run(&["shell"]).says("no image in ");
    fs::remove_file(place.path("target/15-amd64/ktrace_rs.ko")).unwrap();
    let ran = place.check();
    ran.says("no module at target/15-amd64/ktrace_rs.ko: build it (make), or say --no-module");
    assert_eq!(ran.status, 1);
    let output = place.command(&["check", "--image", "my.img", "--no-module"]).output().unwrap();
    assert_eq!(Ran::from(output).status, 0);
    let output = place
        .command(&["check", "--image", "my.img", "--no-module"])
        .env("KTRACE_VM_QEMU_AMD64", "/nonexistent/qemu")
        .output()
        .unwrap();
    Ran::from(output).says("cannot start /nonexistent/qemu (is QEMU installed?)");
}

#[test]
fn exec_prints_the_output_and_takes_the_status() {
    let ran = Place::new(&[]).run(&["exec", "--image", "my.img", "--", "uname", "-a"]);
    assert_eq!((ran.status, ran.out.as_str()), (5, "output of the command\n"), "{}", ran.err);
}

#[test]
fn the_shell_passes_on_what_is_typed_and_ends_with_the_guests() {
    let place = Place::new(&[]);
    let mut child = place
        .command(&["shell", "--image", "my.img"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"uname -a\n").unwrap();
    let ran = Ran::from(child.wait_with_output().unwrap());
    ran.says("shell got: uname -a");
    ran.says("kldload $KT_MODULE");
    assert_eq!(ran.status, 0);
}

/// Name of a published image.
const PACKED: &str = "FreeBSD-14.3-RELEASE-amd64-BASIC-CI.raw.xz";

/// Publishes `image` as [`PACKED`] with a checksum of `summed`, and fetches it.
fn fetch(place: &Place, image: &[u8], summed: Option<&[u8]>) -> Ran {
    let site = place.path("site");
    fs::create_dir_all(&site).unwrap();
    let mut packer = liblzma::write::XzEncoder::new(Vec::new(), 1);
    packer.write_all(image).unwrap();
    let packed = packer.finish().unwrap();
    let sum: String =
        Sha512::digest(summed.unwrap_or(&packed)).iter().map(|byte| format!("{byte:02x}")).collect();
    fs::write(site.join(PACKED), packed).unwrap();
    fs::write(site.join("CHECKSUM.SHA512"), format!("SHA512 ({PACKED}) = {sum}\n")).unwrap();
    place.run(&["fetch", "--url", &format!("file://{}/{PACKED}", site.display())])
}

#[test]
fn fetch_checks_and_unpacks() {
    let place = Place::new(&[]);
    let mut image = vec![0; 100_000];
    image[70_000] = 7;
    let ran = fetch(&place, &image, None);
    assert_eq!(ran.status, 0, "{}", ran.err);
    let cache = place.path("cache/ktrace_rs");
    assert_eq!(fs::read(cache.join("14-amd64.img")).unwrap(), image);
    assert_eq!(fs::read_dir(&cache).unwrap().count(), 1, "nothing else is left");
    place.run(&["fetch", "--release", "14"]).says("exists already");
}

#[test]
fn fetch_refuses_a_wrong_checksum() {
    let place = Place::new(&[]);
    let ran = fetch(&place, b"image", Some(b"another"));
    assert_eq!(ran.status, 1);
    ran.says("but CHECKSUM.SHA512 says");
    assert_eq!(fs::read_dir(place.path("cache/ktrace_rs")).unwrap().count(), 0);
}

#[test]
fn fetch_goes_on_with_what_it_has() {
    let place = Place::new(&[]);
    fetch(&place, b"image", None);
    let cache = place.path("cache/ktrace_rs");
    fs::remove_file(cache.join("14-amd64.img")).unwrap();
    let packed = fs::read(place.path("site").join(PACKED)).unwrap();
    for have in [&packed[..10], &packed] {
        fs::write(cache.join(format!("{PACKED}.part")), have).unwrap();
        let ran = fetch(&place, b"image", None);
        assert_eq!(ran.status, 0, "{}", ran.err);
        assert_eq!(fs::read(cache.join("14-amd64.img")).unwrap(), b"image");
        fs::remove_file(cache.join("14-amd64.img")).unwrap();
    }
}

#[test]
fn fetch_says_what_is_not_there() {
    let place = Place::new(&[]);
    let ran = place.run(&["fetch", "--url", &format!("file:///nonexistent/{PACKED}")]);
    assert_eq!(ran.status, 1);
    ran.says("cannot download file:///nonexistent/CHECKSUM.SHA512");
}
