//! The real binaries, as a script meets them: each test runs a tool from a clean environment and looks at stdout,
//! stderr and status together. [`harness`] starts them; peers that must misbehave are scripted there too.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    unreachable_pub,
    clippy::type_complexity,
    reason = "a test may fail by panic, and says so on stderr; the harness offers more than each day needs"
)]

mod accounts;
mod activation;
mod addresses;
mod ailing;
mod bytes;
mod capture;
mod certificates;
mod client_ca;
mod colours;
mod completions;
mod confine;
mod corpus;
mod counters;
mod crash;
mod crash_store;
mod deadlines;
mod delivery;
mod dialogue;
mod dns;
mod dns_bulk;
mod dns_cut;
mod dns_encrypted;
mod dns_forward;
mod dns_hostile;
mod dns_peers;
mod dns_server;
mod dns_servers;
mod dns_trace;
mod dns_validate;
mod dns_verdicts;
mod docs;
mod drip;
mod examples;
mod fail2ban;
mod ftp_accounts;
mod ftp_attacks;
mod ftp_browse;
mod ftp_cert_login;
mod ftp_charset;
mod ftp_client;
mod ftp_crash;
mod ftp_dialogues;
mod ftp_exec;
mod ftp_get;
mod ftp_hanging;
mod ftp_hostile;
mod ftp_itemize;
mod ftp_listing;
mod ftp_memory;
mod ftp_owners;
mod ftp_parts;
mod ftp_parts_put;
mod ftp_peer;
mod ftp_put;
mod ftp_rules;
mod ftp_server;
mod ftp_server_crash;
mod ftp_tls;
mod ftp_transfer;
mod ftp_ways;
mod ftp_wirecut;
mod ftp_writers;
mod harness;
mod help;
mod hierarchy;
mod hostile;
mod hostile_queue;
mod hosts;
mod install;
mod lies;
mod limits;
mod literals;
mod lmtp_socket;
mod mail;
mod mail_headers;
mod mailread;
mod mailread_parts;
mod matrix;
mod merge;
mod on_terminal;
mod operate;
mod options_file;
mod owners;
mod powercut;
mod proxies;
mod queue;
mod queue_account;
mod queue_dsn;
mod queue_way;
mod quiet;
mod random;
mod recipients;
mod recipients_crash;
mod relay_closed;
mod schema;
mod schema_parts;
mod scripted;
mod scripts;
mod secrets;
mod sendmail;
mod sendmail_ways;
mod signals;
mod signer;
mod smtp;
mod smtp_receive;
mod stalled;
mod statuses;
mod strangers;
mod streams;
mod submission;
mod submit;
mod terminal;
mod tls_peer;
mod tls_words;
mod users;
mod words;
