//! The module's lengths of amd64 instructions, compared with a disassembler: over all code of this
//! program, and over random bytes.

use iced_x86::{Decoder, DecoderOptions};
use object::{Object, ObjectSection, SectionKind};

#[path = "../../../kmod/src/machine/amd64_length.rs"]
mod amd64_length;

use amd64_length::instruction_len;

/// Returns the length according to the disassembler, or `None` for an invalid instruction.
fn expected(code: &[u8]) -> Option<usize> {
    let instruction = Decoder::new(64, code, DecoderOptions::NONE).decode();
    (!instruction.is_invalid()).then(|| instruction.len())
}

/// Returns whether an instruction is of a kind that the kernel does not use: VEX, EVEX, XOP and
/// 3DNow!.
fn is_foreign(code: &[u8]) -> bool {
    let mut rest = code;
    while let [0x26 | 0x2e | 0x36 | 0x3e | 0x40..=0x4f | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3, next @ ..] = rest {
        rest = next;
    }
    matches!(rest, [0xc4 | 0xc5 | 0x62 | 0x8f, ..] | [0x0f, 0x0e | 0x0f, ..])
}

#[test]
#[cfg(target_arch = "x86_64")]
fn all_code_of_this_program_is_as_long_as_the_disassembler_says() {
    let bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    let file = object::File::parse(&*bytes).unwrap();
    let mut compared = 0;
    for section in file.sections().filter(|section| section.kind() == SectionKind::Text) {
        let mut code = section.data().unwrap();
        while !code.is_empty() {
            let Some(len) = expected(code) else { break };
            if !is_foreign(code) {
                assert_eq!(instruction_len(code), Some(len), "{:02x?}", &code[..len]);
                assert!((0..len).all(|cut| instruction_len(&code[..cut]).is_none()), "{:02x?}", &code[..len]);
                compared += 1;
            }
            code = &code[len..];
        }
    }
    assert!(compared > 100_000, "{compared} instructions");
}

#[test]
fn random_bytes_are_as_long_as_the_disassembler_says() {
    let mut state = 1_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut compared = 0;
    for _ in 0..1_000_000 {
        let code = [next().to_le_bytes(), next().to_le_bytes()].concat();
        // The module may accept invalid code that no compiler emits, such as a forbidden LOCK
        // prefix.
        if let (Some(len), Some(is)) = (expected(&code), instruction_len(&code))
            && !is_foreign(&code)
        {
            assert_eq!(is, len, "{code:02x?}");
            compared += 1;
        }
    }
    assert!(compared > 500_000, "{compared} instructions");
}
