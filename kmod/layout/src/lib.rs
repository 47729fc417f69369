//! Layouts of the kernel structures that the module accesses: `table.txt`, written as assertions in
//! C and in Rust.
#![forbid(unsafe_code)]

use std::fmt::Write as _;

/// The table, as text.
pub const TABLE: &str = include_str!("../table.txt");

/// C names to which bindgen appends an underscore.
const KEYWORDS: [&str; 9] = ["final", "fn", "impl", "in", "match", "mod", "proc", "ref", "type"];

/// The layout of one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    target: String,
    entries: Vec<Entry>,
}

/// The size of a structure, or the offset of a field, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The structure.
    pub structure: String,
    /// The field, or the path to it. `None` for the size.
    pub field: Option<String>,
    /// The number of bytes.
    pub number: u64,
}

impl Layout {
    /// Reads the column of a target.
    ///
    /// # Errors
    ///
    /// A message that names the line, if the table is malformed, has a line twice, or lacks the
    /// target.
    pub fn parse(table: &str, target: &str) -> Result<Self, String> {
        let mut columns = None;
        let mut entries: Vec<Entry> = Vec::new();
        for (index, line) in table.lines().enumerate() {
            let at = |what: &str| format!("line {}: {what}: {line}", index + 1);
            let mut words = line.split_whitespace();
            let Some(name) = words.next().filter(|name| !name.starts_with('#')) else { continue };
            let values: Vec<&str> = words.collect();
            let Some((count, column)) = columns else {
                let column = values.iter().position(|column| *column == target);
                if name != "target" {
                    return Err(at("no targets are named before this line"));
                }
                columns = Some((values.len(), column.ok_or_else(|| at(&format!("no column for {target}")))?));
                continue;
            };
            let value = match values[..] {
                [value] => value,
                _ if values.len() == count => values[column],
                _ => return Err(at(&format!("neither 1 nor {count} numbers"))),
            };
            if value == "-" {
                continue;
            }
            let number = value.parse().map_err(|_| at("not a number"))?;
            let (structure, field) = match name.split_once('.') {
                Some((structure, field)) => (structure, Some(field.to_owned())),
                None => (name, None),
            };
            if entries.iter().any(|entry| entry.structure == structure && entry.field == field) {
                return Err(at("a second line of this name"));
            }
            entries.push(Entry { structure: structure.to_owned(), field, number });
        }
        if entries.is_empty() {
            return Err("the table is empty".to_owned());
        }
        Ok(Layout { target: target.to_owned(), entries })
    }

    /// Returns the lines of the table.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Returns the assertions for the C compiler.
    #[must_use]
    pub fn c(&self) -> String {
        let mut text = String::new();
        for Entry { structure, field, number } in &self.entries {
            let (name, value) = match field {
                Some(field) => {
                    (format!("{structure}.{field}"), format!("__offsetof(struct {structure}, {field})"))
                }
                None => (structure.clone(), format!("sizeof(struct {structure})")),
            };
            let target = &self.target;
            let _ = writeln!(
                text,
                "_Static_assert({value} == {number}, \"kmod/layout/table.txt: {name} on {target}\");"
            );
        }
        text
    }

    /// Returns the assertions for bindgen's structures, in the crate `kernel_sys`.
    #[must_use]
    pub fn rust(&self) -> String {
        let mut text = String::new();
        for Entry { structure, field, number } in &self.entries {
            let structure = bindgen_name(structure);
            let value = match field {
                Some(field) => {
                    let path: Vec<String> = field.split('.').map(bindgen_name).collect();
                    format!("core::mem::offset_of!(kernel_sys::{structure}, {})", path.join("."))
                }
                None => format!("size_of::<kernel_sys::{structure}>()"),
            };
            let _ = writeln!(text, "static_assertions::const_assert_eq!({value}, {number});");
        }
        text
    }
}

/// Returns the name that bindgen gives to a structure or a field.
fn bindgen_name(name: &str) -> String {
    if KEYWORDS.contains(&name) { format!("{name}_") } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = "# comment\n\ntarget 1-a 1-b\nproc.p_pid 4 8\nproc - 16\nktr.type 0\n";

    #[test]
    fn a_column_is_read() {
        let entry = |structure: &str, field: Option<&str>, number| Entry {
            structure: structure.to_owned(),
            field: field.map(str::to_owned),
            number,
        };
        let first = Layout::parse(SMALL, "1-a").unwrap();
        assert_eq!(first.entries, [entry("proc", Some("p_pid"), 4), entry("ktr", Some("type"), 0)]);
        let second = Layout::parse(SMALL, "1-b").unwrap();
        assert_eq!(
            second.entries,
            [entry("proc", Some("p_pid"), 8), entry("proc", None, 16), entry("ktr", Some("type"), 0)]
        );
    }

    #[test]
    fn each_line_is_an_assertion_in_both_languages() {
        let layout = Layout::parse(SMALL, "1-b").unwrap();
        assert_eq!(
            layout.c(),
            "_Static_assert(__offsetof(struct proc, p_pid) == 8, \"kmod/layout/table.txt: proc.p_pid on 1-b\");\n\
             _Static_assert(sizeof(struct proc) == 16, \"kmod/layout/table.txt: proc on 1-b\");\n\
             _Static_assert(__offsetof(struct ktr, type) == 0, \"kmod/layout/table.txt: ktr.type on 1-b\");\n"
        );
        assert_eq!(
            layout.rust(),
            "static_assertions::const_assert_eq!(core::mem::offset_of!(kernel_sys::proc_, p_pid), 8);\n\
             static_assertions::const_assert_eq!(size_of::<kernel_sys::proc_>(), 16);\n\
             static_assertions::const_assert_eq!(core::mem::offset_of!(kernel_sys::ktr, type_), 0);\n"
        );
    }

    #[test]
    fn a_malformed_table_is_refused() {
        for (table, message) in [
            ("", "the table is empty"),
            ("proc.p_pid 4\n", "line 1: no targets are named before this line: proc.p_pid 4"),
            ("target 1-b\n", "line 1: no column for 1-a: target 1-b"),
            ("target 1-a 1-b 1-c\nproc 4 4\n", "line 2: neither 1 nor 3 numbers: proc 4 4"),
            ("target 1-a\nproc\n", "line 2: neither 1 nor 1 numbers: proc"),
            ("target 1-a\nproc 4x\n", "line 2: not a number: proc 4x"),
            ("target 1-a\nproc 4\nproc 4\n", "line 3: a second line of this name: proc 4"),
        ] {
            assert_eq!(Layout::parse(table, "1-a").unwrap_err(), message);
        }
    }
}
