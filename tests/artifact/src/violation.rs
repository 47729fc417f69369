//! A single violation and its place.

use std::path::Path;

use crate::module::Module;

/// The place of a violation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// An offset in a section, or in a part of the file that is named like one.
    Offset {
        /// The section's name.
        section: String,
        /// The offset from its beginning in bytes.
        offset: u64,
    },
    /// A line of the allow-list, counted from one.
    AllowList {
        /// The line.
        line: usize,
    },
}

/// A violation: one line of the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The place.
    pub place: Place,
    /// The symbol that contains it or that it concerns, if known.
    pub symbol: Option<String>,
    /// The description.
    pub message: String,
}

impl Violation {
    /// Creates a violation at an offset of section `index` of `module`, in the symbol that covers
    /// the offset.
    pub fn at(module: &Module<'_>, index: usize, offset: u64, message: impl Into<String>) -> Self {
        let symbol = module.symbol_at(index, offset).map(|symbol| symbol.name.to_owned());
        Self {
            place: Place::Offset { section: module.sections[index].name.to_owned(), offset },
            symbol,
            message: message.into(),
        }
    }

    /// Creates a violation in a part of the file that is not a section, such as its header.
    pub fn in_part(part: &str, offset: u64, message: impl Into<String>) -> Self {
        Self {
            place: Place::Offset { section: part.to_owned(), offset },
            symbol: None,
            message: message.into(),
        }
    }

    /// Sets the symbol of the violation.
    pub fn about(mut self, symbol: &str) -> Self {
        self.symbol = Some(symbol.to_owned());
        self
    }

    /// Returns the line that reports it: `file: section+offset (symbol): message`.
    pub fn line(&self, file: &Path, allow: &Path) -> String {
        let symbol = self.symbol.as_deref().unwrap_or("-");
        let message = &self.message;
        match &self.place {
            Place::Offset { section, offset } => {
                format!("{}: {section}+{offset:#x} ({symbol}): {message}", file.display())
            }
            Place::AllowList { line } => {
                format!("{}: line {line} ({symbol}): {message}", allow.display())
            }
        }
    }
}
