//! Generated: libFuzzer for the entry `dns_stream` of fuzz/entries/dns.rs.
#![no_main]

#[path = "../entries/dns.rs"]
mod entries;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    for (name, entry) in entries::ENTRIES {
        if *name == "dns_stream" {
            entry(data);
        }
    }
});
