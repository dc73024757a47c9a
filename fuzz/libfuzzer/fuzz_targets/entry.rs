//! libFuzzer for one entry of `fuzz/entries`: the one that the environment variable `FUZZ_ENTRY` names.
#![no_main]

#[path = "../../entries/dns.rs"]
mod dns;
#[path = "../../entries/ftp.rs"]
mod ftp;
#[path = "../../entries/ftp_tree.rs"]
mod ftp_tree;
#[path = "../../entries/mail.rs"]
mod mail;
#[path = "../../entries/net.rs"]
mod net;
#[path = "../../entries/smtp.rs"]
mod smtp;

use std::sync::LazyLock;

/// Looked up once, before the first input.
static ENTRY: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let wanted = std::env::var("FUZZ_ENTRY").expect("FUZZ_ENTRY names an entry");
    let entries = [net::ENTRIES, ftp::ENTRIES, ftp_tree::ENTRIES, smtp::ENTRIES, dns::ENTRIES, mail::ENTRIES];
    let found = entries.into_iter().flatten().find(|(name, _)| *name == wanted);
    found.unwrap_or_else(|| panic!("FUZZ_ENTRY: no entry {wanted}")).1
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| ENTRY(data));
