//! The outgoing queue: store, schedule, runner, bounces.
//!
//! [`entry`] holds the states and transitions, [`store`] the trait that every engine implements, [`sqlite`] the engine in a local
//! directory, which [`queue_dir`] finds; users without access to it submit by [`drop_dir`]. The guarantees are in applayer-queue(5).

pub mod bounce;
pub mod drop_dir;
pub mod entry;
pub mod queue_dir;
pub mod runner;
pub mod schedule;
pub mod sqlite;
pub mod store;
pub mod submit;
