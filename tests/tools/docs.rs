//! Generated pages held against the code.
