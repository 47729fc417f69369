//! The kernel as the engine's platform.

use kernel_sys as sys;
use ktrace_engine::{Event, Platform, ProcTrace, TraceFile};
use ktrace_format::Timespec;

use crate::kernel::context::MaySleep;
use crate::kernel::counter::CpuCounter;
use crate::kernel::lock::{DefaultMutex, SxLock};
use crate::kernel::sdt;
use crate::kernel::vnode::TraceVnode;
use crate::machine::cpuid;

/// The FreeBSD kernel.
pub(crate) struct Kernel;

/// The trace of a process.
pub(crate) type Trace = ProcTrace<Kernel>;
/// An open trace file.
pub(crate) type File = TraceFile<Kernel>;
/// The processes whose records could not be written.
pub(crate) type Failures = ktrace_engine::Failures<Kernel>;
/// The state that all traces share.
pub(crate) type Engine = ktrace_engine::Engine<Kernel>;

impl Platform for Kernel {
    type MaySleep = MaySleep;
    type Mutex<T: Send> = DefaultMutex<T>;
    type SleepLock<T: Send> = SxLock<T>;
    type Storage = TraceVnode;
    type Counter = CpuCounter;

    fn now() -> Timespec {
        let mut now = sys::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: nanotime(9) fills in the structure.
        unsafe { sys::nanotime(&raw mut now) };
        Timespec { sec: now.tv_sec, nsec: now.tv_nsec }
    }

    fn ticks() -> u64 {
        // SAFETY: cpu_ticks is set when the first CPU starts; the function reads the time stamp
        // counter.
        unsafe { sys::cpu_ticks.map_or(0, |ticks| ticks()) }
    }

    fn cpu() -> i32 {
        cpuid().cast_signed()
    }

    fn watch(event: Event<'_, TraceVnode>) {
        sdt::watch(event);
    }
}
