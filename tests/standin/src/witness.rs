//! The checks of witness(4) and INVARIANTS: lock order, and where a thread may sleep.

use std::collections::BTreeSet;
use std::fmt;

use crate::host::{HostLock, current, violation};
use crate::pageable;
use crate::thread::Kt;

/// The kind of a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// mutex(9). A thread must not sleep while it holds one.
    Mutex,
    /// sx(9), held exclusively.
    Exclusive,
    /// sx(9), held shared.
    Shared,
    /// A `vn_start_write` reference to a file system.
    Leave,
}

impl Kind {
    /// Returns whether a thread must not sleep while it holds such a lock.
    fn forbids_sleep(self) -> bool {
        matches!(self, Self::Mutex)
    }
}

/// A lock that a thread holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub(crate) address: usize,
    pub(crate) class: Class,
    pub(crate) kind: Kind,
}

/// A lock class: all locks of one name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Class(pub(crate) u32);

struct Classes {
    names: Vec<String>,
    /// Pairs of classes, in the order in which they were taken.
    order: BTreeSet<(u32, u32)>,
}

static CLASSES: HostLock<Classes> = HostLock::new(Classes { names: Vec::new(), order: BTreeSet::new() });

/// Registers the classes of the kernel's own locks, in the order that subr_witness.c lists.
pub(crate) fn init() {
    let order = ["proctree", "allproc", "pidhash", "process group", "process lock", "sigacts"];
    for pair in order.windows(2) {
        let (first, second) = (class(pair[0]), class(pair[1]));
        CLASSES.lock().order.insert((first.0, second.0));
    }
}

/// Returns the class of the locks with that name, registering it if it is new.
pub(crate) fn class(name: &str) -> Class {
    let mut classes = CLASSES.lock();
    let index = classes.names.iter().position(|known| known == name).unwrap_or_else(|| {
        classes.names.push(name.to_owned());
        classes.names.len() - 1
    });
    Class(index as u32)
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match CLASSES.try_lock() {
            Some(classes) => f.write_str(classes.names.get(self.0 as usize).map_or("?", String::as_str)),
            None => write!(f, "class {}", self.0),
        }
    }
}

impl fmt::Debug for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\" ({:?})", self.class, self.kind)
    }
}

impl Classes {
    fn reaches(&self, from: u32, to: u32) -> bool {
        let mut seen = BTreeSet::new();
        let mut next = vec![from];
        while let Some(class) = next.pop() {
            if class == to {
                return true;
            }
            if seen.insert(class) {
                next.extend(self.order.range((class, 0)..=(class, u32::MAX)).map(|pair| pair.1));
            }
        }
        false
    }
}

/// Returns the locks that a thread holds. Only the thread itself may call this.
#[expect(clippy::mut_from_ref, reason = "only the thread itself uses it")]
pub(crate) fn held(kt: &Kt) -> &mut Vec<Held> {
    // SAFETY: only the thread itself uses the list, and no caller keeps the reference.
    unsafe { &mut *kt.held.get() }
}

/// Returns whether the current thread holds the lock at an address.
pub(crate) fn holds(address: usize) -> bool {
    held(current()).iter().any(|held| held.address == address)
}

/// Checks that the current thread may take a lock now, and wait for it. `twice` allows a second
/// lock of the same class.
pub(crate) fn before(address: usize, class: Class, kind: Kind, twice: bool) {
    let kt = current();
    if kind != Kind::Mutex {
        may_sleep(kt, format_args!("taking \"{class}\""));
    }
    for other in held(kt).iter() {
        if other.address == address && other.kind != Kind::Leave {
            violation!(Recursion, "\"{class}\" is taken by the thread that has it");
        }
        if other.class == class {
            if !twice {
                violation!(LockOrder, "a second lock \"{class}\" is taken");
            }
            continue;
        }
        if other.kind == Kind::Leave && kind == Kind::Leave {
            continue;
        }
        let pair = (other.class.0, class.0);
        let mut classes = CLASSES.lock();
        if classes.order.contains(&pair) {
            continue;
        }
        if classes.reaches(class.0, other.class.0) {
            drop(classes);
            violation!(LockOrder, "\"{class}\" is taken after \"{}\", and was taken before it", other.class);
        }
        classes.order.insert(pair);
    }
}

/// Records that the current thread has taken a lock.
pub(crate) fn taken(address: usize, class: Class, kind: Kind) {
    held(current()).push(Held { address, class, kind });
    if kind.forbids_sleep() {
        pageable::page_out();
    }
}

/// Records that the current thread releases a lock. Reports a violation if it does not hold the
/// lock.
pub(crate) fn released(address: usize, kind: Kind, name: &str) {
    let held = held(current());
    match held.iter().rposition(|held| held.address == address && held.kind == kind) {
        Some(index) => {
            held.remove(index);
            if !held.iter().any(|held| held.kind.forbids_sleep()) {
                pageable::page_in();
            }
        }
        None => violation!(LockUse, "\"{name}\" is released by a thread that does not have it ({kind:?})"),
    }
}

/// Returns whether the current thread holds that lock in that mode.
pub(crate) fn has(address: usize, kind: Kind) -> bool {
    held(current()).iter().any(|held| held.address == address && held.kind == kind)
}

/// Checks that the thread may sleep.
pub(crate) fn may_sleep(kt: &Kt, what: fmt::Arguments<'_>) {
    may_sleep_with(kt, 0, what);
}

/// Checks as [`may_sleep`] does, ignoring one mutex that the sleep releases.
pub(crate) fn may_sleep_with(kt: &Kt, interlock: usize, what: fmt::Arguments<'_>) {
    if let Some(held) = held(kt).iter().find(|held| held.kind.forbids_sleep() && held.address != interlock) {
        violation!(Sleep, "{what} with {held} held");
    }
    if kt.no_sleep.get() != 0 {
        violation!(Sleep, "{what} where sleeping is not allowed");
    }
}
