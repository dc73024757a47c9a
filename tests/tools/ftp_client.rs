//! ftpget, ftpput, ftpls and ftpdo.
