//! Signs in the console's stream that the guest's kernel has died.

/// A kernel that has died.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crash {
    /// The line that says so.
    pub line: String,
    /// Whether the kernel now waits for commands to its debugger.
    pub in_debugger: bool,
}

/// The first sign of a crash in `text`, which starts after the guest has booted. A line
/// counts once it is whole.
pub fn find(text: &str) -> Option<Crash> {
    let in_debugger = text.lines().any(|line| line.starts_with(DEBUGGER));
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let line = whole.lines().find(|line| is_sign(line));
    match line {
        Some(line) => Some(Crash { line: line.trim().into(), in_debugger }),
        None => in_debugger.then(|| Crash { line: DEBUGGER.trim().into(), in_debugger }),
    }
}

/// The last is the first line of a kernel that boots: the old one has gone.
const SIGNS: &[&str] = &["panic: ", "Fatal trap ", "KDB: enter: ", "---<<BOOT>>---"];

const DEBUGGER: &str = "db> ";

fn is_sign(line: &str) -> bool {
    SIGNS.iter().any(|sign| line.contains(sign))
}

/// Whether `text` tells of a panic that was asked for by the sysctl `debug.kdb.panic`, and of no
/// other crash, before or in it.
pub fn is_asked_panic(text: &str) -> bool {
    let signs: Vec<_> = text.lines().filter(|line| is_sign(line)).map(str::trim).collect();
    signs == ["panic: kdb_sysctl_panic"]
}

/// Whether `text` tells of a reboot that was asked for: a machine that resets itself goes off
/// without these lines.
pub fn is_orderly_reboot(text: &str) -> bool {
    let said = |what| text.lines().any(|line| line.trim_end().starts_with(what));
    said("All buffers synced.") && said("Rebooting...")
}

/// Whether a line of the console is from the tracer, which has nothing to say while a system
/// goes down; that it was loaded or unloaded, it may have said before.
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
        for line in ["All buffers synced.", "Rebooting..."] {
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
