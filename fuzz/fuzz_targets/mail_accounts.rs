//! Generated: libFuzzer for the entry `mail_accounts` of fuzz/entries/mail.rs.
#![no_main]

#[path = "../entries/mail.rs"]
mod entries;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    for (name, entry) in entries::ENTRIES {
        if *name == "mail_accounts" {
            entry(data);
        }
    }
});
