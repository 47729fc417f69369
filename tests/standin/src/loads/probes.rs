//! Probes: sdt(9) finds in the module the probes that ktrace_rs(4) documents.

use anyhow::{Result, ensure};

use super::World;

const PROBES: [&str; 6] = [
    "ktrace_rs:::made(int, size_t, bool)",
    "ktrace_rs:::queued(int, size_t, size_t)",
    "ktrace_rs:::committed(struct vnode *, size_t, uint64_t, uint64_t)",
    "ktrace_rs:::dropped(int)",
    "ktrace_rs:::full__begin(struct vnode *)",
    "ktrace_rs:::full__end(struct vnode *)",
];

/// Loads the module, and compares its probes.
pub fn run(world: &World) -> Result<String> {
    let module = world.load()?;
    let probes = module.probes()?;
    module.unload_at_last();
    ensure!(probes == PROBES, "{probes:#?}");
    Ok(format!("{} probes, with the types of their arguments", probes.len()))
}
