//! Commands: wire text <-> types.
