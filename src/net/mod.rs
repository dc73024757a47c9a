//! Sockets, TLS, deadlines, proxies; knows no protocol.
