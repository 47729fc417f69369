//! Stopping every CPU, and looking at what the threads were doing.

use alloc::vec::Vec;
use core::ffi::c_void;
use core::sync::atomic::{AtomicUsize, Ordering, fence};

use kernel_sys as sys;

use super::context::MaySleep;
use super::proc::{CurrentThread, Proc, Thread, all_processes, threads};
use crate::machine::{self, code_address, cpuid, saved_frame, saved_stack, stack_pointer};

const WORD: usize = size_of::<usize>();
const PAGE_SIZE: usize = sys::PAGE_SIZE as usize;

/// A place for the stack pointer of each CPU.
pub(crate) struct Stacks(Vec<AtomicUsize>);

impl Stacks {
    /// May sleep.
    pub(crate) fn new(_: MaySleep) -> Self {
        // SAFETY: mp_maxid does not change after boot.
        let cpus = usize::try_from(unsafe { sys::mp_maxid }).unwrap_or(0).saturating_add(1);
        Stacks((0..cpus).map(|_| AtomicUsize::new(0)).collect())
    }
}

/// All CPUs but this one spin in an interrupt, and nothing else runs.
pub(crate) struct Stopped<'a> {
    /// Stack pointer of each CPU at the stop; 0 where there is none.
    stacks: &'a [AtomicUsize],
    /// The thread that has stopped the others.
    caller: Thread<'static>,
}

/// What is on a thread's kernel stack that may be an address of code.
pub(crate) enum Addresses {
    /// The thread has not run yet.
    None,
    /// The thread waits, and its stack is swapped out.
    Unknown,
    /// The thread waits, and was not interrupted: exactly the return addresses of its calls.
    Returns(Frames),
    /// The thread runs, or would if it had a CPU, and may have been interrupted anywhere:
    /// all words of its stack, the saved registers of the interrupt among them.
    Words(Words),
}

/// Runs `work` while every other CPU is stopped. Every CPU serialises its instruction
/// stream before it goes on.
///
/// `work` runs with interrupts off: it must not lock, sleep, allocate or free. It sees all that the other CPUs have
/// done, and they what it has: smp_rendezvous(9) counts who has come, but orders nothing else.
///
/// Neither sleeps nor allocates, so that locks may be held.
pub(crate) fn stop_machine<R>(stacks: &mut Stacks, work: impl FnOnce(&Stopped<'_>) -> R) -> R {
    struct Call<'a, F, R> {
        stopped: Stopped<'a>,
        work: Option<F>,
        result: Option<R>,
    }

    unsafe extern "C" fn note_stack<F, R>(arg: *mut c_void) {
        // SAFETY: arg is the Call of stop_machine(), which waits for this; all CPUs only
        // read it now, but for the atomics.
        let call = unsafe { &*arg.cast::<Call<'_, F, R>>() };
        if let Some(slot) = usize::try_from(cpuid()).ok().and_then(|cpu| call.stopped.stacks.get(cpu)) {
            slot.store(stack_pointer(), Ordering::Relaxed);
        }
        fence(Ordering::Release);
    }

    unsafe extern "C" fn run<F: FnOnce(&Stopped<'_>) -> R, R>(arg: *mut c_void) {
        let call = arg.cast::<Call<'_, F, R>>();
        // SAFETY: as above; only the caller's own CPU takes a mutable reference, while the
        // others wait for it in the rendezvous.
        unsafe {
            if *CurrentThread::get() != (*call).stopped.caller {
                return;
            }
            let call = &mut *call;
            fence(Ordering::Acquire);
            if let Some(work) = call.work.take() {
                call.result = Some(work(&call.stopped));
            }
            fence(Ordering::Release);
        }
    }

    unsafe extern "C" fn serialise(_: *mut c_void) {
        fence(Ordering::Acquire);
        machine::serialise();
    }

    fn start<F: FnOnce(&Stopped<'_>) -> R, R>(call: &mut Call<'_, F, R>) {
        // SAFETY: the functions have the type that smp_rendezvous(9) asks for, and call stays
        // until it returns.
        unsafe {
            sys::smp_rendezvous(
                Some(note_stack::<F, R>),
                Some(run::<F, R>),
                Some(serialise),
                (&raw mut *call).cast(),
            );
        }
    }

    for stack in &mut stacks.0 {
        *stack.get_mut() = 0;
    }
    let stopped = Stopped { stacks: &stacks.0, caller: *CurrentThread::get() };
    let mut call = Call { stopped, work: Some(work), result: None };
    start(&mut call);
    match call.result {
        Some(result) => result,
        None => unreachable!("smp_rendezvous(9) runs its action on the calling CPU"),
    }
}

impl Stopped<'_> {
    /// All processes.
    pub(crate) fn processes(&self) -> impl Iterator<Item = Proc<'_>> {
        // SAFETY: nothing else runs. A CPU may have been stopped while it changed the list:
        // queue(3) lists can be followed forward at any point of an insertion or a removal.
        unsafe { all_processes() }
    }

    /// All threads but the one that has stopped the others: what these are searched for may be on its
    /// stack because it is searched for.
    pub(crate) fn threads(&self) -> impl Iterator<Item = StoppedThread<'_>> {
        self.processes().flat_map(move |p| {
            // SAFETY: as for processes().
            let all = unsafe { threads(p) }.filter(|td| *td != self.caller);
            // SAFETY: a thread on its process's list, while nothing else runs.
            all.map(move |td| StoppedThread { stopped: self, td: unsafe { &*td.as_ptr() } })
        })
    }
}

/// A thread while nothing else runs.
pub(crate) struct StoppedThread<'a> {
    stopped: &'a Stopped<'a>,
    td: &'a sys::thread,
}

impl StoppedThread<'_> {
    /// Whether the thread is inside the tracer (`TDP_INKTRACE`).
    pub(crate) fn is_in_ktrace(&self) -> bool {
        self.td.td_pflags.cast_unsigned() & sys::TDP_INKTRACE != 0
    }

    /// The addresses on its kernel stack, which is mapped from before the thread gets on its
    /// process's list until after it is off it, unless the process is swapped out.
    pub(crate) fn addresses(&self) -> Addresses {
        // SAFETY: the process of a thread on its list.
        let in_memory = unsafe { (*self.td.td_proc).p_flag }.cast_unsigned() & sys::P_INMEM != 0;
        match self.td.td_state {
            sys::TDS_INACTIVE => Addresses::None,
            _ if !in_memory => Addresses::Unknown,
            sys::TDS_INHIBITED => {
                // SAFETY: the thread has been switched out, which wrote its pcb.
                let frame = saved_frame(unsafe { &*self.td.td_pcb });
                Addresses::Returns(Frames { stack: self.stack(), frame })
            }
            sys::TDS_RUNNING => {
                let cpu = usize::try_from(self.td.td_oncpu).unwrap_or(usize::MAX);
                let pointer = self.stopped.stacks.get(cpu).map_or(0, |stack| stack.load(Ordering::Relaxed));
                Addresses::Words(self.stack().words_from(pointer))
            }
            _ => {
                // SAFETY: as for TDS_INHIBITED.
                let pointer = saved_stack(unsafe { &*self.td.td_pcb });
                Addresses::Words(self.stack().words_from(pointer))
            }
        }
    }

    fn stack(&self) -> Stack {
        let base = self.td.td_kstack as usize;
        // An int or a u_short.
        let pages = usize::try_from(i64::from(self.td.td_kstack_pages)).unwrap_or(0);
        Stack { base, top: base.saturating_add(pages.saturating_mul(PAGE_SIZE)) }
    }
}

/// A kernel stack.
#[derive(Clone, Copy)]
struct Stack {
    base: usize,
    top: usize,
}

impl Stack {
    fn read(&self, address: usize) -> Option<usize> {
        let whole = address.is_multiple_of(WORD)
            && address >= self.base
            && address.checked_add(WORD).is_some_and(|end| end <= self.top);
        // SAFETY: the word is inside the stack, which is mapped.
        whole.then(|| unsafe { (address as *const usize).read_volatile() })
    }

    /// The words in use, from the stack pointer; all of them if that is not on the stack.
    fn words_from(self, pointer: usize) -> Words {
        let inside = (self.base..self.top).contains(&pointer);
        Words { stack: self, next: if inside { pointer & !(WORD - 1) } else { self.base } }
    }
}

/// The words of a stack, upwards.
pub(crate) struct Words {
    stack: Stack,
    next: usize,
}

impl Iterator for Words {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let word = self.stack.read(self.next)?;
        self.next = self.next.checked_add(WORD)?;
        Some(code_address(word))
    }
}

/// The return addresses of a chain of frame pointers, which all kernel code keeps.
pub(crate) struct Frames {
    stack: Stack,
    frame: usize,
}

impl Iterator for Frames {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let caller = self.stack.read(self.frame)?;
        let address = self.stack.read(self.frame.checked_add(WORD)?)?;
        // The chain goes upwards, so it ends.
        self.frame = if caller > self.frame { caller } else { 0 };
        Some(code_address(address))
    }
}
