//! A virtual machine: one QEMU process, its disks and its console.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::accel;
use crate::console::Console;
use crate::image::{Arch, Image};
use crate::payload::Payload;
use crate::results;

/// A machine that runs until it is dropped, or until its system powers off or reboots.
#[derive(Debug)]
pub struct Machine {
    arch: Arch,
    clock: Clock,
    power: Power,
    input: ChildStdin,
    console: Console,
    console_log: PathBuf,
    /// Directory of the disks. It is the last field, so it is removed when nothing runs there any
    /// more.
    dir: TempDir,
}

/// The processes of a running machine.
#[derive(Debug)]
struct Power {
    qemu: Child,
    watchdog: Child,
}

impl Machine {
    /// Starts a machine that boots `image`. A copy of its console goes to the file `console_log`.
    pub fn start(image: &Image, payload: &Payload, clock: Clock, console_log: &Path) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("ktrace-vm-").tempdir()?;
        create_root(image, dir.path())?;
        payload.write(image.arch, &dir.path().join(PAYLOAD))?;
        results::create_disk(&dir.path().join(RESULTS))?;
        File::create(dir.path().join(SLOW))?.set_len(SLOW_SIZE)?;
        File::create(dir.path().join(KEPT))?.set_len(KEPT_SIZE)?;
        Self::switch_on(dir, image.arch, clock, console_log)
    }

    /// Switches the machine off and on again.
    ///
    /// Disks made for the machine keep their contents. The root disk keeps its contents too, unless
    /// `anew` gives an image to start from again.
    pub fn start_again(self, anew: Option<&Image>, console_log: &Path) -> Result<Self> {
        let Self { arch, clock, power, dir, .. } = self;
        drop(power);
        if let Some(image) = anew {
            create_root(image, dir.path())?;
        }
        Self::switch_on(dir, arch, clock, console_log)
    }

    fn switch_on(dir: TempDir, arch: Arch, clock: Clock, console_log: &Path) -> Result<Self> {
        let log = create(console_log).with_context(|| format!("cannot write {}", console_log.display()))?;
        let (reader, writer) = std::io::pipe()?;
        let mut command = qemu(dir.path(), arch, clock)?;
        // Messages of QEMU itself belong in the console's log.
        command.stdin(Stdio::piped()).stdout(writer.try_clone()?).stderr(writer);
        let program = command.get_program().to_string_lossy().into_owned();
        let mut qemu =
            command.spawn().with_context(|| format!("cannot start {program} (is QEMU installed?)"))?;
        // The command holds our end of the pipe that QEMU writes to. That end must close with QEMU.
        drop(command);
        let input = qemu.stdin.take().context("QEMU has no input")?;
        let watchdog = watchdog(qemu.id(), dir.path())?;
        let console = Console::start(reader, log);
        let power = Power { qemu, watchdog };
        Ok(Self { arch, clock, power, input, console, console_log: console_log.into(), dir })
    }

    /// Returns the machine's console.
    pub fn console(&self) -> &Console {
        &self.console
    }

    /// Returns the path of the console's copy.
    pub fn console_log(&self) -> &Path {
        &self.console_log
    }

    /// Types `text` on the console.
    ///
    /// Does nothing if the machine is off: its console has closed, and a wait for the answer
    /// reports that.
    pub fn type_in(&mut self, text: impl AsRef<[u8]>) {
        let _ = self.input.write_all(text.as_ref()).and_then(|()| self.input.flush());
    }

    /// Returns the path of the disk that the guest writes results to.
    pub fn results_disk(&self) -> PathBuf {
        self.dir.path().join(RESULTS)
    }

    /// Returns the output of the second serial port.
    pub fn live_log(&self) -> String {
        let bytes = fs::read(self.dir.path().join(LIVE)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace('\r', "")
    }
}

impl Drop for Power {
    fn drop(&mut self) {
        // Stop the watchdog first. It knows QEMU by a process id that is free afterwards.
        for child in [&mut self.watchdog, &mut self.qemu] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

const ROOT: &str = "root.qcow2";
const PAYLOAD: &str = "payload.tar";
const RESULTS: &str = "results.tar";
const SLOW: &str = "slow.img";
const KEPT: &str = "kept.img";
const LIVE: &str = "live.log";

/// Size by which the disk exceeds the image. The guest grows its root file system into it.
const ROOM: u64 = 8 << 30;

/// Size of the slow disk, a sparse file.
const SLOW_SIZE: u64 = 64 << 20;

/// Size of the disk for files that a test needs again after a panic, also a sparse file.
const KEPT_SIZE: u64 = 256 << 20;

/// Bytes per second that the slow disk reads and writes. `slow_disk.sh` relies on this rate.
const SLOW_RATE: u64 = 256 << 10;

/// Clock of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// Real time, with several processors that run in parallel.
    Time,
    /// Instructions that the guest executes, eight nanoseconds each, with one processor.
    ///
    /// Other load on the host makes no difference.
    Instructions,
}

/// Returns QEMU's options for the machine.
///
/// They are always the same, so that figures and races compare between hosts, but for KVM. That
/// replaces emulation only with [`Clock::Time`].
///
/// Without "fast string" instructions, an amd64 kernel copies memory in a way that is fast under
/// emulation. Without the algorithm of real processors, an arm64 kernel's signed pointers cost
/// little.
pub fn hardware(arch: Arch, clock: Clock) -> Vec<&'static str> {
    let kvm = clock == Clock::Time && accel::is_kvm(arch);
    let clock: &[_] = match clock {
        Clock::Instructions => &["-accel", "tcg,thread=single", "-icount", "shift=3", "-smp", "1"],
        Clock::Time if kvm => &["-accel", "kvm", "-smp", processors(arch)],
        Clock::Time => &["-accel", "tcg,thread=multi", "-smp", processors(arch)],
    };
    let machine: &[_] = match arch {
        Arch::Amd64 => &["-cpu", "max,-erms,-fsrm"],
        Arch::Arm64 if kvm => &["-M", "virt", "-cpu", "host"],
        Arch::Arm64 => &["-M", "virt", "-cpu", "max,pauth-impdef=on"],
    };
    [clock, machine, &["-m", "2048"]].concat()
}

/// Returns the number of processors.
///
/// The module's switch of the kernel's text needs more than two on arm64, where only the module
/// keeps their instruction caches in step.
fn processors(arch: Arch) -> &'static str {
    match arch {
        Arch::Amd64 => "2",
        Arch::Arm64 => "4",
    }
}

/// Creates the guest's root disk, an overlay over the image, which stays unchanged.
fn create_root(image: &Image, dir: &Path) -> Result<()> {
    let status = Command::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2", "-F", image.format.name(), "-b"])
        .arg(image.path.canonicalize()?)
        .arg(dir.join(ROOT))
        .arg((image.size()? + ROOM).to_string())
        .status()
        .context("cannot start qemu-img (is QEMU installed?)")?;
    ensure!(status.success(), "qemu-img cannot make a disk of {}", image.path.display());
    Ok(())
}

/// Returns the QEMU program for a machine.
pub fn program(arch: Arch) -> OsString {
    let (variable, program) = match arch {
        Arch::Amd64 => ("KTRACE_VM_QEMU_AMD64", "qemu-system-x86_64"),
        Arch::Arm64 => ("KTRACE_VM_QEMU_ARM64", "qemu-system-aarch64"),
    };
    env::var_os(variable).unwrap_or_else(|| program.into())
}

fn qemu(dir: &Path, arch: Arch, clock: Clock) -> Result<Command> {
    let mut qemu = Command::new(program(arch));
    qemu.args(hardware(arch, clock))
        .args(["-display", "none", "-monitor", "none", "-no-reboot", "-net", "none"])
        .args(["-serial", "stdio"]);
    let live = dir.join(LIVE);
    match arch {
        Arch::Amd64 => qemu.arg("-serial").arg(format!("file:{}", live.display())),
        // The machine has one serial port of its own. FreeBSD's driver supports a card of this
        // kind.
        Arch::Arm64 => qemu
            .arg("-bios")
            .arg(firmware()?)
            .arg("-chardev")
            .arg(format!("file,id=live,path={}", live.display().to_string().replace(',', ",,")))
            .args(["-device", "pci-serial,chardev=live,prog_if=1"]),
    };
    qemu.arg("-drive")
        .arg(drive(&dir.join(ROOT), "virtio", "qcow2", "cache=unsafe"))
        .arg("-drive")
        .arg(drive(&dir.join(PAYLOAD), "virtio", "raw", "read-only=on"))
        .arg("-drive")
        .arg(drive(&dir.join(RESULTS), "virtio", "raw", "cache=unsafe"))
        .arg("-drive")
        .arg(drive(
            &dir.join(SLOW),
            "virtio",
            "raw",
            &format!("cache=unsafe,throttling.bps-total={SLOW_RATE}"),
        ))
        .arg("-drive")
        .arg(drive(&dir.join(KEPT), "virtio", "raw", "cache=unsafe"));
    Ok(qemu)
}

/// Returns the path of an arm64 machine's firmware.
///
/// It is `KTRACE_VM_FIRMWARE`, the file of a Debian or FreeBSD package, or `QEMU_EFI.fd` beside the
/// directory of the `qemu-system-aarch64` on PATH.
fn firmware() -> Result<PathBuf> {
    if let Some(named) = env::var_os("KTRACE_VM_FIRMWARE") {
        return Ok(named.into());
    }
    let packaged = ["/usr/share/qemu-efi-aarch64/QEMU_EFI.fd", "/usr/local/share/qemu/edk2-aarch64-code.fd"];
    let path = env::var_os("PATH").unwrap_or_default();
    let beside = env::split_paths(&path)
        .filter(|dir| dir.join("qemu-system-aarch64").is_file())
        .filter_map(|dir| Some(dir.parent()?.join("QEMU_EFI.fd")));
    beside
        .chain(packaged.map(PathBuf::from))
        .find(|file| file.is_file())
        .context("no firmware for arm64: install qemu-efi-aarch64, or set KTRACE_VM_FIRMWARE")
}

fn create(path: &Path) -> std::io::Result<File> {
    fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
    File::create(path)
}

/// Returns the option for a disk. QEMU requires commas in a file name to be doubled.
pub fn drive(path: &Path, interface: &str, format: &str, option: &str) -> String {
    let path = path.to_string_lossy().replace(',', ",,");
    format!("if={interface},format={format},{option},file={path}")
}

/// Starts a process that ends QEMU and removes its directory if this process dies without doing so.
///
/// It notices because the pipe closes.
fn watchdog(qemu: u32, dir: &Path) -> Result<Child> {
    Command::new("sh")
        .arg("-c")
        .arg("trap '' HUP INT TERM; read -r _; kill -9 \"$1\" 2>/dev/null; rm -rf \"$2\"")
        .args(["sh", &qemu.to_string()])
        .arg(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .context("cannot start sh")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Format;

    fn image(path: PathBuf, arch: Arch) -> Image {
        Image { path, format: Format::Raw, arch }
    }

    fn arguments(command: &Command) -> Vec<String> {
        command.get_args().map(|arg| arg.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn the_image_is_never_written_to_and_the_fourth_disk_is_slow() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a,b.img");
        fs::write(&file, [7; 4096]).unwrap();
        create_root(&image(file, Arch::Amd64), dir.path()).unwrap();
        let args = arguments(&qemu(dir.path(), Arch::Amd64, Clock::Time).unwrap());
        assert!(args.iter().all(|arg| !arg.contains("b.img")));
        let disks: Vec<_> = args.iter().filter(|arg| arg.starts_with("if=virtio")).collect();
        assert_eq!(disks.len(), 5);
        assert!(disks[0].contains("format=qcow2") && disks[0].ends_with("/root.qcow2"));
        assert!(disks[3].contains("throttling.bps-total=262144,file=") && disks[3].ends_with("/slow.img"));
        assert!(args.iter().any(|arg| arg == "-no-reboot"));
    }

    #[test]
    fn the_disk_of_the_image_has_room_for_its_root_to_grow() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("small.img");
        fs::write(&file, [7; 4096]).unwrap();
        create_root(&image(file, Arch::Amd64), dir.path()).unwrap();
        let disk = image(dir.path().join(ROOT), Arch::Amd64);
        let disk = Image { format: Format::Qcow2, ..disk };
        assert_eq!(disk.size().unwrap(), 4096 + ROOM);
    }

    #[test]
    fn a_comma_in_the_name_of_a_disk_is_doubled() {
        assert!(drive(Path::new("/tmp/a,b"), "virtio", "raw", "cache=unsafe").ends_with("file=/tmp/a,,b"));
    }
}
