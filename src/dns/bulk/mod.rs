//! Bulk DNS: millions of questions, one record for every one of them.
//!
//! ```text
//!  terms     options, outcomes, and who takes queries and outcomes
//!  engine    the state machine: questions in, queries out
//!  outcome   its other half: answers in, timers, outcomes out
//!  slots ids window compose walk   its parts: slot array and timer wheel, message IDs, one resolver's window and health,
//!            queries from a template, answers read in place
//!  question text write collect wildcard   lines into questions, outcomes into records, in order and counted
//!  drive drive_loop   loops around it, one or several
//!  drive_input drive_intake drive_hub   what they share: blocks of names in, records out
//!  drive_sockets   UDP in batches, connections by courier
//! ```
//!
//! The engine allocates once, at the start. Time comes in as an argument, randomness as a function, so that a simulated
//! network can drive it (see the tests of `engine`).

pub mod collect;
mod compose;
pub mod drive;
mod drive_hub;
pub mod drive_input;
mod drive_intake;
mod drive_loop;
mod drive_sockets;
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
pub use terms::{Done, Failure, Options, Outcome, Outlet, Server, Sink, Way};
pub use window::Health;

/// Time in microseconds since some beginning.
pub type Micros = u64;

/// The longest question as it stands in a packet: a name, type and class (RFC 1035, section 4.1.2).
pub const MAX_QUESTION: usize = 255 + 4;
