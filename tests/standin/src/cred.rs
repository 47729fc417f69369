//! Credentials and their privileges.

use std::cell::UnsafeCell;
use std::collections::BTreeMap;
use std::ffi::c_int;
use std::sync::atomic::{AtomicI64, AtomicPtr, Ordering};

use kernel_sys as sys;

use crate::host::{HostLock, violation};
use crate::proc::Kp;
use crate::sched::point;
use crate::sysctl::policy;
use crate::thread::Kt;

const EPERM: c_int = sys::EPERM.cast_signed();
const ESRCH: c_int = sys::ESRCH.cast_signed();

/// A credential.
#[repr(C)]
pub(crate) struct Cred {
    cr: UnsafeCell<sys::ucred>,
    references: AtomicI64,
}

static CREDS: HostLock<Vec<usize>> = HostLock::new(Vec::new());

/// The jails by number. They are never freed.
static PRISONS: HostLock<BTreeMap<i32, usize>> = HostLock::new(BTreeMap::new());

/// Returns the jail with a number. Zero means none.
fn prison(number: i32) -> *mut sys::prison {
    let create = || {
        // SAFETY: an all-zero struct prison is valid.
        let mut prison: Box<sys::prison> = Box::new(unsafe { std::mem::zeroed() });
        prison.pr_id = number;
        Box::into_raw(prison) as usize
    };
    *PRISONS.lock().entry(number).or_insert_with(create) as *mut sys::prison
}

impl Cred {
    /// Creates the credential of a user in a jail, with one reference.
    pub(crate) fn allocate(uid: u32, jail: i32) -> *mut sys::ucred {
        // SAFETY: an all-zero struct ucred is valid.
        let mut cr: sys::ucred = unsafe { std::mem::zeroed() };
        (cr.cr_uid, cr.cr_ruid, cr.cr_svuid) = (uid, uid, uid);
        // Never freed, like the credential.
        (cr.cr_groups, cr.cr_ngroups) = (Box::leak(Box::new(uid)), 1);
        cr.cr_prison = prison(jail);
        let cred = Box::into_raw(Box::new(Cred { cr: UnsafeCell::new(cr), references: AtomicI64::new(1) }));
        CREDS.lock().push(cred as usize);
        cred.cast()
    }

    pub(crate) fn uid(&self) -> u32 {
        // SAFETY: the field never changes.
        unsafe { (*self.cr.get()).cr_uid }
    }

    /// Returns the number of the jail. Zero means none.
    pub(crate) fn jail(&self) -> i32 {
        // SAFETY: the field is a pointer, which is changed as a whole. Jails are never freed.
        unsafe { (*self.prison().load(Ordering::Relaxed)).pr_id }
    }

    /// Moves the credential to a jail.
    pub(crate) fn set_jail(&self, jail: i32) {
        self.prison().store(prison(jail), Ordering::Relaxed);
    }

    fn prison(&self) -> &AtomicPtr<sys::prison> {
        // SAFETY: AtomicPtr has the layout of a pointer, and the credential is never freed.
        unsafe { AtomicPtr::from_ptr(&raw mut (*self.cr.get()).cr_prison) }
    }

    /// Returns whether this credential may see the other's objects, as the kernel's cr_cansee()
    /// does, without groups.
    fn can_see(&self, other: &Cred) -> bool {
        let (mine, others) = (self.jail(), other.jail());
        let hidden = (!policy(c"security.bsd.see_other_uids") && self.uid() != other.uid())
            || (!policy(c"security.bsd.see_jail_proc") && mine != others);
        (mine == 0 || mine == others) && (self.uid() == 0 || !hidden)
    }
}

/// Returns the credential of a thread.
pub(crate) fn of(kt: &Kt) -> &'static Cred {
    // SAFETY: credentials are never freed.
    unsafe { &*(*kt.as_ptr()).td_ucred.cast::<Cred>() }
}

/// Returns the number of references to credentials, without the first one of each.
pub(crate) fn references() -> i64 {
    let all = CREDS.lock().clone();
    // SAFETY: credentials are never freed.
    all.iter().map(|cred| unsafe { &*(*cred as *const Cred) }.references.load(Ordering::Relaxed) - 1).sum()
}

/// Checks that a credential exists and is referenced. Returns it.
pub(crate) fn check(cred: *mut sys::ucred) -> &'static Cred {
    if !CREDS.lock().contains(&(cred as usize)) {
        violation!(Memory, "what is no credential is used as one");
    }
    // SAFETY: the pointer is to one of the credentials, which are never freed.
    let cred = unsafe { &*cred.cast::<Cred>() };
    if cred.references.load(Ordering::Relaxed) <= 0 {
        violation!(Memory, "a credential is used that nobody has a reference to");
    }
    cred
}

pub(crate) unsafe extern "C" fn crhold(cred: *mut sys::ucred) -> *mut sys::ucred {
    check(cred).references.fetch_add(1, Ordering::Relaxed);
    cred
}

pub(crate) unsafe extern "C" fn crfree(cred: *mut sys::ucred) {
    point();
    check(cred).references.fetch_sub(1, Ordering::Relaxed);
}

pub(crate) unsafe extern "C" fn priv_check_cred(cred: *mut sys::ucred, _: c_int) -> c_int {
    if check(cred).uid() == 0 { 0 } else { EPERM }
}

pub(crate) unsafe extern "C" fn priv_check(td: *mut sys::thread, _: c_int) -> c_int {
    // SAFETY: the caller keeps the contract of this kernel function.
    if of(unsafe { Kt::of(td) }).uid() == 0 { 0 } else { EPERM }
}

pub(crate) unsafe extern "C" fn p_cansee(td: *mut sys::thread, p: *mut sys::proc_) -> c_int {
    // SAFETY: the caller keeps the contract of this kernel function.
    let (kt, kp) = unsafe { (Kt::of(td), Kp::of(p)) };
    kp.assert_locked("p_cansee()");
    if of(kt).can_see(kp.cred()) { 0 } else { ESRCH }
}

pub(crate) unsafe extern "C" fn cr_cansee(one: *mut sys::ucred, other: *mut sys::ucred) -> c_int {
    if check(one).can_see(check(other)) { 0 } else { ESRCH }
}

pub(crate) unsafe extern "C" fn p_candebug(td: *mut sys::thread, p: *mut sys::proc_) -> c_int {
    // SAFETY: the caller keeps the contract of this kernel function.
    let (kt, kp) = unsafe { (Kt::of(td), Kp::of(p)) };
    kp.assert_locked("p_candebug()");
    let mine = of(kt).uid();
    if !of(kt).can_see(kp.cred()) {
        return ESRCH;
    }
    if mine != 0 && (mine != kp.uid() || kp.flag() & sys::P_SUGID != 0) {
        return EPERM;
    }
    if kp.flag() & sys::P_INEXEC == 0 { 0 } else { sys::EBUSY.cast_signed() }
}
