//! Generated: libFuzzer for the entry `ftp_listing_eplf` of fuzz/entries/ftp.rs.
#![no_main]

#[path = "../entries/ftp.rs"]
mod entries;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    for (name, entry) in entries::ENTRIES {
        if *name == "ftp_listing_eplf" {
            entry(data);
        }
    }
});
