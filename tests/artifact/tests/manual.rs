//! The manual page says all that the module prints, and nothing that it does not.

use std::fs;
use std::path::{Path, PathBuf};

/// What begins each line of `kernel::log::print`.
const PREFIX: &str = "ktrace_rs: ";

#[test]
fn diagnostics_are_those_of_the_module() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = fs::read_to_string(top.join("share/man/man4/ktrace_rs.4")).unwrap();
    let (_, diagnostics) = page.split_once("\n.Sh DIAGNOSTICS\n").unwrap();
    let (diagnostics, _) = diagnostics.split_once("\n.Sh ").unwrap();
    // \& is nothing: it keeps mandoc(1) from asking for a macro instead of a word.
    let diagnostics = diagnostics.replace("\\&", "");
    let items: Vec<_> =
        diagnostics.lines().filter_map(|line| line.strip_prefix(".It \"")?.strip_suffix('"')).collect();

    let messages = messages(&top.join("kmod/src"));
    assert!(messages.len() > 8, "{messages:?}");
    for message in &messages {
        assert!(items.iter().any(|item| is_one(item, message)), "the page lacks: {message}");
    }
    for item in items {
        assert!(messages.iter().any(|message| is_one(item, message)), "nobody prints: {item}");
    }
}

/// The formats of all lines that the sources in `folder` print, as they get to dmesg(8).
fn messages(folder: &Path) -> Vec<String> {
    let mut messages = Vec::new();
    for path in sources(folder) {
        let text = fs::read_to_string(&path).unwrap();
        messages
            .extend(literals(&text, "log::print(format_args!(").map(|format| format!("{PREFIX}{format}")));
        messages.extend(literals(&text, "=> c").map(|format| format.replace("\\n", "")));
        messages.extend(literals(&text, "sys::panic(c").map(|format| format!("panic: {format}")));
    }
    messages
}

/// All but what only test modules have.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("park.rs") {
            found.push(path);
        }
    }
    found
}

/// The literals right behind each `call`. None of them has a quotation mark inside.
fn literals<'a>(text: &'a str, call: &'a str) -> impl Iterator<Item = String> + 'a {
    text.split(call).skip(1).filter_map(|behind| {
        let (literal, _) = behind.trim_start().strip_prefix('"')?.split_once('"')?;
        // A backslash at the end of a line, and the blanks that the next one begins with, go.
        Some(literal.split("\\\n").map(str::trim_start).collect())
    })
}

/// Whether a line of the page has all of a format but what `{}`, `%d` and `%s` stand for.
fn is_one(item: &str, format: &str) -> bool {
    let format = format.replace("%d", "{}").replace("%s", "{}");
    let mut pieces = format.split('{').map(|piece| piece.split_once('}').map_or(piece, |(_, text)| text));
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = item.strip_prefix(first) else { return false };
    for piece in pieces {
        match rest.split_once(piece) {
            Some((_, behind)) => rest = behind,
            None => return false,
        }
    }
    rest.is_empty() || format.ends_with('}')
}
