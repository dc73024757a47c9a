//! Control connection of the client: a queue of expected replies.
