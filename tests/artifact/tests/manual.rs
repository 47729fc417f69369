//! The manual page documents exactly the messages, settings and dtrace(1) probes that the module
//! has.

use std::fs;
use std::path::{Path, PathBuf};

use ktrace_engine::{
    BATCH_BYTES_DEFAULT, BATCH_BYTES_MAX, BATCH_BYTES_MIN, BATCH_RECORDS_DEFAULT, BATCH_RECORDS_MAX,
    LATENCY_DEFAULT, LATENCY_MAX, Policy, QUEUE_LIMIT_DEFAULT, QUEUE_LIMIT_MAX, QUEUE_LIMIT_MIN,
};
use ktrace_format::Kind;

/// The beginning of each line of `kernel::log::print`.
const PREFIX: &str = "ktrace_rs: ";

/// The beginning of each sysctl's name.
const TREE: &str = "kern.ktrace_rs.";

#[test]
fn diagnostics_are_those_of_the_module() {
    // \& is empty. It keeps mandoc(1) from taking a word for a macro.
    let diagnostics = section("DIAGNOSTICS").replace("\\&", "");
    let items: Vec<_> =
        diagnostics.lines().filter_map(|line| line.strip_prefix(".It \"")?.strip_suffix('"')).collect();

    let messages = messages(&top().join("kmod/src"));
    assert!(messages.len() > 8, "{messages:?}");
    for message in &messages {
        assert!(items.iter().any(|item| is_one(item, message)), "the page lacks: {message}");
    }
    for item in items {
        assert!(messages.iter().any(|message| is_one(item, message)), "nobody prints: {item}");
    }
}

#[test]
fn a_load_is_refused_with_the_errno_of_the_page() {
    let diagnostics = section("DIAGNOSTICS").replace("\\&", "");
    let refused = between(&diagnostics, "\nA refused load", "\n.El");
    let printed = printed(&top().join("kmod/src"));
    // Items of the page that share a description.
    let mut items = Vec::new();
    let mut told = 0;
    for line in refused.lines() {
        if let Some(item) = line.strip_prefix(".It \"").and_then(|line| line.strip_suffix('"')) {
            items.push(item);
        } else if let Some(errno) = line.strip_prefix(".Pq Er ") {
            for item in items.drain(..) {
                let (.., of_module) = printed.iter().find(|(message, _)| is_one(item, message)).unwrap();
                // The errno of a failed process start is the kernel's.
                assert_eq!(errno, of_module.unwrap_or("ENOMEM , Er EAGAIN"), "{item}");
                told += 1;
            }
        }
    }
    assert_eq!(items, [""; 0], "no errno");
    assert!(told > 7, "{told}");
}

#[test]
fn sysctls_are_those_of_the_module() {
    let source = fs::read_to_string(top().join("kmod/src/sysctls.rs")).unwrap();
    // The names in a table, or in calls that have them as their second argument.
    let table = |name: &str| {
        let table = between(&source, &format!("static {name}: ["), "\n];");
        literals(table, "name: c").collect::<Vec<_>>()
    };
    let calls = |call: &str| literals(&source, call).collect::<Vec<_>>();
    let settings = [table("SETTINGS"), table("WORDS")].concat();
    let mut others = [table("LISTS"), calls("tree.text(root, c")].concat();
    others.extend(table("VALUES").iter().map(|name| format!("stats.{name}")));
    others.extend(calls("tree.counter(node, c").iter().map(|name| format!("stats.type.*.{name}")));

    let page = section("SYSCTL VARIABLES");
    let (tunables, read_only) = page.split_once("\nThe following variables are read-only.\n").unwrap();
    assert_eq!(variables(tunables), sorted(settings));
    assert_eq!(variables(read_only), sorted(others));

    let types = between(&page, "\nThe types are\n", "\n.El");
    let types: Vec<_> =
        types.lines().filter_map(|line| line.strip_prefix(".Va ")?.split(' ').next()).collect();
    assert_eq!(types, Kind::ALL.map(Kind::name));
}

#[test]
fn settings_have_the_bounds_and_defaults_of_the_module() {
    let page = section("SYSCTL VARIABLES");
    for (name, least, most, default) in [
        ("latency", 1, LATENCY_MAX as usize, LATENCY_DEFAULT as usize),
        ("batch_bytes", BATCH_BYTES_MIN, BATCH_BYTES_MAX, BATCH_BYTES_DEFAULT),
        ("batch_records", 1, BATCH_RECORDS_MAX, BATCH_RECORDS_DEFAULT),
        ("queue_limit", QUEUE_LIMIT_MIN, QUEUE_LIMIT_MAX, QUEUE_LIMIT_DEFAULT),
    ] {
        let text = between(&page, &format!("\n.It Va {TREE}{name}\n"), "\n.It ").replace('\n', " ");
        assert!(text.contains(&format!("from {least} to {most}")), "{name}: {text}");
        assert!(text.contains(&format!("The default is {default}.")), "{name}: {text}");
    }
    let policies = section("DESCRIPTION");
    let policies: Vec<_> = policies.lines().filter_map(|line| line.strip_prefix(".It Cm ")).collect();
    assert_eq!(policies, Policy::ALL.map(Policy::name));
}

#[test]
fn probes_are_those_of_the_module() {
    let page = section("DTRACE PROBES");
    let page: Vec<_> =
        page.lines().filter_map(|line| line.strip_prefix(".It Fn ")).map(str::to_owned).collect();

    let source = fs::read_to_string(top().join("kmod/shims/sdt.c")).unwrap();
    // Provider, module and function, of which the latter two are empty, name, and the rest.
    let macros = |name: &str| -> Vec<Vec<String>> {
        let calls = source.split(name).skip(1).filter_map(|call| call.split_once('(')?.1.split_once(");"));
        calls
            .map(|(arguments, _)| arguments.split(',').map(|word| word.trim().to_owned()).collect())
            .collect()
    };
    let uses = macros("\tSDT_PROBE");
    let mut probes = Vec::new();
    for probe in macros("SDT_PROBE_DEFINE") {
        let [provider, module, function, name, types @ ..] = probe.as_slice() else { panic!("{probe:?}") };
        let used: Vec<_> = uses.iter().filter(|used| used[..4] == probe[..4]).collect();
        let [used] = used.as_slice() else { panic!("{name} fires in {} places", used.len()) };
        assert_eq!(types.len() + 4, used.len(), "{name}");
        let mut line = format!("{provider}:{module}:{function}:{}", name.replace("__", "-"));
        for (c_type, argument) in types.iter().zip(&used[4..]) {
            let c_type = c_type.trim_matches('"');
            let blank = if c_type.ends_with('*') { "" } else { " " };
            line += &format!(" \"{c_type}{blank}{argument}\"");
        }
        probes.push(line);
    }
    assert_eq!(page, probes);
}

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Returns the text of the page below this heading.
fn section(name: &str) -> String {
    let page = fs::read_to_string(top().join("share/man/man4/ktrace_rs.4")).unwrap();
    between(&page, &format!("\n.Sh {name}\n"), "\n.Sh ").to_owned()
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let (_, behind) = text.split_once(start).unwrap_or_else(|| panic!("there is no {start:?}"));
    behind.split_once(end).unwrap_or_else(|| panic!("there is no {end:?}")).0
}

/// Returns the variables for which a part of the page has items.
fn variables(page: &str) -> Vec<String> {
    let names = page.lines().filter_map(|line| line.strip_prefix(".It Va ")?.strip_prefix(TREE));
    sorted(names.map(str::to_owned).collect())
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

/// Returns the formats of all lines that the sources in `folder` print, as they appear in dmesg(8).
fn messages(folder: &Path) -> Vec<String> {
    let mut messages: Vec<_> = printed(folder).into_iter().map(|(message, _)| message).collect();
    for path in sources(folder) {
        let text = fs::read_to_string(&path).unwrap();
        messages.extend(literals(&text, "=> c").map(|format| format.replace("\\n", "")));
        messages.extend(literals(&text, "sys::panic(c").map(|format| format!("panic: {format}")));
    }
    messages
}

/// Returns the messages that the module prints. Each comes with the errno that the source names
/// behind it, if any.
fn printed(folder: &Path) -> Vec<(String, Option<&'static str>)> {
    const CALL: &str = "log::print(format_args!(";
    let mut printed = Vec::new();
    for path in sources(folder) {
        let text = fs::read_to_string(&path).unwrap();
        let errnos = text.split(CALL).skip(1).map(|behind| {
            let named = ["EBUSY", "EEXIST", "ENOEXEC", "EOPNOTSUPP"].into_iter();
            named.filter(|errno| behind.contains(errno)).min_by_key(|errno| behind.find(errno))
        });
        let messages = literals(&text, CALL).map(|format| format!("{PREFIX}{format}"));
        printed.extend(messages.zip(errnos));
    }
    printed
}

/// Returns all sources except those of test modules.
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

/// Returns the literals directly behind each `call`. None of them contains a quotation mark.
fn literals<'a>(text: &'a str, call: &'a str) -> impl Iterator<Item = String> + 'a {
    text.split(call).skip(1).filter_map(|behind| {
        let (literal, _) = behind.trim_start().strip_prefix('"')?.split_once('"')?;
        // Removes a backslash at the end of a line, and the blanks at the beginning of the next.
        Some(literal.split("\\\n").map(str::trim_start).collect())
    })
}

/// Returns whether a line of the page has all of a format, apart from the arguments for `{}`, `%d`
/// and `%s`.
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
