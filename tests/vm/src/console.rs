//! The guest's serial console: its output so far, and waits for more.

use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::marker;

/// Output of the guest's console, which grows while the guest runs.
#[derive(Debug, Clone)]
pub struct Console {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    text: String,
    closed: bool,
    mirrored: bool,
}

/// Outcome of a wait.
#[derive(Debug, PartialEq, Eq)]
pub enum Waited<T> {
    /// The search has found this.
    Found(T),
    /// The console has closed: the machine is off.
    Closed,
    /// The deadline has passed.
    TimedOut,
}

/// Number of bytes that a search goes back, to find text that arrived in pieces.
const OVERLAP: usize = 4096;

impl Console {
    /// Reads `input` until it ends, on a thread of its own, and keeps a copy in `log`.
    pub fn start(input: impl Read + Send + 'static, log: File) -> Self {
        let console = Self { shared: Arc::default() };
        let shared = Arc::clone(&console.shared);
        thread::spawn(move || {
            shared.read_all(input, log);
            shared.state().closed = true;
            shared.changed.notify_all();
        });
        console
    }

    /// Returns the position of the next text.
    pub fn position(&self) -> usize {
        self.shared.state().text.len()
    }

    /// Returns the text since `position`.
    pub fn since(&self, position: usize) -> String {
        self.shared.state().text[position..].to_owned()
    }

    /// Starts or stops copying new output to the standard output. A copy ends at a marker.
    pub fn mirror(&self, mirrored: bool) {
        self.shared.state().mirrored = mirrored;
    }

    /// Waits until `search` finds something in the text since `position`.
    ///
    /// Each call of `search` gets the new text, and before it the end of the text of the previous
    /// call.
    pub fn wait<T>(
        &self,
        position: usize,
        deadline: Instant,
        mut search: impl FnMut(&str) -> Option<T>,
    ) -> Waited<T> {
        let mut state = self.shared.state();
        let mut searched = position;
        loop {
            let from = boundary(&state.text, searched.saturating_sub(OVERLAP).max(position));
            if let Some(found) = search(&state.text[from..]) {
                return Waited::Found(found);
            }
            searched = state.text.len();
            if state.closed {
                return Waited::Closed;
            }
            state = match self.shared.wait_for_more(state, deadline) {
                ControlFlow::Continue(state) => state,
                ControlFlow::Break(()) => return Waited::TimedOut,
            };
        }
    }

    /// Waits until nothing has come for as long as `quiet`, at most until `deadline`.
    pub fn settle(&self, quiet: Duration, deadline: Instant) {
        let mut state = self.shared.state();
        while !state.closed && Instant::now() < deadline {
            state = match self.shared.wait_for_more(state, deadline.min(Instant::now() + quiet)) {
                ControlFlow::Continue(state) => state,
                ControlFlow::Break(()) => return,
            };
        }
    }

    /// Returns the last `count` lines since `position` that have text, without escape sequences and
    /// markers.
    pub fn tail(&self, position: usize, count: usize) -> Vec<String> {
        let state = self.shared.state();
        let mut lines: Vec<String> = state.text[position..]
            .lines()
            .rev()
            .map(|line| without_escapes(line).trim_end().to_owned())
            .filter(|line| !line.is_empty() && marker::all(line).next().is_none())
            .take(count)
            .collect();
        lines.reverse();
        lines
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_all(&self, mut input: impl Read, mut log: File) {
        let mut bytes = [0; 4096];
        loop {
            let count = match input.read(&mut bytes) {
                Ok(0) => return,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return,
            };
            let bytes = &bytes[..count];
            // A full disk costs the copy, but not the run.
            let _ = log.write_all(bytes);
            let mut state = self.state();
            state.text.extend(String::from_utf8_lossy(bytes).chars().filter(|&c| c != '\r'));
            if state.mirrored {
                let mut out = io::stdout().lock();
                let end = bytes.windows(marker::OPEN.len()).position(|at| at == marker::OPEN.as_bytes());
                let _ = out.write_all(&bytes[..end.unwrap_or(count)]).and_then(|()| out.flush());
            }
            drop(state);
            self.changed.notify_all();
        }
    }

    /// Waits for more text or the close of the console, and returns with the lock held.
    fn wait_for_more<'a>(
        &self,
        state: MutexGuard<'a, State>,
        deadline: Instant,
    ) -> ControlFlow<(), MutexGuard<'a, State>> {
        let length = state.text.len();
        let left = deadline.saturating_duration_since(Instant::now());
        let (state, timeout) = self
            .changed
            .wait_timeout_while(state, left, |state| state.text.len() == length && !state.closed)
            .unwrap_or_else(PoisonError::into_inner);
        if timeout.timed_out() { ControlFlow::Break(()) } else { ControlFlow::Continue(state) }
    }
}

fn boundary(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// Returns `line` without escape sequences that move the cursor or set colours.
pub fn without_escapes(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\x1b' {
            if !c.is_control() || c == '\t' {
                out.push(c);
            }
        } else if chars.next_if_eq(&'[').is_some() {
            chars.find(|c| ('@'..='~').contains(c));
        } else {
            chars.next();
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn console() -> (Console, io::PipeWriter) {
        let (reader, writer) = io::pipe().unwrap();
        (Console::start(reader, tempfile::tempfile().unwrap()), writer)
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    fn find(what: &str) -> impl FnMut(&str) -> Option<()> {
        let what = what.to_owned();
        move |text| text.contains(&what).then_some(())
    }

    #[test]
    fn waits_for_text_that_comes_in_pieces() {
        let (console, mut writer) = console();
        let thread = thread::spawn(move || {
            for piece in ["FreeBSD/amd64 (ttyu0)\r\n\r\nlog", "in", ": "] {
                writer.write_all(piece.as_bytes()).unwrap();
                thread::sleep(Duration::from_millis(5));
            }
            writer
        });
        assert_eq!(console.wait(0, soon(), find("\n\nlogin:")), Waited::Found(()));
        drop(thread.join().unwrap());
        assert_eq!(console.wait(0, soon(), find("Password:")), Waited::Closed);
    }

    #[test]
    fn what_came_before_the_position_is_not_found() {
        let (console, mut writer) = console();
        writer.write_all(b"login: ").unwrap();
        assert_eq!(console.wait(0, soon(), find("login:")), Waited::Found(()));
        let position = console.position();
        let deadline = Instant::now() + Duration::from_millis(20);
        assert_eq!(console.wait(position, deadline, find("login:")), Waited::TimedOut);
    }

    #[test]
    fn the_tail_is_clean() {
        let (console, mut writer) = console();
        writer.write_all(b"one\r\n@@KT:bye@@\r\n\x1b[0;1mtwo\x1b[m \xff\r\n\x1b7\x1b[rthree").unwrap();
        drop(writer);
        assert_eq!(console.wait(0, soon(), find("never")), Waited::Closed);
        assert_eq!(console.tail(0, 2), ["two \u{fffd}", "three"]);
    }
}
