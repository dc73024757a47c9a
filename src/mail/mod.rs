//! Messages (RFC 5322, MIME) and mailboxes.
#![warn(clippy::indexing_slicing)]

pub mod address;
pub mod header;
pub mod maildir;
pub mod source;
pub mod transfer;
