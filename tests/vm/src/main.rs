//! `ktrace-vm`: the guest tests of ktrace_rs in a FreeBSD virtual machine.

use std::process::ExitCode;

fn main() -> ExitCode {
    ktrace_vm::cli::main()
}
