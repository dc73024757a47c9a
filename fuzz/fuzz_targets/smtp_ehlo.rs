//! Generated: libFuzzer for the entry `smtp_ehlo` of fuzz/entries/smtp.rs.
#![no_main]

#[path = "../entries/smtp.rs"]
mod entries;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    for (name, entry) in entries::ENTRIES {
        if *name == "smtp_ehlo" {
            entry(data);
        }
    }
});
