//! Walking both trees: decide, then transfer.
