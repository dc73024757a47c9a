//! The name of a session: it joins what the records of one connection tell.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::net::clock::unix_micros;

/// Names one connection to this process; no other process of the same host has the same names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId(u64);

impl SessionId {
    /// A new one.
    pub fn next() -> SessionId {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        SessionId(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The start in milliseconds of two years, and the process, so that two starts do not meet.
        static START: OnceLock<String> = OnceLock::new();
        let start = || format!("{:x}{:x}", (unix_micros() / 1000) & 0xf_ffff_ffff, std::process::id());
        write!(f, "{}.{}", START.get_or_init(start), self.0)
    }
}
