//! Interrupting all CPUs: for a memory barrier, or to stop them and search the stacks of their
//! threads.

use alloc::vec::Vec;
use core::ffi::c_void;
use core::sync::atomic::{AtomicUsize, Ordering, fence};

use kernel_sys as sys;

use super::context::MaySleep;
use super::proc::{CurrentThread, Proc, Thread, all_processes, threads};
use crate::machine::{self, code_address, cpuid, saved_frame, saved_stack, stack_pointer};

const WORD: usize = size_of::<usize>();
const PAGE_SIZE: usize = sys::PAGE_SIZE as usize;

/// A slot for the stack pointer of each CPU.
pub(crate) struct Stacks(Vec<AtomicUsize>);

impl Stacks {
    /// Allocates the slots. May sleep.
    pub(crate) fn new(_: MaySleep) -> Self {
        // SAFETY: mp_maxid does not change after boot.
        let cpus = usize::try_from(unsafe { sys::mp_maxid }).unwrap_or(0).saturating_add(1);
        Stacks((0..cpus).map(|_| AtomicUsize::new(0)).collect())
    }
}

/// The state in which all other CPUs spin in an interrupt, and nothing else runs.
pub(crate) struct Stopped<'a> {
    /// The stack pointer of each CPU at the stop, or 0 if there is no such CPU.
    stacks: &'a [AtomicUsize],
    /// The thread that has stopped the other CPUs.
    caller: Thread<'static>,
}

/// The possible code addresses on a thread's kernel stack.
pub(crate) enum Addresses {
    /// No address. The thread has not run yet.
    None,
    /// Unreadable addresses. The thread waits, and its stack is swapped out.
    Unknown,
    /// Exactly the return addresses of the thread's calls. The thread waits, and was not
    /// interrupted.
    Returns(Frames),
    /// All words of the thread's stack, with the saved registers of an interrupt among them. The
    /// thread is running or runnable, and may have been interrupted anywhere.
    Words(Words),
}

/// Runs `work` while all other CPUs are stopped. Each CPU serialises its instruction stream before
/// it continues.
///
/// `work` runs with interrupts disabled: it must not lock, sleep, allocate or free. It sees all
/// earlier stores of the other CPUs, and they see its stores. The fences here ensure that, because
/// smp_rendezvous(9) only counts arrivals and orders nothing else.
///
/// The function neither sleeps nor allocates, so locks may be held.
pub(crate) fn stop_machine<R>(stacks: &mut Stacks, work: impl FnOnce(&Stopped<'_>) -> R) -> R {
    struct Call<'a, F, R> {
        stopped: Stopped<'a>,
        work: Option<F>,
        result: Option<R>,
    }

    unsafe extern "C" fn note_stack<F, R>(arg: *mut c_void) {
        // SAFETY: arg is the Call of stop_machine(), which waits for this function. All CPUs only
        // read it now, except for the atomics.
        let call = unsafe { &*arg.cast::<Call<'_, F, R>>() };
        if let Some(slot) = usize::try_from(cpuid()).ok().and_then(|cpu| call.stopped.stacks.get(cpu)) {
            slot.store(stack_pointer(), Ordering::Relaxed);
        }
        fence(Ordering::Release);
    }

    unsafe extern "C" fn run<F: FnOnce(&Stopped<'_>) -> R, R>(arg: *mut c_void) {
        let call = arg.cast::<Call<'_, F, R>>();
        // SAFETY: arg is valid, as above. Only the CPU of the caller takes a mutable reference. The
        // others read `caller`, which nobody writes, and then wait in the rendezvous.
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
        // SAFETY: the functions have the type that smp_rendezvous(9) requires. call stays until it
        // returns.
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

/// Makes every CPU pass a memory barrier. No CPU leaves its barrier before all have reached theirs.
/// On return, the caller sees all stores that a CPU has made before its barrier. The loads behind a
/// CPU's barrier see all stores that the caller has made before the call.
///
/// The function neither sleeps nor allocates. No spin lock may be held.
pub(crate) fn barrier() {
    unsafe extern "C" fn reach(_: *mut c_void) {
        fence(Ordering::Release);
    }

    unsafe extern "C" fn leave(_: *mut c_void) {
        fence(Ordering::Acquire);
    }

    // SAFETY: the functions have the type that smp_rendezvous(9) requires, and do not use the
    // argument. It accepts a missing action.
    unsafe { sys::smp_rendezvous(Some(reach), None, Some(leave), core::ptr::null_mut()) };
}

impl Stopped<'_> {
    /// Returns all processes.
    pub(crate) fn processes(&self) -> impl Iterator<Item = Proc<'_>> {
        // SAFETY: nothing else runs. A CPU may have been stopped while it changed the list. A
        // queue(3) list can be followed forward at any point of an insertion or a removal.
        unsafe { all_processes() }
    }

    /// Returns all threads except the one that has stopped the others. Its stack may contain the
    /// very addresses that it searches for.
    pub(crate) fn threads(&self) -> impl Iterator<Item = StoppedThread<'_>> {
        self.processes().flat_map(move |p| {
            // SAFETY: nothing else runs, and the list can be followed, as in processes().
            let all = unsafe { threads(p) }.filter(|td| *td != self.caller);
            // SAFETY: the thread is on the list of its process, and nothing else runs.
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
    /// Returns whether the thread is inside the tracer (`TDP_INKTRACE`).
    pub(crate) fn is_in_ktrace(&self) -> bool {
        self.td.td_pflags.cast_unsigned() & sys::TDP_INKTRACE != 0
    }

    /// Returns the possible code addresses on the thread's kernel stack. The stack is mapped from
    /// before the thread enters the list of its process until after it has left that list, unless
    /// the process is swapped out.
    pub(crate) fn addresses(&self) -> Addresses {
        // SAFETY: the thread is on the list of its process, so the process exists.
        let in_memory = unsafe { (*self.td.td_proc).p_flag }.cast_unsigned() & sys::P_INMEM != 0;
        match self.td.td_state {
            sys::TDS_INACTIVE => Addresses::None,
            _ if !in_memory => Addresses::Unknown,
            sys::TDS_INHIBITED => {
                // SAFETY: the thread has been switched out, which filled its pcb.
                let frame = saved_frame(unsafe { &*self.td.td_pcb });
                Addresses::Returns(Frames { stack: self.stack(), frame })
            }
            sys::TDS_RUNNING => {
                let cpu = usize::try_from(self.td.td_oncpu).unwrap_or(usize::MAX);
                let pointer = self.stopped.stacks.get(cpu).map_or(0, |stack| stack.load(Ordering::Relaxed));
                Addresses::Words(self.stack().words_from(pointer))
            }
            _ => {
                // SAFETY: the thread has been switched out, as above, or is new, and its creation
                // filled its pcb.
                let pointer = saved_stack(unsafe { &*self.td.td_pcb });
                Addresses::Words(self.stack().words_from(pointer))
            }
        }
    }

    fn stack(&self) -> Stack {
        let base = self.td.td_kstack as usize;
        // The field is an int or a u_short, depending on the release.
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

    /// Returns the words in use, from the stack pointer upwards. Returns all words if the pointer
    /// is not on the stack.
    fn words_from(self, pointer: usize) -> Words {
        let inside = (self.base..self.top).contains(&pointer);
        Words { stack: self, next: if inside { pointer & !(WORD - 1) } else { self.base } }
    }
}

/// An iterator over the words of a stack, upwards.
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

/// An iterator over the return addresses of a chain of frame pointers, which all kernel code keeps.
pub(crate) struct Frames {
    stack: Stack,
    frame: usize,
}

impl Iterator for Frames {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let caller = self.stack.read(self.frame)?;
        let address = self.stack.read(self.frame.checked_add(WORD)?)?;
        // Only a chain that goes upwards is followed, so it ends.
        self.frame = if caller > self.frame { caller } else { 0 };
        Some(code_address(address))
    }
}
