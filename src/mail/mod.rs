//! Messages (RFC 5322, MIME) and mailboxes.
#![warn(clippy::indexing_slicing)]

pub mod maildir;
