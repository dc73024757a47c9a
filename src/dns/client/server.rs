//! The notation of servers: `192.0.2.1`, `192.0.2.1:5300`, `192.0.2.1#5300`, `[2001:db8::1]:53`, `dns.example`,
//! `fe80::1%eth0`, `udp://…`, `tcp://…`, `tls://…`, `https://…`, `quic://…`, `dns://…`; and `/etc/resolv.conf`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use super::{Endpoint, HttpTarget};
use crate::dns::name::Name;
use crate::dns::transport::Transport;
use crate::fault::{Fault, Kind};
use crate::net::dial::system_addresses;
use crate::net::literal;
use crate::net::proxy::Proxy;
use crate::net::tls::ClientTls;
use crate::scope::{ScopedAddress, from_url, host_of, with_port};
use crate::secret::without_password;

/// A server as the user wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerName {
    /// Address, with an optional zone, or host name; without brackets.
    pub host: String,
    /// Port, if one was given.
    pub port: Option<u16>,
    /// Transport, if a URL specified one.
    pub transport: Option<Transport>,
    /// The proxy for connections to it.
    pub proxy: Option<Proxy>,
    /// The resource of an `https` URL: `/dns-query` by default; a template that ends with `{?dns}` selects GET (RFC 8484,
    /// section 3).
    pub http: HttpTarget,
}

impl ServerName {
    /// The server at this address, without its port.
    pub fn of(address: SocketAddr) -> ServerName {
        ServerName { host: host_of(address), port: None, transport: None, proxy: None, http: HttpTarget::default() }
    }

    /// Parses a server's name.
    ///
    /// # Errors
    /// [`Kind::Usage`]: the text is not the notation of a server.
    pub fn parse(text: &str) -> Result<ServerName, Fault> {
        let bad = |why: &str| Fault::new(Kind::Usage, format!("server {:?}: {why}", without_password(text)));
        let (transport, rest) = match text.split_once("://") {
            None => (None, text),
            Some(("dns", rest)) => (None, rest),
            Some(("udp", rest)) => (Some(Transport::Udp), rest),
            Some(("tcp", rest)) => (Some(Transport::Tcp), rest),
            Some(("tls", rest)) => (Some(Transport::Tls), rest),
            Some(("https", rest)) => (Some(Transport::Https), rest),
            Some(("quic" | "doq", rest)) => (Some(Transport::Quic), rest),
            Some((scheme, _)) => return Err(bad(&format!("unknown scheme {scheme:?}"))),
        };
        let (rest, get) = match rest.strip_suffix("{?dns}") {
            Some(rest) if transport == Some(Transport::Https) => (rest, true),
            _ => (rest, false),
        };
        let (authority, path) = match rest.find('/').and_then(|at| rest.split_at_checked(at)) {
            Some((authority, path)) if transport == Some(Transport::Https) && path.len() > 1 => (authority, path),
            Some((authority, "/")) => (authority, "/dns-query"),
            Some(_) => return Err(bad("only https takes a path")),
            None => (rest, "/dns-query"),
        };
        if path.contains(['{', '}', '#']) || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(bad("of templates only {?dns} at the end is understood"));
        }
        let (host, port) = if let Some(inside) = authority.strip_prefix('[') {
            let (host, after) = inside.split_once(']').ok_or_else(|| bad("] is missing"))?;
            (host, after.strip_prefix([':', '#']).or((!after.is_empty()).then_some("-")))
        } else if let Some((host, port)) = authority.split_once('#') {
            (host, Some(port))
        } else if ScopedAddress::parse(authority).is_some() {
            (authority, None)
        } else {
            authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port)))
        };
        let port = port.map(|port| port.parse().map_err(|_| bad("bad port"))).transpose()?;
        if host.is_empty() || host.contains(|c: char| c.is_whitespace() || matches!(c, '{' | '}' | '@' | '?')) {
            return Err(bad("no host"));
        }
        let http = HttpTarget { path: path.to_owned(), get };
        let host = from_url(host).filter(|_| text.contains("://")).unwrap_or_else(|| host.to_owned());
        Ok(ServerName { host, port, transport, proxy: None, http })
    }

    /// The port that was given, otherwise `default`.
    pub fn port_or(&self, default: u16) -> u16 {
        self.port.unwrap_or(default)
    }

    /// The endpoints of the server, one per address. `default` is the port and the transport if the notation specifies none;
    /// `tls` creates the TLS settings if the transport is encrypted.
    ///
    /// # Errors
    /// The server has no address, or the TLS settings cannot be created.
    pub fn endpoints(
        &self,
        default: (Option<u16>, Transport),
        tls: &mut dyn FnMut() -> Result<ClientTls, Fault>,
    ) -> Result<Vec<Endpoint>, Fault> {
        let transport = self.transport.unwrap_or(default.1);
        let tls = if transport.is_encrypted() { Some(tls()?) } else { None };
        let addresses = self.addresses(default.0.unwrap_or(transport.port()))?;
        let endpoint = |address| Endpoint {
            transport,
            host: self.host.clone(),
            http: self.http.clone(),
            tls: tls.clone(),
            proxy: self.proxy.clone(),
            ..Endpoint::from(address)
        };
        Ok(addresses.into_iter().map(endpoint).collect())
    }

    /// The addresses of the server. The system's resolver looks up a host name; if the proxy does that, the address is unspecified.
    ///
    /// # Errors
    /// [`Kind::NoHost`]: the name has no address; [`Kind::Unreachable`]: this host has no such IPv6 zone.
    pub fn addresses(&self, default_port: u16) -> Result<Vec<SocketAddr>, Fault> {
        let port = self.port_or(default_port);
        let literal = literal::address(&self.host);
        if let Some(address) = literal.map_err(|fault| fault.context("server"))? {
            return Ok(vec![with_port(address, port)]);
        }
        if self.proxy.as_ref().is_some_and(|proxy| !proxy.wants_address()) {
            return Ok(vec![SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port)]);
        }
        let mut found = system_addresses(&self.host)
            .map_err(|fault| Fault { detail: format!("server {}", fault.detail), ..fault })?;
        found.iter_mut().for_each(|address| address.set_port(port));
        Ok(found)
    }
}

/// The settings in `/etc/resolv.conf` (resolv.conf(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvConf {
    /// Name servers in order; the local server if no line names one.
    pub servers: Vec<SocketAddr>,
    /// The search domains for short names.
    pub search: Vec<Name>,
    /// Names with at least this many dots are first tried without a search domain.
    pub ndots: u8,
    /// The timeout of one attempt.
    pub timeout: Duration,
    /// The number of attempts.
    pub attempts: u32,
}

/// The maximum numbers of servers, search domains and bytes taken from the file.
const MAX_SERVERS: usize = 8;
const MAX_SEARCH: usize = 16;
const MAX_FILE_BYTES: usize = 65_536;

impl ResolvConf {
    /// Reads the system's file. A missing file means the local server.
    ///
    /// # Errors
    /// The file cannot be read. [`Kind::Config`]: it names servers, but none is usable.
    pub fn system() -> Result<ResolvConf, Fault> {
        ResolvConf::load(Path::new("/etc/resolv.conf"))
    }

    /// Reads this file.
    ///
    /// # Errors
    /// As [`ResolvConf::system`].
    pub fn load(path: &Path) -> Result<ResolvConf, Fault> {
        match std::fs::read(path) {
            Ok(bytes) => {
                let text = String::from_utf8_lossy(bytes.get(..MAX_FILE_BYTES).unwrap_or(&bytes));
                ResolvConf::parse(&text).map_err(|fault| fault.context(path.display()))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => ResolvConf::parse(""),
            Err(error) => Err(Fault::local(path.display(), &error)),
        }
    }

    /// Parses the text of such a file. Invalid lines are skipped, as the C library does. If none of the named servers is usable,
    /// the local server does not replace them.
    ///
    /// # Errors
    /// [`Kind::Config`]: the text names servers, but none is usable.
    pub fn parse(text: &str) -> Result<ResolvConf, Fault> {
        let mut conf = ResolvConf {
            servers: Vec::new(),
            search: Vec::new(),
            ndots: 1,
            timeout: Duration::from_secs(5),
            attempts: 2,
        };
        let mut unusable = None;
        for (number, whole) in (1..).zip(text.lines()) {
            let line = whole.split(['#', ';']).next().unwrap_or_default();
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") if conf.servers.len() < MAX_SERVERS => {
                    let why = match literal::address(words.next().unwrap_or_default()) {
                        Ok(Some(address)) => {
                            conf.servers.push(with_port(address, 53));
                            continue;
                        }
                        Ok(None) => "not an IP address".to_owned(),
                        Err(fault) => fault.detail,
                    };
                    unusable.get_or_insert(format!("no usable name server: line {number}: {}: {why}", whole.trim()));
                }
                Some("search" | "domain") => {
                    conf.search = words.filter_map(|word| Name::parse(word).ok()).take(MAX_SEARCH).collect();
                }
                Some("options") => {
                    for option in words {
                        let number = |prefix: &str| option.strip_prefix(prefix).and_then(|n| n.parse::<u8>().ok());
                        if let Some(ndots) = number("ndots:") {
                            conf.ndots = ndots.min(15);
                        } else if let Some(seconds) = number("timeout:") {
                            conf.timeout = Duration::from_secs(u64::from(seconds.clamp(1, 30)));
                        } else if let Some(attempts) = number("attempts:") {
                            conf.attempts = u32::from(attempts.clamp(1, 5));
                        }
                    }
                }
                _ => {}
            }
        }
        match unusable {
            Some(why) if conf.servers.is_empty() => return Err(Fault::new(Kind::Config, why)),
            _ if conf.servers.is_empty() => conf.servers.push(SocketAddr::from(([127, 0, 0, 1], 53))),
            _ => {}
        }
        Ok(conf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_servers() {
        let parse = |text: &str| ServerName::parse(text).map(|server| (server.host, server.port, server.transport));
        for (text, host, port, transport) in [
            ("192.0.2.1", "192.0.2.1", None, None),
            ("192.0.2.1:5300", "192.0.2.1", Some(5300), None),
            ("192.0.2.1#5300", "192.0.2.1", Some(5300), None),
            ("2001:db8::1", "2001:db8::1", None, None),
            ("[2001:db8::1]:53", "2001:db8::1", Some(53), None),
            ("2001:db8::1#53", "2001:db8::1", Some(53), None),
            ("fe80::1%lo", "fe80::1%lo", None, None),
            ("fe80::1%lo#5300", "fe80::1%lo", Some(5300), None),
            ("[fe80::1%lo]:5300", "fe80::1%lo", Some(5300), None),
            ("tcp://[fe80::1%25lo]:53", "fe80::1%lo", Some(53), Some(Transport::Tcp)),
            ("udp://fe80::1%25lo", "fe80::1%lo", None, Some(Transport::Udp)),
            ("fe80::1%25", "fe80::1%25", None, None),
            ("ns.test", "ns.test", None, None),
            ("dns://127.0.0.1:1234", "127.0.0.1", Some(1234), None),
            ("tcp://ns.test:53", "ns.test", Some(53), Some(Transport::Tcp)),
            ("https://dns.test/q", "dns.test", None, Some(Transport::Https)),
            ("tls://[2001:db8::1]:8853", "2001:db8::1", Some(8853), Some(Transport::Tls)),
            ("quic://dns.test", "dns.test", None, Some(Transport::Quic)),
        ] {
            assert_eq!(parse(text).unwrap(), (host.to_owned(), port, transport), "{text}");
        }
        for bad in [
            "",
            "http://x",
            "https://x/{?foo}",
            "tls://x{?dns}",
            "https://x/a b",
            "192.0.2.1:x",
            "[::1",
            "[::1]53",
            "tcp://x/y",
            "a b",
            "x:65536",
        ] {
            assert_eq!(parse(bad).unwrap_err().kind, Kind::Usage, "{bad}");
        }
        let target = |text: &str| {
            let http = ServerName::parse(text).unwrap().http;
            (http.path, http.get)
        };
        assert_eq!(target("https://dns.test"), ("/dns-query".to_owned(), false));
        assert_eq!(target("https://dns.test/q{?dns}"), ("/q".to_owned(), true));
        assert_eq!(target("https://dns.test{?dns}"), ("/dns-query".to_owned(), true));
    }

    #[test]
    fn resolv_conf() {
        let conf = ResolvConf::parse(
            "# c\nnameserver 192.0.2.1\nnameserver ::1 ; x\nnameserver bad\nsearch a.test b.test\n\
             options ndots:2 timeout:1 attempts:3 rotate\n",
        )
        .unwrap();
        assert_eq!(conf.servers, ["192.0.2.1:53".parse().unwrap(), "[::1]:53".parse().unwrap()]);
        assert_eq!((conf.ndots, conf.timeout.as_secs(), conf.attempts, conf.search.len()), (2, 1, 3, 2));
        let scoped = "nameserver fe80::1%nosuch0\nnameserver fe80::1%lo\nnameserver ::1%1";
        let servers = ["[fe80::1%1]:53".parse().unwrap(), "[::1%1]:53".parse().unwrap()];
        assert_eq!(ResolvConf::parse(scoped).unwrap().servers, servers);
        for none in ["", "# nameserver 192.0.2.1\nsearch a.test\n"] {
            assert_eq!(ResolvConf::parse(none).unwrap().servers, ["127.0.0.1:53".parse().unwrap()], "resolv.conf(5)");
        }
        for bad in ["fe80::1%nosuch0", "ns.test", "192.0.2.256", "", "127.0.0.1%lo"] {
            let fault = ResolvConf::parse(&format!("search a\n nameserver {bad}\nnameserver x\n")).unwrap_err();
            assert_eq!(fault.kind, Kind::Config);
            assert!(fault.detail.contains(format!("line 2: nameserver {bad}").trim()), "{fault}");
        }
    }
}
