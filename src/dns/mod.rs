//! DNS (RFC 1035 and its extensions): pure core, client, bulk engine, server.
#![warn(clippy::indexing_slicing)]
