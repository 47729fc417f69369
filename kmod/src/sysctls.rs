//! The sysctl(9) tree `kern.ktrace_rs`.

use alloc::boxed::Box;
use alloc::ffi::CString;
use alloc::sync::Arc;
use core::cell::UnsafeCell;
use core::ffi::{CStr, c_int, c_void};
use core::mem::MaybeUninit;

use kernel_sys as sys;
use ktrace_engine::{Counter, Errno, Policy, Settings, Stats};
use ktrace_format::Kind;

use crate::helper;
use crate::kernel::context::MaySleep;
use crate::kernel::log;
use crate::kernel::proc::{CurrentThread, ProcLocked};
use crate::kernel::sysctl::{self, Answer};
use crate::listing;
use crate::module;
use crate::platform::{Engine, Kernel};
use crate::release;

const EEXIST: Errno = Errno(sys::EEXIST.cast_signed());
const ENOENT: Errno = Errno(sys::ENOENT.cast_signed());
const EINVAL: Errno = Errno(sys::EINVAL.cast_signed());
const EPERM: Errno = Errno(sys::EPERM.cast_signed());

const READ_ONLY: u32 = sys::CTLFLAG_RD | sys::CTLFLAG_MPSAFE;

type Handler =
    unsafe extern "C" fn(*mut sys::sysctl_oid, *mut c_void, sys::intmax_t, *mut sys::sysctl_req) -> c_int;

/// The sysctl tree, from load to unload.
///
/// Dropping this waits for threads that are reading the tree. May sleep.
pub(crate) struct Sysctls {
    context: Box<UnsafeCell<sys::sysctl_ctx_list>>,
    /// Text that a node points to.
    target: CString,
    _engine: Arc<Engine>,
}

/// A setting of `kern.ktrace_rs`, also a loader tunable.
struct Setting {
    name: &'static CStr,
    description: &'static CStr,
    get: fn(&Settings) -> u32,
    set: fn(&Settings, u32) -> Result<(), Errno>,
}

static SETTINGS: [Setting; 6] = [
    Setting {
        name: c"queue_limit",
        description: c"Most bytes of records that one process may have queued",
        get: |settings| u32::try_from(settings.queue_limit()).unwrap_or(u32::MAX),
        set: |settings, bytes| settings.set_queue_limit(bytes as usize),
    },
    Setting {
        name: c"latency",
        description: c"Milliseconds until the records of a process that stays in the kernel are written",
        get: Settings::latency,
        set: Settings::set_latency,
    },
    Setting {
        name: c"batch_bytes",
        description: c"Bytes of records that are written at once under the policy batch",
        get: |settings| u32::try_from(settings.batch_bytes()).unwrap_or(u32::MAX),
        set: |settings, bytes| settings.set_batch_bytes(bytes as usize),
    },
    Setting {
        name: c"batch_records",
        description: c"Records that are written at once under the policy batch",
        get: |settings| u32::try_from(settings.batch_records()).unwrap_or(u32::MAX),
        set: |settings, records| settings.set_batch_records(records as usize),
    },
    Setting {
        name: c"memory_limit",
        description: c"Most bytes of memory that traces use for records",
        get: |settings| u32::try_from(settings.memory_limit()).unwrap_or(u32::MAX),
        set: |settings, bytes| {
            settings.set_memory_limit(bytes as usize);
            Ok(())
        },
    },
    Setting {
        name: c"user_memory_limit",
        description: c"Most bytes of memory that the traces of one user use for records",
        get: |settings| u32::try_from(settings.user_memory_limit()).unwrap_or(u32::MAX),
        set: |settings, bytes| {
            settings.set_user_memory_limit(bytes as usize);
            Ok(())
        },
    },
];

/// A setting of `kern.ktrace_rs` whose value is a word.
struct Word {
    name: &'static CStr,
    description: &'static CStr,
    get: fn(&Settings, &mut [u8]),
    set: fn(&Settings, &[u8]) -> Result<(), Errno>,
}

/// Maximum length of a word in bytes, including the NUL.
const WORD_LEN: usize = 32;

static WORDS: [Word; 2] = [
    Word {
        name: c"policy",
        description: c"When records are written: record, return, batch",
        get: |settings, out| copy(settings.policy().name().bytes(), out),
        set: |settings, word| {
            let policy = Policy::ALL.into_iter().find(|policy| policy.name().as_bytes() == word);
            policy.map(|policy| settings.set_policy(policy)).ok_or(EINVAL)
        },
    },
    Word {
        name: c"at_once",
        description: c"Trace points, as letters of ktrace(1), whose records are written at once",
        get: |settings, out| {
            let all = settings.at_once();
            copy(letters_of(all), out);
        },
        set: |settings, word| {
            let mut all = 0;
            for byte in word {
                all |= letters().find(|(letter, _)| letter == byte).ok_or(EINVAL)?.1;
            }
            settings.set_at_once(all);
            Ok(())
        },
    },
];

/// The letters of ktrace(1) for trace points that all releases have.
static LETTERS: [(u8, u32); 10] = [
    (b'c', sys::KTRFAC_SYSCALL | sys::KTRFAC_SYSRET),
    (b'f', sys::KTRFAC_FAULT | sys::KTRFAC_FAULTEND),
    (b'i', sys::KTRFAC_GENIO),
    (b'n', sys::KTRFAC_NAMEI),
    (b'p', sys::KTRFAC_CAPFAIL),
    (b's', sys::KTRFAC_PSIG),
    (b't', sys::KTRFAC_STRUCT | sys::KTRFAC_STRUCT_ARRAY),
    (b'u', sys::KTRFAC_USER),
    (b'w', sys::KTRFAC_CSW),
    (b'y', sys::KTRFAC_SYSCTL),
];

fn letters() -> impl Iterator<Item = &'static (u8, u32)> {
    LETTERS.iter().chain(&release::LETTERS)
}

/// Returns the letters of trace points (`KTRFAC_…`).
pub(crate) fn letters_of(facilities: u32) -> impl Iterator<Item = u8> {
    letters().filter(move |(_, of_letter)| facilities & of_letter != 0).map(|(letter, _)| *letter)
}

/// Copies as many bytes as fit before a NUL.
fn copy(bytes: impl Iterator<Item = u8>, out: &mut [u8]) {
    let room = out.len().saturating_sub(1);
    out.iter_mut().take(room).zip(bytes).for_each(|(to, from)| *to = from);
}

/// A list of traced processes or trace files, with a line for each.
struct List {
    name: &'static CStr,
    description: &'static CStr,
    print: fn(MaySleep, &mut Answer) -> Result<(), Errno>,
}

static LISTS: [List; 2] = [
    List { name: c"procs", description: c"Processes that are traced", print: listing::procs },
    List { name: c"files", description: c"Trace files that are written", print: listing::files },
];

/// A value of `kern.ktrace_rs.stats`. Its index in [`VALUES`] is its number for the handler.
struct Value {
    name: &'static CStr,
    description: &'static CStr,
    read: fn(&Engine, MaySleep) -> u64,
}

static VALUES: [Value; 14] = [
    Value {
        name: c"records",
        description: c"Records written to trace files",
        read: |engine, _| Stats::<Kernel>::total(&engine.stats.records),
    },
    Value {
        name: c"bytes",
        description: c"Bytes written to trace files",
        read: |engine, _| engine.stats.bytes.fetch(),
    },
    Value {
        name: c"commits",
        description: c"Writes to trace files",
        read: |engine, _| engine.stats.commits.fetch(),
    },
    Value {
        name: c"dropped",
        description: c"Records that were made and are in no trace file",
        read: |engine, _| Stats::<Kernel>::total(&engine.stats.dropped),
    },
    Value {
        name: c"records_per_commit",
        description: c"Records of a write, on average",
        read: |engine, _| {
            Stats::<Kernel>::total(&engine.stats.records)
                .checked_div(engine.stats.commits.fetch())
                .unwrap_or(0)
        },
    },
    Value {
        name: c"bytes_per_commit",
        description: c"Bytes of a write, on average",
        read: |engine, _| engine.stats.bytes.fetch().checked_div(engine.stats.commits.fetch()).unwrap_or(0),
    },
    Value {
        name: c"waited",
        description: c"Microseconds that writes to trace files took",
        // SAFETY: cputick2usec() accepts any number of ticks.
        read: |engine, _| unsafe { sys::cputick2usec(engine.stats.waited.fetch()) },
    },
    Value {
        name: c"helped",
        description: c"Times that the helper wrote for a process that stayed in the kernel",
        read: |engine, _| engine.stats.helped.fetch(),
    },
    Value {
        name: c"queued",
        description: c"Bytes that are not written yet",
        // The sum may be negative for a moment, because bytes may be subtracted before they are
        // added.
        read: |engine, _| u64::try_from(engine.stats.queued.fetch().cast_signed()).unwrap_or(0),
    },
    Value {
        name: c"oldest",
        description: c"Milliseconds since the oldest record was made that is not written yet",
        read: |_, may_sleep| helper::oldest(may_sleep),
    },
    Value {
        name: c"queued_max",
        description: c"Most bytes that one process has had queued",
        read: |engine, _| engine.stats.queued_max(),
    },
    Value {
        name: c"memory",
        description: c"Bytes of memory that traces use for records",
        read: |engine, _| engine.memory_used() as u64,
    },
    Value {
        name: c"procs",
        description: c"Processes that are traced",
        read: |engine, _| engine.stats.procs.fetch(),
    },
    Value {
        name: c"files",
        description: c"Trace files that are open",
        read: |engine, _| engine.stats.files.fetch(),
    },
];

impl Sysctls {
    /// Registers the tree, and applies loader tunables. If the kernel already has one of the names,
    /// prints it and returns `EEXIST`. May sleep.
    pub(crate) fn register(
        engine: &Arc<Engine>,
        version: &'static CStr,
        target: CString,
    ) -> Result<Self, Errno> {
        // SAFETY: all zero is a context that sysctl_ctx_init(9) accepts.
        let context = Box::new(UnsafeCell::new(unsafe { MaybeUninit::zeroed().assume_init() }));
        // SAFETY: the context does not move until it is freed.
        unsafe { sys::sysctl_ctx_init(context.get()) };
        let tree = Sysctls { context, target, _engine: Arc::clone(engine) };
        let engine: *const Engine = Arc::as_ptr(engine);
        // SAFETY: the kernel never frees this node.
        let kern = unsafe { &raw mut sys::sysctl___kern.oid_children };
        let root = tree.node(kern, c"ktrace_rs", c"ktrace(4) backend")?;
        tree.text(root, c"version", c"Version of the module", version)?;
        tree.text(root, c"target", c"FreeBSD release that the module was built for", &tree.target)?;
        for (number, setting) in SETTINGS.iter().enumerate() {
            tree.leaf(
                root,
                setting.name,
                setting.description,
                sys::CTLTYPE_UINT | sys::CTLFLAG_RWTUN | sys::CTLFLAG_MPSAFE,
                engine.cast_mut().cast(),
                number as sys::intmax_t,
                set,
                c"IU",
            )?;
        }
        for (number, word) in WORDS.iter().enumerate() {
            tree.leaf(
                root,
                word.name,
                word.description,
                sys::CTLTYPE_STRING | sys::CTLFLAG_RWTUN | sys::CTLFLAG_MPSAFE,
                engine.cast_mut().cast(),
                number as sys::intmax_t,
                set_word,
                c"A",
            )?;
        }
        for (number, list) in LISTS.iter().enumerate() {
            tree.leaf(
                root,
                list.name,
                list.description,
                // Hidden from sysctl -a, because a list may be long.
                sys::CTLTYPE_STRING | READ_ONLY | sys::CTLFLAG_SKIP,
                engine.cast_mut().cast(),
                number as sys::intmax_t,
                print_list,
                c"A",
            )?;
        }
        let stats = tree.node(root, c"stats", c"Statistics since load")?;
        for (number, value) in VALUES.iter().enumerate() {
            tree.counter(stats, value.name, value.description, engine, number, stat)?;
        }
        let types = tree.node(stats, c"type", c"Statistics by record type")?;
        for kind in Kind::ALL.into_iter().filter(|kind| *kind as u16 <= release::LAST_KIND as u16) {
            let name = CString::new(kind.name()).unwrap_or_default();
            let node = tree.node(types, &name, c"Statistics of one record type")?;
            let number = usize::from(kind as u16);
            tree.counter(node, c"records", c"Records written", engine, number, stat_of_type::<false>)?;
            tree.counter(node, c"dropped", c"Records dropped", engine, number, stat_of_type::<true>)?;
        }
        Ok(tree)
    }

    fn node(
        &self,
        parent: *mut sys::sysctl_oid_list,
        name: &CStr,
        description: &CStr,
    ) -> Result<*mut sys::sysctl_oid_list, Errno> {
        let kind = sys::CTLTYPE_NODE | READ_ONLY;
        let oid = self.add(parent, name, description, kind, core::ptr::null_mut(), 0, None, c"N")?;
        // SAFETY: sysctl_add_oid(9) has returned the new node, which exists until the tree is
        // freed.
        Ok(unsafe { &raw mut (*oid).oid_children })
    }

    fn text(
        &self,
        parent: *mut sys::sysctl_oid_list,
        name: &CStr,
        description: &CStr,
        text: &CStr,
    ) -> Result<(), Errno> {
        let kind = sys::CTLTYPE_STRING | READ_ONLY;
        let handler: Handler = sys::sysctl_handle_string;
        self.leaf(parent, name, description, kind, text.as_ptr().cast_mut().cast(), 0, handler, c"A")
    }

    fn counter(
        &self,
        parent: *mut sys::sysctl_oid_list,
        name: &CStr,
        description: &CStr,
        engine: *const Engine,
        number: usize,
        handler: Handler,
    ) -> Result<(), Errno> {
        let kind = sys::CTLTYPE_U64 | READ_ONLY;
        self.leaf(
            parent,
            name,
            description,
            kind,
            engine.cast_mut().cast(),
            number as sys::intmax_t,
            handler,
            c"QU",
        )
    }

    #[expect(clippy::too_many_arguments, reason = "those of sysctl_add_oid(9)")]
    fn leaf(
        &self,
        parent: *mut sys::sysctl_oid_list,
        name: &CStr,
        description: &CStr,
        kind: u32,
        arg1: *mut c_void,
        arg2: sys::intmax_t,
        handler: Handler,
        format: &CStr,
    ) -> Result<(), Errno> {
        self.add(parent, name, description, kind, arg1, arg2, Some(handler), format).map(|_| ())
    }

    #[expect(clippy::too_many_arguments, reason = "those of sysctl_add_oid(9)")]
    fn add(
        &self,
        parent: *mut sys::sysctl_oid_list,
        name: &CStr,
        description: &CStr,
        kind: u32,
        arg1: *mut c_void,
        arg2: sys::intmax_t,
        handler: Option<Handler>,
        format: &CStr,
    ) -> Result<*mut sys::sysctl_oid, Errno> {
        // SAFETY: the parent is a node of the tree or the kernel's. Name and description are
        // copied, and the format is static. The handler's arguments exist until the tree is freed.
        let oid = unsafe {
            sys::sysctl_add_oid(
                self.context.get(),
                parent,
                sys::OID_AUTO,
                name.as_ptr(),
                kind.cast_signed(),
                arg1,
                arg2,
                handler,
                format.as_ptr(),
                description.as_ptr(),
                core::ptr::null(),
            )
        };
        if oid.is_null() {
            log::print(format_args!(
                "another module has {} of kern.ktrace_rs in sysctl(9): unload that and load again",
                name.to_str().unwrap_or_default()
            ));
            return Err(EEXIST);
        }
        Ok(oid)
    }
}

impl Drop for Sysctls {
    fn drop(&mut self) {
        // SAFETY: register() has initialised the context, and no other code has it.
        unsafe { sys::sysctl_ctx_free(self.context.get()) };
    }
}

/// Reads or changes a setting of [`SETTINGS`]. Returns `EINVAL` for a value out of range.
///
/// # Safety
///
/// A handler of sysctl(9); `arg1` is the engine, `arg2` the number of the setting.
unsafe extern "C" fn set(
    oid: *mut sys::sysctl_oid,
    arg1: *mut c_void,
    arg2: sys::intmax_t,
    req: *mut sys::sysctl_req,
) -> c_int {
    let setting = usize::try_from(arg2).ok().and_then(|number| SETTINGS.get(number));
    let Some(setting) = setting else { return ENOENT.0 };
    // SAFETY: the engine outlives the tree.
    let settings = unsafe { &(*arg1.cast::<Engine>()).settings };
    let mut value = (setting.get)(settings);
    // SAFETY: sysctl_handle_int() reads and writes the u_int `value` only.
    let error = unsafe { sys::sysctl_handle_int(oid, (&raw mut value).cast(), 0, req) };
    // SAFETY: the request is valid while the handler runs.
    if error != 0 || unsafe { (*req).newptr.is_null() } {
        return error;
    }
    match (setting.set)(settings, value) {
        Ok(()) => {
            helper::wake();
            0
        }
        Err(Errno(errno)) => errno,
    }
}

/// Reads or changes a setting of [`WORDS`]. Returns `EINVAL` for an unknown word.
///
/// # Safety
///
/// A handler of sysctl(9); `arg1` is the engine, `arg2` the number of the setting.
unsafe extern "C" fn set_word(
    oid: *mut sys::sysctl_oid,
    arg1: *mut c_void,
    arg2: sys::intmax_t,
    req: *mut sys::sysctl_req,
) -> c_int {
    let word = usize::try_from(arg2).ok().and_then(|number| WORDS.get(number));
    let Some(word) = word else { return ENOENT.0 };
    // SAFETY: the engine outlives the tree.
    let settings = unsafe { &(*arg1.cast::<Engine>()).settings };
    let mut text = [0_u8; WORD_LEN];
    (word.get)(settings, &mut text);
    // SAFETY: sysctl_handle_string() handles a string of at most WORD_LEN bytes, the size of
    // `text`.
    let error =
        unsafe { sys::sysctl_handle_string(oid, text.as_mut_ptr().cast(), WORD_LEN as sys::intmax_t, req) };
    // SAFETY: the request is valid while the handler runs.
    if error != 0 || unsafe { (*req).newptr.is_null() } {
        return error;
    }
    let Ok(text) = CStr::from_bytes_until_nul(&text) else { return EINVAL.0 };
    match (word.set)(settings, text.to_bytes()) {
        Ok(()) => 0,
        Err(Errno(errno)) => errno,
    }
}

/// Prints a list of [`LISTS`].
///
/// # Safety
///
/// A handler of sysctl(9); `arg2` is the number of the list.
unsafe extern "C" fn print_list(
    _: *mut sys::sysctl_oid,
    _: *mut c_void,
    arg2: sys::intmax_t,
    req: *mut sys::sysctl_req,
) -> c_int {
    let list = usize::try_from(arg2).ok().and_then(|number| LISTS.get(number));
    let Some(list) = list else { return ENOENT.0 };
    // SAFETY: a handler of sysctl(9) may sleep.
    let may_sleep = unsafe { MaySleep::new() };
    // SAFETY: the request is the handler's. Its buffer is wired before the thread is counted as
    // inside the module, where it must not wait for the caller's pages.
    let answer = unsafe { Answer::begin(may_sleep, req) };
    match answer.and_then(|answer| hand_out(list, may_sleep, answer)) {
        Ok(()) => 0,
        Err(Errno(errno)) => errno,
    }
}

/// Prints a list line by line, or sets the size of the buffer that it needs. May sleep.
fn hand_out(list: &List, may_sleep: MaySleep, mut answer: Answer) -> Result<(), Errno> {
    if answer.is_size_probe() {
        answer.set_size(module::with_engine(|_| listing::room(may_sleep)).unwrap_or(1));
        return Ok(());
    }
    module::with_engine(|_| (list.print)(may_sleep, &mut answer)).unwrap_or(Ok(()))?;
    answer.add(b"\0")
}

/// Reads a value of [`VALUES`].
///
/// # Safety
///
/// A handler of sysctl(9); `arg1` is the engine, `arg2` the number of the value.
unsafe extern "C" fn stat(
    oid: *mut sys::sysctl_oid,
    arg1: *mut c_void,
    arg2: sys::intmax_t,
    req: *mut sys::sysctl_req,
) -> c_int {
    let value = usize::try_from(arg2).ok().and_then(|number| VALUES.get(number));
    // SAFETY: the engine outlives the tree; a handler of sysctl(9) may sleep.
    let (engine, may_sleep) = unsafe { (&*arg1.cast::<Engine>(), MaySleep::new()) };
    reply(may_sleep, oid, req, || value.map_or(0, |value| (value.read)(engine, may_sleep)))
}

/// Reads the number of written records of one type, or of dropped ones if `DROPPED`.
///
/// # Safety
///
/// A handler of sysctl(9); `arg1` is the engine, `arg2` the number of the type.
unsafe extern "C" fn stat_of_type<const DROPPED: bool>(
    oid: *mut sys::sysctl_oid,
    arg1: *mut c_void,
    arg2: sys::intmax_t,
    req: *mut sys::sysctl_req,
) -> c_int {
    // SAFETY: the engine outlives the tree; a handler of sysctl(9) may sleep.
    let (stats, may_sleep) = unsafe { (&(*arg1.cast::<Engine>()).stats, MaySleep::new()) };
    let counters = if DROPPED { &stats.dropped } else { &stats.records };
    let kind = u16::try_from(arg2).ok().and_then(Kind::from_number);
    reply(may_sleep, oid, req, || kind.map_or(0, |kind| counters.get(kind).fetch()))
}

/// Returns a statistic to the caller of sysctl(3), or `EPERM` if that thread may not see all
/// processes that the statistic covers. May sleep.
fn reply(
    may_sleep: MaySleep,
    oid: *mut sys::sysctl_oid,
    req: *mut sys::sysctl_req,
    read: impl FnOnce() -> u64,
) -> c_int {
    if !may_see_all(may_sleep) {
        return EPERM.0;
    }
    let mut value = read();
    // SAFETY: handlers call this with their own arguments; sysctl_handle_64() hands out `value`.
    unsafe { sys::sysctl_handle_64(oid, (&raw mut value).cast(), 0, req) }
}

/// Settings that hide processes, and the privileges to see them nevertheless.
static HIDING: [(&CStr, u32); 3] = [
    (c"security.bsd.see_other_uids", sys::PRIV_SEEOTHERUIDS),
    (c"security.bsd.see_other_gids", sys::PRIV_SEEOTHERGIDS),
    (c"security.bsd.see_jail_proc", sys::PRIV_SEEJAILPROC),
];

/// Returns whether the current thread may see the processes of all users and jails. May sleep.
///
/// init(8) is checked as well. It is in no jail, and a mac(4) policy that hides processes hides it,
/// too.
fn may_see_all(may_sleep: MaySleep) -> bool {
    const INIT: i32 = 1;
    let td = CurrentThread::get();
    let sees = |(name, privilege): &(&CStr, u32)| {
        td.has_privilege(*privilege) || sysctl::int(may_sleep, name).is_some_and(|value| value != 0)
    };
    ProcLocked::find(may_sleep, INIT).is_some_and(|init| init.can_see(td)) && HIDING.iter().all(sees)
}
