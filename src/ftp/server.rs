//! Sockets, data streams and TLS for the session.
