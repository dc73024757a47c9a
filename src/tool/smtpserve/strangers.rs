//! What unknown clients must not do: speak before the greeting, or call themselves by our name.

use std::net::IpAddr;
use std::time::Duration;

use clap::ValueEnum;

use crate::cli::units;
use crate::net::cidr::Network;
use crate::smtp::address::canonical_domain;

/// Demands on clients that did not log in and are in no `--relay-from` network.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Unknown clients")]
pub(super) struct StrangerArgs {
    /// Wait this long before the greeting, and refuse a client that speaks earlier
    #[arg(long, value_name = "TIME", value_parser = units::duration, default_value = "0")]
    pub(super) greet_pause: Duration,
    /// Refuse the mail of clients whose name in EHLO is ours (own), or an address without brackets (literal)
    #[arg(long, value_name = "WHAT", value_delimiter = ',')]
    reject_helo: Vec<BadHelo>,
    /// Take the client's address from the PROXY header (version 2) that proxies of this network send; may be repeated
    #[arg(long, value_name = "NET")]
    pub(super) proxy_from: Vec<Network>,
}

/// A name that no honest client has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum BadHelo {
    /// The name of this server, one of its domains, or localhost.
    Own,
    /// An address without brackets.
    Literal,
}

impl StrangerArgs {
    /// The reason to refuse a client with this name; `hostname` and `domains` are ours.
    pub(super) fn objection(&self, helo: &str, hostname: &str, domains: &[String]) -> Option<&'static str> {
        let name = canonical_domain(helo);
        let is_ours = || name == hostname || name == "localhost" || domains.contains(&name);
        self.reject_helo.iter().find_map(|bad| match bad {
            BadHelo::Own if is_ours() => Some("your name in EHLO is ours"),
            BadHelo::Literal if helo.parse::<IpAddr>().is_ok() => Some("an address in EHLO stands in brackets"),
            _ => None,
        })
    }
}
