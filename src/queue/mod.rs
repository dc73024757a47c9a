//! The outgoing queue: store, schedule, runner, bounces.
