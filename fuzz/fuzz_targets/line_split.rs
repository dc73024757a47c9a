//! Generated: libFuzzer for the entry `line_split` of fuzz/entries/net.rs.
#![no_main]

#[path = "../entries/net.rs"]
mod entries;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    for (name, entry) in entries::ENTRIES {
        if *name == "line_split" {
            entry(data);
        }
    }
});
