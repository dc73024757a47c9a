//! Bulk DNS: millions of questions, one record for every one of them.
//!
//! ```text
//!  terms     options, outcomes, and who takes queries and outcomes
//!  engine    the state machine: questions in, queries out
//!  outcome   its other half: answers in, timers, outcomes out
//!  slots ids window walk   its parts: slot array and timer wheel, message IDs, one resolver's window and health,
//!            answers read in place
//!  question text write collect wildcard   lines into questions, outcomes into records, in order and counted
//!  drive drive_input drive_sockets drive_stream   the loop around it: files, UDP in batches, TCP
//! ```
//!
//! The engine allocates once, at the start. Time comes in as an argument, randomness as a function, so that a simulated
//! network can drive it (see the tests of `engine`).

pub mod collect;
pub mod drive;
pub mod drive_input;
mod drive_sockets;
mod drive_stream;
pub mod engine;
mod ids;
mod outcome;
pub mod question;
#[cfg(test)]
mod simulate;
mod slots;
pub mod terms;
pub mod text;
pub mod walk;
pub mod wildcard;
mod window;
pub mod write;

pub use engine::Engine;
pub use ids::Random;
pub use terms::{Done, Failure, Options, Outcome, Outlet, Sink};
pub use window::Health;

/// Time in microseconds since some beginning.
pub type Micros = u64;

/// The longest question as it stands in a packet: a name, type and class (RFC 1035, section 4.1.2).
pub const MAX_QUESTION: usize = 255 + 4;

/// The longest query: header, question, EDNS record.
pub const MAX_QUERY: usize = walk::HEADER + MAX_QUESTION + 11;
