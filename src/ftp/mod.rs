//! FTP (RFC 959 and its extensions): pure core, client, server.
#![warn(clippy::indexing_slicing)]
