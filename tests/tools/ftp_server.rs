//! ftpserve.
