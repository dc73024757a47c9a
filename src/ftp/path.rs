//! Paths as FTP sees them.
