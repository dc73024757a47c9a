//! The servers for a domain, in order (RFC 5321 section 5, RFC 7505), or the user's routes instead of them.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use crate::dns::resolve::Resolver;
use crate::fault::{Enhanced, Fault, Kind};
use crate::net::BoxFuture;
use crate::net::literal;
use crate::net::login::Login;
use crate::net::tls::TlsMode;
use crate::relay::policy::{self, TlsPolicy};
use crate::relay::server_url;
use crate::scope::with_port;
use crate::secret::without_password;
use crate::smtp::address::{canonical_domain, parse_literal};
use crate::smtp::auth::Mechanism;

/// The most mail hosts of one domain that are considered.
pub const MAX_HOSTS: usize = 20;
/// The most addresses of one mail host that are tried.
pub const MAX_ADDRESSES: usize = 8;

impl MailDns for Resolver {
    fn mx<'a>(&'a self, domain: &'a str) -> BoxFuture<'a, Result<Vec<(u16, String)>, Fault>> {
        Box::pin(Resolver::mx(self, domain))
    }

    fn addresses<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, Fault>> {
        Box::pin(Resolver::addresses(self, host))
    }
}

/// The DNS queries of routing. [`Kind::NoHost`] means that the name does not exist, [`Kind::LookupFailed`] that the look-up
/// failed; an empty answer means that the name has no such records. A fault's detail names the question.
pub trait MailDns: Send + Sync + fmt::Debug {
    /// The mail exchangers: preference and name; `.` or an empty name is a null MX (RFC 7505).
    fn mx<'a>(&'a self, domain: &'a str) -> BoxFuture<'a, Result<Vec<(u16, String)>, Fault>>;
    /// The addresses of a host.
    fn addresses<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, Fault>>;
}

/// The accounts that routes name: the server of each, with its login. Queried when a message is due, so that no secret is queued.
pub trait AccountServers: Send + Sync + fmt::Debug {
    /// The next hop of this account. [`Kind::Config`] for an account that is unknown or cannot be used now.
    fn server<'a>(&'a self, account: &'a str) -> BoxFuture<'a, Result<RouteTarget, Fault>>;
}

/// The protocol of the next server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// SMTP (RFC 5321).
    Smtp,
    /// LMTP (RFC 2033): one reply per recipient.
    Lmtp,
}

/// The endpoint of the next server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HopEndpoint {
    /// An address.
    Address(SocketAddr),
    /// A UNIX socket.
    Unix(PathBuf),
    /// No server: a Maildir on this host.
    Maildir(PathBuf),
}

impl fmt::Display for HopEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HopEndpoint::Address(address) => address.fmt(f),
            HopEndpoint::Unix(path) | HopEndpoint::Maildir(path) => path.display().fmt(f),
        }
    }
}

/// One server that may accept the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    /// Its name: for records, and for its certificate.
    pub name: String,
    /// Its endpoint.
    pub endpoint: HopEndpoint,
    /// Its protocol.
    pub protocol: Protocol,
    /// The requirements for the connection.
    pub policy: TlsPolicy,
    /// The login that it requires.
    pub login: Option<Login>,
    /// The login mechanism; `None` selects the best one offered.
    pub mechanism: Option<Mechanism>,
    /// True if it was found by MX, so that our own name there means a loop.
    pub by_mx: bool,
    /// The account of this server: its certificates, names and time limits apply to the connection.
    pub account: Option<Arc<str>>,
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.endpoint)
    }
}

impl Hop {
    /// Its address, if it has one.
    pub fn address(&self) -> Option<SocketAddr> {
        match self.endpoint {
            HopEndpoint::Address(address) => Some(address),
            _ => None,
        }
    }

    /// True for another address of the same server with the same settings.
    pub fn is_same_server(&self, other: &Hop) -> bool {
        let (Some(ours), Some(theirs)) = (self.address(), other.address()) else { return false };
        ours.port() == theirs.port() && Hop { endpoint: other.endpoint.clone(), ..self.clone() } == *other
    }

    /// The protocol's name in records.
    pub const fn protocol_name(&self) -> &'static str {
        match (&self.endpoint, self.protocol) {
            (HopEndpoint::Maildir(_), _) => "maildir",
            (_, Protocol::Smtp) => "smtp",
            (_, Protocol::Lmtp) => "lmtp",
        }
    }
}

/// A next hop named by the user instead of the DNS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteTarget {
    /// A server.
    Server {
        /// Name or address literal.
        host: String,
        /// Port.
        port: u16,
        /// Its protocol.
        protocol: Protocol,
        /// Whether TLS is used.
        tls: TlsMode,
        /// The login that it requires.
        login: Option<Login>,
        /// The login mechanism; `None` selects the best one offered.
        mechanism: Option<Mechanism>,
    },
    /// An LMTP server at a UNIX socket.
    Unix(PathBuf),
    /// A Maildir.
    Maildir(PathBuf),
    /// The mail exchangers of this domain (or of the recipient's own, if empty), regardless of other rules.
    Mx(String),
    /// The server of this account ([`AccountServers`]).
    Account(Arc<str>),
}

impl RouteTarget {
    /// Reads `HOST[:PORT]`, `smtp://`, `smtps://`, `submission://`, `lmtp://HOST:PORT`, `lmtp:/SOCKET`, `maildir:DIR`, `mx:`,
    /// `mx:DOMAIN` or `account:NAME`.
    ///
    /// # Errors
    /// [`Kind::Usage`] for other text.
    pub fn parse(text: &str) -> Result<RouteTarget, Fault> {
        let bad = |why: &str| Fault::new(Kind::Usage, format!("{:?} is not a next hop: {why}", without_password(text)));
        if let Some(path) = text.strip_prefix("maildir:") {
            return if path.is_empty() { Err(bad("no folder")) } else { Ok(RouteTarget::Maildir(path.into())) };
        }
        if let Some(domain) = text.strip_prefix("mx:") {
            return Ok(RouteTarget::Mx(domain.to_owned()));
        }
        if let Some(name) = text.strip_prefix("account:") {
            return if name.is_empty() { Err(bad("no account")) } else { Ok(RouteTarget::Account(name.into())) };
        }
        if let Some(path) = text.strip_prefix("lmtp+unix:").or_else(|| text.strip_prefix("lmtp:"))
            && (!path.starts_with("//") || path.starts_with("///"))
        {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.starts_with('/') {
                Ok(RouteTarget::Unix(path.into()))
            } else {
                Err(bad("no absolute path"))
            };
        }
        let (url, host) = server_url::parse(text).map_err(|why| bad(&why))?;
        let (protocol, tls, default) = match url.scheme() {
            "smtp" => (Protocol::Smtp, TlsMode::Try, 25),
            "submission" => (Protocol::Smtp, TlsMode::Starttls, 587),
            "smtps" => (Protocol::Smtp, TlsMode::Implicit, 465),
            "lmtp" => (Protocol::Lmtp, TlsMode::Try, 24),
            _ => return Err(bad("smtp://, smtps://, submission://, lmtp:, maildir:, mx: and account: are known")),
        };
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(bad("unexpected text after the host"));
        }
        let decode = |text: &str| -> Result<String, Fault> {
            let decoded = percent_encoding::percent_decode_str(text).decode_utf8().map_err(|_| bad("not UTF-8"))?;
            Ok(decoded.into_owned())
        };
        let login = match (url.username(), url.password()) {
            ("", _) => None,
            (user, password) => Some(Login::new(decode(user)?, decode(password.unwrap_or_default())?)),
        };
        Ok(RouteTarget::Server { host, port: url.port().unwrap_or(default), protocol, tls, login, mechanism: None })
    }
}

/// A next hop that the operator chose for one recipient, with precedence over every other rule; kept in its original text. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteOverride {
    text: Arc<str>,
    target: Arc<RouteTarget>,
}

impl RouteOverride {
    /// The original text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The text for display, without a password.
    pub fn shown(&self) -> String {
        without_password(&self.text)
    }

    /// The route to the server of this account.
    pub fn account(name: &str) -> RouteOverride {
        RouteOverride { text: format!("account:{name}").into(), target: Arc::new(RouteTarget::Account(name.into())) }
    }

    /// The route to the recipient's own mail exchangers.
    pub fn own_mx() -> RouteOverride {
        RouteOverride { text: "mx:".into(), target: Arc::new(RouteTarget::Mx(String::new())) }
    }

    /// Its parsed target.
    pub fn target(&self) -> &RouteTarget {
        &self.target
    }
}

impl FromStr for RouteOverride {
    type Err = Fault;

    /// Parses as [`RouteTarget::parse`] does.
    fn from_str(text: &str) -> Result<RouteOverride, Fault> {
        Ok(RouteOverride { text: text.into(), target: Arc::new(RouteTarget::parse(text)?) })
    }
}

/// One `--route` option: recipients of these domains go to that next hop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteRule {
    /// A domain, `.domain` for those below it, or `*`.
    pub pattern: String,
    /// The next hop.
    pub target: RouteTarget,
}

impl RouteRule {
    /// Reads `PATTERN=TARGET`.
    ///
    /// # Errors
    /// [`Kind::Usage`] for other text.
    pub fn parse(text: &str) -> Result<RouteRule, Fault> {
        let (pattern, target) = text.split_once('=').filter(|(pattern, _)| !pattern.is_empty()).ok_or_else(|| {
            Fault::new(Kind::Usage, format!("{:?} is not a route; use DOMAIN=URL", without_password(text)))
        })?;
        Ok(RouteRule { pattern: canonical_domain(pattern), target: RouteTarget::parse(target)? })
    }

    /// True if the rule is for this domain (lower case).
    pub fn matches(&self, domain: &str) -> bool {
        match self.pattern.strip_prefix('.') {
            Some(parent) => domain.strip_suffix(parent).is_some_and(|rest| rest.ends_with('.')),
            None => self.pattern == "*" || self.pattern == domain,
        }
    }
}

/// The routing of messages.
#[derive(Debug, Clone)]
pub struct Routing {
    /// The user's rules; the first match wins, together with the other rules of its pattern: their servers are tried in turn.
    pub rules: Vec<RouteRule>,
    /// The port of mail exchangers.
    pub mx_port: u16,
    /// Whether TLS is used with mail exchangers.
    pub mx_tls: TlsMode,
    /// Our own names: a mail exchanger with such a name ends the list (RFC 5321, section 5.1).
    pub own_names: Vec<String>,
    /// Our own addresses, with the same effect.
    pub own_addresses: Vec<IpAddr>,
    /// The accounts that a rule or a queued message may name.
    pub accounts: Option<Arc<dyn AccountServers>>,
}

impl Default for Routing {
    fn default() -> Routing {
        Routing {
            rules: Vec::new(),
            mx_port: 25,
            mx_tls: TlsMode::Try,
            own_names: Vec::new(),
            own_addresses: Vec::new(),
            accounts: None,
        }
    }
}

impl Routing {
    /// The targets of the rules for a domain (lower case): of the first match, then of the others with the same pattern.
    fn named(&self, domain: &str) -> Vec<&RouteTarget> {
        let first = self.rules.iter().find(|rule| rule.matches(domain)).map(|rule| &rule.pattern);
        self.rules.iter().filter(|rule| first == Some(&rule.pattern)).map(|rule| &rule.target).collect()
    }

    /// The servers for a domain (lower case), best first; never empty. `dice` gives random numbers for hosts of equal
    /// preference. The fault is permanent only if the DNS answers authoritatively.
    ///
    /// # Errors
    /// [`Kind::NoHost`] or [`Kind::Refused`] if permanent, [`Kind::LookupFailed`] if temporary.
    pub async fn find(
        &self,
        domain: &str,
        dns: &dyn MailDns,
        dice: &mut (dyn FnMut() -> u32 + Send),
    ) -> Result<Vec<Hop>, Fault> {
        self.find_noting(domain, dns, dice, &|_, _| ()).await
    }

    /// As [`Routing::find`]; `note` receives for each named next hop whether it was found.
    ///
    /// # Errors
    /// Those of [`Routing::find`].
    pub async fn find_noting(
        &self,
        domain: &str,
        dns: &dyn MailDns,
        dice: &mut (dyn FnMut() -> u32 + Send),
        note: &(dyn Fn(&RouteTarget, Option<&Fault>) + Sync),
    ) -> Result<Vec<Hop>, Fault> {
        let targets = self.named(domain);
        if targets.is_empty() {
            return self.by_mx(domain, dns, dice).await;
        }
        let (mut hops, mut trouble) = (Vec::new(), None);
        let waits = |fault: &Fault| fault.enhanced.is_some_and(|code| code.class == 4);
        for target in targets {
            let found = self.follow(target, domain, dns, dice).await;
            note(target, found.as_ref().err());
            match found {
                Ok(more) => hops.extend(more),
                // While one target may yet be found, no fault is permanent.
                Err(fault) if trouble.as_ref().is_some_and(waits) => drop(fault),
                Err(fault) => trouble = Some(fault),
            }
        }
        trouble.filter(|_| hops.is_empty()).map_or(Ok(hops), Err)
    }

    /// The servers of a named next hop.
    ///
    /// # Errors
    /// Those of [`Routing::find`]; the enhanced code 4.4.3 for a named host that does not exist marks the fault as temporary.
    pub async fn follow(
        &self,
        target: &RouteTarget,
        domain: &str,
        dns: &dyn MailDns,
        dice: &mut (dyn FnMut() -> u32 + Send),
    ) -> Result<Vec<Hop>, Fault> {
        let RouteTarget::Account(name) = target else { return self.hops(target, domain, dns, dice).await };
        let unknown = || Fault::new(Kind::Config, format!("account {name}: no accounts are known here"));
        let server = match &self.accounts {
            Some(accounts) => accounts.server(name).await,
            None => Err(unknown()),
        };
        // The operator can repair a missing or broken account: the message waits (RFC 3463, X.3.5).
        let server = server.map_err(|fault| fault.with_enhanced(Some(Enhanced::new(4, 3, 5))))?;
        let hops = self.hops(&server, domain, dns, dice).await?;
        Ok(hops.into_iter().map(|hop| Hop { account: Some(Arc::clone(name)), ..hop }).collect())
    }

    async fn hops(
        &self,
        target: &RouteTarget,
        domain: &str,
        dns: &dyn MailDns,
        dice: &mut (dyn FnMut() -> u32 + Send),
    ) -> Result<Vec<Hop>, Fault> {
        let local = |endpoint, protocol| Hop {
            name: "localhost".to_owned(),
            endpoint,
            protocol,
            policy: TlsPolicy { tls: TlsMode::None, verify: false },
            login: None,
            mechanism: None,
            by_mx: false,
            account: None,
        };
        match target {
            RouteTarget::Account(name) => {
                Err(Fault::new(Kind::Config, format!("account {name} names another account")))
            }
            RouteTarget::Maildir(path) => Ok(vec![local(HopEndpoint::Maildir(path.clone()), Protocol::Lmtp)]),
            RouteTarget::Unix(path) => Ok(vec![local(HopEndpoint::Unix(path.clone()), Protocol::Lmtp)]),
            RouteTarget::Mx(other) if other.is_empty() => self.by_mx(domain, dns, dice).await,
            RouteTarget::Mx(other) => self.by_mx(&other.to_lowercase(), dns, dice).await,
            RouteTarget::Server { host, port, protocol, tls, login, mechanism } => {
                let addresses = match literal::address(host)? {
                    Some(address) => vec![address],
                    // A host named by the user may be misspelt or not up yet: this is never a reason to bounce.
                    None => {
                        let found = dns.addresses(host).await.map_err(|fault| not_for_good(fault, host))?;
                        found.into_iter().map(|ip| SocketAddr::new(ip, 0)).collect()
                    }
                };
                if addresses.is_empty() {
                    return Err(not_for_good(Fault::new(Kind::NoHost, "no addresses"), host));
                }
                let policy = policy::for_named(*tls, login.is_some());
                Ok(addresses
                    .into_iter()
                    .take(MAX_ADDRESSES)
                    .map(|address| Hop {
                        name: host.clone(),
                        endpoint: HopEndpoint::Address(with_port(address, *port)),
                        protocol: *protocol,
                        policy,
                        login: login.clone(),
                        mechanism: *mechanism,
                        by_mx: false,
                        account: None,
                    })
                    .collect())
            }
        }
    }

    async fn by_mx(
        &self,
        domain: &str,
        dns: &dyn MailDns,
        dice: &mut (dyn FnMut() -> u32 + Send),
    ) -> Result<Vec<Hop>, Fault> {
        let hop = |name: &str, address| Hop {
            name: name.to_owned(),
            endpoint: HopEndpoint::Address(SocketAddr::new(address, self.mx_port)),
            protocol: Protocol::Smtp,
            policy: policy::for_mx(self.mx_tls),
            login: None,
            mechanism: None,
            by_mx: true,
            account: None,
        };
        if domain.is_empty() {
            return Err(Fault::new(Kind::NoHost, "the address has no domain").with_enhanced(BAD_DOMAIN));
        }
        if domain.starts_with('[') {
            return match parse_literal(domain) {
                Some(address) if self.own_addresses.contains(&address) => Err(loops(domain)),
                Some(address) => Ok(vec![hop(domain, address)]),
                None => {
                    Err(Fault::new(Kind::NoHost, format!("{domain}: not an address literal")).with_enhanced(BAD_DOMAIN))
                }
            };
        }
        let ascii = idna::domain_to_ascii(domain)
            .map_err(|_| Fault::new(Kind::NoHost, format!("{domain}: not a domain name")).with_enhanced(BAD_DOMAIN))?;
        let found = dns.mx(&ascii).await.map_err(dns_fault)?;
        let groups = match order(found) {
            MxOrder::Hosts(groups) => groups,
            MxOrder::Implicit => vec![vec![ascii.clone()]],
            MxOrder::Null => {
                let detail = format!("{domain} accepts no mail (null MX)");
                return Err(Fault::new(Kind::NoHost, detail).with_enhanced(Some(Enhanced::new(5, 1, 10))));
            }
        };
        let mut hops = Vec::new();
        let mut trouble = None;
        let mut seen = 0;
        'groups: for mut group in groups {
            shuffle(&mut group, dice);
            let mut of_group = Vec::new();
            for host in group {
                seen += 1;
                if seen > MAX_HOSTS {
                    break;
                }
                let addresses = match dns.addresses(&host).await {
                    Ok(addresses) => addresses,
                    Err(fault) => {
                        // A host that does not exist is skipped; trouble with one host must not lose the domain.
                        let fault = dns_fault(fault);
                        let fault = if host == ascii { fault } else { fault.context(format!("mail host of {domain}")) };
                        if trouble.as_ref().is_none_or(|known: &Fault| !known.temporary()) {
                            trouble = Some(fault);
                        }
                        continue;
                    }
                };
                let own = self.own_names.iter().any(|own| own.eq_ignore_ascii_case(&host))
                    || addresses.iter().any(|address| self.own_addresses.contains(address));
                if own {
                    // RFC 5321 section 5.1: this host, and hosts that are not preferred to it, are left out.
                    return if hops.is_empty() {
                        Err(trouble.filter(Fault::temporary).unwrap_or_else(|| loops(domain)))
                    } else {
                        Ok(hops)
                    };
                }
                of_group.extend(addresses.into_iter().take(MAX_ADDRESSES).map(|address| hop(&host, address)));
            }
            hops.extend(of_group);
            if seen > MAX_HOSTS {
                break 'groups;
            }
        }
        match (hops.is_empty(), trouble) {
            (false, _) => Ok(hops),
            (true, Some(fault)) => Err(fault),
            (true, None) => {
                let detail = format!("{domain}: its mail host has no address");
                Err(Fault::new(Kind::NoHost, detail).with_enhanced(Some(Enhanced::new(5, 4, 4))))
            }
        }
    }
}

const BAD_DOMAIN: Option<Enhanced> = Some(Enhanced::new(5, 1, 2));

/// A look-up's fault for the sender: with an enhanced code that marks it as permanent or temporary.
fn dns_fault(fault: Fault) -> Fault {
    let enhanced = if fault.kind == Kind::NoHost { BAD_DOMAIN } else { Some(Enhanced::new(4, 4, 3)) };
    fault.with_enhanced(enhanced)
}

/// A failed look-up of a host named by the user: whatever the DNS answers, the code makes the message wait.
fn not_for_good(fault: Fault, host: &str) -> Fault {
    fault.context(format!("address of {host}")).with_enhanced(Some(Enhanced::new(4, 4, 3)))
}

fn loops(domain: &str) -> Fault {
    Fault::new(Kind::Refused, format!("mail for {domain} loops back to this host"))
        .with_enhanced(Some(Enhanced::new(5, 4, 6)))
}

/// The order of a domain's mail exchangers.
#[derive(Debug, PartialEq, Eq)]
enum MxOrder {
    /// Hosts in groups of equal preference, best first.
    Hosts(Vec<Vec<String>>),
    /// No MX: the domain is its own mail host (RFC 5321, section 5.1).
    Implicit,
    /// The domain accepts no mail (RFC 7505).
    Null,
}

/// Sorts MX records. A null MX among others is ignored, as RFC 7505 section 3 forbids it.
fn order(mut records: Vec<(u16, String)>) -> MxOrder {
    if records.is_empty() {
        return MxOrder::Implicit;
    }
    let null = |name: &str| name.is_empty() || name == ".";
    records.retain(|(_, name)| !null(name));
    if records.is_empty() {
        return MxOrder::Null;
    }
    records.sort();
    records.dedup();
    let mut groups: Vec<Vec<String>> = Vec::new();
    let mut last = None;
    for (preference, name) in records {
        let name = name.strip_suffix('.').unwrap_or(&name).to_lowercase();
        match groups.last_mut() {
            Some(group) if last == Some(preference) => group.push(name),
            _ => groups.push(vec![name]),
        }
        last = Some(preference);
    }
    MxOrder::Hosts(groups)
}

/// Shuffles by Fisher and Yates.
fn shuffle(hosts: &mut [String], dice: &mut (dyn FnMut() -> u32 + Send)) {
    for last in (1..hosts.len()).rev() {
        let other = usize::try_from(dice()).unwrap_or(0) % (last + 1);
        hosts.swap(last, other);
    }
}

#[cfg(test)]
mod tests;
