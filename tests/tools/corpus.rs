//! Replays `fuzz/corpus/<entry>/*` through every fuzz entry, and a bounded, deterministic set of mutations of each file:
//! every truncation, a flipped bit and a changed byte at every place, a doubled tail.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

#[path = "../../fuzz/entries/dns.rs"]
mod dns;
#[path = "../../fuzz/entries/ftp.rs"]
mod ftp;
#[path = "../../fuzz/entries/ftp_tree.rs"]
mod ftp_tree;
#[path = "../../fuzz/entries/mail.rs"]
mod mail;
#[path = "../../fuzz/entries/net.rs"]
mod net;
#[path = "../../fuzz/entries/smtp.rs"]
mod smtp;

/// One entry point: its name and the function.
type Entry = (&'static str, fn(&[u8]));

/// At most so many places of a seed are mutated; a longer seed is mutated at evenly spread places.
const MAX_PLACES: usize = 512;

/// Every entry of `fuzz/entries`.
fn entries() -> impl Iterator<Item = &'static Entry> {
    [net::ENTRIES, ftp::ENTRIES, ftp_tree::ENTRIES, smtp::ENTRIES, dns::ENTRIES, mail::ENTRIES].into_iter().flatten()
}

fn fuzz_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

/// The committed seeds of one entry.
fn seeds(entry: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = fuzz_folder().join("corpus").join(entry);
    let Ok(files) = std::fs::read_dir(&folder) else { return Vec::new() };
    let mut seeds: Vec<_> = files
        .map(|file| {
            let path = file.expect("a corpus file").path();
            let bytes = std::fs::read(&path).expect("a corpus file");
            (path, bytes)
        })
        .collect();
    seeds.sort();
    seeds
}

/// Every mutation of `seed`, the seed itself first.
fn mutations(seed: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    let step = seed.len().div_ceil(MAX_PLACES).max(1);
    let places = move || (0..seed.len()).step_by(step);
    let changed = move |at: usize, change: fn(u8) -> u8| {
        let mut bytes = seed.to_vec();
        bytes[at] = change(bytes[at]);
        bytes
    };
    std::iter::once(seed.to_vec())
        .chain(places().map(|at| seed[..at].to_vec()))
        .chain(places().map(move |at| changed(at, |byte| byte ^ 0x80)))
        .chain(places().map(move |at| changed(at, |byte| byte ^ 0x01)))
        .chain(places().map(move |at| changed(at, |_| 0x00)))
        .chain(places().map(move |at| changed(at, |_| 0xff)))
        .chain(places().map(move |at| [&seed[..at], b"\r\n", &seed[at..]].concat()))
        .chain(std::iter::once([seed, seed].concat()))
}

/// Runs one entry over one seed and all its mutations; the input of the first panic.
fn first_panic(entry: fn(&[u8]), seed: &[u8]) -> Option<Vec<u8>> {
    mutations(seed).find(|input| catch_unwind(AssertUnwindSafe(|| entry(input))).is_err())
}

#[test]
fn the_corpus_and_its_mutations_panic_nowhere() {
    for (name, entry) in entries() {
        let mut inputs = seeds(name);
        inputs.push((PathBuf::from("(built in)"), b"\0\x01\xff a\r\n.\r\n".to_vec()));
        for (path, seed) in inputs {
            if let Some(input) = first_panic(*entry, &seed) {
                panic!("{name} panics on a mutation of {}: {}", path.display(), input.escape_ascii());
            }
        }
    }
}

#[test]
fn a_panic_is_found() {
    let seed = b"abcdef";
    assert_eq!(first_panic(|input| assert!(input.len() != 3), seed), Some(b"abc".to_vec()));
    assert_eq!(first_panic(|_| (), seed), None);
}

#[test]
fn names_are_unique_and_every_entry_has_seeds() {
    let mut names: Vec<&str> = entries().map(|(name, _)| *name).collect();
    names.sort_unstable();
    for pair in names.windows(2) {
        assert_ne!(pair[0], pair[1], "two entries of one name");
    }
    for name in &names {
        assert!(!seeds(name).is_empty(), "fuzz/corpus/{name}/ holds no seed");
    }
    let folders = std::fs::read_dir(fuzz_folder().join("corpus")).into_iter().flatten();
    for folder in folders {
        let folder = folder.expect("a corpus folder").file_name().into_string().expect("a plain name");
        assert!(names.contains(&folder.as_str()), "fuzz/corpus/{folder}/ belongs to no entry");
    }
}
