//! The balance of all resources that a module can take. A module must leave it unchanged.

use std::collections::BTreeMap;

use crate::host::violation;
use crate::{counter, cred, event, heap, lock, sysctl, vnode};

/// The amount of each resource.
#[derive(Debug)]
pub(crate) struct Balance(BTreeMap<String, i64>);

impl Balance {
    /// Returns the current balance.
    pub(crate) fn now() -> Balance {
        let mut all = BTreeMap::new();
        // Copies of the data that system calls read or write come and go with the calls: see
        // heap::expect_empty().
        for (name, used) in heap::usage().into_iter().filter(|(name, _)| name != "iov") {
            all.insert(format!("allocations of the type {name}"), used.count);
        }
        for (name, count) in lock::count() {
            // The locks of processes come and go with the processes.
            if !["process lock", "sigacts", "process group", "vnode"].contains(&&*name) {
                all.insert(format!("locks \"{name}\""), count);
            }
        }
        let (references, writers) = vnode::references();
        all.insert("references to vnodes".to_owned(), references);
        all.insert("vnodes open for writing".to_owned(), writers);
        all.insert("counters".to_owned(), counter::live());
        all.insert("handlers of ast(9)".to_owned(), event::asts());
        all.insert("handlers of process_exit".to_owned(), event::exit_handlers());
        all.insert("sysctls".to_owned(), sysctl::count());
        all.insert("references to credentials".to_owned(), cred::references());
        Balance(all)
    }

    /// Checks that `now` is equal to this balance.
    pub(crate) fn compare(&self, now: &Balance) {
        for (what, count) in &now.0 {
            let before = self.0.get(what).copied().unwrap_or(0);
            if *count != before {
                violation!(Leak, "{what}: {before} before the module was loaded, {count} now");
            }
        }
    }
}
