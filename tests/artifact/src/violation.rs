//! One thing that is wrong, and where.

use std::path::Path;

use crate::module::Module;

/// Where a violation is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// An offset in a section, or in a part of the file that is named like one.
    Offset {
        /// The section's name.
        section: String,
        /// Bytes from its beginning.
        offset: u64,
    },
    /// A line of the allow-list, counted from one.
    AllowList {
        /// The line.
        line: usize,
    },
}

/// One violation: a line of the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Where it is.
    pub place: Place,
    /// The symbol it is in or about, if one is known.
    pub symbol: Option<String>,
    /// What is wrong.
    pub message: String,
}

impl Violation {
    /// A violation at an offset of section `index` of `module`, in whichever
    /// symbol covers it.
    pub fn at(module: &Module<'_>, index: usize, offset: u64, message: impl Into<String>) -> Self {
        let symbol = module.symbol_at(index, offset).map(|symbol| symbol.name.to_owned());
        Self {
            place: Place::Offset { section: module.sections[index].name.to_owned(), offset },
            symbol,
            message: message.into(),
        }
    }

    /// A violation in a part of the file that is not a section, such as its header.
    pub fn in_part(part: &str, offset: u64, message: impl Into<String>) -> Self {
        Self {
            place: Place::Offset { section: part.to_owned(), offset },
            symbol: None,
            message: message.into(),
        }
    }

    /// The same violation, about `symbol`.
    pub fn about(mut self, symbol: &str) -> Self {
        self.symbol = Some(symbol.to_owned());
        self
    }

    /// The line that reports it: `file: section+offset (symbol): message`.
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

/// The messages of what `check` finds in the module that `file` is.
#[cfg(test)]
pub(crate) fn messages(file: &[u8], check: impl Fn(&Module<'_>) -> Vec<Violation>) -> Vec<String> {
    check(&Module::parse(file).unwrap()).into_iter().map(|violation| violation.message).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_says_file_place_symbol_and_message() {
        let file = Path::new("a.ko");
        let list = Path::new("symbols.txt");
        let mut violation = Violation::in_part(".text", 0x1f, "wrong").about("f");
        assert_eq!(violation.line(file, list), "a.ko: .text+0x1f (f): wrong");
        violation.symbol = None;
        assert_eq!(violation.line(file, list), "a.ko: .text+0x1f (-): wrong");
        violation.place = Place::AllowList { line: 3 };
        assert_eq!(violation.line(file, list), "symbols.txt: line 3 (-): wrong");
    }
}
