//! Functions: their bytes, registers and stack.

use ktrace_artifact::{AllowList, Module, check};

use crate::messages;
use crate::toolchain::{amd64, arm64, function};

/// Checks functions of some instructions each. Each has the violation that stands beside it, given by
/// its beginning, or none. Returns their frames.
#[track_caller]
fn each<'a>(
    module: fn(&str) -> Vec<u8>,
    cases: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Vec<(&'a str, u64)> {
    let cases: Vec<_> = cases.into_iter().collect();
    let name = |index: usize| format!("f{index}");
    let source = cases.iter().enumerate().map(|(index, (code, _))| function(&name(index), code));
    let file = module(&source.collect::<String>());
    let report = check(&Module::parse(&file).expect("ELF"), &AllowList::default(), 1024);
    let mut frames = Vec::new();
    for (index, (code, expected)) in cases.iter().enumerate() {
        let of_it = report.violations.iter().filter(|found| found.symbol.as_ref() == Some(&name(index)));
        let found: Vec<_> = of_it.map(|found| found.message.as_str()).collect();
        let good = match found[..] {
            [] => expected.is_empty(),
            [message] => !expected.is_empty() && message.starts_with(expected),
            _ => false,
        };
        assert!(good, "{code}: {found:?}");
        let frame = report.frames.iter().find(|frame| frame.function == name(index));
        frames.push((*code, frame.expect("a frame").bytes));
    }
    let faults = cases.iter().filter(|(_, expected)| !expected.is_empty());
    assert_eq!(report.violations.len(), faults.count(), "{:#?}", report.violations);
    frames
}

/// Returns cases with the same violation.
fn all<'a>(codes: &[&'a str], expected: &'a str) -> Vec<(&'a str, &'a str)> {
    codes.iter().map(|code| (*code, expected)).collect()
}

const REGISTER: &str = "floating-point or vector register: ";
const UNIT: &str = "floating-point or vector instruction: ";
const THREADS: &str = "thread-local access through ";
const ATOMIC: &str = "atomic instruction that ARMv8.0 does not have: ";
const PCPU: &str = "x18 is for reading the struct pcpu that it points to: ";
const DYNAMIC: &str = "stack or frame pointer set to a value known only at run time: ";
const BELOW: &str = "access below the stack pointer (red zone): ";

#[test]
fn bytes_that_are_not_checked_are_found() {
    let uncovered = |count| format!("{count} bytes that no function's symbol covers: they cannot be checked");
    let ret = function("f", "");
    let source = format!(
        "nopl (%rax); nop; {ret} .byte 0xcc, 0xcc; .type table,@object; table: .byte 6, 7; .size table,2; .skip 5"
    );
    assert_eq!(messages(&amd64(&source)), [""; 0]);
    let source = format!("xor %eax,%eax; ret; {ret} ret");
    assert_eq!(messages(&amd64(&source)), [uncovered(3), uncovered(1)]);
    assert_eq!(messages(&amd64(&function("f", ".byte 6"))), ["not an instruction: (bad)"]);
    let oversized = ".type f,@function; f: ret; .size f,1000";
    assert!(messages(&amd64(oversized)).contains(&"symbol larger than its section".to_owned()));

    let source = format!(
        "nop; udf #0; udf #1; brk #1; {ret} .type table,%object; table: .word ~0; .size table,4; .word ~0"
    );
    assert_eq!(messages(&arm64(&source)), [""; 0]);
    let source = format!("b .; {ret} .word ~0; .inst 0xaa0103e0; ret");
    assert_eq!(messages(&arm64(&source)), [uncovered(4), uncovered(12)]);
    assert_eq!(messages(&arm64(&function("f", ".word 0x02000000"))), [""; 0]);
    let bad = "not an instruction: .inst 0x02000000";
    assert_eq!(messages(&arm64(&function("f", ".inst 0x02000000"))), [bad]);
    let odd = messages(&arm64(&format!(".2byte 0; {ret}")));
    assert!(odd.len() == 1 && odd[0].starts_with("not an instruction: "), "{odd:?}");
}

#[test]
fn registers_of_the_process_are_found_on_amd64() {
    let mut cases = all(
        &[
            "movaps %xmm0,(%rdi)",
            "pxor %xmm0,%xmm0",
            "cvtsi2sdq %rax,%xmm1",
            "vmovdqu (%rsi),%ymm2",
            "vzeroupper",
            "vmovdqu64 (%rsi),%zmm0",
            "kmovw %eax,%k1",
            "movq %rax,%mm0",
        ],
        REGISTER,
    );
    cases.extend(all(
        &[
            "flds (%rdi)",
            "fildll (%rdi)",
            "fninit",
            "emms",
            "fwait",
            "ldmxcsr (%rdi)",
            "fxsave (%rdi)",
            "crc32l %eax,%eax",
        ],
        UNIT,
    ));
    cases.push(("mov %fs:0,%rax", THREADS));
    cases.extend(all(
        &[
            "mov %gs:0,%rax",
            "mfence",
            "lfence",
            "movnti %rax,(%rdi)",
            "prefetcht0 (%rdi)",
            "pause",
            "rep movsb",
            "lock cmpxchg %rcx,(%rdi)",
            "ud2",
        ],
        "",
    ));
    each(amd64, cases);
}

#[test]
fn registers_of_the_process_are_found_on_arm64() {
    let mut cases = all(
        &[
            "ldr q0, [x0]",
            "ldr d0, .+8",
            "stp d8, d9, [sp, #-16]!",
            "ld1 {v0.16b}, [x1]",
            "mrs x0, fpcr",
            "msr fpsr, x0",
        ],
        REGISTER,
    );
    cases.extend(all(
        &[
            "fmov d0, x0",
            "fadd d0, d1, d2",
            "movi v0.2d, #0",
            "umov w0, v0.b[0]",
            "aese v0.16b, v1.16b",
            "ptrue p0.b",
            "ld1b {z0.b}, p0/z, [x0]",
            // fmopa za0.s, p0/m, p0/m, z0.s, z0.s
            ".inst 0x80800000",
        ],
        UNIT,
    ));
    cases.extend(all(&["mrs x0, tpidr_el0", "msr tpidr_el0, x0", "mrs x0, tpidrro_el0"], THREADS));
    cases.extend(all(
        &[
            "ldadd w0, w1, [x2]",
            "ldclral x0, x1, [x2]",
            "swpa x0, x1, [x2]",
            "ldaprb w0, [x1]",
            "cas w0, w1, [x2]",
            "casalb w0, w1, [x2]",
            "caspal x0, x1, x2, x3, [x4]",
        ],
        ATOMIC,
    ));
    cases.extend(all(
        &[
            "mrs x0, tpidr_el1",
            "mrs x0, daif",
            "ldaxr x0, [x1]",
            "stlxr w0, x1, [x2]",
            "ldxp x0, x1, [x2]",
            "stlr x0, [x1]",
            "dmb ish",
            "prfm pldl1keep, [x0]",
            "paciasp",
            "bti c",
            "brk #1",
            "udf #0",
            "umulh x0, x1, x2",
            "ldr x0, .+8",
        ],
        "",
    ));
    each(arm64, cases);
}

#[test]
fn the_pcpu_is_only_read() {
    let mut cases = all(
        &[
            "ldr x0, [x18]",
            "ldr w0, [x18, #8]",
            "str x0, [x18, #8]",
            "ldur x0, [x18, #-8]",
            "ldp x0, x1, [x18]",
            "ldr x0, [x18, x1]",
            "ldxr x0, [x18]",
            "mov x0, x18",
            "add x0, x18, #16",
            "add x0, x1, x18",
        ],
        "",
    );
    cases.extend(all(
        &[
            "mov x18, x0",
            "mov x18, x18",
            "mov w18, #1",
            "add x18, x18, #1",
            "ldr x18, [x0]",
            "ldr w18, [x18]",
            "ldp x17, x18, [sp]",
            "ldr x0, [x18, #8]!",
            "ldr x0, [x18], #8",
            "ldr x0, [x1, x18]",
            "str x18, [x0]",
            "stxr w18, x0, [x1]",
            "stxr w0, x18, [x1]",
            "mrs x18, daif",
            "msr daif, x18",
            "csel x18, x0, x1, eq",
            "madd x0, x1, x2, x18",
            "ror x18, x0, #1",
            "adr x18, .",
            "blr x18",
            "cbz x18, .",
            "sub x0, x18, #16",
            "orr x0, x1, x18",
        ],
        PCPU,
    ));
    each(arm64, cases);
}

/// Checks functions by the size of their frames.
#[track_caller]
fn frames(module: fn(&str) -> Vec<u8>, cases: &[(&str, u64)]) {
    let over = |bytes: u64| {
        if bytes > 1024 { format!("stack frame of {bytes} bytes, over 1024") } else { String::new() }
    };
    let expected: Vec<_> = cases.iter().map(|(_, bytes)| over(*bytes)).collect();
    let codes = cases.iter().map(|(code, _)| *code);
    assert_eq!(each(module, codes.zip(expected.iter().map(String::as_str))), cases);
}

#[test]
fn frames_are_measured_on_amd64() {
    frames(
        amd64,
        &[
            ("push %rbp; mov %rsp,%rbp; sub $1016,%rsp; leave", 1024),
            ("push %rbp; mov %rsp,%rbp; sub $1017,%rsp; leave", 1025),
            ("push $1", 8),
            ("pushf; popf", 8),
            ("sub $-128,%rsp", 0),
            ("add $-128,%rsp", 128),
            ("and $-16,%rsp", 8),
            ("lea -24(%rsp),%rsp", 24),
            ("lea -16(%rbp),%rsp", 16),
            ("mov %rbp,%rsp", 0),
            // An epilogue in the middle does not end the frame.
            ("sub $64,%rsp; jne 1f; add $64,%rsp; ret; 1: push %rax; pop %rax; add $64,%rsp", 72),
            // The arguments of one call do not add to those of another.
            ("push %rax; push $0; call f0; pop %rax; jne 1f; push $0; call f0; pop %rax; 1: pop %rax", 16),
            // A branch into a run skips what the run returns first.
            ("jmp 2f; 1: pop %rax; 2: push %rax; jne 1b; pop %rax", 8),
        ],
    );
}

#[test]
fn frames_are_measured_on_arm64() {
    let all_taken = "stp x29, x30, [sp, #-32]!; mov x29, sp; str x19, [sp, #16]; sub sp, sp, #992;
        ldr x0, [sp]; add sp, sp, #992; ldr x19, [sp, #16]; ldp x29, x30, [sp], #32";
    frames(
        arm64,
        &[
            (all_taken, 1024),
            ("str x30, [sp, #-16]!; ldr x30, [sp], #16", 16),
            ("sub sp, sp, #1040; add sp, sp, #1040", 1040),
            ("sub sp, sp, #2, lsl #12", 8192),
            ("sub sp, sp, #64; mov sp, x29", 64),
            ("sub sp, sp, #64; sub sp, x29, #16", 80),
        ],
    );
}

#[test]
fn a_frame_of_run_time_size_is_found() {
    let codes = [
        "sub %rdi,%rsp",
        "and $-32,%rsp",
        "and %rax,%rsp",
        "mov %rax,%rsp",
        "lea (%rsp,%rax),%rsp",
        "xchg %rax,%rsp",
        "pop %rsp",
        "enter $16,$0",
        "sub $8,%esp",
        "mov %rdi,%rbp",
        "xor %ebp,%ebp",
        "lea 8(%rsp),%rbp",
    ];
    each(amd64, all(&codes, DYNAMIC));
    let codes = ["sub sp, sp, x0", "mov sp, x0", "and sp, x0, #0xffffffffffffffc0", "sub wsp, wsp, #16"];
    each(arm64, all(&codes, DYNAMIC));
}

#[test]
fn an_access_below_the_stack_pointer_is_found() {
    let mut cases = all(
        &[
            "mov %rdi,-16(%rsp)",
            "push %rbp; mov %rsp,%rbp; mov %rdi,-8(%rbp); pop %rbp",
            "push %rbp; mov %rsp,%rbp; sub $24,%rsp; mov %rdi,-32(%rbp); leave",
        ],
        BELOW,
    );
    cases.extend(all(
        &[
            "push %rbp; mov %rsp,%rbp; sub $24,%rsp; mov %rdi,-24(%rbp); leave",
            "mov %rdi,(%rsp)",
            "mov %rdi,16(%rbp)",
            "lea -64(%rsp),%rax",
            "nopw -8(%rsp)",
        ],
        "",
    ));
    each(amd64, cases);
    let codes =
        ["stur x0, [sp, #-16]", "ldurb w0, [sp, #-1]", "stp x0, x1, [sp, #-16]", "ldnp x0, x1, [sp, #-16]"];
    each(arm64, all(&codes, BELOW));
}
