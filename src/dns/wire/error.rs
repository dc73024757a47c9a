//! The one error for malformed data.

use std::fmt;

use crate::fault::{Fault, Kind};

/// A short description of malformed data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Malformed {}

impl From<Malformed> for Fault {
    fn from(error: Malformed) -> Fault {
        Fault::new(Kind::Protocol, format!("malformed DNS data: {error}"))
    }
}
