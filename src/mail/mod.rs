//! Messages (RFC 5322, MIME) and mailboxes.
#![warn(clippy::indexing_slicing)]

pub mod address;
pub mod address_list;
pub mod aliases;
pub mod bodies;
mod boundary;
pub mod charset;
pub mod complete;
pub mod compose;
pub mod date;
pub mod downgrade;
pub mod encoded_word;
pub mod flowed;
pub mod gzip;
pub mod header;
pub mod header_line;
pub mod html;
pub mod links;
pub mod maildir;
pub mod mbox;
pub mod message;
pub mod parameter;
pub mod read;
pub mod scan;
pub mod structure;
pub mod template;
pub mod trace;
pub mod transfer;
pub mod uuencode;
