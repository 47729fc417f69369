//! The life of traced processes: fork, exec, exit, ktrace(2).

use std::rc::Rc;
use std::sync::Arc;

use ktrace_engine::{Counter as _, Policy};
use ktrace_format::{Kind, Record};
use ktrace_sim::interleave::{self, Point};
use ktrace_sim::{Disk, ENOSPC, Faults, Inherit, System, Thread};

use crate::trace_file::{assert_settled, count, decode};

/// The facilities of all record types.
const ALL: u32 = 0x00ff_ffff;

/// Creates a system that writes records as the stock backend does, with one traced process.
fn traced(inherit: Inherit) -> (Arc<System>, Arc<Disk>, Thread) {
    let (system, disk) = (System::boot(), Disk::new());
    system.engine().settings.set_policy(Policy::Record);
    let thread = system.spawn("one");
    thread.trace_self(ALL, inherit, &system.open(disk.open()));
    (system, disk, thread)
}

fn kinds(records: &[Record<'_>], pid: i32) -> Vec<Kind> {
    records.iter().filter(|record| record.header.pid == pid).map(|record| record.header.kind).collect()
}

#[test]
fn a_system_call_is_traced_in_order() {
    let (system, disk, thread) = traced(Inherit::No);
    thread.syscall(3, &[3, 0x1000, 10], |td| {
        td.context_switch(true, false, "biord");
        td.context_switch(false, false, "biord");
        td.genio(3, 0, b"0123456789");
        td.signal(2, 0);
        Ok(10)
    });
    let pid = thread.process().pid();
    thread.exit();
    let content = disk.content();
    let records = decode(&content);
    use Kind::{Csw, Genio, ProcCtor, ProcDtor, Psig, Syscall, Sysret};
    assert_eq!(kinds(&records, pid), [ProcCtor, Syscall, Csw, Csw, Genio, Psig, Sysret, ProcDtor]);
    assert_settled(system.engine(), &count(&records));
    assert_eq!((disk.open_count(), system.engine().stats.files.fetch()), (0, 0));
}

#[test]
fn every_type_gets_through() {
    let (system, disk, thread) = traced(Inherit::No);
    thread.syscall(202, &[1, 2], |td| {
        td.namei("/etc");
        td.genio(1, 1, b"data");
        td.signal(15, 0x1000);
        td.context_switch(true, true, "");
        td.utrace(b"user");
        td.structure("stat", &[1; 224]);
        td.struct_array("pollfd", 8, &[2; 24]);
        td.sysctl("kern.ostype");
        td.cap_fail_namei(499, "/etc");
        td.fault(0x2000, 1);
        td.fault_end(0);
        td.exec_strings(b"ls\0-l\0", b"HOME=/\0");
        td.extended_error(2, "no such file");
        Err(2)
    });
    thread.exit();
    let content = disk.content();
    let found = count(&decode(&content));
    assert!(found.iter().all(|(_, found)| *found == 1), "{found:?}");
    assert_settled(system.engine(), &found);
}

#[test]
fn a_return_to_user_mode_drains() {
    let (_system, disk, thread) = traced(Inherit::No);
    thread.return_to_user();
    thread.fault(0x1000, 1);
    thread.fault_end(0);
    assert_eq!(kinds(&decode(&disk.content()), thread.process().pid()), [Kind::ProcCtor]);
    thread.return_to_user();
    let content = disk.content();
    assert_eq!(
        kinds(&decode(&content), thread.process().pid()),
        [Kind::ProcCtor, Kind::Fault, Kind::FaultEnd]
    );
    thread.exit();
}

#[test]
fn a_child_inherits_the_trace_and_writes_for_all_who_share_it() {
    let (system, disk, parent) = traced(Inherit::Yes);
    parent.fault(1, 1);
    let child = parent.fork();
    assert_eq!(system.engine().stats.procs.fetch(), 2);
    child.fault(2, 1);
    child.syscall(20, &[], |_| Ok(7));
    let (of_parent, of_child) = (parent.process().pid(), child.process().pid());
    {
        let content = disk.content();
        let records = decode(&content);
        use Kind::{Fault, ProcCtor, Syscall, Sysret};
        assert_eq!(kinds(&records, of_child), [ProcCtor, Fault, Syscall, Sysret]);
        assert_eq!(kinds(&records, of_parent), [ProcCtor, Fault]);
    }
    parent.exit();
    child.exit();
    assert_eq!(disk.open_count(), 0);
    let content = disk.content();
    let records = decode(&content);
    assert_settled(system.engine(), &count(&records));
    assert_eq!(kinds(&records, of_parent), [Kind::ProcCtor, Kind::Fault, Kind::ProcDtor]);
}

#[test]
fn a_child_of_a_trace_that_is_not_inherited_is_not_traced() {
    let (_system, disk, parent) = traced(Inherit::No);
    let child = parent.fork();
    child.syscall(20, &[], |_| Ok(7));
    let pid = child.process().pid();
    child.exit();
    parent.exit();
    assert!(kinds(&decode(&disk.content()), pid).is_empty());
}

#[test]
fn a_set_id_program_ends_tracing_after_what_is_queued() {
    let (system, disk, thread) = traced(Inherit::No);
    thread.fault(1, 1);
    thread.exec_set_id();
    thread.fault(2, 1);
    thread.return_to_user();
    assert_eq!(disk.open_count(), 0, "the file is closed");
    thread.syscall(20, &[], |_| Ok(7));
    let pid = thread.process().pid();
    thread.exit();
    let content = disk.content();
    let records = decode(&content);
    assert_eq!(kinds(&records, pid), [Kind::ProcCtor, Kind::Fault]);
    assert_settled(system.engine(), &count(&records));
}

#[test]
fn tracing_is_set_elsewhere_changed_and_cleared() {
    let (system, first, thread) = traced(Inherit::No);
    let second = Disk::new();
    thread.fault(1, 1);
    thread.trace_self(ALL, Inherit::No, &system.open(second.open()));
    thread.fault(2, 1);
    thread.return_to_user();
    system.clear(thread.process(), Kind::Fault.facility());
    thread.fault(3, 1);
    thread.return_to_user();
    system.clear(thread.process(), ALL);
    thread.syscall(20, &[], |_| Ok(7));
    let pid = thread.process().pid();
    assert_eq!((first.open_count(), second.open_count()), (0, 0));
    thread.exit();
    use Kind::{Fault, ProcCtor};
    assert_eq!(kinds(&decode(&first.content()), pid), [ProcCtor, Fault]);
    assert_eq!(kinds(&decode(&second.content()), pid), [ProcCtor, Fault, ProcCtor]);
}

#[test]
fn the_same_file_set_again_stays_open_once() {
    let (system, disk, thread) = traced(Inherit::No);
    thread.trace_self(ALL, Inherit::No, &system.open(disk.open()));
    assert_eq!(disk.open_count(), 1);
    assert_eq!(system.engine().stats.procs.fetch(), 1);
    thread.exit();
}

#[test]
fn a_file_is_cleared_for_all_who_trace_to_it() {
    let system = System::boot();
    let (shared, other) = (Disk::new(), Disk::new());
    let threads = [&shared, &shared, &other].map(|disk| {
        let thread = system.spawn("clear");
        thread.trace_self(ALL, Inherit::No, &system.open(disk.open()));
        thread.fault(1, 1);
        thread
    });
    system.clear_file(&shared);
    assert_eq!((shared.open_count(), other.open_count()), (0, 1));
    assert_eq!(threads.each_ref().map(|thread| thread.process().traceflag() != 0), [false, false, true]);
    assert_eq!(decode(&shared.content()).len(), 4);
    threads.into_iter().for_each(Thread::exit);
}

#[test]
fn a_failed_write_is_logged_and_ends_tracing() {
    let (system, disk, thread) = traced(Inherit::No);
    disk.set_faults(Faults { capacity: Some(0), ..Faults::default() });
    let mut ran = false;
    thread.syscall(20, &[], |_| {
        ran = true;
        Ok(7)
    });
    assert!(ran, "the traced program goes on");
    let pid = thread.process().pid();
    let line = format!("ktrace write failed, errno {}, tracing stopped for pid {pid}", ENOSPC.0);
    assert_eq!(system.log(), [line]);
    assert_eq!(thread.process().traceflag(), 0);
    assert_eq!(disk.open_count(), 0);
    thread.exit();
}

#[test]
fn a_process_whose_write_failed_can_be_traced_again() {
    let (system, disk, thread) = traced(Inherit::No);
    disk.set_faults(Faults { dead: true, ..Faults::default() });
    thread.syscall(20, &[], |_| Ok(7));
    let good = Disk::new();
    thread.trace_self(ALL, Inherit::No, &system.open(good.open()));
    thread.syscall(20, &[], |_| Ok(7));
    let pid = thread.process().pid();
    thread.exit();
    use Kind::{ProcCtor, ProcDtor, Syscall, Sysret};
    assert_eq!(kinds(&decode(&good.content()), pid), [ProcCtor, Syscall, Sysret, ProcDtor]);
}

#[test]
fn a_thread_inside_the_tracer_makes_no_records() {
    let (_system, disk, thread) = traced(Inherit::No);
    let (thread, outer) = {
        let shared = Rc::new(thread);
        (Rc::clone(&shared), shared)
    };
    let hook = move |point| {
        if point == Point::Append {
            thread.fault(1, 1);
            thread.namei("/");
        }
    };
    interleave::with(hook, || outer.syscall(20, &[], |_| Ok(7)));
    let pid = outer.process().pid();
    Rc::into_inner(outer).expect("the hook is gone").exit();
    use Kind::{ProcCtor, ProcDtor, Syscall, Sysret};
    assert_eq!(kinds(&decode(&disk.content()), pid), [ProcCtor, Syscall, Sysret, ProcDtor]);
}

#[test]
fn only_the_last_thread_ends_the_process() {
    let (system, disk, first) = traced(Inherit::No);
    let second = first.spawn();
    let process = Arc::clone(first.process());
    first.fault(1, 1);
    first.exit();
    assert!(process.trace().is_some_and(|trace| trace.is_traced()));
    second.syscall(20, &[], |_| Ok(7));
    second.exit();
    assert!(process.trace().is_none());
    assert_settled(system.engine(), &count(&decode(&disk.content())));
}
