//! applayer: FTP, mail and DNS for the shell.
//!
//! Thirteen small tools on one library. Folders combine protocol and role (`ftp/client`, `smtp/client`); the same file name
//! means the same role in each of them. Dependencies point down only:
//!
//! ```text
//!  tool        one tool: its arguments, its records, its run()
//!  cli         common to all tools: argument groups, output, exit status, progress
//!  queue       the outgoing queue: store, schedule, runner, bounces
//!  relay       one message to the next server: route (MX), policy, delivery
//!  mail        messages and mailboxes: compose, read, Maildir, mbox
//!  ftp smtp dns   pure core + client + server; each protocol knows no other
//!  net         dial, TLS, listen, deadlines, proxies; knows no protocol
//!  ground      the one error vocabulary (fault), bounded lines, back-off, hexadecimal digits, FNV-1a; blobs;
//!               first words of foreign protocols; characters that steer a terminal
//! ```
//!
//! Inside a protocol the pure files (commands, replies, listings, sessions, zones …) use no sockets, files, clock or
//! randomness: callers pass these as arguments. `tests/layering.rs` checks the layers.

pub mod blob;
pub mod cli;
pub mod dns;
pub mod fault;
pub mod fnv;
pub mod foreign;
pub mod ftp;
pub mod hex;
pub mod line;
pub mod mail;
pub mod millis;
pub mod net;
pub mod queue;
pub mod relay;
pub mod retry;
pub mod scope;
pub mod secret;
pub mod serial;
pub mod smtp;
pub mod steering;
pub mod tool;
