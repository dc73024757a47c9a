//! Server state machine: command -> actions.
