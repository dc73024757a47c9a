//! Replies: wire text <-> types.
