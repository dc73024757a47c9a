//! The stub resolver for the other protocols: MX, address and TXT records of a name, from the servers of resolv.conf or from
//! servers that the user named.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};

use super::client::hosts::Hosts;
use super::client::server::{ResolvConf, ServerName};
use super::client::{DnsClient, ExchangePolicy};
use super::edns;
use super::message::{Message, Rcode};
use super::name::Name;
use super::query::Query;
use super::record::rdata::{Mx, joined_txt};
use super::record::{Record, Rtype};
use super::transport::Transport;
use crate::fault::{Fault, Kind, PeerCode};
use crate::net::BoxFuture;
use crate::net::dial::Resolve;
use crate::net::literal::loopback;
use crate::net::tls::{ClientTls, ClientTlsOptions};

/// The maximum number of CNAME records followed from a name to its data.
pub const MAX_CNAMES: usize = 12;
/// The time limit of one look-up, for all servers and attempts together.
const MAX_LOOKUP: Duration = Duration::from_secs(20);
/// The maximum number of concurrent look-ups, each in its own thread.
const MAX_LOOKUPS: usize = 128;

/// The stub resolver. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Resolver {
    client: Arc<DnsClient>,
    /// The hosts file; empty if servers were named explicitly.
    hosts: Arc<Hosts>,
    /// Permits for look-up threads.
    lookups: Arc<Semaphore>,
}

impl Resolver {
    /// The system's resolver: the servers of /etc/resolv.conf, and /etc/hosts for addresses.
    ///
    /// # Errors
    /// resolv.conf cannot be read, or names no usable server.
    pub fn system() -> Result<Resolver, Fault> {
        let conf = ResolvConf::system()?;
        let policy = ExchangePolicy {
            timeout: conf.timeout,
            tries: conf.attempts,
            deadline: MAX_LOOKUP,
            ..ExchangePolicy::default()
        };
        let client = DnsClient { policy, ..DnsClient::new(conf.servers) };
        Ok(Resolver { hosts: Arc::new(Hosts::system()), ..Resolver::of(client) })
    }

    /// A resolver that asks only these servers, in this order, without a hosts file.
    pub fn new(servers: Vec<SocketAddr>) -> Resolver {
        let policy = ExchangePolicy {
            timeout: Duration::from_secs(2),
            tries: 3,
            deadline: MAX_LOOKUP,
            ..ExchangePolicy::default()
        };
        Resolver::of(DnsClient { policy, ..DnsClient::new(servers) })
    }

    fn of(client: DnsClient) -> Resolver {
        let lookups = Arc::new(Semaphore::new(MAX_LOOKUPS));
        Resolver { client: Arc::new(client), hosts: Arc::default(), lookups }
    }

    /// A resolver for servers from a command line: addresses with an optional port (`127.0.0.1:5300`, `::1#53`), or URLs
    /// (`dns://…`, `tls://…`).
    ///
    /// # Errors
    /// [`Kind::Usage`]: a text is not the notation of a server. Other kinds: a server has no address, or TLS settings failed.
    pub fn named<S: AsRef<str>>(servers: &[S]) -> Result<Resolver, Fault> {
        let mut endpoints = Vec::new();
        for server in servers {
            let mut tls = || ClientTls::new(&ClientTlsOptions::default());
            endpoints.extend(ServerName::parse(server.as_ref())?.endpoints((None, Transport::Udp), &mut tls)?);
        }
        let policy = Resolver::new(Vec::new()).client.policy;
        Ok(Resolver::of(DnsClient { policy, servers: endpoints, ..DnsClient::new(Vec::new()) }))
    }

    /// The mail exchangers of a domain with their preferences, in the order of the answer. The list is empty if the name exists
    /// without MX records.
    ///
    /// # Errors
    /// [`Kind::NoHost`]: the name does not exist. [`Kind::LookupFailed`]: the look-up failed, the answer is unknown.
    pub async fn mx(&self, domain: &str) -> Result<Vec<(u16, String)>, Fault> {
        let records = self.records(domain, Rtype::MX).await?;
        let exchangers = records.iter().filter_map(|record| Mx::parse(&record.rdata).ok());
        Ok(exchangers.map(|mx| (mx.preference, mx.exchange.to_name().to_host())).collect())
    }

    /// The addresses of a host, from the hosts file or from AAAA and A queries, IPv6 first, each family in the order of its
    /// answer. `localhost` has the loopback addresses. The list is empty if the name exists without addresses.
    ///
    /// # Errors
    /// [`Kind::NoHost`]: the name does not exist. [`Kind::LookupFailed`]: the look-up failed, the answer is unknown.
    pub async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, Fault> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![address.to_canonical()]);
        }
        if let Some(own) = loopback(host) {
            return Ok(own.into());
        }
        if let Some(addresses) = ascii_name(host).ok().and_then(|name| self.hosts.addresses(&name)) {
            return Ok(addresses);
        }
        let (v6, v4) = tokio::join!(self.records(host, Rtype::AAAA), self.records(host, Rtype::A));
        let found: Vec<IpAddr> = [&v6, &v4].into_iter().flatten().flatten().filter_map(Record::address).collect();
        if found.is_empty() {
            // If one family fails, addresses of that family may exist: report the fault.
            v6?;
            v4?;
        }
        Ok(found)
    }

    /// The TXT records of a name, each with its strings joined (RFC 7208, section 3.3). The list is empty if there are none.
    ///
    /// # Errors
    /// [`Kind::NoHost`]: the name does not exist. [`Kind::LookupFailed`]: the look-up failed, the answer is unknown.
    pub async fn txt(&self, name: &str) -> Result<Vec<Vec<u8>>, Fault> {
        let records = self.records(name, Rtype::TXT).await?;
        Ok(records.iter().map(|record| joined_txt(&record.rdata)).collect())
    }

    /// The records of one type at the end of the name's CNAME chain. `localhost` and the names below it have no records; no
    /// server is asked about them (RFC 6761, section 6.3).
    ///
    /// # Errors
    /// [`Kind::NoHost`]: the name does not exist. [`Kind::LookupFailed`]: the look-up failed, the answer is unknown.
    pub async fn records(&self, name: &str, rtype: Rtype) -> Result<Vec<Record>, Fault> {
        if loopback(name).is_some() {
            return Ok(Vec::new());
        }
        let text = name.to_owned();
        let ascii = ascii_name(&text).map_err(|error| Fault::new(Kind::NoHost, format!("{text}: {error}")))?;
        let client = self.client.clone();
        let query = Query::new(ascii, rtype);
        let question = format!("looking up {rtype} of {text}");
        let broken = || Fault::new(Kind::Internal, format!("{question}: no thread for it"));
        let permit = self.lookups.clone().acquire_owned().await.map_err(|_| broken())?;
        let (done, result) = oneshot::channel();
        // Its own thread, and none of the runtime's: a caller that cancels the look-up ends without waiting for it.
        let work = move || {
            let _permit = permit;
            let _ = done.send(lookup(&client, &query));
        };
        std::thread::Builder::new().name("look-up".to_owned()).spawn(work).map_err(|_| broken())?;
        let lookup = result.await.map_err(|_| broken())?;
        lookup.map_err(|fault| fault.context(question))
    }
}

impl Resolve for Resolver {
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, Fault>> {
        Box::pin(async move {
            let addresses = self.addresses(host).await?;
            if addresses.is_empty() {
                return Err(Fault::new(Kind::NoHost, format!("{host}: no address")));
            }
            Ok(addresses)
        })
    }
}

/// Parses a name in user notation and converts Unicode labels by IDNA (RFC 5891). An ASCII name is taken literally.
///
/// # Errors
/// The text is not a valid name.
pub fn ascii_name(text: &str) -> Result<Name, String> {
    if text.is_ascii() {
        return Name::parse(text).map_err(|error| error.to_string());
    }
    let ascii = idna::domain_to_ascii(text).map_err(|_| "not a valid international name".to_owned())?;
    Name::parse(&ascii).map_err(|error| error.to_string())
}

/// Sends a query, and further queries for the end of a CNAME chain that the server did not complete.
fn lookup(client: &DnsClient, query: &Query) -> Result<Vec<Record>, Fault> {
    let mut query = query.clone();
    let mut steps = 0;
    loop {
        let answer = client.ask(&query)?;
        let rcode = answer.message.rcode();
        match rcode {
            Rcode::NOERROR | Rcode::NXDOMAIN => {}
            _ => {
                let words = answer.message.edns.as_ref().and_then(|edns| edns.option(edns::EdnsOption::EXTENDED_ERROR));
                let words = words.map(|option| format!(", {}", option.value())).unwrap_or_default();
                return Err(
                    Fault::new(Kind::LookupFailed, format!("{rcode}{words}")).with_code(PeerCode::Rcode(rcode.0))
                );
            }
        }
        let (end, records) = follow(&answer.message, &query.question.name, query.question.rtype, &mut steps)
            .ok_or_else(|| Fault::new(Kind::LookupFailed, "CNAME chain without an end"))?;
        if !records.is_empty() {
            return Ok(records);
        }
        if rcode == Rcode::NXDOMAIN {
            return Err(Fault::new(Kind::NoHost, "NXDOMAIN").with_code(PeerCode::Rcode(rcode.0)));
        }
        if end == query.question.name || answer.message.authority.iter().any(|record| record.rtype == Rtype::SOA) {
            return Ok(Vec::new());
        }
        query.question.name = end;
    }
}

/// The end of the CNAME chain in an answer, with its records of type `rtype`; `None` if the chain is too long.
pub fn follow(message: &Message, name: &Name, rtype: Rtype, steps: &mut usize) -> Option<(Name, Vec<Record>)> {
    let mut name = name.clone();
    loop {
        let at_name = || message.answer.iter().filter(|record| record.name == name);
        let records: Vec<Record> = at_name().filter(|record| record.rtype == rtype).cloned().collect();
        let alias = at_name().find(|record| record.rtype == Rtype::CNAME).and_then(Record::target);
        let Some(target) = alias.filter(|_| records.is_empty() && rtype != Rtype::CNAME) else {
            return Some((name, records));
        };
        *steps += 1;
        if *steps > MAX_CNAMES {
            return None;
        }
        name = target;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    /// A server in a thread; `answer` turns each query into its response.
    fn server(answer: impl Fn(&mut Message) + Send + 'static) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 1500];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                let mut message = Message::parse(&buffer[..length]).unwrap();
                message.flags.set(super::super::message::Flags::QR, true);
                answer(&mut message);
                socket.send_to(&message.compose(1232), from).unwrap();
            }
        });
        address
    }

    fn record(owner: &str, rtype: Rtype, text: &str) -> Record {
        use super::super::record::{Class, parse, words};
        let words = words::split(text.as_bytes()).unwrap();
        let root = Name::root();
        let rdata = parse::rdata(rtype, &mut words::RdataWords::new(&words, Some(&root))).unwrap();
        Record { name: Name::parse(owner).unwrap(), rtype, class: Class::IN, ttl: 1, rdata }
    }

    #[tokio::test]
    async fn mx_addresses_and_failures() {
        let address = server(|message| {
            let question = message.question[0].clone();
            match (question.name.to_string().as_str(), question.rtype) {
                ("bob.test.", Rtype::MX) => {
                    message.answer.push(record("bob.test", Rtype::MX, "10 mx.bob.test."));
                    message.answer.push(record("bob.test", Rtype::MX, "5 mx2.bob.test."));
                }
                ("mx.bob.test.", Rtype::A) => message.answer.push(record("mx.bob.test", Rtype::A, "192.0.2.7")),
                ("alias.test.", rtype) => {
                    message.answer.push(record("alias.test", Rtype::CNAME, "mx.bob.test."));
                    if rtype == Rtype::AAAA {
                        message.authority.push(record("test", Rtype::SOA, "a. b. 1 2 3 4 5"));
                    }
                }
                ("loop.test.", _) => message.answer.push(record("loop.test", Rtype::CNAME, "loop.test.")),
                ("gone.test.", _) => message.flags.0 |= 3,
                ("broken.test.", _) => message.flags.0 |= 2,
                _ => message.authority.push(record("test", Rtype::SOA, "a. b. 1 2 3 4 5")),
            }
        });
        let resolver = Resolver::new(vec![address]);
        let mx = resolver.mx("bob.test").await.unwrap();
        assert_eq!(mx, [(10, "mx.bob.test".to_owned()), (5, "mx2.bob.test".to_owned())]);
        let wanted: IpAddr = "192.0.2.7".parse().unwrap();
        assert_eq!(resolver.addresses("mx.bob.test").await.unwrap(), [wanted]);
        assert_eq!(resolver.addresses("alias.test").await.unwrap(), [wanted], "the chain is completed");
        assert_eq!(resolver.addresses("192.0.2.9").await.unwrap().len(), 1, "literals need no server");
        let nobody = Resolver::new(Vec::new());
        for own in ["localhost", "A.LocalHost."] {
            assert_eq!(nobody.addresses(own).await.unwrap().len(), 2, "{own} needs none either");
            assert!(nobody.mx(own).await.unwrap().is_empty() && nobody.txt(own).await.unwrap().is_empty());
        }
        assert!(resolver.mx("nothing.test").await.unwrap().is_empty());
        assert_eq!(resolver.mx("gone.test").await.unwrap_err().kind, Kind::NoHost);
        let broken = resolver.mx("broken.test").await.unwrap_err();
        assert_eq!((broken.kind, broken.code), (Kind::LookupFailed, Some(PeerCode::Rcode(2))));
        assert!(broken.detail.contains("MX of broken.test") && broken.detail.contains("SERVFAIL"), "{broken}");
        assert_eq!(resolver.addresses("loop.test").await.unwrap_err().kind, Kind::LookupFailed);
        assert_eq!(resolver.resolve("nothing.test").await.unwrap_err().kind, Kind::NoHost);
    }

    #[tokio::test]
    async fn a_dead_server_is_passed_over() {
        let dead = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let alive = server(|message| message.answer.push(record("a.test", Rtype::TXT, "\"one \" \"two\"")));
        let resolver = Resolver::new(vec![dead, alive]);
        assert_eq!(resolver.txt("a.test").await.unwrap(), [b"one two"]);
        let fault = Resolver::new(vec![dead]).txt("a.test").await.unwrap_err();
        assert!(fault.temporary(), "{fault:?}");
    }

    #[test]
    fn international_names() {
        assert_eq!(ascii_name("bücher.example").unwrap().to_string(), "xn--bcher-kva.example.");
        assert_eq!(ascii_name("_dmarc.A.test").unwrap().to_string(), "_dmarc.A.test.");
    }
}
