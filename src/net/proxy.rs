//! Client side of SOCKS5 (RFC 1928, RFC 1929) and HTTP CONNECT (RFC 9110, section 9.3.6).

use std::net::IpAddr;

use base64::Engine as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::fault::{Fault, Kind, PeerCode};
use crate::net::cidr::Network;
use crate::net::literal;
use crate::net::login::Login;
use crate::scope::ScopedAddress;
use crate::secret::without_password;

/// The longest header block a proxy may send.
const MAX_HTTP_HEADER: usize = 16 * 1024;

/// The protocol of a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyKind {
    /// SOCKS5; with `remote_dns` the proxy resolves the name (`socks5h`).
    Socks5 {
        /// True: the name goes to the proxy; false: the client resolves it and sends an address.
        remote_dns: bool,
    },
    /// HTTP CONNECT.
    Http,
}

/// A proxy for outgoing connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Its protocol.
    pub kind: ProxyKind,
    /// Its host name or address.
    pub host: String,
    /// Its TCP port.
    pub port: u16,
    /// Its credentials, if it needs any.
    pub login: Option<Login>,
}

/// A proxy, and the hosts that are reached directly.
#[derive(Debug, Clone)]
pub struct ProxyChoice {
    proxy: Proxy,
    /// The exceptions, in the syntax of `no_proxy`.
    except: String,
}

impl ProxyChoice {
    /// The proxy of this URL, except for hosts covered by `except` (see `bypass`).
    ///
    /// # Errors
    /// [`Kind::Usage`] if the URL does not name a proxy.
    pub fn new(url: &str, except: String) -> Result<ProxyChoice, Fault> {
        Ok(ProxyChoice { proxy: Proxy::parse(url)?, except })
    }

    /// The proxy for this port of a host; `None` for a direct connection.
    pub fn on_the_way(&self, host: &str, port: u16) -> Option<Proxy> {
        (!bypass(&self.except, host, port)).then(|| self.proxy.clone())
    }
}

impl Proxy {
    /// Parses `socks5://`, `socks5h://` or `http://[user:password@]host[:port]`; without a scheme HTTP is assumed, as in the
    /// `*_proxy` variables.
    ///
    /// # Errors
    /// [`Kind::Usage`] for any other text.
    pub fn parse(text: &str) -> Result<Proxy, Fault> {
        let bad = |why: &str| Fault::new(Kind::Usage, format!("proxy {:?}: {why}", without_password(text)));
        let full = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let (url, host) = literal::url(&full).map_err(|why| bad(&why))?;
        let (kind, default_port) = match url.scheme() {
            "socks5h" => (ProxyKind::Socks5 { remote_dns: true }, 1080),
            "socks5" => (ProxyKind::Socks5 { remote_dns: false }, 1080),
            "http" => (ProxyKind::Http, 80),
            _ => return Err(bad("only socks5, socks5h and http are known")),
        };
        let decode = |part: &str| percent_encoding::percent_decode_str(part).decode_utf8_lossy().into_owned();
        let login = (!url.username().is_empty())
            .then(|| Login::new(decode(url.username()), decode(url.password().unwrap_or_default())));
        Ok(Proxy { kind, host, port: url.port().unwrap_or(default_port), login })
    }

    /// True if the client must resolve `host` before [`Proxy::handshake`].
    pub fn wants_address(&self) -> bool {
        self.kind == ProxyKind::Socks5 { remote_dns: false }
    }

    /// Asks the proxy at the other end of `stream` for a connection to `host`:`port`.
    ///
    /// # Errors
    /// [`Kind::Usage`] for a host or login that the protocol cannot carry, [`Kind::AuthFailed`] for a refused login; else
    /// the fault of the proxy's answer, or of the connection.
    pub async fn handshake(&self, stream: &mut TcpStream, host: &str, port: u16) -> Result<(), Fault> {
        let broken = |error: std::io::Error| Fault::network(format!("proxy {}", self.host), &error);
        if host.bytes().any(|byte| byte.is_ascii_control() || byte == b' ') {
            return Err(Fault::new(Kind::Usage, "host name with control bytes"));
        }
        match self.kind {
            ProxyKind::Socks5 { .. } => self.socks5(stream, host, port, &broken).await,
            ProxyKind::Http => self.connect(stream, host, port, &broken).await,
        }
    }

    async fn socks5(
        &self,
        stream: &mut TcpStream,
        host: &str,
        port: u16,
        broken: &impl Fn(std::io::Error) -> Fault,
    ) -> Result<(), Fault> {
        let methods: &[u8] = if self.login.is_some() { &[5, 2, 0, 2] } else { &[5, 1, 0] };
        stream.write_all(methods).await.map_err(broken)?;
        let mut choice = [0u8; 2];
        stream.read_exact(&mut choice).await.map_err(broken)?;
        match (choice, &self.login) {
            ([5, 0], _) => {}
            ([5, 2], Some(login)) => {
                let mut request = vec![1];
                for part in [&login.user, login.password.expose()] {
                    let length = u8::try_from(part.len())
                        .map_err(|_| Fault::new(Kind::Usage, "proxy user or password longer than 255 bytes"))?;
                    request.push(length);
                    request.extend_from_slice(part.as_bytes());
                }
                stream.write_all(&request).await.map_err(broken)?;
                let mut answer = [0u8; 2];
                stream.read_exact(&mut answer).await.map_err(broken)?;
                if answer != [1, 0] {
                    return Err(Fault::new(Kind::AuthFailed, format!("proxy {}: login refused", self.host)));
                }
            }
            ([5, _], _) => {
                return Err(Fault::new(Kind::AuthFailed, format!("proxy {}: asks for a login", self.host)));
            }
            _ => return Err(Fault::new(Kind::Protocol, format!("proxy {}: does not speak SOCKS5", self.host))),
        }
        let mut request = vec![5, 1, 0];
        match host.parse::<IpAddr>() {
            Ok(IpAddr::V4(address)) => {
                request.push(1);
                request.extend_from_slice(&address.octets());
            }
            Ok(IpAddr::V6(address)) => {
                request.push(4);
                request.extend_from_slice(&address.octets());
            }
            Err(_) => {
                let length =
                    u8::try_from(host.len()).map_err(|_| Fault::new(Kind::Usage, "host name longer than 255 bytes"))?;
                request.extend_from_slice(&[3, length]);
                request.extend_from_slice(host.as_bytes());
            }
        }
        request.extend_from_slice(&port.to_be_bytes());
        stream.write_all(&request).await.map_err(broken)?;
        let mut head = [0u8; 4];
        stream.read_exact(&mut head).await.map_err(broken)?;
        let [version, status, _, address_type] = head;
        if version != 5 {
            return Err(Fault::new(Kind::Protocol, format!("proxy {}: garbled SOCKS5 answer", self.host)));
        }
        if status != 0 {
            return Err(socks_fault(status).context(format!("proxy {}", self.host)));
        }
        let rest = match address_type {
            1 => 4,
            4 => 16,
            3 => usize::from(stream.read_u8().await.map_err(broken)?),
            _ => return Err(Fault::new(Kind::Protocol, format!("proxy {}: garbled SOCKS5 answer", self.host))),
        };
        let mut bound = vec![0u8; rest + 2];
        stream.read_exact(&mut bound).await.map_err(broken)?;
        Ok(())
    }

    async fn connect(
        &self,
        stream: &mut TcpStream,
        host: &str,
        port: u16,
        broken: &impl Fn(std::io::Error) -> Fault,
    ) -> Result<(), Fault> {
        let target = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
        if let Some(login) = &self.login {
            let pair = format!("{}:{}", login.user, login.password.expose());
            let token = base64::engine::general_purpose::STANDARD.encode(pair);
            request.push_str(&format!("Proxy-Authorization: Basic {token}\r\n"));
        }
        request.push_str("\r\n");
        stream.write_all(request.as_bytes()).await.map_err(broken)?;
        // Byte by byte: what follows the header already belongs to the tunnel and must stay in the socket.
        let mut header = Vec::new();
        while !header.ends_with(b"\r\n\r\n") {
            if header.len() >= MAX_HTTP_HEADER {
                return Err(Fault::new(Kind::Protocol, format!("proxy {}: endless header", self.host)));
            }
            header.push(stream.read_u8().await.map_err(broken)?);
        }
        let status = http_status(&header)
            .ok_or_else(|| Fault::new(Kind::Protocol, format!("proxy {}: garbled HTTP answer", self.host)))?;
        match status {
            200..=299 => Ok(()),
            407 => Err(Fault::new(Kind::AuthFailed, format!("proxy {}: asks for a login", self.host))),
            500..=599 => Err(Fault::new(Kind::Unreachable, format!("proxy {}: answers {status}", self.host))),
            _ => Err(Fault::new(Kind::Refused, format!("proxy {}: answers {status}", self.host))),
        }
        .map_err(|fault: Fault| fault.with_code(PeerCode::Http(status)))
    }
}

/// The status of `HTTP/1.x NNN …` (RFC 9112, section 4); `None` if the peer speaks another protocol.
pub fn http_status(header: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(header.split(|byte| *byte == b'\r').next()?).ok()?;
    let mut words = text.split(' ');
    words.next().filter(|version| version.starts_with("HTTP/1."))?;
    let status = words.next().filter(|status| status.len() == 3)?;
    status.parse().ok().filter(|status| *status >= 100)
}

/// The fault of a SOCKS5 reply code (RFC 1928, section 6).
fn socks_fault(status: u8) -> Fault {
    let (kind, text) = match status {
        2 => (Kind::Refused, "not allowed by its rules"),
        3 => (Kind::Unreachable, "network unreachable"),
        4 => (Kind::Unreachable, "host unreachable"),
        5 => (Kind::ConnectRefused, "connection refused"),
        6 => (Kind::TimedOut, "time to live expired"),
        7 | 8 => (Kind::Unsupported, "command or address type not supported"),
        _ => (Kind::Unreachable, "general failure"),
    };
    Fault::new(kind, text)
}

/// True if `no_proxy` covers this port of a host. The list is read as curl does since 7.86: names, which cover their
/// subdomains as well, with or without a leading dot (or `*.`) and a final one; addresses in any spelling; networks; `*` for
/// all. In addition `HOST:PORT`, which covers nothing in curl, covers that port.
fn bypass(no_proxy: &str, host: &str, port: u16) -> bool {
    let address = ScopedAddress::parse(host);
    let name = host.strip_suffix('.').unwrap_or(host).to_lowercase();
    no_proxy.split([',', ' ', '\t']).filter(|entry| !entry.is_empty()).any(|entry| {
        let (entry, only) = match entry.rsplit_once(':').map(|(host, port)| (host, port.parse::<u16>())) {
            Some((host, Ok(port))) if !host.contains(':') || host.ends_with(']') => (host, Some(port)),
            _ => (entry, None),
        };
        let covers = || match address {
            Some(address) => match entry.parse::<Network>() {
                Ok(network) => network.contains(address.ip),
                Err(_) => ScopedAddress::parse(entry) == Some(address),
            },
            None => {
                let above = entry.trim_start_matches("*.").trim_start_matches('.').to_lowercase();
                let above = above.strip_suffix('.').unwrap_or(&above);
                let front = name.strip_suffix(above).filter(|_| !above.is_empty());
                front.is_some_and(|front| front.is_empty() || front.ends_with('.'))
            }
        };
        only.is_none_or(|only| only == port) && (entry == "*" || covers())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[test]
    fn urls_are_read() {
        let proxy = Proxy::parse("socks5h://al%40ice:p%3Aw@[::1]:9050").unwrap();
        assert_eq!((proxy.host.as_str(), proxy.port), ("::1", 9050));
        assert_eq!(proxy.login, Some(Login::new("al@ice", "p:w")));
        assert_eq!(proxy.kind, ProxyKind::Socks5 { remote_dns: true });
        assert_eq!(Proxy::parse("cache.test:3128").unwrap().kind, ProxyKind::Http);
        for bad in ["ftp://x", "http://", "socks4://x", "http://x:99999"] {
            assert_eq!(Proxy::parse(bad).unwrap_err().kind, Kind::Usage, "{bad}");
        }
    }

    #[test]
    fn no_proxy_covers_names_addresses_and_networks() {
        for (list, hosts, others) in [
            ("*", "a.test ::1 127.0.0.1", ""),
            ("", "", "a.test ::1"),
            (" , ,, ", "", "a.test ::1"),
            ("b.test,\t a.test ,c.test", "a.test b.test c.test x.A.test A.TEST.", "ba.test a.test.b d.test"),
            ("b.test a.test", "a.test b.test", ""),
            (".a.test", "a.test x.a.test x.y.a.test.", "xa.test"),
            ("*.A.Test.", "a.test x.a.test", "xa.test"),
            (". *.", "", "a.test a.test."),
            ("test", "a.test test", "test.a"),
            ("localhost", "localhost a.localhost", "127.0.0.1 ::1"),
            ("1 0.0.1", "", "127.0.0.1"),
            ("127.0.0.1", "127.0.0.1 ::ffff:127.0.0.1 ::ffff:7f00:1", "127.0.0.2 127.0.0.1.a.test"),
            ("127.0.0.0/8", "127.0.0.1 127.9.9.9 ::ffff:127.0.0.1", "128.0.0.1 ::1 a.test"),
            ("::ffff:127.0.0.0/104", "127.0.0.1 ::ffff:127.9.9.9", "128.0.0.1 ::1"),
            ("::1", "::1 [::1] 0:0:0:0:0:0:0:1", "::2"),
            ("[::1]", "::1 0:0:0:0:0:0:0:1", "::2"),
            ("0:0:0:0:0:0:0:1", "::1 [::1]", "::2"),
            ("::/64", "::1 ::ffff", "1::1 127.0.0.1 0:0:0:1::"),
            ("[2001:DB8::]/32", "2001:db8:ffff::1", "2001:db9::1"),
            ("0.0.0.0/0", "8.8.8.8 ::ffff:8.8.8.8", "::1 a.test"),
            ("fe80::/10", "fe80::1%eth0 fe80::1", "fec0::1"),
            ("fe80::1%eth0", "fe80::1%eth0", "fe80::1%eth1 fe80::1"),
            ("127.0.0.0/33 ::/129 127.0.0.1/x", "", "127.0.0.1 ::1"),
            ("a.test:25", "a.test x.a.test", "b.test"),
            ("127.0.0.0/8:25", "127.0.0.1", "128.0.0.1"),
            ("[::1]:25 *:26", "::1", "::2 a.test"),
            ("a.test:26 127.0.0.1:26 [::1]:26 a.test:x", "", "a.test 127.0.0.1 ::1"),
            ("*:25", "a.test ::1", ""),
        ] {
            for (hosts, expected) in [(hosts, true), (others, false)] {
                for host in hosts.split_whitespace() {
                    assert_eq!(bypass(list, host, 25), expected, "{list:?} {host}");
                }
            }
        }
    }

    #[test]
    fn http_status_lines() {
        assert_eq!(http_status(b"HTTP/1.1 200 Connection established\r\n\r\n"), Some(200));
        for bad in ["", "HTTP/2 200\r\n", "HTTP/1.1 20\r\n", "HTTP/1.1 0200\r\n", "SSH-2.0\r\n", "HTTP/1.1 -12\r\n"] {
            assert_eq!(http_status(bad.as_bytes()), None, "{bad}");
        }
    }

    /// Plays `script` (expected bytes, answer) as the proxy and returns the client's result.
    async fn play(url: &str, host: &str, script: Vec<(&'static [u8], &'static [u8])>) -> Result<(), Fault> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            for (expected, answer) in script {
                let mut got = vec![0; expected.len()];
                stream.read_exact(&mut got).await.unwrap();
                assert_eq!(got, expected);
                stream.write_all(answer).await.unwrap();
            }
        });
        let mut stream = TcpStream::connect(address).await.unwrap();
        let result = Proxy::parse(url).unwrap().handshake(&mut stream, host, 25).await;
        server.await.unwrap();
        result
    }

    #[tokio::test]
    async fn socks5_with_login_and_name() {
        let script: Vec<(&[u8], &[u8])> = vec![
            (b"\x05\x02\x00\x02", b"\x05\x02"),
            (b"\x01\x01u\x01p", b"\x01\x00"),
            (b"\x05\x01\x00\x03\x06b.test\x00\x19", b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x19"),
        ];
        play("socks5h://u:p@x", "b.test", script).await.unwrap();
        let refused: Vec<(&[u8], &[u8])> =
            vec![(b"\x05\x01\x00", b"\x05\x00"), (b"\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x19", b"\x05\x05\x00\x01")];
        assert_eq!(play("socks5://x", "127.0.0.1", refused).await.unwrap_err().kind, Kind::ConnectRefused);
        let no_method: Vec<(&[u8], &[u8])> = vec![(b"\x05\x01\x00", b"\x05\xff")];
        assert_eq!(play("socks5://x", "127.0.0.1", no_method).await.unwrap_err().kind, Kind::AuthFailed);
        let no_socks: Vec<(&[u8], &[u8])> = vec![(b"\x05\x01\x00", b"22")];
        assert_eq!(play("socks5://x", "127.0.0.1", no_socks).await.unwrap_err().kind, Kind::Protocol);
    }

    #[tokio::test]
    async fn http_connect() {
        let ok: Vec<(&[u8], &[u8])> =
            vec![(b"CONNECT [::1]:25 HTTP/1.1\r\nHost: [::1]:25\r\n\r\n", b"HTTP/1.0 200 OK\r\nVia: x\r\n\r\n")];
        play("http://x", "::1", ok).await.unwrap();
        let login: Vec<(&[u8], &[u8])> = vec![(b"CONNECT a:25", b"HTTP/1.1 407 no\r\n\r\n")];
        assert_eq!(play("http://x", "a", login).await.unwrap_err().kind, Kind::AuthFailed);
        let broken: Vec<(&[u8], &[u8])> = vec![(b"CONNECT a:25", b"HTTP/1.1 2")];
        assert_eq!(play("http://x", "a", broken).await.unwrap_err().kind, Kind::Disconnected);
    }
}
