//! Lengths of amd64 instructions (Intel SDM volume 2, appendix A: the opcode maps in 64-bit mode).
//!
//! The kernel's C code consists of general-purpose instructions. VEX, EVEX and 3DNow! are not
//! decoded.

/// The operands of an opcode.
#[derive(Clone, Copy)]
struct Operands {
    /// Whether a ModR/M byte follows, with the SIB byte and the displacement that it requires.
    modrm: bool,
    /// Bytes of the immediate operand.
    immediate: usize,
}

/// The prefixes of an instruction that change its length.
struct Prefixes {
    /// `66`: operands of two bytes.
    operand: bool,
    /// `67`: addresses of four bytes.
    address: bool,
    /// REX.W: operands of eight bytes.
    wide: bool,
}

/// Returns the length of the instruction at the front of `code`. Returns `None` if it is truncated,
/// or not one that the kernel's compiler makes.
pub(crate) fn instruction_len(code: &[u8]) -> Option<usize> {
    let mut at = 0;
    let mut prefixes = Prefixes { operand: false, address: false, wide: false };
    while let Some(prefix) = code.get(at) {
        match prefix {
            0x66 => prefixes.operand = true,
            0x67 => prefixes.address = true,
            0x26 | 0x2e | 0x36 | 0x3e | 0x64 | 0x65 | 0xf0 | 0xf2 | 0xf3 => {}
            _ => break,
        }
        at += 1;
    }
    if let Some(rex @ 0x40..=0x4f) = code.get(at) {
        prefixes.wide = rex & 8 != 0;
        at += 1;
    }
    let opcode = *code.get(at)?;
    let rest = code.get(at + 1..)?;
    let (opcode_len, operands, rest) = match (opcode, rest) {
        (0x0f, [0x38, _, rest @ ..]) => (3, Operands { modrm: true, immediate: 0 }, rest),
        (0x0f, [0x3a, _, rest @ ..]) => (3, Operands { modrm: true, immediate: 1 }, rest),
        (0x0f, [second, rest @ ..]) => (2, two_bytes(*second)?, rest),
        (0xf6 | 0xf7, [modrm, ..]) => {
            // In this group, only `test` has an immediate operand.
            let immediate = if modrm >> 3 & 7 > 1 { 0 } else { immediate(opcode & 1 == 1, &prefixes) };
            (1, Operands { modrm: true, immediate }, rest)
        }
        _ => (1, one_byte(opcode, &prefixes)?, rest),
    };
    let memory = if operands.modrm { modrm_len(rest)? } else { 0 };
    let len = at + opcode_len + memory + operands.immediate;
    (len <= code.len()).then_some(len)
}

/// Returns the length of an immediate operand: one byte, or if `full`, that of the other operand,
/// at most four.
fn immediate(full: bool, prefixes: &Prefixes) -> usize {
    match (full, prefixes.operand && !prefixes.wide) {
        (false, _) => 1,
        (true, true) => 2,
        (true, false) => 4,
    }
}

/// Returns the length of a ModR/M byte with its SIB byte and displacement.
fn modrm_len(code: &[u8]) -> Option<usize> {
    let modrm = *code.first()?;
    let (mode, register) = (modrm >> 6, modrm & 7);
    if mode == 3 {
        return Some(1);
    }
    let sib = register == 4;
    let base = if sib { *code.get(1)? & 7 } else { register };
    let displacement = match (mode, base) {
        (1, _) => 1,
        (2, _) | (0, 5) => 4,
        _ => 0,
    };
    Some(1 + usize::from(sib) + displacement)
}

/// Returns the operands of a one-byte opcode.
fn one_byte(opcode: u8, prefixes: &Prefixes) -> Option<Operands> {
    let full = immediate(true, prefixes);
    let (modrm, immediate) = match opcode {
        0x00..=0x3f => match opcode & 7 {
            0..=3 => (true, 0),
            4 => (false, 1),
            5 => (false, full),
            _ => return None,
        },
        0x63 | 0x84..=0x8f | 0xd0..=0xd3 | 0xd8..=0xdf | 0xfe | 0xff => (true, 0),
        0x69 | 0x81 | 0xc7 => (true, full),
        0x6b | 0x80 | 0x83 | 0xc0 | 0xc1 | 0xc6 => (true, 1),
        0x68 | 0xa9 => (false, full),
        0x6a | 0x70..=0x7f | 0xa8 | 0xb0..=0xb7 | 0xcd | 0xe0..=0xe7 | 0xeb => (false, 1),
        0xe8 | 0xe9 => (false, 4),
        0xb8..=0xbf => (false, if prefixes.wide { 8 } else { full }),
        0xa0..=0xa3 => (false, if prefixes.address { 4 } else { 8 }),
        0xc2 | 0xca => (false, 2),
        0xc8 => (false, 3),
        0x50..=0x5f | 0x6c..=0x6f | 0x90..=0x99 | 0x9b..=0x9f | 0xa4..=0xa7 | 0xaa..=0xaf => (false, 0),
        0xc3 | 0xc9 | 0xcb | 0xcc | 0xcf | 0xd7 | 0xec..=0xef | 0xf1 | 0xf4 | 0xf5 | 0xf8..=0xfd => {
            (false, 0)
        }
        _ => return None,
    };
    Some(Operands { modrm, immediate })
}

/// Returns the operands of a two-byte opcode, by its second byte.
fn two_bytes(second: u8) -> Option<Operands> {
    let (modrm, immediate) = match second {
        0x80..=0x8f => (false, 4),
        0x70..=0x73 | 0xa4 | 0xac | 0xba | 0xc2 | 0xc4..=0xc6 => (true, 1),
        0x05..=0x09 | 0x0b | 0x30..=0x35 | 0x37 | 0x77 | 0xa0..=0xa2 | 0xa8..=0xaa | 0xc8..=0xcf => {
            (false, 0)
        }
        0x00..=0x03 | 0x0d | 0x10..=0x1f | 0x28..=0x2f | 0x40..=0x6f | 0x74..=0x76 | 0x78..=0x7f => (true, 0),
        0x90..=0x9f | 0xa3 | 0xa5 | 0xab | 0xad..=0xaf | 0xb0..=0xb9 | 0xbb..=0xc1 | 0xc3 | 0xc7 => (true, 0),
        0xd0..=0xff => (true, 0),
        _ => return None,
    };
    Some(Operands { modrm, immediate })
}
