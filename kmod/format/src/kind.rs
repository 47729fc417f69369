//! The record types (`KTR_SYSCALL` … of `sys/ktrace.h`).

/// A record type; its discriminant is the number in the header's `ktr_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Kind {
    /// `KTR_SYSCALL`: a system call, with its arguments.
    Syscall = 1,
    /// `KTR_SYSRET`: the return from a system call.
    Sysret = 2,
    /// `KTR_NAMEI`: a path that was looked up.
    Namei = 3,
    /// `KTR_GENIO`: the data of a read or a write.
    Genio = 4,
    /// `KTR_PSIG`: a signal that was delivered.
    Psig = 5,
    /// `KTR_CSW`: a context switch.
    Csw = 6,
    /// `KTR_USER`: data given to utrace(2).
    User = 7,
    /// `KTR_STRUCT`: a structure passed through a system call.
    Struct = 8,
    /// `KTR_SYSCTL`: the name of a sysctl(3) that was accessed.
    Sysctl = 9,
    /// `KTR_PROCCTOR`: the beginning of tracing of a process, with its ABI.
    ProcCtor = 10,
    /// `KTR_PROCDTOR`: the end of a traced process.
    ProcDtor = 11,
    /// `KTR_CAPFAIL`: a capsicum(4) check that failed.
    CapFail = 12,
    /// `KTR_FAULT`: a page fault.
    Fault = 13,
    /// `KTR_FAULTEND`: the end of a page fault.
    FaultEnd = 14,
    /// `KTR_STRUCT_ARRAY`: an array of structures.
    StructArray = 15,
    /// `KTR_ARGS`: the arguments of an execve(2), since FreeBSD 15.
    Args = 16,
    /// `KTR_ENVS`: the environment of an execve(2), since FreeBSD 15.
    Envs = 17,
    /// `KTR_EXTERR`: the kernel's description of an error, beside errno, since FreeBSD 15.
    Exterr = 18,
}

impl Kind {
    /// All types, in the order of their numbers.
    pub const ALL: [Kind; 18] = [
        Kind::Syscall,
        Kind::Sysret,
        Kind::Namei,
        Kind::Genio,
        Kind::Psig,
        Kind::Csw,
        Kind::User,
        Kind::Struct,
        Kind::Sysctl,
        Kind::ProcCtor,
        Kind::ProcDtor,
        Kind::CapFail,
        Kind::Fault,
        Kind::FaultEnd,
        Kind::StructArray,
        Kind::Args,
        Kind::Envs,
        Kind::Exterr,
    ];

    /// Returns the type with this number; `None` if there is none.
    pub fn from_number(number: u16) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| *kind as u16 == number)
    }

    /// Returns the bit of `p_traceflag` that switches the type on (`KTRFAC_SYSCALL` …).
    pub const fn facility(self) -> u32 {
        1 << self as u16
    }

    /// Returns the type's name in lower case, as used by the statistics.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Syscall => "syscall",
            Kind::Sysret => "sysret",
            Kind::Namei => "namei",
            Kind::Genio => "genio",
            Kind::Psig => "psig",
            Kind::Csw => "csw",
            Kind::User => "user",
            Kind::Struct => "struct",
            Kind::Sysctl => "sysctl",
            Kind::ProcCtor => "procctor",
            Kind::ProcDtor => "procdtor",
            Kind::CapFail => "capfail",
            Kind::Fault => "fault",
            Kind::FaultEnd => "faultend",
            Kind::StructArray => "struct_array",
            Kind::Args => "args",
            Kind::Envs => "envs",
            Kind::Exterr => "exterr",
        }
    }
}

/// A table with one `T` for each record type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PerKind<T>([T; Kind::ALL.len()]);

impl<T> PerKind<T> {
    /// Creates a table, with the value of each type from `make`.
    pub fn from_fn(mut make: impl FnMut(Kind) -> T) -> Self {
        PerKind(Kind::ALL.map(&mut make))
    }

    /// Returns the value of one type.
    pub fn get(&self, kind: Kind) -> &T {
        // ALL has one entry for each discriminant, from 1 without a gap.
        &self.0[kind as usize - 1]
    }

    /// Returns the value of one type, to be changed.
    pub fn get_mut(&mut self, kind: Kind) -> &mut T {
        &mut self.0[kind as usize - 1]
    }

    /// Returns the types with their values, in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (Kind, &T)> {
        Kind::ALL.into_iter().zip(self.0.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_run_from_one_without_a_gap() {
        for (index, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, index + 1);
            assert_eq!(Kind::from_number(kind as u16), Some(kind));
        }
        assert_eq!(Kind::from_number(0), None);
        assert_eq!(Kind::from_number(19), None);
    }
}
