//! CPUs and their threads: switching, sleeping, waking, preemption, and `smp_rendezvous(9)`.
//!
//! A thread runs only while it has a CPU, in user mode as well. There are fewer CPUs than threads.
//! A thread gives its CPU up where it sleeps or waits for a lock, and at a *point* if other threads
//! are to run. Every function that the module calls is a point. Where threads really run at the
//! same time, a signal of the host is one, too, and comes anywhere in the module's text.
//!
//! In a deterministic schedule, one thread runs at a time. At each point the seed selects the next
//! thread, and sleeps end in the order of their times.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::c_void;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use kernel_sys as sys;

use crate::host::{
    self, HostGuard, HostLock, config, current, current_opt, futex_wait, futex_wake, interrupts_off,
    interrupts_on, violation,
};
use crate::low::Region;
use crate::machine;
use crate::thread::Kt;
use crate::{clock, link, witness};

/// The host's signals for a rendezvous and for preemption.
const RENDEZVOUS: i32 = libc::SIGUSR1;
const PREEMPT: i32 = libc::SIGUSR2;

/// The seconds without a switch after which the stand-in counts as hung.
const HANG: u32 = 60;

struct Cpu {
    current: Option<&'static Kt>,
}

/// The running, runnable and sleeping threads.
pub(crate) struct Sched {
    cpus: Vec<Cpu>,
    runnable: VecDeque<&'static Kt>,
    /// Sleeping threads by sleep channel.
    sleepers: BTreeMap<usize, Vec<&'static Kt>>,
    /// Sleeping threads by wake-up time. Used in a deterministic schedule only.
    timers: BTreeMap<(u64, u64), &'static Kt>,
    rng: fastrand::Rng,
    numbers: u64,
}

static SCHED: OnceLock<HostLock<Sched>> = OnceLock::new();
static PCPU: OnceLock<Region> = OnceLock::new();

/// The number of switches so far. While it grows, nothing hangs.
static SWITCHES: AtomicU64 = AtomicU64::new(0);

fn lock() -> HostGuard<'static, Sched> {
    if let Some(kt) = current_opt() {
        assert_eq!(kt.interrupts_off.get(), 0, "no lock of the host is held where the scheduler's is taken");
    }
    SCHED.get().expect("the CPUs run").lock()
}

/// Starts the CPUs. The caller becomes the first thread, and runs on one of them.
pub(crate) fn start(first: &'static Kt) {
    let count = config().cpus;
    let pcpu = PCPU.get_or_init(|| Region::anywhere(count * size_of::<sys::pcpu>()));
    for cpu in 0..count {
        // SAFETY: the region has room for `count` of them, and is all zero.
        unsafe {
            (*pcpu_of(pcpu, cpu)).pc_cpuid = cpu as u32;
            (*pcpu_of(pcpu, cpu)).pc_zpcpu_offset = cpu * size_of::<sys::pcpu>();
        }
    }
    let sched = Sched {
        cpus: (0..count).map(|_| Cpu { current: None }).collect(),
        runnable: VecDeque::new(),
        sleepers: BTreeMap::new(),
        timers: BTreeMap::new(),
        rng: fastrand::Rng::with_seed(config().seed),
        numbers: 0,
    };
    assert!(SCHED.set(HostLock::new(sched)).is_ok(), "the CPUs start once");
    for signal in [RENDEZVOUS, PREEMPT] {
        // SAFETY: the handler does nothing where interrupts are off. It runs on the thread's own
        // stack, as an interrupt does.
        unsafe { host::handle(signal, on_signal, libc::SA_RESTART) };
    }
    first.host_tid.store(
        // SAFETY: gettid() has no preconditions.
        unsafe { libc::gettid() },
        Ordering::SeqCst,
    );
    crate::thread::note_stack(first);
    crate::host::become_thread(first);
    make_runnable(first);
    wait_for_cpu(first);
    std::thread::spawn(watch);
    if !config().deterministic {
        std::thread::spawn(tick);
    }
}

/// Returns the address of the first CPU's `struct pcpu`, the base of the counters.
pub(crate) fn pcpu_base() -> usize {
    PCPU.get().expect("the CPUs run").base
}

fn pcpu_of(pcpu: &Region, cpu: usize) -> *mut sys::pcpu {
    (pcpu.base + cpu * size_of::<sys::pcpu>()) as *mut sys::pcpu
}

impl Sched {
    fn enqueue(&mut self, kt: &'static Kt) {
        // SAFETY: the field is guarded by the scheduler's lock.
        unsafe { (*kt.as_ptr()).td_state = sys::TDS_RUNQ };
        self.runnable.push_back(kt);
    }

    /// Gives free CPUs to runnable threads.
    fn dispatch(&mut self) {
        if config().deterministic {
            if self.cpus.iter().all(|cpu| cpu.current.is_none()) {
                self.dispatch_one();
            }
            return;
        }
        for cpu in 0..self.cpus.len() {
            if self.cpus[cpu].current.is_some() {
                continue;
            }
            if let Some(kt) = self.runnable.pop_front() {
                self.run(kt, cpu);
            }
        }
    }

    /// Runs the thread that the seed selects.
    fn dispatch_one(&mut self) {
        clock::pass();
        loop {
            self.fire_timers();
            if self.runnable.is_empty() {
                let Some((&(time, _), _)) = self.timers.first_key_value() else {
                    let waiting: Vec<String> =
                        self.sleepers.values().flatten().map(|kt| kt.describe()).collect();
                    violation!(Hang, "all threads wait:\n{}", waiting.join("\n"));
                };
                clock::advance_to(time);
                continue;
            }
            let choice = self.rng.usize(0..self.runnable.len());
            let kt = self.runnable.remove(choice).expect("an index below the length");
            let cpu = self.rng.usize(0..self.cpus.len());
            return self.run(kt, cpu);
        }
    }

    fn fire_timers(&mut self) {
        let now = clock::now();
        while let Some(entry) = self.timers.first_entry() {
            if entry.key().0 > now {
                return;
            }
            let kt = entry.remove();
            kt.timer.set(None);
            self.end_sleep(kt, true);
        }
    }

    fn run(&mut self, kt: &'static Kt, cpu: usize) {
        self.cpus[cpu].current = Some(kt);
        kt.cpu.store(cpu as i32, Ordering::Relaxed);
        kt.resched.store(false, Ordering::Relaxed);
        // SAFETY: the fields are guarded by the scheduler's lock; no other thread has the CPU.
        unsafe {
            let td = &mut *kt.as_ptr();
            td.td_state = sys::TDS_RUNNING;
            td.td_oncpu = cpu as i32;
            (*pcpu_of(PCPU.get().expect("the CPUs run"), cpu)).pc_curthread = kt.as_ptr();
        }
        SWITCHES.fetch_add(1, Ordering::Relaxed);
        kt.go.store(1, Ordering::Release);
        futex_wake(&kt.go);
    }

    /// Ends the sleep of a sleeping thread.
    fn end_sleep(&mut self, kt: &'static Kt, timed_out: bool) {
        let channel = kt.channel.swap(0, Ordering::Relaxed);
        if let Some(on) = self.sleepers.get_mut(&channel) {
            on.retain(|other| !std::ptr::eq(*other, kt));
            if on.is_empty() {
                self.sleepers.remove(&channel);
            }
        }
        if let Some(timer) = kt.timer.take() {
            self.timers.remove(&timer);
        }
        kt.timed_out.store(timed_out, Ordering::Relaxed);
        self.enqueue(kt);
    }

    /// Wakes all threads that sleep on a channel.
    fn wake(&mut self, channel: usize) {
        for kt in self.sleepers.get(&channel).cloned().unwrap_or_default() {
            self.end_sleep(kt, false);
        }
        self.dispatch();
    }
}

/// A sleep in preparation. It holds the scheduler's lock, so that no thread can issue the wakeup
/// yet.
pub(crate) struct Sleep {
    sched: HostGuard<'static, Sched>,
}

impl Sleep {
    pub(crate) fn prepare() -> Sleep {
        Sleep { sched: lock() }
    }

    /// Sleeps on a channel, for at most `nanoseconds`. Returns false if the sleep timed out.
    /// `inhibitor` is one of `TDI_…`.
    pub(crate) fn on(
        mut self,
        channel: usize,
        wmesg: *const std::ffi::c_char,
        inhibitor: u32,
        nanoseconds: Option<u64>,
    ) -> bool {
        let kt = current();
        kt.channel.store(channel, Ordering::Relaxed);
        self.sched.sleepers.entry(channel).or_default().push(kt);
        // SAFETY: the fields are guarded by the scheduler's lock.
        unsafe {
            (*kt.as_ptr()).td_wmesg = wmesg;
            (*kt.as_ptr()).td_inhibitors = inhibitor.cast_signed();
        }
        if let (true, Some(ns)) = (config().deterministic, nanoseconds) {
            self.sched.numbers += 1;
            let timer = (clock::now().saturating_add(ns), self.sched.numbers);
            kt.timer.set(Some(timer));
            self.sched.timers.insert(timer, kt);
        }
        leave_cpu(self.sched, kt, sys::TDS_INHIBITED, nanoseconds);
        // SAFETY: the fields are the thread's own while it runs.
        unsafe {
            (*kt.as_ptr()).td_wmesg = std::ptr::null();
            (*kt.as_ptr()).td_inhibitors = 0;
        }
        !kt.timed_out.load(Ordering::Relaxed)
    }

    /// Wakes all threads that sleep on another channel.
    pub(crate) fn also_wake(mut self, channel: usize) -> Sleep {
        self.sched.wake(channel);
        self
    }

    /// Runs `work`, then wakes all threads that sleep on a channel.
    pub(crate) fn wake(mut self, channel: usize, work: impl FnOnce()) {
        work();
        self.sched.wake(channel);
    }
}

/// Gives up the CPU, and waits for another one.
#[inline(never)]
fn leave_cpu(
    mut sched: HostGuard<'static, Sched>,
    kt: &'static Kt,
    state: sys::thread_td_states,
    ns: Option<u64>,
) {
    // SAFETY: the fields are guarded by the scheduler's lock. The saved registers are those of this
    // function, which has a frame.
    unsafe {
        machine::save(&mut *kt.pcb());
        let td = &mut *kt.as_ptr();
        td.td_state = state;
        td.td_oncpu = sys::NOCPU;
    }
    kt.go.store(0, Ordering::Relaxed);
    let cpu = kt.cpu.swap(-1, Ordering::Relaxed);
    sched.cpus[usize::try_from(cpu).expect("who runs has a CPU")].current = None;
    if state == sys::TDS_RUNQ {
        sched.enqueue(kt);
    }
    sched.dispatch();
    drop(sched);
    let ns = ns.filter(|_| !config().deterministic);
    if !wait_for_go(kt, ns) {
        let mut sched = lock();
        if kt.channel.load(Ordering::Relaxed) != 0 {
            sched.end_sleep(kt, true);
            sched.dispatch();
        }
        drop(sched);
    }
    wait_for_cpu(kt);
}

/// Waits for a CPU, and enters it.
pub(crate) fn wait_for_cpu(kt: &'static Kt) {
    wait_for_go(kt, None);
    enter_cpu(kt);
}

fn enter_cpu(kt: &Kt) {
    if let Ok(cpu) = usize::try_from(kt.cpu.load(Ordering::Relaxed)) {
        machine::set_pcpu(pcpu_base() + cpu * size_of::<sys::pcpu>());
    }
}

fn wait_for_go(kt: &Kt, ns: Option<u64>) -> bool {
    let end = ns.map(|ns| clock::now().saturating_add(ns));
    while kt.go.load(Ordering::Acquire) == 0 {
        let left = end.map(|end| end.saturating_sub(clock::now()));
        if left == Some(0) || !futex_wait(&kt.go, 0, left) {
            return kt.go.load(Ordering::Acquire) != 0;
        }
    }
    true
}

/// Makes a thread runnable that does not run. It runs as soon as a CPU is free.
pub(crate) fn make_runnable(kt: &'static Kt) {
    let mut sched = lock();
    sched.enqueue(kt);
    sched.dispatch();
}

/// Gives up the CPU for good: the thread has left the kernel.
pub(crate) fn leave_for_good(kt: &'static Kt) {
    let mut sched = lock();
    // SAFETY: the fields are guarded by the scheduler's lock.
    unsafe {
        (*kt.as_ptr()).td_state = sys::TDS_INACTIVE;
        (*kt.as_ptr()).td_oncpu = sys::NOCPU;
    }
    let cpu = kt.cpu.swap(-1, Ordering::Relaxed);
    sched.cpus[usize::try_from(cpu).expect("who runs has a CPU")].current = None;
    sched.dispatch();
}

/// Yields the CPU if other threads are runnable.
pub(crate) fn give_way() {
    let kt = current();
    let sched = lock();
    if sched.runnable.is_empty() && sched.timers.is_empty() {
        return;
    }
    leave_cpu(sched, kt, sys::TDS_RUNQ, None);
}

/// Lets another thread run, if the seed says so or the time slice of this thread is over.
pub(crate) fn point() {
    let Some(kt) = current_opt() else { return };
    if kt.interrupts_off.get() != 0 {
        return;
    }
    let switch = if config().deterministic { kt.random(8) == 0 } else { kt.resched.load(Ordering::Relaxed) };
    if switch {
        kt.resched.store(false, Ordering::Relaxed);
        give_way();
    }
}

/// Wakes all threads that sleep on a channel.
pub(crate) fn wake(channel: usize) {
    lock().wake(channel);
}

// ---- interrupts ----

fn signal(kt: &Kt, signal: i32) {
    if config().deterministic {
        return;
    }
    // SAFETY: a thread that has a CPU has a host thread.
    unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), kt.host_tid.load(Ordering::Relaxed), signal) };
}

/// Handles an interrupt.
unsafe extern "C" fn on_signal(number: i32, _: *mut libc::siginfo_t, context: *mut c_void) {
    let Some(kt) = current_opt() else { return };
    // SAFETY: errno is this thread's; `context` is the handler's own argument, and is inverted once
    // more below.
    let errno = unsafe {
        machine::invert_vectors(context);
        *libc::__errno_location()
    };
    if number == PREEMPT {
        kt.resched.store(true, Ordering::Relaxed);
    }
    if kt.interrupts_off.get() != 0 {
        kt.interrupted.store(true, Ordering::SeqCst);
    } else if number == RENDEZVOUS {
        interrupt_now(kt);
    } else {
        // SAFETY: `context` is the handler's own argument.
        let address = unsafe { machine::interrupted_at(context) };
        // Outside the kernel's text the thread may hold a lock of the host.
        if link::is_kernel_text(address) && kt.cpu.load(Ordering::Relaxed) >= 0 {
            give_way();
        }
    }
    // SAFETY: errno is this thread's; `context` is the handler's own argument.
    unsafe {
        *libc::__errno_location() = errno;
        machine::invert_vectors(context);
        machine::go_on_with_pcpu(context);
    }
}

/// Takes part in the current rendezvous, if the thread has a CPU and did not start it.
pub(crate) fn interrupt_now(kt: &'static Kt) {
    kt.interrupted.store(false, Ordering::SeqCst);
    if kt.cpu.load(Ordering::Relaxed) < 0 {
        return;
    }
    let call = MEETING.call.load(Ordering::Acquire);
    if call != 0 && MEETING.owner.load(Ordering::Acquire) != kt.as_ptr() as usize {
        // The thread may have been given the CPU a moment ago.
        enter_cpu(kt);
        // SAFETY: the thread that started the rendezvous waits for all CPUs, and keeps the call
        // until then.
        meet(unsafe { &*(call as *const Call) });
    }
}

// ---- rendezvous ----

/// The functions of a rendezvous.
struct Call {
    functions: [Option<unsafe extern "C" fn(*mut c_void)>; 3],
    argument: *mut c_void,
    all: u32,
    /// The number of CPUs that have reached each function, and that have finished the last.
    stages: [AtomicU32; 4],
}

/// The hooks around the rendezvous of an unload.
struct Around {
    before: Option<Box<dyn FnOnce() + Send>>,
    after: Box<dyn FnMut() -> bool + Send>,
}

static AROUND: HostLock<Option<Around>> = HostLock::new(None);

/// Sets hooks for the unloading thread. `before` runs right before its next rendezvous, `after`
/// right after each one, until it returns true.
pub(crate) fn around_unload(
    before: impl FnOnce() + Send + 'static,
    after: impl FnMut() -> bool + Send + 'static,
) {
    *AROUND.lock() = Some(Around { before: Some(Box::new(before)), after: Box::new(after) });
}

/// The current rendezvous. There is one at a time.
struct Meeting {
    taken: AtomicU32,
    call: AtomicUsize,
    owner: AtomicUsize,
}

static MEETING: Meeting =
    Meeting { taken: AtomicU32::new(0), call: AtomicUsize::new(0), owner: AtomicUsize::new(0) };

fn meet(call: &Call) {
    interrupts_off();
    for (stage, function) in call.stages.iter().zip(call.functions) {
        stage.fetch_add(1, Ordering::SeqCst);
        while stage.load(Ordering::SeqCst) < call.all {
            std::thread::yield_now();
        }
        if let Some(function) = function {
            // SAFETY: the caller of smp_rendezvous(9) guarantees that each CPU may call the
            // function.
            unsafe { function(call.argument) };
        }
    }
    call.stages[3].fetch_add(1, Ordering::SeqCst);
    interrupts_on();
}

/// Lets other threads run for a while, unless the caller has locks. It may be preempted here.
fn linger(kt: &Kt) {
    if witness::held(kt).is_empty() {
        (0..kt.random(64)).for_each(|_| give_way());
    }
}

/// Calls the functions on every CPU that runs a thread. No CPU calls a function before all have
/// finished the one before, and nothing else runs meanwhile. Idle CPUs have no thread, and stay
/// idle.
pub(crate) unsafe extern "C" fn smp_rendezvous(
    setup: Option<unsafe extern "C" fn(*mut c_void)>,
    action: Option<unsafe extern "C" fn(*mut c_void)>,
    teardown: Option<unsafe extern "C" fn(*mut c_void)>,
    argument: *mut c_void,
) {
    point();
    let kt = current();
    linger(kt);
    let mut around = if link::is_unloading() { AROUND.lock().take() } else { None };
    if let Some(before) = around.as_mut().and_then(|around| around.before.take()) {
        before();
    }
    while MEETING.taken.compare_exchange(0, 1, Ordering::SeqCst, Ordering::SeqCst).is_err() {
        std::thread::yield_now();
    }
    let sched = lock();
    let others: Vec<&Kt> =
        sched.cpus.iter().filter_map(|cpu| cpu.current).filter(|other| !std::ptr::eq(*other, kt)).collect();
    let call = Call {
        functions: [setup, action, teardown],
        argument,
        all: others.len() as u32 + 1,
        stages: [const { AtomicU32::new(0) }; 4],
    };
    MEETING.owner.store(kt.as_ptr() as usize, Ordering::Release);
    MEETING.call.store(&raw const call as usize, Ordering::Release);
    for other in &others {
        signal(other, RENDEZVOUS);
    }
    meet(&call);
    while call.stages[3].load(Ordering::SeqCst) < call.all {
        std::thread::yield_now();
    }
    MEETING.call.store(0, Ordering::Release);
    drop(sched);
    MEETING.taken.store(0, Ordering::SeqCst);
    if let Some(mut around) = around
        && !(around.after)()
    {
        *AROUND.lock() = Some(around);
    }
    linger(kt);
}

/// Interrupts random CPUs again and again, at any instruction.
fn tick() {
    let mut rng = fastrand::Rng::with_seed(config().seed);
    loop {
        std::thread::sleep(Duration::from_micros(rng.u64(200..2000)));
        let sched = lock();
        if sched.runnable.is_empty() {
            continue;
        }
        let cpu = rng.usize(0..sched.cpus.len());
        if let Some(kt) = sched.cpus[cpu].current {
            signal(kt, PREEMPT);
        }
    }
}

/// Reports a violation if no thread is switched to for [`HANG`] seconds.
fn watch() {
    let (mut last, mut same) = (0, 0);
    loop {
        std::thread::sleep(Duration::from_secs(1));
        let now = SWITCHES.load(Ordering::Relaxed);
        same = if now == last { same + 1 } else { 0 };
        last = now;
        if same >= HANG {
            let Some(sched) = SCHED.get().and_then(|sched| sched.try_lock()) else {
                violation!(Hang, "nothing has gone on for {HANG} seconds, with the scheduler locked");
            };
            let running = sched.cpus.iter().filter_map(|cpu| cpu.current).map(Kt::describe);
            let waiting = sched.sleepers.values().flatten().map(|kt| kt.describe());
            let all: Vec<String> = running.chain(waiting).collect();
            violation!(Hang, "nothing has gone on for {HANG} seconds:\n{}", all.join("\n"));
        }
    }
}
