//! The payloads (`struct ktr_syscall` … of `sys/ktrace.h`).

use crate::Kind;
use crate::bytes::{Put, Take};

/// Longest path with its NUL (`sys/param.h`).
pub const MAXPATHLEN: usize = 1024;

/// Longest wait message with its NUL in a [`Csw`] (`ktr_csw.wmesg`).
pub const WMESGLEN: usize = 8;

/// Size of an [`Exterr`] in bytes (`struct uexterror`).
pub const EXTERR_LEN: usize = 40 + EXTERR_RESERVED + EXTERR_MSG_LEN;
/// Size of an [`Exterr`]'s message with a NUL.
pub const EXTERR_MSG_LEN: usize = 128;
const EXTERR_RESERVED: usize = 32;

/// Size of a [`CapFail`] in bytes, whatever its data (`struct ktr_cap_fail`).
pub const CAP_FAIL_LEN: usize = 16 + MAXPATHLEN;

/// Size of `struct sockaddr` in a [`CapData::Sockaddr`].
const SOCKADDR_LEN: usize = 16;

/// `struct ktr_syscall`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Syscall<'a> {
    /// Number of the system call.
    pub code: i16,
    /// Arguments of the system call.
    pub args: Args<'a>,
}

impl Syscall<'_> {
    #[inline]
    fn encode(&self, out: &mut Put<'_>) -> Option<()> {
        out.i16(self.code)?;
        out.i16(i16::try_from(self.args.len()).ok()?)?;
        out.zeros(4)?;
        self.args.encode(out)
    }
}

/// Arguments of a system call: registers in the kernel, bytes in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Args<'a>(ArgsForm<'a>);

#[derive(Clone, Copy, Debug)]
enum ArgsForm<'a> {
    Registers(&'a [u64]),
    Bytes(&'a [u8]),
}

impl PartialEq for ArgsForm<'_> {
    fn eq(&self, other: &Self) -> bool {
        Args(*self).iter().eq(Args(*other).iter())
    }
}

impl Eq for ArgsForm<'_> {}

impl<'a> Args<'a> {
    /// Returns the number of arguments.
    pub const fn len(&self) -> usize {
        match self.0 {
            ArgsForm::Registers(args) => args.len(),
            ArgsForm::Bytes(bytes) => bytes.len() / 8,
        }
    }

    /// Returns whether there are no arguments.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the arguments in order.
    pub fn iter(&self) -> impl Iterator<Item = u64> + use<'a> {
        let (registers, bytes): (&'a [u64], &'a [u8]) = match self.0 {
            ArgsForm::Registers(args) => (args, &[]),
            ArgsForm::Bytes(bytes) => (&[], bytes),
        };
        let from_bytes =
            bytes.chunks_exact(8).filter_map(|chunk| Some(u64::from_ne_bytes(chunk.try_into().ok()?)));
        registers.iter().copied().chain(from_bytes)
    }

    #[inline]
    fn encode(&self, out: &mut Put<'_>) -> Option<()> {
        match self.0 {
            ArgsForm::Registers(args) => args.iter().try_for_each(|arg| out.u64(*arg)),
            ArgsForm::Bytes(bytes) => out.bytes(bytes),
        }
    }
}

impl<'a> From<&'a [u64]> for Args<'a> {
    fn from(args: &'a [u64]) -> Self {
        Args(ArgsForm::Registers(args))
    }
}

/// `struct ktr_sysret`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sysret {
    /// Number of the system call.
    pub code: i16,
    /// Errno of the system call, 0 for none.
    pub error: i32,
    /// Return value of the system call, 0 if it failed.
    pub retval: u64,
}

impl Sysret {
    #[inline]
    fn encode(&self, out: &mut Put<'_>) -> Option<()> {
        out.i16(self.code)?;
        out.zeros(2)?;
        out.i32(self.error)?;
        out.u64(self.retval)
    }
}

/// `struct ktr_genio` and the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Genio<'a> {
    /// File descriptor.
    pub fd: i32,
    /// `UIO_READ` (0) or `UIO_WRITE` (1).
    pub rw: u32,
    /// The data read or written.
    pub data: &'a [u8],
}

/// `struct ktr_psig`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Psig {
    /// Number of the signal.
    pub signo: i32,
    /// Address of the signal's handler (`SIG_DFL` is 0).
    pub action: u64,
    /// Reason for the signal (`si_code`).
    pub code: i32,
    /// Signals that were blocked when the signal was delivered.
    pub mask: [u32; 4],
}

/// `struct ktr_csw`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Csw<'a> {
    /// Set if the thread is switched out, clear if it runs again.
    pub out: bool,
    /// Set if the switch was involuntary, on the way to user mode.
    pub user: bool,
    /// Wait message of the thread; cut to seven bytes.
    pub wmesg: &'a [u8],
}

/// Name and bytes of a `KTR_STRUCT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Struct<'a> {
    /// Name of the structure, without a NUL in it.
    pub name: &'a [u8],
    /// Bytes of the structure.
    pub data: &'a [u8],
}

/// `struct ktr_struct_array`, the name, and the elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StructArray<'a> {
    /// Size of one element in bytes.
    pub struct_size: u64,
    /// Name of the structure, without a NUL in it.
    pub name: &'a [u8],
    /// The elements.
    pub data: &'a [u8],
}

/// `struct ktr_proc_ctor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcCtor {
    /// `sv_flags` of the process's `struct sysentvec`, which tell its ABI.
    pub sv_flags: u32,
}

/// `struct ktr_cap_fail`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CapFail<'a> {
    /// Type of the failed check (`CAPFAIL_NOTCAPABLE` …).
    pub cap_type: u32,
    /// Number of the system call.
    pub code: i16,
    /// `sv_flags` of the process.
    pub svflags: u32,
    /// Data of the failed check.
    pub data: CapData<'a>,
}

/// `union ktr_cap_data`, without the zeroes at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CapData<'a> {
    /// No data, or data of a type that this release does not define.
    None,
    /// Rights needed and rights held (`CAPFAIL_NOTCAPABLE`, `CAPFAIL_INCREASE`).
    Rights {
        /// `cap_needed`.
        needed: [u64; 2],
        /// `cap_held`.
        held: [u64; 2],
    },
    /// A signal, a protocol or a command (`CAPFAIL_SIGNAL`, `CAPFAIL_PROTO`, `CAPFAIL_SYSCALL`).
    Int(i32),
    /// An address; cut to the 16 bytes of a `struct sockaddr` (`CAPFAIL_SOCKADDR`).
    Sockaddr(&'a [u8]),
    /// A path; cut to `MAXPATHLEN - 1` bytes (`CAPFAIL_NAMEI`).
    Path(&'a [u8]),
}

/// `struct ktr_fault`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Address that faulted.
    pub vaddr: u64,
    /// Type of the access (`VM_PROT_READ` …).
    pub fault_type: i32,
}

/// `struct ktr_faultend`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultEnd {
    /// `KERN_SUCCESS` (0) or another result of vm_fault(9).
    pub result: i32,
}

/// The kernel's description of an error, beside errno (`struct uexterror`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exterr<'a> {
    /// Version (`UEXTERROR_VER`).
    pub ver: u32,
    /// The errno.
    pub error: u32,
    /// Part of the kernel that set the error (`EXTERR_CAT_…` of `sys/exterr_cat.h`).
    pub cat: u32,
    /// Line in the source of that part.
    pub src_line: u32,
    /// Flags.
    pub flags: u32,
    /// Parameters of the message.
    pub p: [u64; 2],
    /// The message without a NUL, cut to [`EXTERR_MSG_LEN`] - 1 bytes.
    pub msg: &'a [u8],
}

/// The payload of a record. Its type is in the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload<'a> {
    /// `KTR_SYSCALL`
    Syscall(Syscall<'a>),
    /// `KTR_SYSRET`
    Sysret(Sysret),
    /// `KTR_NAMEI`: the path, without a NUL.
    Namei(&'a [u8]),
    /// `KTR_GENIO`
    Genio(Genio<'a>),
    /// `KTR_PSIG`
    Psig(Psig),
    /// `KTR_CSW`
    Csw(Csw<'a>),
    /// `KTR_USER`: the data given to utrace(2).
    User(&'a [u8]),
    /// `KTR_STRUCT`
    Struct(Struct<'a>),
    /// `KTR_SYSCTL`: the name, with its NUL.
    Sysctl(&'a [u8]),
    /// `KTR_PROCCTOR`
    ProcCtor(ProcCtor),
    /// `KTR_PROCDTOR`
    ProcDtor,
    /// `KTR_CAPFAIL`
    CapFail(CapFail<'a>),
    /// `KTR_FAULT`
    Fault(Fault),
    /// `KTR_FAULTEND`
    FaultEnd(FaultEnd),
    /// `KTR_STRUCT_ARRAY`
    StructArray(StructArray<'a>),
    /// `KTR_ARGS`: the arguments, each followed by a NUL.
    Args(&'a [u8]),
    /// `KTR_ENVS`: the variables, each followed by a NUL.
    Envs(&'a [u8]),
    /// `KTR_EXTERR`
    Exterr(Exterr<'a>),
}

impl<'a> Payload<'a> {
    /// Returns the type that the header has for this payload.
    pub fn kind(&self) -> Kind {
        match self {
            Payload::Syscall(_) => Kind::Syscall,
            Payload::Sysret(_) => Kind::Sysret,
            Payload::Namei(_) => Kind::Namei,
            Payload::Genio(_) => Kind::Genio,
            Payload::Psig(_) => Kind::Psig,
            Payload::Csw(_) => Kind::Csw,
            Payload::User(_) => Kind::User,
            Payload::Struct(_) => Kind::Struct,
            Payload::Sysctl(_) => Kind::Sysctl,
            Payload::ProcCtor(_) => Kind::ProcCtor,
            Payload::ProcDtor => Kind::ProcDtor,
            Payload::CapFail(_) => Kind::CapFail,
            Payload::Fault(_) => Kind::Fault,
            Payload::FaultEnd(_) => Kind::FaultEnd,
            Payload::StructArray(_) => Kind::StructArray,
            Payload::Args(_) => Kind::Args,
            Payload::Envs(_) => Kind::Envs,
            Payload::Exterr(_) => Kind::Exterr,
        }
    }

    /// Returns the length of the payload in bytes. Saturates if no file could hold the payload.
    pub const fn len(&self) -> usize {
        match self {
            Payload::Syscall(syscall) => syscall.args.len().saturating_mul(8).saturating_add(8),
            Payload::Sysret(_) | Payload::Csw(_) | Payload::Fault(_) => 16,
            Payload::Namei(bytes)
            | Payload::User(bytes)
            | Payload::Sysctl(bytes)
            | Payload::Args(bytes)
            | Payload::Envs(bytes) => bytes.len(),
            Payload::Genio(genio) => genio.data.len().saturating_add(8),
            Payload::Psig(_) => 40,
            Payload::Struct(Struct { name, data }) => name.len().saturating_add(1).saturating_add(data.len()),
            Payload::ProcCtor(_) | Payload::FaultEnd(_) => 4,
            Payload::ProcDtor => 0,
            Payload::CapFail(_) => CAP_FAIL_LEN,
            Payload::StructArray(array) => {
                array.name.len().saturating_add(8 + 1).saturating_add(array.data.len())
            }
            Payload::Exterr(_) => EXTERR_LEN,
        }
    }

    /// Returns whether the payload has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes the payload's `len()` bytes to the front of `out`. Returns `None` if `out` is
    /// shorter, or if a count does not fit into its field.
    #[inline(always)]
    pub fn encode(&self, out: &mut [u8]) -> Option<()> {
        let out = &mut Put::new(out);
        match self {
            // Most records are of these types.
            Payload::Syscall(syscall) => syscall.encode(out),
            Payload::Sysret(sysret) => sysret.encode(out),
            other => other.encode_any(out),
        }
    }

    #[inline(never)]
    fn encode_any(&self, out: &mut Put<'_>) -> Option<()> {
        match self {
            Payload::Syscall(syscall) => syscall.encode(out),
            Payload::Sysret(sysret) => sysret.encode(out),
            Payload::Namei(bytes)
            | Payload::User(bytes)
            | Payload::Sysctl(bytes)
            | Payload::Args(bytes)
            | Payload::Envs(bytes) => out.bytes(bytes),
            Payload::Genio(genio) => {
                out.i32(genio.fd)?;
                out.u32(genio.rw)?;
                out.bytes(genio.data)
            }
            Payload::Psig(psig) => {
                out.i32(psig.signo)?;
                out.zeros(4)?;
                out.u64(psig.action)?;
                out.i32(psig.code)?;
                psig.mask.iter().try_for_each(|word| out.u32(*word))?;
                out.zeros(4)
            }
            Payload::Csw(csw) => {
                out.i32(csw.out.into())?;
                out.i32(csw.user.into())?;
                out.field(csw.wmesg, WMESGLEN, 1)
            }
            Payload::Struct(Struct { name, data }) => {
                out.bytes(name)?;
                out.zeros(1)?;
                out.bytes(data)
            }
            Payload::ProcCtor(ctor) => out.u32(ctor.sv_flags),
            Payload::ProcDtor => Some(()),
            Payload::CapFail(fail) => fail.encode(out),
            Payload::Fault(fault) => {
                out.u64(fault.vaddr)?;
                out.i32(fault.fault_type)?;
                out.zeros(4)
            }
            Payload::FaultEnd(end) => out.i32(end.result),
            Payload::StructArray(array) => {
                out.u64(array.struct_size)?;
                out.bytes(array.name)?;
                out.zeros(1)?;
                out.bytes(array.data)
            }
            Payload::Exterr(exterr) => exterr.encode(out),
        }
    }

    /// Reads the payload of a record of type `kind`. Returns `None` if `bytes` are not such a
    /// payload.
    pub fn decode(kind: Kind, bytes: &'a [u8]) -> Option<Payload<'a>> {
        let mut bytes = Take::new(bytes);
        let payload = match kind {
            Kind::Syscall => {
                let code = bytes.i16()?;
                let narg = usize::try_from(bytes.i16()?).ok()?;
                bytes.bytes(4)?;
                Payload::Syscall(Syscall {
                    code,
                    args: Args(ArgsForm::Bytes(bytes.bytes(narg.checked_mul(8)?)?)),
                })
            }
            Kind::Sysret => {
                let code = bytes.i16()?;
                bytes.bytes(2)?;
                Payload::Sysret(Sysret { code, error: bytes.i32()?, retval: bytes.u64()? })
            }
            Kind::Namei => Payload::Namei(bytes.rest()),
            Kind::Genio => Payload::Genio(Genio { fd: bytes.i32()?, rw: bytes.u32()?, data: bytes.rest() }),
            Kind::Psig => {
                let signo = bytes.i32()?;
                bytes.bytes(4)?;
                let action = bytes.u64()?;
                let code = bytes.i32()?;
                let mask = [bytes.u32()?, bytes.u32()?, bytes.u32()?, bytes.u32()?];
                bytes.bytes(4)?;
                Payload::Psig(Psig { signo, action, code, mask })
            }
            Kind::Csw => {
                let (out, user) = (bytes.i32()?, bytes.i32()?);
                let wmesg = Take::new(bytes.bytes(WMESGLEN)?).string()?;
                Payload::Csw(Csw { out: out != 0, user: user != 0, wmesg })
            }
            Kind::User => Payload::User(bytes.rest()),
            Kind::Struct => Payload::Struct(Struct { name: bytes.string()?, data: bytes.rest() }),
            Kind::Sysctl => Payload::Sysctl(bytes.rest()),
            Kind::ProcCtor => Payload::ProcCtor(ProcCtor { sv_flags: bytes.u32()? }),
            Kind::ProcDtor => Payload::ProcDtor,
            Kind::CapFail => Payload::CapFail(CapFail::decode(&mut bytes)?),
            Kind::Fault => {
                let (vaddr, fault_type) = (bytes.u64()?, bytes.i32()?);
                bytes.bytes(4)?;
                Payload::Fault(Fault { vaddr, fault_type })
            }
            Kind::FaultEnd => Payload::FaultEnd(FaultEnd { result: bytes.i32()? }),
            Kind::StructArray => Payload::StructArray(StructArray {
                struct_size: bytes.u64()?,
                name: bytes.string()?,
                data: bytes.rest(),
            }),
            Kind::Args => Payload::Args(bytes.rest()),
            Kind::Envs => Payload::Envs(bytes.rest()),
            Kind::Exterr => Payload::Exterr(Exterr::decode(&mut bytes)?),
        };
        bytes.is_empty().then_some(payload)
    }
}

/// Numbers of `enum ktr_cap_violation` that determine the form of the data.
mod violation {
    pub(super) const NOTCAPABLE: u32 = 0;
    pub(super) const INCREASE: u32 = 1;
    pub(super) const SYSCALL: u32 = 2;
    pub(super) const SIGNAL: u32 = 3;
    pub(super) const PROTO: u32 = 4;
    pub(super) const SOCKADDR: u32 = 5;
    pub(super) const NAMEI: u32 = 6;
}

impl<'a> CapFail<'a> {
    fn encode(&self, out: &mut Put<'_>) -> Option<()> {
        out.u32(self.cap_type)?;
        out.i16(self.code)?;
        out.zeros(2)?;
        out.u32(self.svflags)?;
        out.zeros(4)?;
        match self.data {
            CapData::None => out.zeros(MAXPATHLEN),
            CapData::Rights { needed, held } => {
                needed.into_iter().chain(held).try_for_each(|word| out.u64(word))?;
                out.zeros(MAXPATHLEN - 32)
            }
            CapData::Int(value) => {
                out.i32(value)?;
                out.zeros(MAXPATHLEN - 4)
            }
            CapData::Sockaddr(bytes) => {
                out.field(bytes, SOCKADDR_LEN, 0)?;
                out.zeros(MAXPATHLEN - SOCKADDR_LEN)
            }
            CapData::Path(path) => out.field(path, MAXPATHLEN, 1),
        }
    }

    fn decode(bytes: &mut Take<'a>) -> Option<CapFail<'a>> {
        let cap_type = bytes.u32()?;
        let code = bytes.i16()?;
        bytes.bytes(2)?;
        let svflags = bytes.u32()?;
        bytes.bytes(4)?;
        let union = bytes.bytes(MAXPATHLEN)?;
        let mut union = Take::new(union);
        let data = match cap_type {
            violation::NOTCAPABLE | violation::INCREASE => {
                CapData::Rights { needed: [union.u64()?, union.u64()?], held: [union.u64()?, union.u64()?] }
            }
            violation::SYSCALL | violation::SIGNAL | violation::PROTO => CapData::Int(union.i32()?),
            violation::SOCKADDR => CapData::Sockaddr(union.bytes(SOCKADDR_LEN)?),
            violation::NAMEI => CapData::Path(union.string()?),
            _ => CapData::None,
        };
        Some(CapFail { cap_type, code, svflags, data })
    }
}

impl<'a> Exterr<'a> {
    fn encode(&self, out: &mut Put<'_>) -> Option<()> {
        let words = [self.ver, self.error, self.cat, self.src_line, self.flags];
        words.into_iter().try_for_each(|word| out.u32(word))?;
        out.zeros(4)?;
        self.p.into_iter().try_for_each(|word| out.u64(word))?;
        out.zeros(EXTERR_RESERVED)?;
        out.field(self.msg, EXTERR_MSG_LEN, 1)
    }

    fn decode(bytes: &mut Take<'a>) -> Option<Exterr<'a>> {
        let [ver, error, cat, src_line, flags] =
            [bytes.u32()?, bytes.u32()?, bytes.u32()?, bytes.u32()?, bytes.u32()?];
        bytes.bytes(4)?;
        let p = [bytes.u64()?, bytes.u64()?];
        bytes.bytes(EXTERR_RESERVED)?;
        let msg = Take::new(bytes.bytes(EXTERR_MSG_LEN)?).string()?;
        Some(Exterr { ver, error, cat, src_line, flags, p, msg })
    }
}
