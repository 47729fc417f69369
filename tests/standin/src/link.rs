//! The kernel's linker. It loads a module as `sys/kern/link_elf_obj.c` and `link_elf.c` do, and
//! runs the functions of its linker sets in the kernel's order.

use std::collections::BTreeMap;
use std::ffi::{c_int, c_void};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};

use anyhow::{Context, Result, bail, ensure};
use kernel_sys as sys;
use ktrace_artifact::{Module, Relocation, SymbolPlace};
use object::elf;

use crate::balance::Balance;
use crate::host::{HostLock, current, violation};
use crate::low::{PAGE, Region};
use crate::{counter, event, flaw, imports, kvar, machine, text, thread, user, witness};

const EBUSY: i32 = sys::EBUSY.cast_signed();

/// The size of a trampoline. The stand-in's functions are too far away for the module's calls,
/// which need one.
const TRAMPOLINE: usize = 128;

/// The bounds of the loaded module's text.
static START: AtomicUsize = AtomicUsize::new(0);
static END: AtomicUsize = AtomicUsize::new(0);
static LOADED: AtomicBool = AtomicBool::new(false);
/// The thread that unloads a module; zero if there is none.
static UNLOADER: AtomicUsize = AtomicUsize::new(0);

/// Returns whether a module is loaded, and has taken over.
pub fn is_loaded() -> bool {
    LOADED.load(Ordering::Acquire)
}

/// Returns whether the current thread unloads a module.
pub(crate) fn is_unloading() -> bool {
    UNLOADER.load(Ordering::Acquire) == current().as_ptr() as usize
}

/// Returns whether an address is in the text of the kernel or of the module.
pub(crate) fn is_kernel_text(address: usize) -> bool {
    text::contains(address) || is_module_text(address)
}

/// Returns whether an address is in the text of the module.
pub(crate) fn is_module_text(address: usize) -> bool {
    (START.load(Ordering::Relaxed)..END.load(Ordering::Relaxed)).contains(&address)
}

/// The regions of unloaded modules.
static RETIRED: HostLock<Vec<Region>> = HostLock::new(Vec::new());

/// Returns whether an address belongs to an unloaded module.
pub(crate) fn was_unloaded(address: usize) -> bool {
    RETIRED.try_lock().is_some_and(|retired| retired.iter().any(|region| region.contains(address)))
}

/// A module's file, not yet loaded.
#[derive(Debug)]
pub struct ModuleFile {
    bytes: Vec<u8>,
}

/// A loaded module.
#[derive(Debug)]
pub struct Loaded {
    region: Region,
    sysinit: Vec<usize>,
    sysuninit: Vec<usize>,
    modules: Vec<usize>,
    providers: Vec<usize>,
    probes: Vec<usize>,
    argtypes: Vec<usize>,
    before: Balance,
    /// The kernel's text before the load.
    text: Vec<u8>,
}

/// The place of a section in memory.
struct Placed {
    base: usize,
    size: usize,
}

impl ModuleFile {
    /// Reads the file of a module.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be read.
    pub fn read(path: &Path) -> Result<ModuleFile> {
        let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
        Ok(ModuleFile { bytes })
    }

    /// Loads the module, as kldload(2) does. Returns the errno of MOD_LOAD if the module refuses.
    /// May sleep.
    ///
    /// # Errors
    ///
    /// Fails if the file is no module, or names symbols that the stand-in lacks.
    pub fn load(&self) -> Result<Result<Loaded, i32>> {
        let module = Module::parse(&self.bytes)?;
        ensure!((module.machine, module.kind) == machine::FILE, "not what a kernel of this machine loads");
        let before = Balance::now();
        let loaded = link(&module, before)?;
        for (_, function, argument) in ordered(&loaded.sysinit) {
            // SAFETY: functions in the set have this type.
            let function: unsafe extern "C" fn(*mut c_void) = unsafe { std::mem::transmute(function) };
            user::checked("a function of SYSINIT", || {
                // SAFETY: the function is called with the argument that the set has for it.
                unsafe { function(argument as *mut c_void) }
            });
        }
        let result = RESULT.load(Ordering::Relaxed);
        if result != 0 {
            loaded.leave();
            return Ok(Err(result));
        }
        let redirected = text::changed(&loaded.text);
        if redirected != text::redirected() {
            violation!(Text, "{redirected} of {} functions are redirected", text::redirected());
        }
        LOADED.store(true, Ordering::Release);
        Ok(Ok(loaded))
    }
}

/// Returns the elements of a set of `struct sysinit`, sorted by subsystem and order: this pair, the
/// function, and its argument.
fn ordered(set: &[usize]) -> Vec<((u32, u32), usize, usize)> {
    let mut all: Vec<((u32, u32), usize, usize)> = set
        .iter()
        .map(|address| {
            // SAFETY: the address is a relocated element of the set.
            let init = unsafe { &*(*address as *const sys::sysinit) };
            let function = init.func.map_or(0, |function| function as usize);
            ((init.subsystem, init.order), function, init.udata as usize)
        })
        .collect();
    all.sort_by_key(|init| init.0);
    all
}

impl Loaded {
    /// Sends an event to the modules in the file. Returns the first error.
    fn event(&self, what: sys::modeventtype) -> i32 {
        // SAFETY: MDT_MODULE metadata points to a relocated moduledata_t.
        self.modules.iter().map(|data| unsafe { send(*data, what) }).find(|answer| *answer != 0).unwrap_or(0)
    }

    /// Returns the probes that sdt.ko finds in a loaded module, in the order of the set: provider,
    /// module, function and name of each, and the types of its arguments.
    ///
    /// # Errors
    ///
    /// Fails if a probe is invalid, or an argument belongs to no probe.
    pub fn probes(&self) -> Result<Vec<String>> {
        // SAFETY: the address is a relocated element of the set.
        let argtypes = self.argtypes.iter().map(|at| unsafe { &*(*at as *const sys::sdt_argtype) });
        let mut types: BTreeMap<usize, BTreeMap<c_int, String>> = BTreeMap::new();
        for argtype in argtypes {
            // SAFETY: the field is a string of the module.
            let text = unsafe { thread::text_of(argtype.type_) };
            types.entry(argtype.probe as usize).or_default().insert(argtype.ndx, text);
        }
        let mut found = Vec::new();
        for at in &self.probes {
            // SAFETY: the address is a relocated element of the set.
            let probe = unsafe { &*(*at as *const sys::sdt_probe) };
            ensure!(probe.version == size_of::<sys::sdt_probe>() as c_int, "a probe of another version");
            ensure!(self.providers.contains(&(probe.prov as usize)), "a probe without a provider");
            // SAFETY: the provider is relocated, and its fields are strings of the module.
            let [provider, module, function, name] = unsafe {
                [(*probe.prov).name.cast_const(), probe.mod_, probe.func, probe.name]
                    .map(|text| thread::text_of(text))
            };
            let types = types.remove(at).unwrap_or_default();
            ensure!(types.keys().copied().eq(0..types.len() as c_int), "{name}: numbers of arguments");
            let types: Vec<String> = types.into_values().collect();
            found.push(format!("{provider}:{module}:{function}:{name}({})", types.join(", ")));
        }
        ensure!(types.is_empty(), "arguments of a probe that is not there");
        Ok(found)
    }

    /// Unloads the module, as kldunload(2) does, forced or not. May sleep.
    ///
    /// # Errors
    ///
    /// Returns the module and an errno if the module refuses.
    pub fn unload(self, force: bool) -> Result<(), (Box<Loaded>, i32)> {
        if !force {
            let answer = self.event(sys::MOD_QUIESCE);
            if answer != 0 {
                return Err((Box::new(self), answer));
            }
        }
        UNLOADER.store(current().as_ptr() as usize, Ordering::Release);
        let answer = self.event(sys::MOD_UNLOAD);
        UNLOADER.store(0, Ordering::Release);
        if answer != 0 {
            return Err((Box::new(self), answer));
        }
        LOADED.store(false, Ordering::Release);
        self.leave();
        Ok(())
    }

    /// Unloads the module by force. Tries twice more if threads have not left it: the host may be slow.
    pub fn unload_at_last(self) {
        let mut module = self;
        for _ in 0..3 {
            match module.unload(true) {
                Ok(()) => return,
                Err((back, EBUSY)) => module = *back,
                Err((_, errno)) => violation!(Call, "MOD_UNLOAD: errno {errno}"),
            }
        }
        violation!(Hang, "the module does not unload");
    }

    /// Completes an unload that the module has agreed to, as the kernel does. Checks what the
    /// module leaves behind.
    fn leave(&self) {
        // In reverse order, as in linker_file_sysuninit().
        for (_, function, argument) in ordered(&self.sysuninit).into_iter().rev() {
            // SAFETY: functions in the set have this type.
            let function: unsafe extern "C" fn(*mut c_void) = unsafe { std::mem::transmute(function) };
            // SAFETY: the function is called with the argument that the set has for it.
            unsafe { function(argument as *mut c_void) };
        }
        let changed = text::changed(&self.text);
        if changed != 0 {
            violation!(Text, "{changed} functions are not what they were before the module was loaded");
        }
        self.before.compare(&Balance::now());
        counter::check_freed();
        START.store(0, Ordering::Relaxed);
        END.store(0, Ordering::Relaxed);
        self.region.retire();
        RETIRED.lock().push(self.region);
        if !witness::held(current()).is_empty() {
            violation!(Return, "the module has left with locks");
        }
        if flaw::shows(flaw::Other::CalledLate, 1) {
            event::call_late();
        }
    }
}

/// Loads the sections into memory, and relocates them.
fn link(module: &Module<'_>, before: Balance) -> Result<Loaded> {
    let names: Vec<&str> = module
        .linked_symbols()
        .1
        .iter()
        .filter(|symbol| symbol.place == SymbolPlace::Undefined && !symbol.name.is_empty())
        .map(|symbol| symbol.name)
        .collect();
    // A shared object has fixed offsets. Sections of other files are placed in order, aligned. The
    // trampolines follow.
    let mut offsets = BTreeMap::new();
    let mut end = 0_usize;
    for (number, section) in module.loaded() {
        if module.kind == elf::ET_DYN {
            let offset = usize::try_from(section.address)?;
            offsets.insert(number, offset);
            end = end.max(offset + usize::try_from(section.size)?);
            continue;
        }
        // Code begins on a page boundary, and so does the section behind it.
        end = if section.is_code() { end.next_multiple_of(4096) } else { end.next_multiple_of(64) };
        offsets.insert(number, end);
        end += usize::try_from(section.size)?;
        if section.is_code() {
            end = end.next_multiple_of(4096);
        }
    }
    let trampolines = end.next_multiple_of(4096);
    let region = Region::near(trampolines + names.len() * TRAMPOLINE);
    let mut placed = BTreeMap::new();
    for (number, section) in module.loaded() {
        let base = region.base + offsets[&number];
        // SAFETY: the section has its place in the region, which is writable.
        unsafe { std::ptr::copy_nonoverlapping(section.data.as_ptr(), base as *mut u8, section.data.len()) };
        placed.insert(number, Placed { base, size: usize::try_from(section.size)? });
    }
    let mut imported = BTreeMap::new();
    for (index, name) in names.iter().enumerate() {
        let at = region.base + trampolines + index * TRAMPOLINE;
        imported.insert(*name, import(module, &placed, name, at)?);
    }
    let mut executable = Vec::new();
    for (number, section) in module.loaded() {
        for relocation in &section.relocations {
            relocate(module, &region, &placed, &imported, placed[&number].base, relocation)
                .with_context(|| format!("{}+{:#x}", section.name, relocation.offset))?;
        }
        if section.is_code() {
            executable.push((placed[&number].base, placed[&number].size));
        }
    }
    START.store(executable.iter().map(|(base, _)| *base).min().unwrap_or(0), Ordering::Relaxed);
    END.store(executable.iter().map(|(base, size)| base + size).max().unwrap_or(0), Ordering::Relaxed);
    for (base, size) in executable {
        let page = base & !(PAGE - 1);
        region.protect(page - region.base, base + size - page, libc::PROT_READ | libc::PROT_EXEC);
    }
    region.protect(trampolines, region.len - trampolines, libc::PROT_READ | libc::PROT_EXEC);
    let set = |name: &str| elements(module, &placed, name);
    // SAFETY: the addresses are relocated elements of the set.
    let metadata =
        set("set_modmetadata_set").into_iter().map(|md| unsafe { &*(md as *const sys::mod_metadata) });
    let modules =
        metadata.filter(|md| md.md_type == sys::MDT_MODULE as c_int).map(|md| md.md_data as usize).collect();
    Ok(Loaded {
        region,
        sysinit: set("set_sysinit_set"),
        sysuninit: set("set_sysuninit_set"),
        modules,
        providers: set("set_sdt_providers_set"),
        probes: set("set_sdt_probes_set"),
        argtypes: set("set_sdt_argtypes_set"),
        before,
        text: text::bytes(),
    })
}

/// Returns the elements of a linker set.
fn elements(module: &Module<'_>, placed: &BTreeMap<usize, Placed>, name: &str) -> Vec<usize> {
    let section =
        module.loaded().find(|(_, section)| section.name == name).map(|(number, _)| &placed[&number]);
    // SAFETY: the section is an array of pointers.
    section.map_or_else(Vec::new, |set| unsafe {
        std::slice::from_raw_parts(set.base as *const usize, set.size / size_of::<usize>()).to_vec()
    })
}

/// Returns the address of an undefined symbol. A missing weak symbol has address zero.
fn import(module: &Module<'_>, placed: &BTreeMap<usize, Placed>, name: &str, at: usize) -> Result<usize> {
    // The bounds of the module's own linker sets.
    for (prefix, behind) in [("__start_", false), ("__stop_", true)] {
        let set = name.strip_prefix(prefix);
        let section = set.and_then(|set| module.loaded().find(|(_, section)| section.name == set));
        if let Some((number, _)) = section {
            return Ok(placed[&number].base + if behind { placed[&number].size } else { 0 });
        }
    }
    if let Some(function) = imports::function(name) {
        trampoline(at, function, flaw::omitted() == Some(name));
        return Ok(at);
    }
    if let Some((_, address)) = kvar::symbols().into_iter().find(|(known, _)| *known == name) {
        return Ok(address);
    }
    let weak =
        module.linked_symbols().1.iter().any(|symbol| symbol.name == name && symbol.bind == elf::STB_WEAK);
    ensure!(weak, "{name}: the stand-in has no such symbol");
    Ok(0)
}

/// Writes a trampoline to a function.
fn trampoline(at: usize, function: usize, omit: bool) {
    let code = machine::trampoline(function, omit.then_some(flaw::omit_this as *const () as usize));
    assert!(code.len() <= TRAMPOLINE, "a trampoline fits");
    // SAFETY: the place is in the region, which is writable.
    unsafe { std::ptr::copy_nonoverlapping(code.as_ptr(), at as *mut u8, code.len()) };
}

fn relocate(
    module: &Module<'_>,
    region: &Region,
    placed: &BTreeMap<usize, Placed>,
    imported: &BTreeMap<&str, usize>,
    section: usize,
    relocation: &Relocation,
) -> Result<()> {
    let (_, symbols) = module.linked_symbols();
    let symbol = symbols.get(relocation.symbol).context("a symbol that is not there")?;
    let value = match symbol.place {
        // A relocation without a symbol is relative to the module's base.
        _ if relocation.symbol == 0 => region.base as u64,
        SymbolPlace::Section(number) => {
            let placed = placed.get(&number).with_context(|| format!("{}: not loaded", symbol.name))?;
            placed.base as u64 + symbol.value
        }
        SymbolPlace::Absolute => symbol.value,
        SymbolPlace::Undefined => imported.get(symbol.name).copied().unwrap_or(0) as u64,
        SymbolPlace::Common => bail!("{}: common", symbol.name),
    };
    let place = section as u64 + relocation.offset;
    let addend = relocation.addend.context("relocations without addends")?;
    let (bytes, len) = machine::relocated(relocation.kind, value.wrapping_add_signed(addend), place)
        .with_context(|| format!("of {}", symbol.name))?;
    // SAFETY: the place is in a section, which is writable. The artifact check has verified its
    // offset.
    unsafe { std::ptr::copy_nonoverlapping(bytes.to_le_bytes().as_ptr(), place as *mut u8, len) };
    Ok(())
}

/// Sends an event to a module.
///
/// # Safety
///
/// `data` is the address of its `moduledata_t`.
unsafe fn send(data: usize, what: sys::modeventtype) -> i32 {
    // SAFETY: `data` is the address of a moduledata_t (see # Safety).
    let data = unsafe { &*(data as *const sys::moduledata) };
    let Some(handler) = data.evhand else { return 0 };
    user::checked("the handler of module(9)", || {
        // SAFETY: the handler has this type, and does not read its module argument.
        unsafe { handler(std::ptr::null_mut(), what as c_int, data.priv_) }
    })
}

/// The answer of MOD_LOAD.
static RESULT: AtomicI32 = AtomicI32::new(0);

/// Loads the module. If it refuses, sends MOD_UNLOAD at once.
pub(crate) unsafe extern "C" fn module_register_init(data: *const c_void) {
    // SAFETY: the caller passes a moduledata_t.
    let answer = unsafe { send(data as usize, sys::MOD_LOAD) };
    RESULT.store(answer, Ordering::Relaxed);
    if answer != 0 {
        // SAFETY: the caller passes a moduledata_t.
        unsafe { send(data as usize, sys::MOD_UNLOAD) };
    }
}
