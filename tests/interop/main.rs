//! Against the programs that people use today: curl, lftp, vsftpd, swaks, Postfix, dig, NSD … Each peer is fetched as a
//! Debian package, unpacked below `target/peers`, started on a loopback port with a private configuration and ended by
//! pid. The run prints a matrix of peer × feature: `ok`, `n/a: why`, `skipped: not installed`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    dead_code,
    unreachable_pub,
    reason = "a test may fail by panic and prints its matrix; peers offers more than each day needs"
)]

mod addresses;
mod certificates;
mod delivery;
#[path = "../tools/dialogue.rs"]
#[allow(dead_code, reason = "the other tests use it")]
mod dialogue;
mod dns;
mod dns_bulk;
#[allow(unused_imports, reason = "its own tests are not compiled here")]
#[path = "../tools/dns_cut.rs"]
mod dns_cut;
mod dns_dnssec;
mod dns_encrypted;
mod dns_hierarchies;
#[path = "../tools/dns_peers.rs"]
mod dns_peers;
mod dns_types;
#[allow(unused_imports, reason = "its own test is not compiled here")]
#[path = "../tools/dns_verdicts.rs"]
mod dns_verdicts;
mod dns_zones;
#[allow(unused_imports, reason = "its own test is not compiled here")]
#[path = "../tools/fail2ban.rs"]
mod fail2ban;
mod ftp;
mod ftp_clients;
mod ftp_cut;
mod ftp_matrix;
mod ftp_mirror;
mod ftp_serve_clients;
mod ftp_server;
mod ftp_servers;
#[allow(unused_imports, reason = "the scripted peers of the other tests")]
#[path = "../tools/harness.rs"]
mod harness;
#[path = "../tools/hierarchy.rs"]
mod hierarchy;
mod host;
#[allow(unused_imports, reason = "its own tests are not compiled here")]
#[path = "../tools/hosts.rs"]
mod hosts;
#[path = "../tools/lies.rs"]
mod lies;
mod mail;
mod package;
mod peers;
mod queue;
#[path = "../tools/random.rs"]
mod random;
#[path = "../tools/schema.rs"]
mod schema;
#[path = "../tools/scripted.rs"]
mod scripted;
mod servers;
#[path = "../tools/signer.rs"]
mod signer;
mod submission;
mod syslog;
#[allow(unused_imports, reason = "its own test is not compiled here")]
#[path = "../tools/terminal.rs"]
mod terminal;

fn main() -> std::process::ExitCode {
    let mut trials = [
        addresses::TRIALS,
        certificates::TRIALS,
        host::TRIALS,
        ftp::TRIALS,
        ftp_clients::TRIALS,
        ftp_server::TRIALS,
        ftp_cut::TRIALS,
        mail::TRIALS,
        submission::TRIALS,
        delivery::TRIALS,
        queue::TRIALS,
        package::TRIALS,
        syslog::TRIALS,
        dns::TRIALS,
        dns_bulk::TRIALS,
        dns_dnssec::TRIALS,
        dns_encrypted::TRIALS,
        dns_hierarchies::TRIALS,
        dns_types::TRIALS,
        dns_zones::TRIALS,
    ]
    .concat();
    trials.extend(ftp_matrix::trials());
    trials.extend(ftp_mirror::trials());
    trials.extend(ftp_serve_clients::trials());
    peers::run(&trials)
}
