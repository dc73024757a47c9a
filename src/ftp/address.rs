//! Data-connection addresses: PORT, PASV, EPRT, EPSV (RFC 959, RFC 2428).
