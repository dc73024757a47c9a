//! Data connections: stream, resume, verification.
