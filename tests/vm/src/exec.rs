//! `ktrace-vm exec`: runs one command in a guest.

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::guest::{Guest, Limits, Trouble};
use crate::image::Image;
use crate::machine::{Clock, Machine};
use crate::payload::Payload;
use crate::suite::Test;

/// Exit status if the guest got into trouble and the command has none.
const TROUBLE: u8 = 125;

/// Name of the command among the guest's tests.
const NAME: &str = "_exec";

/// Runs `command` with sh as a guest test, prints its output, and returns its status.
pub fn run(
    image: &Image,
    payload: &Payload,
    command: String,
    limit: Duration,
    limits: Limits,
    out: &Path,
) -> Result<u8> {
    let mut payload = payload.clone();
    payload.scripts.push((NAME.into(), command));
    let out = out.join("exec");
    let machine = Machine::start(image, &payload, Clock::Time, &out.join("console.log"))?;
    let mut guest = match Guest::boot(machine, limits) {
        Ok(guest) => guest,
        Err(failure) => {
            complain(&failure.trouble, &failure.console);
            return Ok(TROUBLE);
        }
    };
    let test = Test { name: NAME.into(), limit, ..Test::default() };
    match guest.run(&test, 0, &out) {
        Ok(ended) => {
            let results = ended.results?;
            io::stdout().write_all(results.log.as_bytes())?;
            eprint!("{}", results.notes);
            Ok(ended.end.status)
        }
        Err(trouble) => {
            guest.post_mortem(&trouble);
            io::stdout().write_all(guest.live_log().as_bytes())?;
            complain(&trouble, &guest.console_tail());
            Ok(TROUBLE)
        }
    }
}

/// Prints the trouble and the end of the console.
pub fn complain(trouble: &Trouble, console: &[String]) {
    eprintln!("ktrace-vm: {trouble}");
    for line in console {
        eprintln!("    {line}");
    }
}
