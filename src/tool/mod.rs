//! One file a tool: its arguments, its records, its `run()`; each reads like its man page.

mod dns_key;
pub mod dnsq;
pub mod dnsserve;
mod ftp_args;
mod ftp_itemize;
mod ftp_pick;
mod ftp_progress;
mod ftp_report;
mod ftp_select;
mod ftp_usage;
mod ftp_words;
pub mod ftpdo;
pub mod ftpget;
pub mod ftpls;
pub mod ftpput;
pub mod ftpserve;
pub mod mailq_edit;
pub mod mailq_ls;
pub mod mailq_run;
pub mod mailread;
mod queue_open;
mod smtp_account;
pub mod smtpsend;
pub mod smtpserve;

/// What the FTP tools answer words of other tools with: their pages have it as a table.
pub const FTP_WORDS: &[(&str, &[crate::cli::foreign::ForeignWords])] = &[
    ("ftpdo", &[ftp_words::DO, ftp_words::ALL]),
    ("ftpget", &[ftp_words::GET, ftp_words::ALL]),
    ("ftpls", &[ftp_words::LS, ftp_words::ALL]),
    ("ftpput", &[ftp_words::PUT, ftp_words::ALL]),
];

/// A tool's name and its command line.
pub type Listed = (&'static str, fn() -> clap::Command);

/// Every tool with its command line: man pages and completions are made from it.
pub const ALL: &[Listed] = &[
    ("dnsq", dnsq::command),
    ("dnsserve", dnsserve::command),
    ("ftpdo", ftpdo::command),
    ("ftpget", ftpget::command),
    ("ftpls", ftpls::command),
    ("ftpput", ftpput::command),
    ("ftpserve", ftpserve::command),
    ("mailq-edit", mailq_edit::command),
    ("mailq-ls", mailq_ls::command),
    ("mailq-run", mailq_run::command),
    ("mailread", mailread::command),
    ("smtpsend", smtpsend::command),
    ("smtpserve", smtpserve::command),
];
