//! The seeds of the fuzzer.

use std::fs;
use std::path::PathBuf;

use ktrace_format::{DecodeError, Kind, Record};
use ktrace_fuzz::check;

/// Names and bytes of the seeds.
fn corpus() -> Vec<(String, Vec<u8>)> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus");
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
    let corpus = corpus();
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
    let corpus = corpus();
    for (_, bytes) in &corpus {
        check(bytes);
    }
    let whole = corpus.iter().filter(|(name, _)| !name.ends_with(".cut"));
    check(&whole.flat_map(|(_, bytes)| bytes).copied().collect::<Vec<_>>());
    check(&corpus.iter().flat_map(|(_, bytes)| bytes).copied().collect::<Vec<_>>());
}
