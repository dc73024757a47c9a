//! Bulk DNS: millions of questions, with one record for each.
//!
//! ```text
//!  api       the interface between engine and driver: options, queries, outcomes
//!  engine    the state machine: questions in, queries out, answers in, outcomes out; no socket, no clock
//!  question walk text   lines into questions, answers read in place, names and data as text
//!  write collect wildcard   outcomes into records, in order and counted
//!  driver    event loops, one or several: blocks of names in, records out, sockets and connections
//! ```
//!
//! The engine allocates once, at the start. Time is an argument, randomness a function, so that a simulated network can
//! drive it (`engine/simulate.rs`).

pub mod api;
pub mod collect;
pub mod driver;
pub mod engine;
pub mod question;
pub mod text;
pub mod walk;
pub mod wildcard;
pub mod write;

/// A time in microseconds since an arbitrary starting point.
pub type Micros = u64;

/// The maximum size of a question in wire form: a name, type and class (RFC 1035, section 4.1.2).
pub const MAX_QUESTION: usize = 255 + 4;
