//! FTP URLs (RFC 1738, section 3.2) and remote paths: one path per command, relative to the login directory.

use std::borrow::Cow;
use std::fmt;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode, percent_encode};

use crate::fault::{Fault, Kind};
use crate::ftp::glob::Glob;
use crate::scope::from_url;
use crate::secret::{Secret, without_password};
use crate::steering::{is_plain_name, steers};

/// The longest accepted file name of a listing (NAME_MAX of Linux).
pub const MAX_NAME: usize = 255;
/// The longest remote path.
pub const MAX_PATH: usize = 4096;

/// Bytes to escape in a URL path besides control bytes and non-ASCII: a displayed URL denotes exactly one file, even when parsed as a glob.
const ESCAPED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'`')
    .add(b';')
    .add(b'[')
    .add(b']')
    .add(b'*')
    .add(b'{')
    .add(b'}');

/// The URL scheme, which determines when TLS starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `ftp`: clear text, unless `--tls` requests otherwise.
    Ftp,
    /// `ftpes`: AUTH TLS (RFC 4217).
    Ftpes,
    /// `ftps`: TLS before the first byte, port 990.
    Ftps,
}

impl Scheme {
    /// The scheme's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Scheme::Ftp => "ftp",
            Scheme::Ftpes => "ftpes",
            Scheme::Ftps => "ftps",
        }
    }

    /// The port if the URL names none.
    pub const fn default_port(self) -> u16 {
        match self {
            Scheme::Ftp | Scheme::Ftpes => 21,
            Scheme::Ftps => 990,
        }
    }
}

/// A parsed FTP URL. `Display` never shows the password.
#[derive(Clone, PartialEq, Eq)]
pub struct FtpUrl {
    /// The scheme.
    pub scheme: Scheme,
    /// The user in the URL.
    pub user: Option<String>,
    /// The password in the URL.
    pub password: Option<Secret>,
    /// The host: a name in ASCII, or an address without brackets.
    pub host: String,
    /// The port in the URL.
    pub port: Option<u16>,
    /// The path as it is sent, without a trailing `/`.
    pub path: RemotePath,
    /// True if the URL denotes a directory: it ends in `/`, has no path, or has `;type=d`.
    pub directory: bool,
    /// True for `;type=a`: text, with line ends converted (RFC 1738, section 3.2.2).
    pub ascii: bool,
}

impl FtpUrl {
    /// Parses `ftp[s|es]://[user[:password]@]host[:port][/path][;type=a|i|d]`.
    ///
    /// # Errors
    /// `Usage`: the defect of the URL, shown without its password.
    pub fn parse(text: &str) -> Result<FtpUrl, Fault> {
        let bad = |why: &str| Fault::new(Kind::Usage, format!("{}: {why}", without_password(text)));
        let (scheme, rest) = text.split_once("://").ok_or_else(|| {
            bad("not a URL").with_hint("write ftp://HOST/PATH, ftpes:// for AUTH TLS, ftps:// for implicit TLS")
        })?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "ftp" => Scheme::Ftp,
            "ftpes" => Scheme::Ftpes,
            "ftps" => Scheme::Ftps,
            _ => return Err(bad("the scheme must be ftp, ftpes or ftps")),
        };
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let (login, host_port) = match authority.rsplit_once('@') {
            Some((login, host_port)) => (Some(login), host_port),
            None => (None, authority),
        };
        let decode = |part: &str| -> Result<String, Fault> {
            let bytes: Vec<u8> = percent_decode(part.as_bytes()).collect();
            check_bytes(&bytes).map_err(bad)?;
            String::from_utf8(bytes).map_err(|_| bad("user and password must be UTF-8"))
        };
        let (user, password) =
            match login.map(|login| login.split_once(':').map_or((login, None), |(u, p)| (u, Some(p)))) {
                Some((user, password)) => (Some(decode(user)?), password.map(decode).transpose()?.map(Secret::new)),
                None => (None, None),
            };
        let (host, port) = split_port(host_port).ok_or_else(|| bad("the port is not a number from 1 to 65535"))?;
        if host.is_empty() {
            return Err(bad("no host"));
        }
        let host = match (from_url(host), host.parse::<std::net::IpAddr>()) {
            (Some(scoped), _) => scoped,
            (None, Ok(address)) => address.to_string(),
            (None, Err(_)) => idna::domain_to_ascii_strict(host)
                .or_else(
                    |error| if host.bytes().all(is_host_byte) { Ok(host.to_ascii_lowercase()) } else { Err(error) },
                )
                .map_err(|_| bad("not a host name"))?,
        };
        let (path, kind) = match path.rfind(";type=") {
            Some(at) => (path.get(..at).unwrap_or_default(), path.get(at + 6..).unwrap_or_default()),
            None => (path, ""),
        };
        let ascii = match kind {
            "a" | "A" => true,
            "" | "i" | "I" | "d" | "D" => false,
            _ => return Err(bad(";type= must be a, i or d")),
        };
        // The slash after the host separates; what follows is relative to the login directory, unless it begins with
        // another slash, plain or as %2F.
        let bytes: Vec<u8> = percent_decode(path.strip_prefix('/').unwrap_or_default().as_bytes()).collect();
        check_bytes(&bytes).map_err(bad)?;
        if bytes.len() > MAX_PATH {
            return Err(bad("the path is too long"));
        }
        let directory = bytes.is_empty() || bytes.ends_with(b"/") || kind.eq_ignore_ascii_case("d");
        Ok(FtpUrl { scheme, user, password, host, port, path: RemotePath::new(&bytes), directory, ascii })
    }

    /// Parses a URL whose path may contain globs. Returns the URL of the last directory before the glob, and the glob relative
    /// to it. `%2A`, `%3F`, `%5B` and `%7B` are literal characters. Without a glob the URL is that of [`FtpUrl::parse`].
    ///
    /// # Errors
    /// As [`FtpUrl::parse`] and [`Glob::new`].
    pub fn parse_glob(text: &str) -> Result<(FtpUrl, Option<Glob>), Fault> {
        let host = text.find("://").map_or(0, |at| at + 3);
        let path = text.get(host..).and_then(|rest| rest.find('/')).map_or(text.len(), |at| host + at + 1);
        let end = text.rfind(";type=").filter(|at| *at >= path).unwrap_or(text.len());
        let (before, glob) = (text.get(..path).unwrap_or_default(), text.get(path..end).unwrap_or_default());
        let Some(first) = glob.bytes().position(|byte| Glob::is_special(&[byte])) else {
            return Ok((FtpUrl::parse(text)?, None));
        };
        // Only whole components before the first special character are literal.
        let start = glob.get(..first).and_then(|head| head.rfind('/')).map_or(0, |at| at + 1);
        let (literal, glob) = glob.split_at_checked(start).unwrap_or_default();
        let mut url = FtpUrl::parse(&format!("{before}{literal}{}", text.get(end..).unwrap_or_default()))?;
        url.directory = glob.ends_with('/');
        let mut decoded = Vec::with_capacity(glob.len());
        let mut rest = glob.as_bytes();
        while let Some((&byte, after)) = rest.split_first() {
            let escape = rest.get(..3).filter(|_| byte == b'%').map(|code| percent_decode(code).collect::<Vec<u8>>());
            match escape.as_deref() {
                Some(&[escaped]) => {
                    decoded.extend(Glob::escape(&[escaped]));
                    rest = rest.get(3..).unwrap_or_default();
                }
                _ => {
                    decoded.push(byte);
                    rest = after;
                }
            }
        }
        check_bytes(&decoded).map_err(|why| Fault::new(Kind::Usage, format!("{}: {why}", without_password(text))))?;
        Ok((url, Some(Glob::from_bytes(&decoded)?)))
    }

    /// The port to connect to.
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(self.scheme.default_port())
    }

    /// The same server with another path.
    #[must_use]
    pub fn with_path(&self, path: RemotePath, directory: bool) -> FtpUrl {
        FtpUrl { path, directory, ..self.clone() }
    }

    /// True if both URLs name the same login on the same server, so that one connection serves both.
    pub fn same_server(&self, other: &FtpUrl) -> bool {
        let key = |url: &FtpUrl| (url.scheme, url.user.clone(), url.password.clone(), url.host.clone(), url.port());
        key(self) == key(other)
    }
}

/// A path or a name, percent-encoded for a URL.
pub fn url_encoded(path: &[u8]) -> impl fmt::Display + '_ {
    percent_encode(path, ESCAPED)
}

impl fmt::Display for FtpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme.as_str())?;
        if let Some(user) = &self.user {
            write!(f, "{}@", percent_encode(user.as_bytes(), percent_encoding::NON_ALPHANUMERIC))?;
        }
        match self.host.contains(':') {
            true => write!(f, "[{}]", self.host.replace('%', "%25"))?,
            false => f.write_str(&self.host)?,
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        let path = url_encoded(self.path.as_bytes());
        let slash =
            if self.directory && !self.path.is_login() && !self.path.as_bytes().ends_with(b"/") { "/" } else { "" };
        write!(f, "/{path}{slash}{}", if self.ascii { ";type=a" } else { "" })
    }
}

impl fmt::Debug for FtpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FtpUrl({self})")
    }
}

/// A path on the server as it is sent: empty for the login directory, absolute with a leading `/`, otherwise relative
/// to the login directory. It has no empty components and no trailing `/`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct RemotePath(Vec<u8>);

impl RemotePath {
    /// A path from bytes: repeated and trailing slashes are removed.
    pub fn new(bytes: &[u8]) -> RemotePath {
        let mut path = Vec::with_capacity(bytes.len());
        if bytes.first() == Some(&b'/') {
            path.push(b'/');
        }
        for part in bytes.split(|byte| *byte == b'/').filter(|part| !part.is_empty()) {
            if !path.is_empty() && path.last() != Some(&b'/') {
                path.push(b'/');
            }
            path.extend_from_slice(part);
        }
        RemotePath(path)
    }

    /// The bytes; empty for the login directory.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// True for the login directory itself.
    pub fn is_login(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes for a command that needs an argument: `.` is the login directory. Servers expand a leading `~` to a
    /// home directory; `./~` denotes the literal name.
    pub fn argument(&self) -> Vec<u8> {
        match self.0.first() {
            None => b".".to_vec(),
            Some(b'~') => [b"./", self.0.as_slice()].concat(),
            Some(_) => self.0.clone(),
        }
    }

    /// This path extended by one name. The caller checks the name.
    #[must_use]
    pub fn join(&self, name: &[u8]) -> RemotePath {
        let mut path = Vec::with_capacity(self.0.len() + 1 + name.len());
        path.extend_from_slice(&self.0);
        if !path.is_empty() && path.last() != Some(&b'/') {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        RemotePath(path)
    }

    /// The last component; `None` for the login directory and the root.
    pub fn name(&self) -> Option<&[u8]> {
        self.0.rsplit(|byte| *byte == b'/').next().filter(|name| !name.is_empty())
    }

    /// The path without its last component; `None` for the login directory and the root.
    pub fn parent(&self) -> Option<RemotePath> {
        self.name()?;
        let end = self.0.iter().rposition(|byte| *byte == b'/');
        Some(match end {
            Some(0) => RemotePath(b"/".to_vec()),
            Some(end) => RemotePath(self.0.get(..end).unwrap_or_default().to_vec()),
            None => RemotePath(Vec::new()),
        })
    }

    /// The path as text for messages and JSON, lossy for bytes that are not UTF-8.
    pub fn to_text(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }
}

impl fmt::Debug for RemotePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RemotePath({:?})", self.to_text())
    }
}

impl fmt::Display for RemotePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "." } else { "" })?;
        f.write_str(&self.to_text())
    }
}

/// The reason for rejecting a name that a server listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadName {
    /// An empty name, `.` or `..`.
    NotAName,
    /// The name contains a `/`.
    Separator,
    /// The name contains NUL, CR or LF: no command can hold it.
    Unsendable,
    /// The name has more than [`MAX_NAME`] bytes.
    TooLong,
}

impl BadName {
    /// The reason as text.
    pub const fn as_str(self) -> &'static str {
        match self {
            BadName::NotAName => "not a file name",
            BadName::Separator => "the name holds a path separator",
            BadName::Unsendable => "the name holds CR, LF or NUL",
            BadName::TooLong => "the name is too long",
        }
    }
}

/// Checks a name from a listing before it becomes part of a path or of a command. Servers must not choose the local path of a
/// write (CVE-2002-1344, CVE-2010-2252, CVE-2018-10916); [`local_name`] gives the name under which a file is stored locally.
///
/// # Errors
/// The defect of the name.
pub fn check_name(name: &[u8]) -> Result<(), BadName> {
    match name {
        b"" | b"." | b".." => Err(BadName::NotAName),
        _ if name.len() > MAX_NAME => Err(BadName::TooLong),
        _ if name.contains(&b'/') => Err(BadName::Separator),
        _ if check_bytes(name).is_err() => Err(BadName::Unsendable),
        _ => Ok(()),
    }
}

/// The local name of a remote name: the same, unless it contains characters that control a terminal, reorder or hide text, or
/// would pass for an option. Those are percent-encoded then, and so is every `%`; no two remote names share a local name.
pub fn local_name(name: &[u8]) -> Cow<'_, [u8]> {
    if needs_escape(name) { Cow::Owned(escape_name(name)) } else { Cow::Borrowed(name) }
}

fn needs_escape(name: &[u8]) -> bool {
    // A name that equals the escaped form of another name. The recursion ends because each decoded name is shorter.
    let taken = || {
        let other: Cow<'_, [u8]> = percent_decode(name).into();
        matches!(&other, Cow::Owned(other) if escape_name(other) == name && needs_escape(other))
    };
    !is_plain_name(name) || taken()
}

fn escape_name(name: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(name.len() + 8);
    for chunk in name.utf8_chunks() {
        for character in chunk.valid().chars() {
            let bytes = &mut [0; 4];
            let bytes = character.encode_utf8(bytes).as_bytes();
            match character == '%' || steers(character) || (character == '-' && escaped.is_empty()) {
                true => bytes.iter().for_each(|byte| escaped.extend_from_slice(format!("%{byte:02X}").as_bytes())),
                false => escaped.extend_from_slice(bytes),
            }
        }
        escaped.extend_from_slice(chunk.invalid());
    }
    escaped
}

fn check_bytes(bytes: &[u8]) -> Result<(), &'static str> {
    match bytes.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        true => Err("CR, LF and NUL cannot be sent"),
        false => Ok(()),
    }
}

/// `host`, `host:port`, `[v6]`, `[v6]:port`.
fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']')?;
            (host, if after.is_empty() { None } else { Some(after.strip_prefix(':')?) })
        }
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    match port {
        None | Some("") => Some((host, None)),
        Some(port) => {
            let digits = port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit());
            let port = port.parse().ok().filter(|port| digits && *port != 0)?;
            Some((host, Some(port)))
        }
    }
}

fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn urls() {
        let table = [
            ("ftp://h", "ftp://h/", "", true),
            ("FTP://H/", "ftp://h/", "", true),
            ("ftp://h/a/b", "ftp://h/a/b", "a/b", false),
            ("ftp://h/a/b/", "ftp://h/a/b/", "a/b", true),
            ("ftp://h//etc/x", "ftp://h//etc/x", "/etc/x", false),
            ("ftp://h/%2Fetc/x", "ftp://h//etc/x", "/etc/x", false),
            ("ftp://h//", "ftp://h//", "/", true),
            ("ftps://u@h:2121/a", "ftps://u@h:2121/a", "a", false),
            ("ftpes://u:p%40@h/a%20b", "ftpes://u@h/a%20b", "a b", false),
            ("ftp://u:p@ss@h/a", "ftp://u@h/a", "a", false),
            ("ftp://[::1]:21/a;type=a", "ftp://[::1]:21/a;type=a", "a", false),
            ("ftp://[::1]/a;type=i", "ftp://[::1]/a", "a", false),
            ("ftp://h/a;type=d", "ftp://h/a/", "a", true),
            ("ftp://h/a//b///", "ftp://h/a/b/", "a/b", true),
            ("ftp://h/50%25%3B", "ftp://h/50%25%3B", "50%;", false),
            ("ftp://h/a?b", "ftp://h/a%3Fb", "a?b", false),
            ("ftp://my_host/%ff", "ftp://my_host/%FF", "\u{fffd}", false),
            ("ftp://b\u{fc}cher.example/", "ftp://xn--bcher-kva.example/", "", true),
        ];
        for (text, shown, path, directory) in table {
            let url = FtpUrl::parse(text).unwrap_or_else(|fault| panic!("{text}: {fault}"));
            assert_eq!(
                (url.to_string().as_str(), url.path.to_text().as_str(), url.directory),
                (shown, path, directory),
                "{text}"
            );
            let again = FtpUrl::parse(&url.to_string()).unwrap();
            assert_eq!(again.path, url.path, "{text}");
        }
        let url = FtpUrl::parse("ftp://u%3A:p%2Fq@h:21/").unwrap();
        assert_eq!(
            (url.user.as_deref(), url.password.as_ref().map(|p| p.expose().as_str()), url.port()),
            (Some("u:"), Some("p/q"), 21)
        );
        assert!(!format!("{url:?}{url}").contains("p/q"));
    }

    #[test]
    fn what_is_no_url() {
        for bad in [
            "h/a",
            "http://h/",
            "ftp://",
            "ftp:///a",
            "ftp://h:0/",
            "ftp://h:99999/",
            "ftp://h:x/",
            "ftp://[::1/",
            "ftp://h/a%0d%0aDELE%20b",
            "ftp://h/a%00",
            "ftp://u%0a@h/",
            "ftp://h/;type=x",
            "ftp://a b/",
            "ftp://[::1]x/",
        ] {
            let fault = FtpUrl::parse(bad).expect_err(bad);
            assert_eq!(fault.kind, Kind::Usage, "{bad}");
        }
        let fault = FtpUrl::parse("ftp://u:secret@h:x/").unwrap_err();
        assert!(!fault.detail.contains("secret"), "{fault}");
        assert!(FtpUrl::parse(&format!("ftp://h/{}", "x".repeat(MAX_PATH))).is_ok());
        assert!(FtpUrl::parse(&format!("ftp://h/{}", "x".repeat(MAX_PATH + 1))).is_err());
    }

    #[test]
    fn globs_in_urls() {
        for (text, base, glob, directory) in [
            ("ftp://h/*.txt", "ftp://h/", Some("*.txt"), false),
            ("ftp://u@h:21/a/b/20??/x{1,2}", "ftp://u@h:21/a/b/", Some("20??/x{1,2}"), false),
            ("ftp://h//root/*/", "ftp://h//root/", Some("*/"), true),
            ("ftp://h/a%2A%20b/[ab]%2Ac%20d;type=a", "ftp://h/a%2A%20b/;type=a", Some("[ab]\\*c d"), false),
            ("ftp://h/{a/b,c}", "ftp://h/", Some("{a/b,c}"), false),
            ("ftp://h/plain%5B1%5D", "ftp://h/plain%5B1%5D", None, false),
            ("ftp://h", "ftp://h/", None, true),
            ("ftp://[::1]/x", "ftp://[::1]/x", None, false),
        ] {
            let (url, found) = FtpUrl::parse_glob(text).unwrap();
            assert_eq!(found, glob.map(|glob| Glob::new(glob).unwrap()), "{text}");
            assert_eq!(url.directory, directory, "{text}");
            assert_eq!(
                url.with_path(url.path.clone(), true).to_string().trim_end_matches('/'),
                base.trim_end_matches('/')
            );
        }
        for bad in ["ftp://h/[a", "ftp://h/*%0D%0A", "http://h/*", "*", "ftp://u:secret@h/{a"] {
            let fault = FtpUrl::parse_glob(bad).unwrap_err();
            assert!(fault.kind == Kind::Usage && !fault.detail.contains("secret"), "{bad}: {fault}");
        }
    }

    #[test]
    fn paths() {
        let root = RemotePath::new(b"/");
        let login = RemotePath::new(b"");
        assert_eq!(root.join(b"a").as_bytes(), b"/a");
        assert_eq!(login.join(b"a").as_bytes(), b"a");
        assert_eq!(login.join(b"a").join(b"b").parent(), Some(login.join(b"a")));
        assert_eq!(login.join(b"a").parent(), Some(login.clone()));
        assert_eq!(root.join(b"a").parent(), Some(root.clone()));
        assert_eq!((root.parent(), login.parent(), root.name(), login.name()), (None, None, None, None));
        assert_eq!(RemotePath::new(b"a/b").name(), Some(&b"b"[..]));
        assert_eq!((login.argument(), root.argument()), (b".".to_vec(), b"/".to_vec()));
        for (path, argument) in [("~", "./~"), ("~a/b", "./~a/b"), ("/~a", "/~a"), ("a/~b", "a/~b"), ("a~", "a~")] {
            assert_eq!(RemotePath::new(path.as_bytes()).argument(), argument.as_bytes());
        }
    }

    #[test]
    fn names_that_never_become_paths() {
        for (name, why) in [
            (&b""[..], BadName::NotAName),
            (b".", BadName::NotAName),
            (b"..", BadName::NotAName),
            (b"../x", BadName::Separator),
            (b"/etc/passwd", BadName::Separator),
            (b"a/b", BadName::Separator),
            (b"a\0b", BadName::Unsendable),
            (b"a\r\nDELE b", BadName::Unsendable),
        ] {
            assert_eq!(check_name(name), Err(why), "{name:?}");
        }
        for name in [
            &b"a"[..],
            b"...",
            b"..a",
            b"-rf",
            b" a ",
            b"|sh",
            b"a\\b",
            b"C:x",
            b"\xff",
            b".hidden",
            b"~root",
            b"\x1b[2J",
        ] {
            assert_eq!(check_name(name), Ok(()), "{name:?}");
        }
        assert_eq!(check_name(&[b'a'; MAX_NAME]), Ok(()));
        assert_eq!(check_name(&[b'a'; MAX_NAME + 1]), Err(BadName::TooLong));
    }

    /// Names near the boundary of escaping: every special character, and its escaped form.
    fn odd_name() -> impl proptest::strategy::Strategy<Value = Vec<u8>> {
        let piece = "[-~%.a0]|%25|%2D|%C2%85|%[0-9A-F]{2}|\u{85}|\u{202e}|\t|\u{7f}|\u{200d}|\u{e4}";
        let bytes = prop_oneof![9 => piece.prop_map(String::into_bytes), 1 => prop::collection::vec(any::<u8>(), 1..3)];
        prop::collection::vec(bytes, 1..8).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn local_names_steer_nothing_and_are_never_shared(one in odd_name(), other in odd_name()) {
            let here = local_name(&one);
            prop_assert!(is_plain_name(&here));
            prop_assert_eq!(here == local_name(&other), one == other);
            // The nearest neighbours: what it is called here, and what has its name for a local one.
            prop_assert!(one == *here || local_name(&here) != here);
            let decoded: Vec<u8> = percent_decode(&one).collect();
            prop_assert!(decoded == one || local_name(&decoded) != here);
        }
    }

    #[test]
    fn most_names_stay_as_they_are() {
        for name in ["a%20b", "50%25.txt", "~$report.docx", "a-b", "%", "%7Ex", "\u{645}\u{6cc}\u{200c}\u{62e}"] {
            assert_eq!(local_name(name.as_bytes()), name.as_bytes());
        }
        for (name, here) in [("-rf", "%2Drf"), ("%2Drf", "%252Drf"), ("a\u{9b}1%", "a%C2%9B1%25"), ("\t", "%09")] {
            assert_eq!(local_name(name.as_bytes()), here.as_bytes(), "{name:?}");
        }
    }
}
