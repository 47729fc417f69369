//! Complaints of a debugging kernel that keeps running.
//!
//! They are lock order reversals, other WITNESS reports, and memory that a module left behind.

use std::sync::LazyLock;

use regex::Regex;

use crate::marker::Range;

/// A complaint of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// The part that is the same each time: the first line and the names of the locks.
    pub subject: String,
    /// All lines of the complaint.
    pub text: String,
}

impl Complaint {
    /// Returns whether the module has a part in the complaint.
    ///
    /// Its name, that of one of its sources, or a return address in one of `ranges` shows this. A
    /// call from the module into a file system does not count. Locks taken there, and their order,
    /// are the kernel's.
    pub fn names_module(&self, ranges: &[Range]) -> bool {
        static NAME: LazyLock<Regex> =
            LazyLock::new(|| Regex::new(r"ktrace_(rs|engine|format)|\bshims/").expect("valid"));
        let own = |line: &str| NAME.is_match(line) || has_address(line, ranges);
        !self.is_of_file_system(own) && (NAME.is_match(&self.text) || self.own_lines().any(own))
    }

    /// Returns whether a file system took the other lock, with the commit lock of a trace file held:
    /// its call is nearer to that lock than any frame for which `own` is true.
    ///
    /// The kernel's own backend holds `ktrace_sx` likewise: it takes it at trace points, which the
    /// kernel calls with locks held, and keeps it during the calls of the file system. The order of
    /// a lock that is taken there is the kernel's.
    fn is_of_file_system(&self, own: impl Fn(&str) -> bool) -> bool {
        let mut lines = self.text.lines();
        lines.any(|line| line.starts_with("lock order ktrace_rs commit -> "))
            && lines
                .take_while(|line| line.starts_with('#'))
                .find(|line| VOP.is_match(line) || own(line))
                .is_some_and(|line| VOP.is_match(line))
    }

    /// Returns the lines without the stack frames below a call into a file system.
    fn own_lines(&self) -> impl Iterator<Item = &str> {
        let mut in_file_system = false;
        self.text.lines().filter(move |line| {
            in_file_system = line.starts_with('#') && (in_file_system || VOP.is_match(line));
            !in_file_system
        })
    }
}

/// Stack frame of a call into a file system.
static VOP: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^#.* VOP_\w+_APV\b").expect("valid"));

/// Returns whether the line has a return address in one of `ranges`.
fn has_address(line: &str, ranges: &[Range]) -> bool {
    static ADDRESS: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\b0x([0-9a-f]{8,16})\b").expect("valid"));
    ADDRESS.captures_iter(line).any(|found| {
        u64::from_str_radix(&found[1], 16)
            .is_ok_and(|address| ranges.iter().any(|range| range.contains(address)))
    })
}

/// The sorted complaints of one part of the console.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// Complaints of the module, each a failure.
    pub counted: Vec<Complaint>,
    /// Complaints of the stock kernel, in which the module has no part.
    pub listed: Vec<Complaint>,
}

/// Judges the complaints in `text`. The module has been loaded at `ranges` so far.
pub fn judge(text: &str, ranges: &[Range]) -> Judgement {
    let (counted, listed) = all(text).into_iter().partition(|complaint| complaint.names_module(ranges));
    Judgement { counted, listed }
}

/// Returns all complaints in `text`, in order.
pub fn all(text: &str) -> Vec<Complaint> {
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    let mut complaints = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        if !FIRST.is_match(lines[at]) {
            at += 1;
            continue;
        }
        let end = end_of(&lines, at);
        complaints.push(complaint(&lines[at..end]));
        at = end;
    }
    complaints
}

/// First line of a complaint.
static FIRST: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r"lock order reversal|acquiring duplicate lock|with the following .*locks held:",
        r"|(shared|exclusive|forbidden) (un)?lock of \(|WITNESS: |[Ww]itness (exhausted|disabled)",
        r"|leaked memory on destroy",
    ))
    .expect("valid")
});

/// Line that may follow the first line.
static FOLLOWING: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r"^ ?(1st|2nd|3rd) |^#\d+ |stack backtrace:|^lock order |locked @ |^KDB: stack",
        r"|^while (exclusively|share) locked from |^\S+\(\) at ",
    ))
    .expect("valid")
});

/// Maximum number of consecutive unrelated lines within a complaint.
const NOISE: usize = 3;

fn end_of(lines: &[&str], first: usize) -> usize {
    let mut end = first + 1;
    let mut at = end;
    while at < lines.len() && at <= end + NOISE && !FIRST.is_match(lines[at]) {
        if FOLLOWING.is_match(lines[at]) {
            end = at + 1;
        }
        at += 1;
    }
    end
}

fn complaint(lines: &[&str]) -> Complaint {
    static ADDRESS: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"0x[0-9a-f]+ ?").expect("valid"));
    static LOCK: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"^ ?(?:1st|2nd|3rd) (.*?)( @ .*)?$").expect("valid"));

    let first = lines[0].trim().trim_end_matches(':');
    let mut subject = ADDRESS.replace_all(first, "").into_owned();
    for lock in lines.iter().filter_map(|line| LOCK.captures(line)) {
        let name = ADDRESS.replace_all(&lock[1], "");
        subject.push_str(if subject.contains(": ") { ", " } else { ": " });
        subject.push_str(name.trim());
    }
    Complaint { subject, text: lines.join("\n") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STOCK: &str = "\
lock order reversal:
 1st 0xfffff80003c7a068 ufs (ufs, lockmgr) @ /usr/src/sys/kern/vfs_mount.c:1234
 2nd 0xfffffe0005d41b78 bufwait (bufwait, lockmgr) @ /usr/src/sys/ufs/ffs/ffs_vnops.c:200
lock order bufwait -> ufs established at:
#0 0xffffffff80c4f6ad at witness_checkorder+0x46d
#1 0xffffffff80bb3c1c at lockmgr_lock_flags+0x1ac
lock order ufs -> bufwait attempted at:
#0 0xffffffff80c4fcd7 at witness_checkorder+0xdb3
#1 0xffffffff80bb4c1c at lockmgr_slock+0x1ac
";

    const OURS: &str = "\
acquiring duplicate lock of same type: \"ktrace_rs file\"
 1st ktrace_rs file @ kmod/shims/lock.c:12
 2nd ktrace_rs file @ kmod/shims/lock.c:12
stack backtrace:
#0 0xffffffff80c4fcd7 at witness_debugger+0x73
#1 0xffffffff82001234 at commit+0x1c
";

    const RANGE: Range = Range { start: 0xffff_ffff_8200_0000, end: 0xffff_ffff_8200_3000 };

    #[test]
    fn a_report_is_taken_whole_with_its_subject() {
        let text = format!("before\n{STOCK}after\nmore\nlines\nstill\n#9 not of it\n");
        let found = all(&text);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].subject, "lock order reversal: ufs (ufs, lockmgr), bufwait (bufwait, lockmgr)");
        assert_eq!(found[0].text, STOCK.trim_end());
    }

    #[test]
    fn what_a_file_system_locks_is_not_the_modules() {
        let called = "#2 0xffffffff807d6b93 at VOP_WRITE_APV+0xa3\n#3 0xffffffff82001234 at end+0x1\n";
        let text = STOCK.replace("lock order ufs", &format!("{called}lock order ufs"));
        assert!(!all(&text)[0].names_module(&[RANGE]));
        let attempted = format!("{text}#2 0xffffffff82001234 at end+0x1\n");
        assert!(all(&attempted)[0].names_module(&[RANGE]));
        assert!(all(&text.replace("bufwait (", "ktrace_rs commit ("))[0].names_module(&[RANGE]));
    }

    #[test]
    fn a_lock_that_a_shim_takes_is_the_modules() {
        let text = STOCK.replace("/usr/src/sys/kern/vfs_mount.c:1234", "kmod/shims/sx.c:29");
        assert!(all(&text)[0].names_module(&[]));
    }

    const COMMIT: &str = "\
lock order reversal:
 1st 0xff010000625f7700 ktrace_rs commit (ktrace_rs commit, sx) @ kmod/shims/sx.c:41
 2nd 0xff01000002a97d80 so_snd_sx (so_snd_sx, sx) @ /usr/src/sys/kern/uipc_socket.c:4851
lock order so_snd_sx -> ktrace_rs commit established at:
#0 0xffffffff805dba10 at _sx_xlock+0x60
#1 0xffffffff82001234 at enter_namei+0x14
#2 0xffffffff80688b5e at unp_connectat+0x2be
lock order ktrace_rs commit -> so_snd_sx attempted at:
#0 0xffffffff80677251 at soiolock+0x51
#1 0xffffffff80943e6e at VOP_GETATTR_APV+0x4e
#2 0xffffffff82001299 at commit+0x50
";

    #[test]
    fn what_a_file_system_locks_under_the_commit_lock_is_not_the_modules() {
        assert!(!all(COMMIT)[0].names_module(&[RANGE]));
        let turned = COMMIT.replace("established", "").replace("attempted", "established");
        assert!(!all(&turned)[0].names_module(&[RANGE]), "the file system was first");
        let by_module = COMMIT.replace("80677251 at soiolock", "82001300 at flush");
        assert!(all(&by_module)[0].names_module(&[RANGE]));
        let unknown = COMMIT.replace("VOP_GETATTR_APV", "getattr");
        assert!(all(&unknown)[0].names_module(&[]), "no call into a file system");
        let other_lock = COMMIT.replace("lock order ktrace_rs commit", "lock order ktrace_rs queue");
        assert!(all(&other_lock)[0].names_module(&[RANGE]));
    }

    #[test]
    fn noise_inside_a_report_does_not_end_it() {
        let text = STOCK.replace("#1 ", "@@KT:begin:x@@\n#1 ");
        let found = all(&text);
        assert_eq!(found.len(), 1);
        assert!(found[0].text.ends_with("lockmgr_slock+0x1ac"));
    }

    #[test]
    fn the_debuggers_stack_traces_belong_to_it_too() {
        let text = "acquiring duplicate lock of same type: \"vnode\"\n 1st vnode @ x.c:1\n\
            stack backtrace:\ndb_trace_self_wrapper() at db_trace_self_wrapper+0x2b/frame 0xfe\n\
            _RNvNtCs1_9ktrace_rs6commit() at _RNvNtCs1_9ktrace_rs6commit+0x1/frame 0xfe\n";
        assert_eq!(judge(text, &[]).counted.len(), 1);
    }

    #[test]
    fn two_reports_in_a_row_are_two() {
        let text = format!("{STOCK}{OURS}");
        let subjects: Vec<_> = all(&text).into_iter().map(|found| found.subject).collect();
        assert_eq!(subjects.len(), 2);
        assert!(subjects[1].starts_with("acquiring duplicate lock"), "{subjects:?}");
    }

    #[test]
    fn the_boot_banner_is_no_complaint() {
        assert!(all("WARNING: WITNESS option enabled, expect reduced performance.\n").is_empty());
    }

    #[test]
    fn leaked_memory_counts_by_name() {
        let text = "Warning: memory type ktrace_rs leaked memory on destroy (1 allocations).\n";
        assert_eq!(judge(text, &[]).counted.len(), 1);
    }

    #[test]
    fn other_reports_are_complaints_too() {
        let text = "uma_zalloc_debug: zone \"128\" with the following non-sleepable locks held:\n\
            exclusive sleep mutex ktrace_rs queue (ktrace_rs) r = 0 (0xff) locked @ x.c:1\n\
            stack backtrace:\n#0 0xffffffff80c4fcd7 at witness_warn+0x1\n";
        let judgement = judge(text, &[]);
        assert_eq!(judgement.counted.len(), 1);
        assert_eq!(judgement.counted[0].text, text.trim_end());
    }

    #[test]
    fn the_stock_kernels_reports_are_listed_the_modules_counted() {
        let judgement = judge(&format!("{STOCK}{OURS}"), &[]);
        assert_eq!((judgement.listed.len(), judgement.counted.len()), (1, 1));
    }

    #[test]
    fn a_frame_in_the_module_counts_without_a_name() {
        let text = STOCK.replace(" at lockmgr_slock+0x1ac", "").replace("ffff80bb4", "ffff82001");
        assert!(judge(&text, &[]).counted.is_empty());
        assert_eq!(judge(&text, &[RANGE]).counted.len(), 1);
    }

    #[test]
    fn what_the_stock_kernel_has_shown_before_counts_with_the_module_in_it() {
        let through_module = STOCK.replace("lockmgr_slock", "ktrace_rs_commit");
        let judgement = judge(&format!("{STOCK}{through_module}"), &[]);
        assert_eq!((judgement.listed.len(), judgement.counted.len()), (1, 1));
    }
}
