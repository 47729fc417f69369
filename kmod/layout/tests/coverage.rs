//! Checks that the table has each field of a kernel structure that the module's sources name.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use ktrace_layout::{Layout, TABLE};

/// Fields that kernel headers define as macros.
const MACROS: [(&str, &str); 2] =
    [("p_siglist", "p_sigqueue.sq_signals"), ("td_siglist", "td_sigqueue.sq_signals")];

/// Prefixes of fields that only kernel structures have here.
const PREFIXES: [&str; 14] =
    ["cr_", "mtx_", "ni_", "oid_", "p_", "pc_", "pcb_", "pg_", "sa_", "sv_", "sy_", "td_", "uio_", "v_"];

/// Links of lists. The table has the field that begins with the link.
const LINKS: [&str; 5] = ["le_next", "lh_first", "stqh_first", "tqe_next", "tqh_first"];

/// Fields of the module's own structures that it accesses through a pointer. `handler` belongs to
/// `struct ast_entry`, which is in no header. The fields of `Elf_Sym` are defined by ELF.
const OWN: [&str; 7] = ["handler", "next", "settings", "st_info", "st_size", "stats", "stopped"];

/// Fields that the module accesses through macros of the kernel's headers.
const BY_MACRO: [&str; 3] = ["p_mtx", "pg_mtx", "sx_lock"];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of the module") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path
            .extension()
            .is_some_and(|extension| ["rs", "c", "h"].iter().any(|known| extension == *known))
        {
            found.push(path);
        }
    }
}

/// Returns the fields of kernel structures that a source names. These are fields behind a pointer,
/// fields with a prefix of the kernel's, and fields in `offset_of!(sys::…)`.
fn fields(text: &str) -> BTreeSet<String> {
    let is_name = |byte: char| byte.is_ascii_alphanumeric() || byte == '_';
    let mut found = BTreeSet::new();
    for line in text.lines() {
        let code = line.trim_start();
        if code.starts_with("//") || code.starts_with('*') || code.starts_with("/*") {
            continue;
        }
        let code = code.split(" // ").next().unwrap_or_default();
        for (at, _) in code.match_indices(['.', '>']) {
            let (before, behind) = (&code[..at], &code[at + 1..]);
            let end = behind.find(|byte| !is_name(byte)).unwrap_or(behind.len());
            let (name, rest) = behind.split_at(end);
            let is_arrow = code[at..].starts_with('>');
            if name.is_empty() || rest.starts_with('(') || (is_arrow && !before.ends_with('-')) {
                continue;
            }
            let behind_pointer = before.ends_with(')') && is_dereference(before);
            if is_arrow || behind_pointer || PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
                found.insert(name.to_owned());
            }
        }
        for call in ["offset_of!(sys::", "offset_of!(kernel_sys::"] {
            for (at, _) in code.match_indices(call) {
                let arguments = code[at + call.len()..].split(')').next().unwrap_or_default();
                let field = arguments.split(", ").nth(1).expect("a field");
                found.insert(field.to_owned());
            }
        }
    }
    found
}

/// Returns whether the parenthesis that ends `code` is a dereference, `(*pointer)`.
fn is_dereference(code: &str) -> bool {
    let mut depth = 0_u32;
    for (at, byte) in code.char_indices().rev() {
        match byte {
            ')' => depth += 1,
            '(' if depth == 1 => return code[at..].starts_with("(*"),
            '(' => depth -= 1,
            _ => {}
        }
    }
    false
}

#[test]
fn the_sources_are_read() {
    let text = "let sa = &(*self.0).td_sa;\n// (*x).not_this\nx = td->td_proc->p_siglist;\n(*req).newptr.is_null();\n\
                at = const offset_of!(sys::pcpu, pc_curthread),\nself.sv_flags()\npcb.pcb_x[FP]";
    let expected = ["newptr", "p_siglist", "pc_curthread", "pcb_x", "td_proc", "td_sa"];
    assert_eq!(fields(text).iter().map(String::as_str).collect::<Vec<_>>(), expected);
}

#[test]
fn the_table_has_each_field() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = Vec::new();
    sources(&root.join("src"), &mut files);
    sources(&root.join("shims"), &mut files);
    let mut named: BTreeSet<String> = BTreeSet::new();
    for file in files {
        named.extend(fields(&fs::read_to_string(&file).expect("a source")));
    }
    let mut table = BTreeSet::new();
    for target in ["14-amd64", "14-arm64", "15-amd64", "15-arm64"] {
        let layout = Layout::parse(TABLE, target).expect("the table");
        table.extend(layout.entries().iter().filter_map(|entry| entry.field.clone()));
    }
    let missing: Vec<&String> = named
        .iter()
        .filter(|name| !LINKS.contains(&name.as_str()) && !OWN.contains(&name.as_str()))
        .filter(|name| {
            let field =
                MACROS.iter().find(|(header, _)| header == name).map_or(name.as_str(), |(_, field)| *field);
            !table.contains(field)
        })
        .collect();
    assert!(missing.is_empty(), "kmod/layout/table.txt has no line for {missing:?}");
    assert!(BY_MACRO.iter().all(|field| table.contains(*field)));
}
