//! SMTP (RFC 5321 and its extensions): pure core, client, server.
#![warn(clippy::indexing_slicing)]
