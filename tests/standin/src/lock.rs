//! mutex(9) and sx(9).
//!
//! A lock's word holds the address of the owning thread, and whether other threads wait. The
//! structure around it is the kernel's.

use std::collections::BTreeMap;
use std::ffi::{c_char, c_int};
use std::mem::offset_of;
use std::sync::atomic::{AtomicUsize, Ordering};

use kernel_sys as sys;

use crate::host::{HostLock, current, violation};
use crate::sched::{self, Sleep, point};
use crate::thread::text_of;
use crate::witness::{self, Class, Kind};

/// The flag in a lock's word that other threads wait for the lock.
const WAITERS: usize = 4;
/// The flag in an sx lock's word that it is held exclusively.
const EXCLUSIVE: usize = 2;
/// The amount that a shared holder adds to the word of an sx lock.
const SHARER: usize = 8;
/// The word of a destroyed lock.
const DESTROYED: usize = usize::MAX;
/// The flag in `lo_flags` that the lock is initialised.
const INITIALISED: u32 = 1 << 16;
/// The flag in `lo_flags` that stands for `MTX_DUPOK` here.
const TWICE: u32 = 1 << 17;

/// The number of initialised locks, by name.
static LOCKS: HostLock<BTreeMap<String, i64>> = HostLock::new(BTreeMap::new());

/// Returns the number of initialised locks, by name.
pub(crate) fn count() -> BTreeMap<String, i64> {
    LOCKS.lock().clone()
}

unsafe fn init(object: *mut sys::lock_object, word: *mut usize, name: &str, raw: *const c_char, flags: u32) {
    // SAFETY: the caller passes the parts of one lock, which no other thread uses yet.
    unsafe {
        if (*object).lo_flags & INITIALISED != 0 && *word != DESTROYED {
            violation!(LockUse, "\"{name}\" is initialised twice");
        }
        (*object).lo_name = raw;
        (*object).lo_flags = INITIALISED | flags;
        (*object).lo_data = witness::class(name).0;
        word.write_volatile(0);
    }
    *LOCKS.lock().entry(name.to_owned()).or_default() += 1;
}

unsafe fn destroy(object: *mut sys::lock_object, word: &AtomicUsize) {
    let name = name_of(object);
    let value = word.swap(DESTROYED, Ordering::AcqRel);
    if value != 0 {
        violation!(LockUse, "\"{name}\" is destroyed while it is held");
    }
    if let Some(count) = LOCKS.lock().get_mut(&name) {
        *count -= 1;
    }
}

fn name_of(object: *mut sys::lock_object) -> String {
    // SAFETY: a lock's name is a static string.
    unsafe { text_of((*object).lo_name) }
}

fn class_of(object: *mut sys::lock_object) -> Class {
    // SAFETY: init() has set the field.
    Class(unsafe { (*object).lo_data })
}

fn twice(object: *mut sys::lock_object) -> bool {
    // SAFETY: init() has set the field.
    unsafe { (*object).lo_flags & TWICE != 0 }
}

/// Checks that a lock is initialised and not destroyed.
fn check(object: *mut sys::lock_object, word: &AtomicUsize) {
    // SAFETY: the lock's memory is readable; the field is read as it stands.
    let flags = unsafe { (*object).lo_flags };
    if flags & INITIALISED == 0 {
        violation!(LockUse, "a lock is used that was never initialised");
    }
    if word.load(Ordering::Relaxed) == DESTROYED {
        violation!(LockUse, "\"{}\" is used after it was destroyed", name_of(object));
    }
}

fn owner() -> usize {
    current().as_ptr() as usize
}

/// Sleeps until the lock is released, unless `free` accepts the current word.
fn wait(object: *mut sys::lock_object, word: &AtomicUsize, free: impl Fn(usize) -> bool) {
    let sleep = Sleep::prepare();
    loop {
        let value = word.load(Ordering::Relaxed);
        if free(value) {
            return;
        }
        if value & WAITERS != 0
            || word.compare_exchange(value, value | WAITERS, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        {
            break;
        }
    }
    // SAFETY: a lock's name is a static string.
    sleep.on(std::ptr::from_ref(word) as usize, unsafe { (*object).lo_name }, sys::TDI_LOCK, None);
}

/// Releases a lock that other threads wait for, and wakes them.
fn release_and_wake(word: &AtomicUsize) {
    Sleep::prepare().wake(std::ptr::from_ref(word) as usize, || word.store(0, Ordering::Release));
}

// ---- mutex(9) ----

unsafe fn mtx_of<'a>(c: *mut usize) -> (*mut sys::lock_object, &'a AtomicUsize) {
    // SAFETY: the caller guarantees that `c` is the word of a struct mtx.
    unsafe {
        let mtx = c.byte_sub(offset_of!(sys::mtx, mtx_lock)).cast::<sys::mtx>();
        (&raw mut (*mtx).lock_object, AtomicUsize::from_ptr(c))
    }
}

pub(crate) unsafe extern "C" fn _mtx_init(c: *mut usize, name: *const c_char, _: *const c_char, _: c_int) {
    point();
    // SAFETY: the caller keeps the contract of this kernel function.
    unsafe { init(mtx_of(c).0, c, &text_of(name), name, 0) };
}

/// Initialises a mutex of the kernel's own. A thread may hold two mutexes of its class.
///
/// # Safety
///
/// No other thread uses the mutex.
pub(crate) unsafe fn mtx_init_twice(mtx: *mut sys::mtx, name: &'static std::ffi::CStr) {
    // SAFETY: no other thread uses the mutex (see # Safety).
    unsafe {
        init(
            &raw mut (*mtx).lock_object,
            (&raw mut (*mtx).mtx_lock).cast(),
            &name.to_string_lossy(),
            name.as_ptr(),
            TWICE,
        );
    }
}

pub(crate) unsafe extern "C" fn _mtx_destroy(c: *mut usize) {
    point();
    // SAFETY: the caller keeps the contract of this kernel function.
    unsafe {
        let (object, word) = mtx_of(c);
        check(object, word);
        destroy(object, word);
    }
}

pub(crate) unsafe extern "C" fn __mtx_lock_flags(c: *mut usize, _: c_int, _: *const c_char, _: c_int) {
    // SAFETY: the caller keeps the contract of this kernel function.
    let (object, word) = unsafe { mtx_of(c) };
    check(object, word);
    witness::before(c as usize, class_of(object), Kind::Mutex, twice(object));
    point();
    let mut spins = 0;
    while let Err(value) = word.compare_exchange(0, owner(), Ordering::Acquire, Ordering::Relaxed) {
        if value == DESTROYED {
            check(object, word);
        }
        spins += 1;
        // Spins at first, as an adaptive mutex does: the owner probably runs.
        if spins < 100 && !crate::host::config().deterministic {
            std::hint::spin_loop();
        } else {
            wait(object, word, |value| value == 0);
        }
    }
    witness::taken(c as usize, class_of(object), Kind::Mutex);
    point();
}

pub(crate) unsafe extern "C" fn _mtx_trylock_flags_(
    c: *mut usize,
    _: c_int,
    _: *const c_char,
    _: c_int,
) -> c_int {
    // SAFETY: the caller keeps the contract of this kernel function.
    let (object, word) = unsafe { mtx_of(c) };
    check(object, word);
    point();
    if word.compare_exchange(0, owner(), Ordering::Acquire, Ordering::Relaxed).is_err() {
        return 0;
    }
    witness::taken(c as usize, class_of(object), Kind::Mutex);
    1
}

pub(crate) unsafe extern "C" fn __mtx_unlock_flags(c: *mut usize, _: c_int, _: *const c_char, _: c_int) {
    point();
    // SAFETY: the caller keeps the contract of this kernel function.
    let (object, word) = unsafe { mtx_of(c) };
    check(object, word);
    witness::released(c as usize, Kind::Mutex, &name_of(object));
    if word.compare_exchange(owner(), 0, Ordering::Release, Ordering::Relaxed).is_err() {
        release_and_wake(word);
    }
    point();
}

/// Takes a mutex of the kernel's.
///
/// # Safety
///
/// The mutex is initialised.
pub(crate) unsafe fn mtx_lock(mtx: *mut sys::mtx) {
    // SAFETY: the mutex is initialised (see # Safety).
    unsafe { __mtx_lock_flags((&raw mut (*mtx).mtx_lock).cast(), 0, std::ptr::null(), 0) };
}

/// Releases a mutex of the kernel's.
///
/// # Safety
///
/// The mutex is initialised.
pub(crate) unsafe fn mtx_unlock(mtx: *mut sys::mtx) {
    // SAFETY: the mutex is initialised (see # Safety).
    unsafe { __mtx_unlock_flags((&raw mut (*mtx).mtx_lock).cast(), 0, std::ptr::null(), 0) };
}

/// Returns the word of the mutex that a `struct lock_object` is part of.
///
/// # Safety
///
/// `object` is the `lock_object` of a `struct mtx`.
pub(crate) unsafe fn word_of(object: *mut sys::lock_object) -> *mut usize {
    // SAFETY: the lock_object is the first field of a struct mtx (see # Safety).
    unsafe { (&raw mut (*object.cast::<sys::mtx>()).mtx_lock).cast() }
}

// ---- sx(9) ----

unsafe fn sx_of<'a>(sx: *mut sys::sx) -> (*mut sys::lock_object, &'a AtomicUsize) {
    // SAFETY: the caller guarantees that `sx` is a struct sx.
    unsafe { (&raw mut (*sx).lock_object, AtomicUsize::from_ptr((&raw mut (*sx).sx_lock).cast())) }
}

pub(crate) unsafe extern "C" fn sx_init_flags(sx: *mut sys::sx, name: *const c_char, _: c_int) {
    point();
    // SAFETY: the caller keeps the contract of this kernel function.
    unsafe { init(&raw mut (*sx).lock_object, (&raw mut (*sx).sx_lock).cast(), &text_of(name), name, 0) };
}

pub(crate) unsafe extern "C" fn sx_destroy(sx: *mut sys::sx) {
    point();
    // SAFETY: the caller keeps the contract of this kernel function.
    unsafe {
        let (object, word) = sx_of(sx);
        check(object, word);
        destroy(object, word);
    }
}

pub(crate) unsafe extern "C" fn _sx_xlock(sx: *mut sys::sx, _: c_int, _: *const c_char, _: c_int) -> c_int {
    // SAFETY: the caller keeps the contract of this kernel function.
    let (object, word) = unsafe { sx_of(sx) };
    check(object, word);
    witness::before(sx as usize, class_of(object), Kind::Exclusive, false);
    point();
    while word.compare_exchange(0, owner() | EXCLUSIVE, Ordering::Acquire, Ordering::Relaxed).is_err() {
        wait(object, word, |value| value == 0);
    }
    witness::taken(sx as usize, class_of(object), Kind::Exclusive);
    point();
    0
}

pub(crate) unsafe extern "C" fn sx_try_xlock_(sx: *mut sys::sx, _: *const c_char, _: c_int) -> c_int {
    // SAFETY: the caller keeps the contract of this kernel function.
    let (object, word) = unsafe { sx_of(sx) };
    check(object, word);
    point();
    if word.compare_exchange(0, owner() | EXCLUSIVE, Ordering::Acquire, Ordering::Relaxed).is_err() {
        return 0;
    }
    witness::taken(sx as usize, class_of(object), Kind::Exclusive);
    1
}

pub(crate) unsafe extern "C" fn _sx_xunlock(sx: *mut sys::sx, _: *const c_char, _: c_int) {
    point();
    // SAFETY: the caller keeps the contract of this kernel function.
    let (object, word) = unsafe { sx_of(sx) };
    check(object, word);
    witness::released(sx as usize, Kind::Exclusive, &name_of(object));
    if word.compare_exchange(owner() | EXCLUSIVE, 0, Ordering::Release, Ordering::Relaxed).is_err() {
        release_and_wake(word);
    }
    point();
}

pub(crate) unsafe extern "C" fn _sx_slock(sx: *mut sys::sx, _: c_int, _: *const c_char, _: c_int) -> c_int {
    // SAFETY: the caller keeps the contract of this kernel function.
    let (object, word) = unsafe { sx_of(sx) };
    check(object, word);
    witness::before(sx as usize, class_of(object), Kind::Shared, false);
    point();
    // A waiter for the exclusive lock has priority, unless this thread already holds a shared lock,
    // and would keep that from being released by waiting.
    let pushy = witness::held(current()).iter().any(|held| held.kind == Kind::Shared);
    let may_share = move |value: usize| value & EXCLUSIVE == 0 && (value & WAITERS == 0 || pushy);
    loop {
        let value = word.load(Ordering::Relaxed);
        if may_share(value) {
            if word.compare_exchange(value, value + SHARER, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                break;
            }
        } else {
            wait(object, word, may_share);
        }
    }
    witness::taken(sx as usize, class_of(object), Kind::Shared);
    point();
    0
}

pub(crate) unsafe extern "C" fn _sx_sunlock(sx: *mut sys::sx, _: *const c_char, _: c_int) {
    point();
    // SAFETY: the caller keeps the contract of this kernel function.
    let (object, word) = unsafe { sx_of(sx) };
    check(object, word);
    witness::released(sx as usize, Kind::Shared, &name_of(object));
    loop {
        let value = word.load(Ordering::Relaxed);
        if value == SHARER | WAITERS {
            release_and_wake(word);
            return;
        }
        if word.compare_exchange(value, value - SHARER, Ordering::Release, Ordering::Relaxed).is_ok() {
            return;
        }
    }
}

/// Takes an sx lock of the kernel's exclusively.
///
/// # Safety
///
/// The lock is initialised.
pub(crate) unsafe fn sx_xlock(sx: *mut sys::sx) {
    // SAFETY: the lock is initialised (see # Safety).
    unsafe { _sx_xlock(sx, 0, std::ptr::null(), 0) };
}

/// Releases an sx lock of the kernel's, held exclusively.
///
/// # Safety
///
/// The lock is initialised.
pub(crate) unsafe fn sx_xunlock(sx: *mut sys::sx) {
    // SAFETY: the lock is initialised (see # Safety).
    unsafe { _sx_xunlock(sx, std::ptr::null(), 0) };
}

// ---- sleeping ----

/// Returns the timeout of a sleep in nanoseconds. A zero `sbt` means no timeout.
fn timeout(sbt: sys::sbintime_t) -> Option<u64> {
    (sbt != 0).then(|| crate::clock::nanoseconds(sbt))
}

const EWOULDBLOCK: c_int = sys::EWOULDBLOCK.cast_signed();

pub(crate) unsafe extern "C" fn _sleep(
    channel: *const std::ffi::c_void,
    lock: *mut sys::lock_object,
    _priority: c_int,
    wmesg: *const c_char,
    sbt: sys::sbintime_t,
    _: sys::sbintime_t,
    _: c_int,
) -> c_int {
    let kt = current();
    crate::user::context_switch(kt, true, wmesg);
    // SAFETY: the caller passes null or a mutex that it holds.
    let word = (!lock.is_null()).then(|| unsafe { word_of(lock) });
    witness::may_sleep_with(kt, word.map_or(0, |word| word as usize), format_args!("sleeping"));
    if sbt == 0 && lock.is_null() && !channel.is_null() {
        violation!(Sleep, "sleeping for ever without a lock that orders it");
    }
    let sleep = match word {
        None => Sleep::prepare(),
        Some(word) => {
            // SAFETY: the word is that of the caller's mutex.
            let (object, state) = unsafe { mtx_of(word) };
            witness::released(word as usize, Kind::Mutex, &name_of(object));
            // No thread can issue the wakeup before this one sleeps: that needs the scheduler's
            // lock, held from here on.
            let mut sleep = Sleep::prepare();
            if state.swap(0, Ordering::AcqRel) & WAITERS != 0 {
                sleep = sleep.also_wake(word as usize);
            }
            sleep
        }
    };
    let woken = sleep.on(channel as usize, wmesg, sys::TDI_SLEEPING, timeout(sbt));
    crate::user::context_switch(kt, false, wmesg);
    if let Some(word) = word {
        // SAFETY: the word is that of the caller's mutex.
        unsafe { __mtx_lock_flags(word, 0, std::ptr::null(), 0) };
    }
    if woken { 0 } else { EWOULDBLOCK }
}

pub(crate) unsafe extern "C" fn pause_sbt(
    wmesg: *const c_char,
    sbt: sys::sbintime_t,
    _: sys::sbintime_t,
    _: c_int,
) -> c_int {
    if sbt <= 0 {
        violation!(Call, "pause_sbt() for no time");
    }
    // The thread's own channel, which no other thread wakes.
    let channel = current().channel.as_ptr();
    // SAFETY: there is no lock to release.
    unsafe { _sleep(channel.cast(), std::ptr::null_mut(), 0, wmesg, sbt, 0, 0) }
}

pub(crate) unsafe extern "C" fn wakeup(channel: *const std::ffi::c_void) {
    point();
    sched::wake(channel as usize);
}
