//! The result of the checks of a module.

use std::fmt::Write;
use std::path::Path;

use crate::sizes::Sizes;
use crate::stack::Frame;
use crate::violation::Violation;

/// The number of frames in the summary.
const FRAMES_SHOWN: usize = 5;

/// The result of the checks of a module.
#[derive(Debug)]
pub struct Report {
    /// The violations. Empty for a module that may be loaded.
    pub violations: Vec<Violation>,
    /// The stack frame of each function, largest first.
    pub frames: Vec<Frame>,
    /// The sizes of the module.
    pub sizes: Sizes,
}

impl Report {
    /// Returns the sizes, the largest frames and the verdict as text.
    pub fn summary(&self, file: &Path) -> String {
        let file = file.display();
        let Sizes { text, rodata, data, bss } = self.sizes;
        let mut out = format!("{file}: text {text}, rodata {rodata}, data {data}, bss {bss} bytes\n");
        for Frame { bytes, function, section, offset } in self.frames.iter().take(FRAMES_SHOWN) {
            // Writing to a string cannot fail.
            let _ = writeln!(out, "{file}: frame {bytes} bytes: {function} ({section}+{offset:#x})");
        }
        let _ = match self.violations.len() {
            0 => writeln!(out, "{file}: clean, functions checked: {}", self.frames.len()),
            1 => writeln!(out, "{file}: 1 violation"),
            many => writeln!(out, "{file}: {many} violations"),
        };
        out
    }
}
