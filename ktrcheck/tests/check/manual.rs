//! ktrcheck(1) lists every finding in the words that the program prints.

use ktrace_format::Kind;
use ktrcheck::{Finding, MAX_THREADS, NotAHeader, What};

/// Returns the finding after `what`. A match makes sure that none is forgotten.
fn next(what: &What) -> Option<What> {
    Some(match *what {
        What::Empty => What::OtherByteOrder,
        What::OtherByteOrder => What::NotARecord { next: Some(500), why: NotAHeader::Pid },
        What::NotARecord { next: Some(_), why } => What::NotARecord { next: None, why },
        What::NotARecord { next: None, .. } => What::CutOff,
        What::CutOff => What::Payload(Kind::Genio),
        What::Payload(_) => What::Type(20),
        What::Type(_) => What::OlderInFile,
        What::OlderInFile => What::OlderInThread,
        What::OlderInThread => What::CallInCall { code: 4, open: 3 },
        What::CallInCall { .. } => What::RetWithoutCall(4),
        What::RetWithoutCall(_) => What::RetOfOther { code: 4, open: 3 },
        What::RetOfOther { .. } => What::Drop,
        What::Drop => return None,
    })
}

/// Replaces each number with `N`.
fn without_numbers(text: &str) -> String {
    let mut out = text.replace(|letter: char| letter.is_ascii_digit(), "N");
    while out.contains("NN") {
        out = out.replace("NN", "N");
    }
    out
}

#[test]
fn diagnostics_are_those_of_the_program() {
    let page = include_str!("../../../share/man/man1/ktrcheck.1");
    let (_, page) = page.split_once("\n.Sh DIAGNOSTICS\n").expect("the page has diagnostics");
    let (page, _) = page.split_once("\n.Sh ").expect("they end");
    let items = page.lines().filter_map(|line| line.strip_prefix(".It \"")?.strip_suffix('"'));
    let mut items: Vec<_> = items.map(without_numbers).collect();
    items.sort();

    let all = std::iter::successors(Some(What::Empty), next);
    let mut said: Vec<_> = all
        .map(|what| {
            let line = Finding { offset: 7, thread: None, what }.to_string();
            let said = line.strip_prefix("byte 7: ").expect("the place comes first");
            without_numbers(&said.replace("(ktr_pid)", "(...)").replace("genio", "NAME"))
        })
        .collect();
    // Printed at the end of the report.
    said.push(without_numbers(&format!("more than {MAX_THREADS} threads: 1 records were checked for less")));
    said.sort();
    assert_eq!(items, said);
}
