//! An unload beside a process that exits.

use std::sync::atomic::Ordering;

use anyhow::Result;
use kernel_sys as sys;

use super::{World, me};
use crate::event::{EXITS_WAIT, EXITS_WAITING};
use crate::host::violation;
use crate::user::spawn;

/// Unloads while an exiting process has chosen the module's handler and has not called it yet. The
/// unload fails until the process has called the handler.
pub fn run(world: &World) -> Result<String> {
    let module = world.load()?;
    EXITS_WAIT.store(true, Ordering::SeqCst);
    let child = spawn("exits", 1001);
    child.run(|_| ());
    while EXITS_WAITING.load(Ordering::SeqCst) == 0 {
        me().sleep(100_000);
    }
    match module.unload(true) {
        Err((module, errno)) if errno == sys::EBUSY.cast_signed() => {
            EXITS_WAIT.store(false, Ordering::SeqCst);
            child.process.wait();
            module.unload_at_last();
        }
        Err((_, errno)) => violation!(Call, "MOD_UNLOAD: errno {errno}"),
        Ok(()) => violation!(Call, "the module is gone, and a thread is about to call it"),
    }
    Ok("the unload waits for the thread".to_owned())
}
