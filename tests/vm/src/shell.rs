//! `ktrace-vm shell`: an interactive console of a guest.

use std::io::{self, IsTerminal, Read};
use std::path::Path;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::termios::{self, OptionalActions, Termios};

use crate::console::Waited;
use crate::exec::complain;
use crate::guest::{Guest, Limits};
use crate::image::Image;
use crate::machine::{Clock, Machine};
use crate::marker::{self, Marker};
use crate::payload::{Backend, Payload};

/// Control-], the escape character of telnet.
const LEAVE: u8 = 0x1d;
/// Control-D, the end of input.
const END: u8 = 0x04;

/// Boots, logs in, and connects the terminal to the guest's shell until it ends or the user leaves.
///
/// Returns false if there was trouble.
pub fn run(image: &Image, payload: &Payload, limits: Limits, out: &Path) -> Result<bool> {
    eprintln!("ktrace-vm: booting {}", image.path.display());
    let machine = Machine::start(image, payload, Clock::Time, &out.join("shell").join("console.log"))?;
    let mut guest = match Guest::boot(machine, limits) {
        Ok(guest) => guest,
        Err(failure) => {
            complain(&failure.trouble, &failure.console);
            return Ok(false);
        }
    };
    match payload.backend {
        Backend::Module => eprintln!("ktrace-vm: the module is at hand: kldload $KT_MODULE"),
        Backend::Stock | Backend::None => eprintln!("ktrace-vm: no module is at hand"),
    }
    eprintln!("ktrace-vm: leave with `exit` or Control-]; nothing in the guest is kept");

    let from = guest.machine().console().position();
    guest.machine().console().mirror(true);
    let _raw = RawTerminal::enter()?;
    let (rows, columns) = terminal_size();
    guest.start_shell(rows, columns, &terminal_kind());
    converse(guest.machine(), from);
    guest.machine().console().mirror(false);
    eprint!("\r\n");
    Ok(true)
}

fn converse(machine: &mut Machine, from: usize) {
    let typed = read_terminal();
    let console = machine.console().clone();
    let mut open = true;
    loop {
        while open {
            match typed.try_recv() {
                Ok(bytes) => match bytes.iter().position(|&byte| byte == LEAVE) {
                    Some(at) => {
                        machine.type_in(&bytes[..at]);
                        return;
                    }
                    None => machine.type_in(bytes),
                },
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    machine.type_in([END]);
                    open = false;
                }
            }
        }
        let ended = console.wait(from, Instant::now() + Duration::from_millis(20), |text| {
            marker::all(text).find(|said| *said == Marker::Bye)
        });
        if ended != Waited::TimedOut {
            return;
        }
    }
}

fn read_terminal() -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = [0; 1024];
        while let Ok(count @ 1..) = io::stdin().read(&mut bytes) {
            if sender.send(bytes[..count].to_vec()).is_err() {
                return;
            }
        }
    });
    receiver
}

/// A terminal in raw mode, which passes every key through until it is dropped.
struct RawTerminal {
    before: Option<Termios>,
}

impl RawTerminal {
    fn enter() -> io::Result<Self> {
        if !io::stdin().is_terminal() {
            return Ok(Self { before: None });
        }
        let before = termios::tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        termios::tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        Ok(Self { before: Some(before) })
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = termios::tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
    }
}

fn terminal_size() -> (u16, u16) {
    match termios::tcgetwinsize(io::stdin()) {
        Ok(size) if size.ws_row > 0 && size.ws_col > 0 => (size.ws_row, size.ws_col),
        _ => (24, 80),
    }
}

fn terminal_kind() -> String {
    std::env::var("TERM")
        .ok()
        .filter(|term| !term.is_empty())
        .filter(|term| term.bytes().all(|b| b.is_ascii_alphanumeric() || b"-+._".contains(&b)))
        .unwrap_or_else(|| "dumb".into())
}
