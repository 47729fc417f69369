//! The choice between emulation and KVM.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::image::Arch;
use crate::machine;

/// Returns whether machines run under KVM.
///
/// `KTRACE_VM_ACCEL` says so, if it is set. Otherwise amd64 machines do if KVM works: a host that
/// is itself a virtual machine may have a `/dev/kvm` under which nothing runs.
pub fn is_kvm(arch: Arch) -> bool {
    static WORKS: LazyLock<bool> = LazyLock::new(|| {
        Path::new("/dev/kvm").exists() && works(&machine::program(Arch::Amd64), LIMIT).unwrap_or(false)
    });
    match env::var_os("KTRACE_VM_ACCEL") {
        Some(accel) => accel == "kvm",
        None => arch == Arch::Amd64 && *WORKS,
    }
}

/// Start of a boot sector that writes 16 to the port 0xf4: `mov dx, 0xf4; mov al, 16; out dx, al`.
const PROGRAM: [u8; 6] = [0xba, 0xf4, 0, 0xb0, 16, 0xee];

/// Exit status of QEMU when its device `isa-debug-exit` gets 16.
const STATUS: i32 = 2 * 16 + 1;

/// Time limit of the program.
const LIMIT: Duration = Duration::from_secs(10);

/// Returns whether QEMU runs the program under KVM in time.
fn works(qemu: &OsStr, limit: Duration) -> Result<bool> {
    let dir = tempfile::tempdir()?;
    let disk = dir.path().join("disk");
    let mut sector = [0; 512];
    sector[..PROGRAM.len()].copy_from_slice(&PROGRAM);
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    fs::write(&disk, sector)?;
    let mut qemu = Command::new(qemu)
        .args(["-accel", "kvm", "-m", "16", "-display", "none", "-monitor", "none", "-serial", "none"])
        .args(["-net", "none", "-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-drive"])
        .arg(machine::drive(&disk, "floppy", "raw", "read-only=on"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = qemu.try_wait()? {
            return Ok(status.code() == Some(STATUS));
        }
        if Instant::now() > deadline {
            qemu.kill()?;
            qemu.wait()?;
            return Ok(false);
        }
        thread::sleep(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn kvm_works_if_the_program_ends_with_its_status_in_time() {
        let dir = tempfile::tempdir().unwrap();
        let qemu = dir.path().join("qemu");
        let works_if_qemu = |does: &str| {
            fs::write(&qemu, format!("#!/bin/sh\n{does}\n")).unwrap();
            fs::set_permissions(&qemu, Permissions::from_mode(0o755)).unwrap();
            works(qemu.as_os_str(), Duration::from_secs(2)).unwrap()
        };
        assert!(works_if_qemu("exit 33"));
        assert!(!works_if_qemu("echo 'failed to initialize kvm' >&2; exit 1"));
        assert!(!works_if_qemu("exec sleep 60"), "the kvm of some virtual machines");
    }
}
