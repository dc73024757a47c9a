//! Generated: libFuzzer for the entry `terminal_escape` of fuzz/entries/net.rs.
#![no_main]

#[path = "../entries/net.rs"]
mod entries;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    for (name, entry) in entries::ENTRIES {
        if *name == "terminal_escape" {
            entry(data);
        }
    }
});
