#!/bin/sh
# Runs each fuzz entry for FUZZ_SECONDS (60). The stable toolchain will do: RUSTC_BOOTSTRAP lets it instrument.
# The code is safe Rust, so no sanitizer is needed: panics, time and memory are what is looked for.
# New inputs go to fuzz/target/corpus, crashes to fuzz/artifacts; the committed seeds are only read.
set -eu
cd "$(dirname "$0")/.."
seconds=${FUZZ_SECONDS:-60}
cargo=${CARGO:-cargo}
tools=$PWD/target/tools
export RUSTC_BOOTSTRAP=1

if ! command -v cargo-fuzz >/dev/null && [ ! -x "$tools/bin/cargo-fuzz" ]; then
    $cargo install cargo-fuzz --locked --root "$tools"
fi
PATH=$tools/bin:$PATH
export PATH

# Each entry has a folder of seeds; a test holds the two lists together.
for seeds in fuzz/corpus/*; do
    FUZZ_ENTRY=$(basename "$seeds")
    export FUZZ_ENTRY
    echo "== $FUZZ_ENTRY, $seconds s"
    mkdir -p "fuzz/target/corpus/$FUZZ_ENTRY" fuzz/artifacts
    cargo-fuzz run --fuzz-dir fuzz/libfuzzer --sanitizer none entry "fuzz/target/corpus/$FUZZ_ENTRY" "$seeds" -- \
        -artifact_prefix="fuzz/artifacts/$FUZZ_ENTRY-" \
        -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -verbosity=0 -print_final_stats=1
done
