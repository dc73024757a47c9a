//! The identifier of a session: it links the records of one connection.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::net::clock::unix_micros;

/// Identifies one connection of this process; no other process of the same host uses the same identifiers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId(u64);

impl SessionId {
    /// A new identifier.
    pub fn next() -> SessionId {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        SessionId(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The start time in milliseconds within two years, and the process id, so that no two starts collide.
        static START: OnceLock<String> = OnceLock::new();
        let start = || format!("{:x}{:x}", (unix_micros() / 1000) & 0xf_ffff_ffff, std::process::id());
        write!(f, "{}.{}", START.get_or_init(start), self.0)
    }
}
