//! Detection of a dead kernel in the console's output.

/// A crash of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crash {
    /// Line that reports the crash.
    pub line: String,
    /// Whether the kernel waits in its debugger for commands.
    pub in_debugger: bool,
}

/// Returns the first sign of a crash in `text`, which starts after the guest has booted.
///
/// A line counts only once it is complete.
pub fn find(text: &str) -> Option<Crash> {
    let in_debugger = text.lines().any(|line| line.starts_with(DEBUGGER));
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let line = whole.lines().find(|line| is_sign(line));
    match line {
        Some(line) => Some(Crash { line: line.trim().into(), in_debugger }),
        None => in_debugger.then(|| Crash { line: DEBUGGER.trim().into(), in_debugger }),
    }
}

/// Texts that show a crash. The last is a booting kernel's first line, so the old kernel is gone.
const SIGNS: &[&str] = &["panic: ", "Fatal trap ", "KDB: enter: ", "---<<BOOT>>---"];

const DEBUGGER: &str = "db> ";

fn is_sign(line: &str) -> bool {
    SIGNS.iter().any(|sign| line.contains(sign))
}

/// Returns whether `text` shows a panic requested by the sysctl `debug.kdb.panic`, and no other
/// crash.
pub fn is_asked_panic(text: &str) -> bool {
    let signs: Vec<_> = text.lines().filter(|line| is_sign(line)).map(str::trim).collect();
    signs == ["panic: kdb_sysctl_panic"]
}

/// Returns whether `text` shows a requested reboot. A machine that resets itself prints no such
/// lines, and a kernel that panics syncs no buffers. "Rebooting..." comes after these, but not where
/// the firmware reboots the machine (arm64).
pub fn is_orderly_reboot(text: &str) -> bool {
    let mut lines = text.lines();
    let mut said = |what| lines.any(|line| line.trim_end().starts_with(what));
    said("All buffers synced.") && said("Uptime: ")
}

/// Returns whether a line of the console is a complaint of the tracer.
///
/// The tracer must print nothing while a system goes down. Its load and unload messages may be
/// there from before.
pub fn is_of_tracer(line: &str) -> bool {
    let comes_or_goes = line.contains(" traces from now on") || line.contains("ktrace_rs: unloaded: ");
    (line.contains("ktrace_rs: ") && !comes_or_goes) || line.contains("ktrace write failed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sign_is_seen() {
        for text in [
            "x\npanic: ktrace_rs: queue not empty\ncpuid = 1\n",
            "a user's line panic: mid-line\n",
            "\n\nFatal trap 12: page fault while in kernel mode\n",
            "KDB: enter: panic\n",
            "db> ",
            "---<<BOOT>>---\n",
        ] {
            assert!(find(text).is_some(), "{text}");
        }
    }

    #[test]
    fn ordinary_lines_are_no_sign() {
        assert_eq!(find("panics: 0\nadb> x\nno trap\nsysctl debug.kdb.panic\n"), None);
    }

    #[test]
    fn a_line_is_waited_for_until_it_is_whole() {
        assert_eq!(find("panic: kt"), None);
        assert_eq!(find("panic: ktrace_rs\n").unwrap().line, "panic: ktrace_rs");
    }

    #[test]
    fn a_panic_that_was_asked_for_is_the_only_one() {
        let text = "line\npanic: kdb_sysctl_panic\ncpuid = 1\nUptime: 9s\nRebooting...\n";
        assert!(is_asked_panic(text));
        assert!(!is_asked_panic(&text.replace("kdb_sysctl_panic", "ktrace_rs: queue not empty")));
        assert!(!is_asked_panic(&format!("{text}Fatal trap 12: page fault while in kernel mode\n")));
        assert!(!is_asked_panic(&format!("panic: boom\n{text}")));
        assert!(!is_asked_panic("line\n"));
    }

    #[test]
    fn an_orderly_reboot_says_both() {
        let text =
            "Syncing disks, vnodes remaining... 0 done\nAll buffers synced.\nUptime: 31s\nRebooting...\n";
        assert!(is_orderly_reboot(text));
        for line in ["All buffers synced.", "Uptime: 31s"] {
            assert!(!is_orderly_reboot(&text.replace(line, "")), "{line}");
        }
    }

    #[test]
    fn tells_the_first_line_and_whether_the_debugger_waits() {
        let text = "panic: boom\nKDB: stack backtrace:\nKDB: enter: panic\n[ thread pid 1 ]\ndb> ";
        let crash = find(text).unwrap();
        assert_eq!((crash.line.as_str(), crash.in_debugger), ("panic: boom", true));
    }
}
