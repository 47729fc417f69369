//! The seeds of the fuzzers.

use std::fs;
use std::path::PathBuf;

use ktrace_format::{DecodeError, Kind, Record};
use ktrace_fuzz::{check, check_trace};
use ktrcheck::{Check, Order};

/// Names and bytes of the seeds of a corpus.
fn corpus(name: &str) -> Vec<(String, Vec<u8>)> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name);
    let entries = fs::read_dir(directory).expect("the corpus is there");
    let mut all = Vec::new();
    for entry in entries {
        let path = entry.expect("the corpus can be read").path();
        let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
        all.push((name, fs::read(path).expect("a seed can be read")));
    }
    all
}

#[test]
fn there_is_a_seed_of_each_type_whole_and_cut() {
    let corpus = corpus("corpus");
    for kind in Kind::ALL {
        let of_kind = |(name, _): &&(String, Vec<u8>)| name.split(['-', '.']).next() == Some(kind.name());
        let (cut, whole): (Vec<_>, Vec<_>) =
            corpus.iter().filter(of_kind).partition(|(name, _)| name.ends_with(".cut"));
        assert!(!whole.is_empty() && whole.len() == cut.len(), "{}", kind.name());
        for (name, bytes) in whole {
            let (record, rest) = Record::decode(bytes).expect(name);
            assert!(record.payload.kind() == kind && rest.is_empty(), "{name}");
        }
        for (name, bytes) in cut {
            assert_eq!(Record::decode(bytes), Err(DecodeError::Truncated), "{name}");
        }
    }
}

#[test]
fn the_seeds_alone_and_behind_each_other() {
    let corpus = corpus("corpus");
    for (_, bytes) in &corpus {
        check(bytes);
    }
    let whole = corpus.iter().filter(|(name, _)| !name.ends_with(".cut"));
    check(&whole.flat_map(|(_, bytes)| bytes).copied().collect::<Vec<_>>());
    check(&corpus.iter().flat_map(|(_, bytes)| bytes).copied().collect::<Vec<_>>());
}

#[test]
fn there_are_whole_traces_and_others() {
    let corpus = corpus("corpus-ktrcheck");
    let mut whole = Vec::new();
    for (name, bytes) in &corpus {
        check_trace(bytes);
        let mut check = Check::new(bytes.as_slice(), Order::File, &|_| ());
        if check.next_finding().expect("memory can be read").is_none() {
            whole.push(name.as_str());
        }
    }
    whole.sort_unstable();
    assert_eq!(whole, ["both-versions", "version-0", "whole"]);
    assert!(corpus.len() > whole.len());
    check_trace(&corpus.iter().flat_map(|(_, bytes)| bytes).copied().collect::<Vec<_>>());
}
