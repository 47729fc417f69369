//! Several helpers: while a write of one hangs, another one writes the rest.

use std::cell::Cell;
use std::sync::Arc;

use ktrace_doubles::moment::{Moment, at};
use ktrace_doubles::{EINTR, Faults, MaySleep, decode, with_signal};
use ktrace_engine::Policy;

use crate::host::{Disk, Engine};
use crate::traced::{Traced, engine_of_records};

/// Runs `help` for two files. While the first write hangs, runs it again, as another helper does:
/// it must write the other file.
fn assert_helped(engine: &Arc<Engine>, disks: &[Arc<Disk>; 2], help: fn(&Engine)) {
    let written = |disks: &[Arc<Disk>; 2]| disks.iter().filter(|disk| disk.size() != 0).count();
    let (hooked, seen, hangs) = (Arc::clone(engine), disks.clone(), Cell::new(false));
    let meanwhile = move || {
        if !hangs.replace(true) {
            help(&hooked);
            assert_eq!(written(&seen), 1, "the file that does not hang is written");
        }
    };
    at(Moment::Write, meanwhile, || help(engine));
    assert_eq!(written(disks), 2);
}

#[test]
fn while_a_write_hangs_another_helper_writes_what_is_left() {
    let (engine, disks) = (engine_of_records(), [Disk::new(), Disk::new()]);
    let traced = disks.each_ref().map(|disk| {
        disk.set_faults(Faults { interruptible: true, ..Faults::NONE });
        let traced = Traced::to(&engine, 1, disk.open());
        traced.fault(1);
        assert_eq!(with_signal(EINTR, || traced.drain()), Ok(()));
        traced
    });
    assert_helped(&engine, &disks, |engine| {
        assert!(engine.help_left(MaySleep::new(), |_| Some(())).is_empty(), "the files can be written");
    });
    drop(traced);
    assert_eq!(disks.each_ref().map(|disk| decode(&disk.content()).len()), [1, 1]);
}

#[test]
fn while_a_write_hangs_another_helper_writes_what_is_overdue() {
    let (engine, disks) = (engine_of_records(), [Disk::new(), Disk::new()]);
    engine.settings.set_policy(Policy::Batch);
    let traced = disks.each_ref().map(|disk| Traced::to(&engine, 1, disk.open()));
    for traced in &traced {
        traced.fault(1);
    }
    // The first check only finds the records.
    engine.help_overdue(MaySleep::new(), |_| -> Option<()> { panic!("nothing is overdue") }, drop);
    assert_helped(&engine, &disks, |engine| {
        engine.help_overdue(MaySleep::new(), |_| Some(()), |failures| assert!(failures.is_empty()));
    });
    // Nobody is found again whose records are written.
    for _ in 0..3 {
        engine.help_overdue(MaySleep::new(), |_| -> Option<()> { panic!("nothing is overdue") }, drop);
    }
    drop(traced);
}
