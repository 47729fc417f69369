//! sysctl(9): the tree that the module registers, by name.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, Ordering};

use kernel_sys as sys;

use crate::host::{HostLock, current, violation};
use crate::kvar::variables;
use crate::sched::{Sleep, point, wake};
use crate::thread::text_of;
use crate::{heap, user, witness};

const ENOENT: c_int = sys::ENOENT.cast_signed();
const EPERM: c_int = sys::EPERM.cast_signed();
const EINVAL: c_int = sys::EINVAL.cast_signed();
const ENOMEM: c_int = sys::ENOMEM.cast_signed();

/// The `lock` of a request whose buffer is wired.
const WIRED: c_int = 2;

struct Oid {
    /// The address of the `struct sysctl_oid`.
    address: usize,
    parent: usize,
    context: usize,
    name: String,
    kind: u32,
    arg1: usize,
    arg2: sys::intmax_t,
    handler: usize,
    running: u32,
}

static OIDS: HostLock<Vec<Oid>> = HostLock::new(Vec::new());
/// The tunables of loader.conf(5).
static TUNABLES: HostLock<BTreeMap<String, String>> = HostLock::new(BTreeMap::new());

type Handler =
    unsafe extern "C" fn(*mut sys::sysctl_oid, *mut c_void, sys::intmax_t, *mut sys::sysctl_req) -> c_int;

/// The policies that are off. Each hides processes from others while it is on.
static OFF: HostLock<Vec<&'static CStr>> = HostLock::new(Vec::new());

/// Returns whether one of `security.bsd.see_…` is on.
pub(crate) fn policy(name: &CStr) -> bool {
    !OFF.lock().contains(&name)
}

/// Turns one of `security.bsd.see_…` on or off.
pub fn set_policy(name: &'static CStr, on: bool) {
    let mut off = OFF.lock();
    off.retain(|other| *other != name);
    if !on {
        off.push(name);
    }
}

/// Sets a loader tunable.
pub fn tunable(name: &str, value: &str) {
    TUNABLES.lock().insert(name.to_owned(), value.to_owned());
}

/// Returns the number of registered nodes.
pub(crate) fn count() -> i64 {
    OIDS.lock().len() as i64
}

/// Returns the address of a node's list of children.
fn children(address: usize) -> usize {
    // SAFETY: only the address is taken.
    unsafe { &raw mut (*(address as *mut sys::sysctl_oid)).oid_children as usize }
}

fn find(name: &str) -> Option<usize> {
    let mut parts = name.split('.');
    if parts.next() != Some("kern") {
        return None;
    }
    // SAFETY: only the address is taken.
    let mut parent = unsafe { &raw mut (*variables()).sysctl_kern.oid_children } as usize;
    let oids = OIDS.lock();
    let mut found = None;
    for part in parts {
        let oid = oids.iter().find(|oid| oid.parent == parent && oid.name == part)?;
        parent = children(oid.address);
        found = Some(oid.address);
    }
    found
}

/// Reads a sysctl(3), and sets it if `new` is given. May sleep.
///
/// # Errors
///
/// Fails with an errno.
pub fn request(name: &str, new: Option<&[u8]>) -> Result<Vec<u8>, i32> {
    let address = find(name).ok_or(ENOENT)?;
    run(address, new, Some(usize::MAX)).map(|(old, _)| old)
}

/// Reads a sysctl(3) into a buffer of `room` bytes, or without a buffer. Also returns the value's
/// full length. May sleep.
///
/// # Errors
///
/// Fails with an errno.
pub fn read(name: &str, room: Option<usize>) -> Result<(Vec<u8>, usize), i32> {
    let address = find(name).ok_or(ENOENT)?;
    run(address, None, room)
}

/// Returns the value of a number.
///
/// # Errors
///
/// Fails with an errno.
pub fn number(name: &str) -> Result<u64, i32> {
    let bytes = request(name, None)?;
    Ok(match bytes.len() {
        4 => u64::from(u32::from_ne_bytes(bytes.try_into().expect("four bytes"))),
        8 => u64::from_ne_bytes(bytes.try_into().expect("eight bytes")),
        len => violation!(Call, "{name} has {len} bytes"),
    })
}

/// Returns the value of a string.
///
/// # Errors
///
/// Fails with an errno.
pub fn text(name: &str) -> Result<String, i32> {
    let bytes = request(name, None)?;
    Ok(String::from_utf8_lossy(bytes.strip_suffix(&[0]).unwrap_or(&bytes)).into_owned())
}

/// Sets a number.
///
/// # Errors
///
/// Fails with an errno.
pub fn set_number(name: &str, value: u32) -> Result<(), i32> {
    request(name, Some(&value.to_ne_bytes())).map(|_| ())
}

/// Sets a string.
///
/// # Errors
///
/// Fails with an errno.
pub fn set_text(name: &str, value: &str) -> Result<(), i32> {
    request(name, Some(value.as_bytes())).map(|_| ())
}

fn run(address: usize, new: Option<&[u8]>, room: Option<usize>) -> Result<(Vec<u8>, usize), i32> {
    let (handler, arg1, arg2) = {
        let mut oids = OIDS.lock();
        let oid = oids.iter_mut().find(|oid| oid.address == address).ok_or(ENOENT)?;
        if new.is_some() && oid.kind & sys::CTLFLAG_WR == 0 {
            return Err(EPERM);
        }
        if oid.handler == 0 {
            return Err(sys::EISDIR.cast_signed());
        }
        oid.running += 1;
        (oid.handler, oid.arg1, oid.arg2)
    };
    let mut old = Vec::new();
    // SAFETY: an all-zero request is valid, and asks for nothing.
    let mut request: sys::sysctl_req = unsafe { std::mem::zeroed() };
    request.td = current().as_ptr();
    if let Some(room) = room {
        request.oldptr = (&raw mut old).cast();
        (request.oldlen, request.validlen) = (room, room);
    }
    request.oldfunc = Some(sysctl_old_user);
    if let Some(new) = new {
        request.newptr = new.as_ptr().cast();
        request.newlen = new.len();
    }
    point();
    // SAFETY: the module has registered the function as a handler.
    let handler: Handler = unsafe { std::mem::transmute(handler) };
    let error = user::checked("a handler of sysctl(9)", || {
        // SAFETY: the function is a handler, called with the arguments that it was registered with.
        unsafe { handler(address as *mut sys::sysctl_oid, arg1 as *mut c_void, arg2, &raw mut request) }
    });
    if let Some(oid) = OIDS.lock().iter_mut().find(|oid| oid.address == address) {
        oid.running -= 1;
    }
    wake(address);
    if error == 0 { Ok((old, request.oldidx)) } else { Err(error) }
}

/// Copies to the buffer of user space, as far as there is room.
unsafe extern "C" fn sysctl_old_user(
    request: *mut sys::sysctl_req,
    from: *const c_void,
    len: usize,
) -> c_int {
    // SAFETY: the caller passes a request of run().
    let request = unsafe { &mut *request };
    let at = request.oldidx;
    request.oldidx += len;
    if request.oldptr.is_null() {
        return 0;
    }
    point();
    if request.lock != WIRED && !witness::held(current()).is_empty() {
        violation!(Sleep, "pages of user space are waited for with locks held");
    }
    let room = len.min(request.validlen.saturating_sub(at));
    // SAFETY: the caller passes `len` readable bytes; the buffer is the Vec of run().
    unsafe {
        let bytes = std::slice::from_raw_parts(from.cast::<u8>(), room);
        (*request.oldptr.cast::<Vec<u8>>()).extend_from_slice(bytes);
    }
    if room < len { ENOMEM } else { 0 }
}

pub(crate) unsafe extern "C" fn sysctl_wire_old_buffer(request: *mut sys::sysctl_req, _: usize) -> c_int {
    witness::may_sleep(current(), format_args!("sysctl_wire_old_buffer()"));
    point();
    // SAFETY: the caller keeps the contract of this kernel function.
    unsafe {
        if !(*request).oldptr.is_null() {
            (*request).lock = WIRED;
        }
    }
    0
}

/// Copies the old value out. Returns the new value if the request sets one.
///
/// # Safety
///
/// The request is one of run().
unsafe fn hand_out<'a>(request: *mut sys::sysctl_req, old: &[u8]) -> Option<&'a [u8]> {
    // SAFETY: the request is one of run() (see # Safety).
    unsafe {
        sysctl_old_user(request, old.as_ptr().cast(), old.len());
        let request = &*request;
        let is_set = !request.newptr.is_null();
        is_set.then(|| std::slice::from_raw_parts(request.newptr.cast::<u8>(), request.newlen))
    }
}

/// Copies a number out, and stores the new value if the request sets one.
///
/// # Safety
///
/// As for [`hand_out`].
unsafe fn exchange(request: *mut sys::sysctl_req, value: &mut [u8]) -> c_int {
    // SAFETY: the request is one of run() (see # Safety).
    let Some(new) = (unsafe { hand_out(request, value) }) else { return 0 };
    if new.len() != value.len() {
        return EINVAL;
    }
    value.copy_from_slice(new);
    0
}

pub(crate) unsafe extern "C" fn sysctl_handle_int(
    _: *mut sys::sysctl_oid,
    arg1: *mut c_void,
    _: sys::intmax_t,
    request: *mut sys::sysctl_req,
) -> c_int {
    // SAFETY: the caller passes a request of run(), and in arg1 an int.
    unsafe { exchange(request, std::slice::from_raw_parts_mut(arg1.cast::<u8>(), 4)) }
}

pub(crate) unsafe extern "C" fn sysctl_handle_64(
    _: *mut sys::sysctl_oid,
    arg1: *mut c_void,
    _: sys::intmax_t,
    request: *mut sys::sysctl_req,
) -> c_int {
    // SAFETY: the caller passes a request of run(), and in arg1 64 bits.
    unsafe { exchange(request, std::slice::from_raw_parts_mut(arg1.cast::<u8>(), 8)) }
}

pub(crate) unsafe extern "C" fn sysctl_handle_string(
    _: *mut sys::sysctl_oid,
    arg1: *mut c_void,
    arg2: sys::intmax_t,
    request: *mut sys::sysctl_req,
) -> c_int {
    // SAFETY: the caller passes a request of run(), and in arg1 a string, in a buffer of arg2 bytes
    // if arg2 is not zero.
    unsafe {
        let mut text = text_of(arg1.cast());
        text.push('\0');
        let Some(new) = hand_out(request, text.as_bytes()) else { return 0 };
        if new.len() >= usize::try_from(arg2).unwrap_or(0) {
            return EINVAL;
        }
        let to = arg1.cast::<u8>();
        to.copy_from_nonoverlapping(new.as_ptr(), new.len());
        to.add(new.len()).write(0);
    }
    0
}

pub(crate) unsafe extern "C" fn sysctl_ctx_init(context: *mut sys::sysctl_ctx_list) -> c_int {
    // SAFETY: the caller keeps the contract of this kernel function.
    unsafe { (*context).tqh_first = null_mut() };
    0
}

/// Whether another module's leaf has the name of the statistics node.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Adds a leaf of another module with the name of the statistics node, or removes it.
pub(crate) fn take_stats(taken: bool) {
    TAKEN.store(taken, Ordering::Relaxed);
}

pub(crate) unsafe extern "C" fn sysctl_add_oid(
    context: *mut sys::sysctl_ctx_list,
    parent: *mut sys::sysctl_oid_list,
    _number: c_int,
    name: *const c_char,
    kind: c_int,
    arg1: *mut c_void,
    arg2: sys::intmax_t,
    handler: Option<Handler>,
    _format: *const c_char,
    description: *const c_char,
    _label: *const c_char,
) -> *mut sys::sysctl_oid {
    witness::may_sleep(current(), format_args!("sysctl_add_oid()"));
    point();
    // SAFETY: the caller keeps the contract of this kernel function.
    let (name, description) = unsafe { (text_of(name), text_of(description)) };
    if description.is_empty() {
        violation!(Call, "the sysctl {name} has no description");
    }
    if TAKEN.load(Ordering::Relaxed) && name == "stats" {
        return std::ptr::null_mut();
    }
    let address = heap::allocate(size_of::<sys::sysctl_oid>(), "sysctloid", true) as usize;
    let kind = kind.cast_unsigned();
    let path = {
        let mut oids = OIDS.lock();
        if oids.iter().any(|oid| oid.parent == parent as usize && oid.name == name) {
            drop(oids);
            violation!(Call, "the sysctl {name} is registered twice");
        }
        oids.push(Oid {
            address,
            parent: parent as usize,
            context: context as usize,
            name: name.clone(),
            kind,
            arg1: arg1 as usize,
            arg2,
            handler: handler.map_or(0, |handler| handler as usize),
            running: 0,
        });
        path_of(&oids, address)
    };
    if kind & sys::CTLFLAG_TUN != 0 {
        let value = TUNABLES.lock().get(&path).cloned();
        if let Some(value) = value {
            let number = value.parse::<u32>().map(u32::to_ne_bytes);
            let is_text = kind & sys::CTLTYPE == sys::CTLTYPE_STRING;
            let bytes = if is_text { value.as_bytes() } else { number.as_ref().map_or(&[][..], |n| &n[..]) };
            // A value that the handler rejects is ignored.
            let _ = run(address, Some(bytes), Some(usize::MAX));
        }
    }
    address as *mut sys::sysctl_oid
}

fn path_of(oids: &[Oid], address: usize) -> String {
    let Some(oid) = oids.iter().find(|oid| oid.address == address) else { return String::new() };
    match oids.iter().find(|above| children(above.address) == oid.parent) {
        Some(above) => format!("{}.{}", path_of(oids, above.address), oid.name),
        None => format!("kern.{}", oid.name),
    }
}

pub(crate) unsafe extern "C" fn sysctl_ctx_free(context: *mut sys::sysctl_ctx_list) -> c_int {
    witness::may_sleep(current(), format_args!("sysctl_ctx_free()"));
    point();
    loop {
        let next = {
            let mut oids = OIDS.lock();
            let Some(index) = oids.iter().rposition(|oid| oid.context == context as usize) else { return 0 };
            if oids[index].running == 0 { Ok(oids.remove(index).address) } else { Err(oids[index].address) }
        };
        match next {
            Ok(address) => heap::release(address as *mut c_void, "sysctloid"),
            // A request is reading the node.
            Err(address) => {
                Sleep::prepare().on(address, c"oidrm".as_ptr(), sys::TDI_SLEEPING, Some(1_000_000));
            }
        }
    }
}

/// Answers the sysctl of sysctls that translates a number into a name.
pub(crate) unsafe extern "C" fn kernel_sysctl(
    _: *mut sys::thread,
    name: *mut c_int,
    namelen: sys::u_int,
    old: *mut c_void,
    oldlen: *mut usize,
    _new: *mut c_void,
    _newlen: usize,
    retval: *mut usize,
    _flags: c_int,
) -> c_int {
    witness::may_sleep(current(), format_args!("kernel_sysctl()"));
    point();
    // SAFETY: the caller keeps the contract of this kernel function.
    let name = unsafe { std::slice::from_raw_parts(name, namelen as usize) };
    let Some(text) = name.strip_prefix(&[0, 1]).and_then(sysctl_name) else { return ENOENT };
    // SAFETY: the caller keeps the contract of this kernel function.
    unsafe {
        if *oldlen < text.len() + 1 {
            return ENOMEM;
        }
        let old = old.cast::<u8>();
        old.copy_from_nonoverlapping(text.as_ptr(), text.len());
        old.add(text.len()).write(0);
        *retval = text.len() + 1;
    }
    0
}

/// Reads one of `security.bsd.see_…`.
pub(crate) unsafe extern "C" fn kernel_sysctlbyname(
    _: *mut sys::thread,
    name: *mut c_char,
    old: *mut c_void,
    oldlen: *mut usize,
    _new: *mut c_void,
    _newlen: usize,
    _retval: *mut usize,
    _flags: c_int,
) -> c_int {
    witness::may_sleep(current(), format_args!("kernel_sysctlbyname()"));
    point();
    // SAFETY: the caller keeps the contract of this kernel function.
    unsafe {
        let name = CStr::from_ptr(name);
        if !name.to_bytes().starts_with(b"security.bsd.see_") {
            return ENOENT;
        }
        if *oldlen < size_of::<c_int>() {
            return ENOMEM;
        }
        old.cast::<c_int>().write(c_int::from(policy(name)));
    }
    0
}

/// Returns the names of some sysctls.
pub(crate) fn sysctl_name(name: &[c_int]) -> Option<&'static str> {
    match name {
        [1, 1] => Some("kern.ostype"),
        [1, 2] => Some("kern.osrelease"),
        [6, 3] => Some("hw.ncpu"),
        _ => None,
    }
}
