//! Directory listings: wire text <-> types.
