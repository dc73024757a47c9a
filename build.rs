//! Tells the linker two things where the C compiler has what they need: to link the unwinder statically, one shared library less to
//! load at every start, and to be GNU ld in a release. rust-lld, rustc's own linker on x86-64, keeps the unwind tables of functions
//! that it leaves out (.gcc_except_table): with one library for thirteen programs those are up to 0.8 MB in each.

use std::env;
use std::path::Path;
use std::process::{Command, Output};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=CC");
    let gnu = env::var("CARGO_CFG_TARGET_ENV").is_ok_and(|it| it == "gnu");
    if !gnu || env::var("HOST") != env::var("TARGET") {
        return;
    }
    // A compiler that has none says the bare name.
    let found = compiler("-print-file-name=libgcc_eh.a").map(|said| String::from_utf8_lossy(&said.stdout).into_owned());
    if let Some(folder) = found.as_deref().and_then(|it| Path::new(it.trim()).parent()).filter(|it| it.is_absolute()) {
        println!("cargo::rustc-link-search=native={}", folder.display());
        println!("cargo::rustc-link-lib=static:-bundle=gcc_eh");
    }
    let release = env::var("PROFILE").is_ok_and(|it| it == "release");
    if release && compiler("-fuse-ld=bfd -Wl,--version").is_some_and(|said| said.status.success()) {
        println!("cargo::rustc-link-arg-bins=-fuse-ld=bfd");
    }
}

/// What the C compiler that links answers to these arguments.
fn compiler(arguments: &str) -> Option<Output> {
    let named = env::var("CC").unwrap_or_default();
    let mut words = named.split_whitespace();
    let mut command = Command::new(words.next().unwrap_or("cc"));
    command.args(words).args(arguments.split_whitespace()).output().ok()
}
