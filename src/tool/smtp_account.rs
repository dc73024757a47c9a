//! The accounts file: servers, logins and authors by name. It has the syntax of msmtp's configuration, so that a file of msmtp
//! works unchanged.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use crate::blob::file;
use crate::cli::args::{LoginArgs, TrustArgs};
use crate::cli::output::Output;
use crate::cli::secret;
use crate::fault::{Fault, Kind};
use crate::mail::address::{self, Mailbox};
use crate::net::login::Login;
use crate::net::pin::CertificatePin;
use crate::net::tls::{ClientTlsOptions, TlsMode};
use crate::secret::Secret;
use crate::smtp::address::Address;
use crate::smtp::auth::Mechanism;
use crate::smtp::envelope::{Notify, Ret};

/// The largest accounts file, in bytes.
pub(super) const MAX_BYTES: usize = 1024 * 1024;
/// The most accounts of a file.
const MAX_ACCOUNTS: usize = 10_000;
/// The largest aliases file, in bytes.
const MAX_ALIASES_BYTES: usize = 16 * 1024 * 1024;
/// The longest chain of aliases that expand to other aliases.
const MAX_ALIAS_DEPTH: usize = 10;

/// The settings of an account. All but the name are optional.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) name: String,
    pub(super) host: Option<String>,
    pub(super) port: Option<u16>,
    pub(super) lmtp: bool,
    pub(super) socket: Option<PathBuf>,
    pub(super) from: Option<String>,
    pub(super) full_name: Option<String>,
    pub(super) auth: Auth,
    pub(super) user: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) password_command: Option<String>,
    pub(super) helo: Option<String>,
    pub(super) tls: Option<bool>,
    pub(super) starttls: Option<bool>,
    pub(super) trust_file: Option<PathBuf>,
    pub(super) check: Option<bool>,
    pub(super) fingerprint: Option<CertificatePin>,
    pub(super) cert: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
    pub(super) tls_name: Option<String>,
    pub(super) proxy_host: Option<String>,
    pub(super) proxy_port: Option<u16>,
    pub(super) timeout: Option<Duration>,
    pub(super) bind: Option<SocketAddr>,
    pub(super) notify: Option<Notify>,
    pub(super) ret: Option<Ret>,
    pub(super) aliases: Option<PathBuf>,
}

impl Account {
    /// The default author: `from`, if it is an address and not a pattern.
    pub(super) fn author(&self) -> Result<Option<Mailbox>, Fault> {
        let Some(from) = self.from.as_deref().filter(|from| !from.contains('*')) else { return Ok(None) };
        let mut author = Mailbox::parse(from).map_err(|fault| Fault { kind: Kind::Config, ..fault.context("from") })?;
        author.name = author.name.or_else(|| self.full_name.clone());
        Ok(Some(author))
    }

    /// The TLS mode of the account.
    pub(super) fn tls(&self) -> TlsMode {
        match (self.tls, self.starttls) {
            _ if self.socket.is_some() => TlsMode::None,
            (Some(false), _) => TlsMode::None,
            (Some(true), Some(false)) => TlsMode::Implicit,
            (Some(true), _) => TlsMode::Starttls,
            (None, _) => TlsMode::Try,
        }
    }

    /// The host name and the port of the server.
    pub(super) fn server(&self) -> Result<(String, u16), Fault> {
        let host = self.host.clone().or_else(|| self.socket.as_ref().map(|_| "localhost".to_owned()));
        let host = host.ok_or_else(|| Fault::new(Kind::Config, format!("account {}: no host", self.name)))?;
        let port = match (self.lmtp, self.tls()) {
            (true, _) => 24,
            (false, TlsMode::Implicit) => 465,
            (false, _) => 25,
        };
        Ok((host, self.port.unwrap_or(port)))
    }

    /// The login and the mechanism for the server. The command line takes precedence over the account.
    pub(super) fn login(
        &self,
        host: &str,
        args: &LoginArgs,
        mechanism: Option<Mechanism>,
        out: &Output,
    ) -> Result<(Option<Login>, Option<Mechanism>), Fault> {
        let mechanism = match self.auth {
            Auth::By(own) => mechanism.or(Some(own)),
            _ => mechanism,
        };
        let own = args.user.is_some() || args.password_file.is_some() || args.password_command.is_some();
        let login = match (self.auth, &self.user, &self.password) {
            (Auth::Off, _, _) if !own => None,
            _ if mechanism == Some(Mechanism::External) => Some(Login::new(self.user.clone().unwrap_or_default(), "")),
            (_, Some(user), Some(password)) if !own => {
                Some(Login { user: user.clone(), password: password.clone(), account: None })
            }
            (_, user, _) => {
                let mut asked = args.clone();
                if !own {
                    asked.password_command.clone_from(&self.password_command);
                }
                asked.login(out, host, user.as_deref(), None)?
            }
        };
        if login.is_none() && matches!(self.auth, Auth::On | Auth::By(_)) {
            return Err(Fault::new(Kind::Config, format!("account {}: auth without a user", self.name)));
        }
        Ok((login, mechanism))
    }

    /// The trust settings for the server's certificate. The command line takes precedence over the account.
    ///
    /// # Errors
    /// Those of [`TrustArgs::options`].
    pub(super) fn trust(&self, args: &TrustArgs, out: &Output) -> Result<ClientTlsOptions, Fault> {
        let both = TrustArgs {
            ca_cert: args.ca_cert.clone().or_else(|| self.trust_file.clone()),
            cert: args.cert.clone().or_else(|| self.cert.clone()),
            key: args.key.clone().or_else(|| self.key.clone()),
            tls_name: args.tls_name.clone().or_else(|| self.tls_name.clone()),
            ..args.clone()
        };
        let options = both.options(out)?;
        match self.fingerprint {
            // As in msmtp: the fingerprint alone counts, whatever the other settings are.
            Some(pin) if !args.insecure && args.pin.is_empty() => {
                return Ok(ClientTlsOptions { pins: vec![pin], pins_alone: true, ..options });
            }
            _ => {}
        }
        let believed = self.check == Some(false) && self.fingerprint.is_none() && args.pin.is_empty();
        if believed && !args.insecure {
            out.warn("the server's certificate is not checked");
        }
        Ok(ClientTlsOptions { insecure: args.insecure || believed, ..options })
    }
}

/// The `auth` setting.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Auth {
    /// Not set: log in if there is a user.
    #[default]
    Unsaid,
    Off,
    On,
    By(Mechanism),
}

/// All accounts of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Accounts {
    accounts: Vec<Account>,
    default: Option<String>,
    /// Settings of the file that have no meaning here, with their line numbers.
    pub(super) ignored: Vec<(usize, String)>,
}

impl Accounts {
    /// The user's accounts file, else that of the machine; `None` if neither exists.
    pub(super) fn usual() -> Option<PathBuf> {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let base = set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")));
        let places = base.into_iter().chain([PathBuf::from("/etc")]);
        places.map(|base| base.join("applayer/accounts")).find(|path| path.exists())
    }

    /// [`Accounts::usual`] for an account on the command line: a missing file is an error.
    pub(super) fn must_be() -> Result<PathBuf, Fault> {
        let missing = || Fault::new(Kind::Config, "no accounts file");
        Accounts::usual().ok_or_else(|| {
            missing().with_hint("~/.config/applayer/accounts, /etc/applayer/accounts, or --accounts FILE")
        })
    }

    /// Reads an accounts file. Its commands are run and its servers trusted, so no other user may be able to change it.
    pub(super) fn read(path: &Path, out: &Output) -> Result<Accounts, Fault> {
        out.note(&format!("accounts from {}", path.display()));
        let config = |fault: Fault| Fault { kind: Kind::Config, ..fault };
        let file = std::fs::metadata(path).map_err(|error| config(Fault::local(path.display(), &error)))?;
        secret::only_ours(path, &file)?;
        let source = file::open(path).map_err(config)?;
        let bytes = source.read_all("accounts", MAX_BYTES).map_err(config)?;
        let text = String::from_utf8(bytes).map_err(|_| Fault::new(Kind::Config, "accounts: not UTF-8"))?;
        let found = Accounts::parse(&text, &mut evaluate).map_err(|fault| fault.context(path.display()))?;
        if found.accounts.iter().any(|account| account.password.is_some()) {
            secret::look_at(out, path, &file)?;
        }
        for (line, key) in &found.ignored {
            out.note(&format!("{}:{line}: {key} has no meaning here", path.display()));
        }
        Ok(found)
    }

    /// The addresses and patterns in the `from` settings of a file. Runs no command of the file.
    ///
    /// # Errors
    /// The errors of reading the file, and [`Kind::Config`] for a malformed one.
    pub(super) fn authors(path: &Path) -> Result<Vec<String>, Fault> {
        let bytes = file::open(path)?.read_all("accounts", MAX_BYTES)?;
        let found = Accounts::parse(&String::from_utf8_lossy(&bytes), &mut |_| Ok("logfile".to_owned()))?;
        Ok(found.accounts.into_iter().filter_map(|account| account.from).collect())
    }

    /// Parses an accounts file. `eval` runs a command and returns the line that it prints.
    pub(super) fn parse(text: &str, eval: &mut dyn FnMut(&str) -> Result<String, Fault>) -> Result<Accounts, Fault> {
        let mut found = Accounts::default();
        let mut defaults = Account::default();
        let mut current: Option<Account> = None;
        for (index, line) in text.lines().enumerate() {
            let number = index + 1;
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let bad = |why: &str| Fault::new(Kind::Config, format!("line {number}: {why}"));
            if line.contains(['\0', '\r']) {
                return Err(bad("a control character"));
            }
            let printed: Option<String>;
            let (mut key, mut value) = words(line);
            if key == "eval" {
                let line = eval(value).map_err(|fault| fault.context(format!("line {number}: eval")))?;
                if line.trim().contains(['\0', '\r', '\n']) || line.trim_start().starts_with("eval ") {
                    return Err(bad("eval: the command must print one setting"));
                }
                printed = Some(line);
                (key, value) = words(printed.as_deref().unwrap_or_default().trim());
            } else {
                printed = None;
            }
            match key {
                "defaults" => {
                    found.accounts.extend(current.take());
                    current = None;
                }
                "account" => {
                    found.accounts.extend(current.take());
                    if found.accounts.len() >= MAX_ACCOUNTS {
                        return Err(bad("too many accounts"));
                    }
                    let (name, bases) = value.split_once(':').unwrap_or((value, ""));
                    let name = name.trim();
                    if name.is_empty() {
                        return Err(bad("an account needs a name"));
                    }
                    if found.accounts.iter().any(|account| account.name == name) {
                        return Err(bad(&format!("account {name} is defined twice")));
                    }
                    let mut account = defaults.clone();
                    for base in bases.split(',').map(str::trim).filter(|base| !base.is_empty()) {
                        let known = found.accounts.iter().find(|account| account.name == base);
                        account =
                            known.ok_or_else(|| bad("an account after the colon is not before this line"))?.clone();
                        if name == "default" && found.default.is_none() {
                            found.default = Some(base.to_owned());
                        }
                    }
                    account.name = name.to_owned();
                    current = Some(account);
                }
                _ => {
                    let target = current.as_mut().unwrap_or(&mut defaults);
                    let name: String = key.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
                    let what = if printed.is_some() { "what eval printed" } else { &name };
                    let known = set(target, key, value).map_err(|why| bad(&format!("{what}: {why}")))?;
                    if !known {
                        found.ignored.push((number, key.to_owned()));
                    }
                }
            }
        }
        found.accounts.extend(current);
        Ok(found)
    }

    /// The account with this name.
    pub(super) fn named(&self, name: &str) -> Result<&Account, Fault> {
        self.accounts
            .iter()
            .find(|account| account.name == name)
            .ok_or_else(|| Fault::new(Kind::Config, format!("no account {name} in the accounts file")))
    }

    /// The account whose `from` matches this address, else the default account.
    pub(super) fn by_author(&self, author: Option<&str>) -> Option<&Account> {
        let matching = author.and_then(|author| {
            self.accounts.iter().find(|account| {
                account.name != "default" && account.from.as_deref().is_some_and(|pattern| matches(pattern, author))
            })
        });
        matching.or_else(|| self.accounts.iter().find(|account| account.name == "default"))
    }
}

/// Sets one value. Returns false for a known setting that has no meaning here.
fn set(account: &mut Account, key: &str, value: &str) -> Result<bool, String> {
    let text = || if value.is_empty() { Err("no value".to_owned()) } else { Ok(Some(value.to_owned())) };
    let path = || -> Result<Option<PathBuf>, String> { Ok(text()?.map(|text| home(&text))) };
    let number = || value.parse::<u16>().map(Some).map_err(|_| "not a port".to_owned());
    // A URL is refused: it may contain a password, which every message about the host would show.
    let host = || match value.contains(['/', '@']) {
        true => Err("a host name, not a URL".to_owned()),
        false => text(),
    };
    // A key alone means "on"; an empty value after "off" settings means the default.
    let switch = || match value {
        "" | "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("on or off".to_owned()),
    };
    match key {
        "host" => account.host = host()?,
        "port" => account.port = number()?,
        "protocol" => {
            account.lmtp = match value {
                "smtp" => false,
                "lmtp" => true,
                _ => return Err("smtp or lmtp".to_owned()),
            }
        }
        "socket" => account.socket = path()?,
        "from" | "envelope_from" => account.from = text()?,
        "from_full_name" => account.full_name = text()?,
        "auth" => {
            account.auth = match value {
                "" | "on" => Auth::On,
                "off" => Auth::Off,
                _ => Auth::By(Mechanism::from_name(value).ok_or_else(|| "no such mechanism".to_owned())?),
            }
        }
        "user" => account.user = text()?,
        "password" => account.password = text()?.map(Secret::new),
        "passwordeval" => account.password_command = text()?,
        "domain" => account.helo = text()?,
        "tls" => account.tls = Some(switch()?),
        "tls_starttls" => account.starttls = Some(switch()?),
        "tls_trust_file" => account.trust_file = path()?.filter(|path| path != Path::new("system")),
        "tls_certcheck" => account.check = Some(switch()?),
        "tls_fingerprint" => account.fingerprint = if value.is_empty() { None } else { Some(value.parse()?) },
        "tls_cert_file" => account.cert = path()?,
        "tls_key_file" => account.key = path()?,
        "tls_host_override" => account.tls_name = text()?,
        "proxy_host" => account.proxy_host = if value.is_empty() { None } else { host()? },
        "proxy_port" => account.proxy_port = if value.is_empty() { None } else { number()? },
        "timeout" => {
            account.timeout = match value {
                "off" | "" => None,
                seconds => Some(Duration::from_secs(seconds.parse().map_err(|_| "not seconds".to_owned())?)),
            }
        }
        "source_ip" => account.bind = Some(crate::net::literal::local(value)?),
        "dsn_notify" => {
            account.notify = match value {
                "off" | "" => None,
                when => Some(when.parse().map_err(|error| format!("{error}"))?),
            }
        }
        "dsn_return" => {
            account.ret = match value {
                "off" | "" => None,
                "headers" => Some(Ret::Headers),
                what => Some(what.parse().map_err(|error| format!("{error}, or headers"))?),
            }
        }
        "aliases" => account.aliases = path()?,
        // These settings describe the default behaviour, or concern logs and libraries that do not exist here.
        "add_missing_from_header"
        | "add_missing_date_header"
        | "add_missing_message_id_header"
        | "remove_bcc_headers"
        | "undisclosed_recipients"
        | "set_from_header"
        | "set_date_header"
        | "set_msgid_header"
        | "allow_from_override"
        | "auto_from"
        | "maildomain"
        | "syslog"
        | "logfile"
        | "logfile_time_format"
        | "tls_priorities"
        | "tls_min_dh_prime_bits"
        | "tls_force_sslv3"
        | "keepbcc" => return Ok(false),
        // Silently doing less than these ask for would be unsafe.
        "tls_crl_file" | "ntlmdomain" => return Err("is not supported".to_owned()),
        _ => return Err("is not known".to_owned()),
    }
    Ok(true)
}

/// A setting and its value.
fn words(line: &str) -> (&str, &str) {
    let (key, value) = line.split_once(|letter: char| letter.is_whitespace()).unwrap_or((line, ""));
    (key, unquote(value.trim()))
}

/// Runs a command of the accounts file and returns the first line that it prints.
fn evaluate(command: &str) -> Result<String, Fault> {
    let config = |detail: String| Fault::new(Kind::Config, detail);
    let mut shell = std::process::Command::new("/bin/sh");
    shell.args(["-c", command]).stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = shell.output().map_err(|error| config(error.to_string()))?;
    if !output.status.success() {
        return Err(config(output.status.to_string()));
    }
    let line = output.stdout.split(|byte| *byte == b'\n').next().unwrap_or_default();
    String::from_utf8(line.to_vec()).map_err(|_| config("what it prints is not UTF-8".to_owned()))
}

/// Removes the quotes of a quoted value.
fn unquote(value: &str) -> &str {
    value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value)
}

/// Replaces a leading `~/` by the home directory.
fn home(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => PathBuf::from(home).join(rest),
        _ => PathBuf::from(path),
    }
}

/// True if the address matches the `from` of an account. Case does not matter, and `*` in the pattern matches any text.
pub(super) fn matches(pattern: &str, address: &str) -> bool {
    let (pattern, address) = (pattern.to_lowercase(), address.to_lowercase());
    let mut pieces = pattern.split('*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = address.strip_prefix(first) else { return false };
    let mut last = None;
    for piece in pieces {
        if let Some(before) = last.replace(piece) {
            match rest.split_once(before) {
                Some((_, tail)) => rest = tail,
                None => return false,
            }
        }
    }
    last.map_or(rest.is_empty(), |last| rest.ends_with(last))
}

/// Aliases for addresses: `name: address, name …` per line; `default:` applies to all other names.
#[derive(Debug, Clone, Default)]
pub(super) struct Aliases(std::collections::HashMap<String, Vec<Mailbox>>);

impl Aliases {
    pub(super) fn read(path: &Path) -> Result<Aliases, Fault> {
        let source = file::open(path).map_err(|fault| Fault { kind: Kind::Config, ..fault })?;
        let bytes = source.read_all("aliases", MAX_ALIASES_BYTES)?;
        let text = String::from_utf8(bytes).map_err(|_| Fault::new(Kind::Config, "aliases: not UTF-8"))?;
        Aliases::parse(&text).map_err(|fault| fault.context(path.display()))
    }

    pub(super) fn parse(text: &str) -> Result<Aliases, Fault> {
        // A line that begins with white space continues the previous one.
        let mut entries: Vec<(usize, String)> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let goes_on = line.starts_with([' ', '\t']);
            let line = line.split('#').next().unwrap_or_default().trim();
            match entries.last_mut().filter(|_| goes_on) {
                _ if line.is_empty() => {}
                Some((_, entry)) => {
                    entry.push(' ');
                    entry.push_str(line);
                }
                None => entries.push((index + 1, line.to_owned())),
            }
        }
        let mut found = std::collections::HashMap::new();
        for (number, line) in entries {
            let bad = |why: String| Fault::new(Kind::Config, format!("line {number}: {why}"));
            let (name, list) = line.split_once(':').ok_or_else(|| bad("no colon".to_owned()))?;
            // sendmail's other targets: programs, files and lists in files.
            let is_program = |one: &str| one.trim().trim_start_matches('"').starts_with(['|', '/', ':']);
            if list.split(',').any(is_program) {
                return Err(bad("an alias expands to addresses, not to a program or a file".to_owned()));
            }
            let list = address::parse_list(list).map_err(|fault| bad(fault.detail))?;
            found.insert(name.trim().trim_matches('"').to_lowercase(), list);
        }
        Ok(Aliases(found))
    }

    /// True if this name without a domain has an alias, or there is a default alias.
    pub(super) fn knows(&self, name: &Address) -> bool {
        self.list_of(name).is_some()
    }

    fn list_of(&self, name: &Address) -> Option<&Vec<Mailbox>> {
        self.0.get(&name.as_str().to_lowercase()).or_else(|| self.0.get("default"))
    }

    /// The mailboxes that a mailbox expands to: itself if it has a domain or no alias.
    pub(super) fn resolve(&self, mailbox: Mailbox) -> Result<Vec<Mailbox>, Fault> {
        let mut out = Vec::new();
        self.follow(mailbox, 0, &mut out)?;
        Ok(out)
    }

    fn follow(&self, mailbox: Mailbox, depth: usize, out: &mut Vec<Mailbox>) -> Result<(), Fault> {
        if depth > MAX_ALIAS_DEPTH || out.len() > address::MAX_ADDRESSES {
            return Err(Fault::new(Kind::Config, format!("{}: the alias leads nowhere", mailbox.address)));
        }
        if mailbox.address.domain().is_some() {
            out.push(mailbox);
            return Ok(());
        }
        match self.list_of(&mailbox.address) {
            Some(list) => list.iter().try_for_each(|one| self.follow(one.clone(), depth + 1, out)),
            None => {
                out.push(mailbox);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Accounts, Fault> {
        Accounts::parse(text, &mut |command| Ok(format!("user {command}")))
    }

    const FILE: &str = "\
# as msmtp has it
defaults
tls on
logfile ~/.msmtp.log

account work
host mail.work.example
port 587
from *@work.example
auth scram-sha-256
user me@work.example
passwordeval \"pass show work\"

account home
host mail.home.example
from me@home.example
tls_starttls off
tls_fingerprint 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF
auth off

account default : work
";

    #[test]
    fn a_file_of_msmtp_is_understood() {
        let accounts = parse(FILE).unwrap();
        let work = accounts.named("work").unwrap();
        assert_eq!((work.host.as_deref(), work.port, work.tls), (Some("mail.work.example"), Some(587), Some(true)));
        assert_eq!(
            (work.auth, work.password_command.as_deref()),
            (Auth::By(Mechanism::ScramSha256), Some("pass show work"))
        );
        let home = accounts.named("home").unwrap();
        assert_eq!(
            (home.starttls, home.auth, home.fingerprint.unwrap().hex().get(3..5)),
            (Some(false), Auth::Off, Some("11"))
        );
        assert_eq!(accounts.ignored, [(4, "logfile".to_owned())]);
        let by = |author| accounts.by_author(author).map(|account| account.host.clone().unwrap_or_default());
        assert_eq!(by(Some("ME@home.example")).as_deref(), Some("mail.home.example"));
        assert_eq!(by(Some("x@work.example")).as_deref(), Some("mail.work.example"));
        assert_eq!(by(Some("x@else.example")).as_deref(), Some("mail.work.example"), "the default");
        assert_eq!(by(None).as_deref(), Some("mail.work.example"));
        assert_eq!(accounts.named("none").unwrap_err().kind, Kind::Config);
        let twice = parse("account a\nhost x\naccount b\naccount a : b\n").unwrap_err();
        assert_eq!((twice.kind, twice.detail.as_str()), (Kind::Config, "line 4: account a is defined twice"));
        assert!(parse("").unwrap().by_author(Some("a@b")).is_none());
    }

    #[test]
    fn what_is_wrong_names_its_line() {
        for text in [
            "hots x",
            "account",
            "account a : b",
            "port 99999",
            "host",
            "tls maybe",
            "auth gssapi",
            "tls_fingerprint 00",
            "tls_crl_file x",
            "timeout soon",
            "source_ip here",
            "dsn_notify sometimes",
            "dsn_return all",
            "protocol http",
            "host a\rb",
            "host a\0b",
        ] {
            let fault = parse(&format!("\n{text}\n")).unwrap_err();
            assert!(fault.kind == Kind::Config && fault.detail.starts_with("line 2:"), "{text}: {fault}");
        }
    }

    #[test]
    fn patterns() {
        for (pattern, address, expected) in [
            ("a@b", "A@B", true),
            ("a@b", "a@bc", false),
            ("*@b", "x@b", true),
            ("*@b", "x@b.c", false),
            ("*", "x", true),
            ("a*c*e", "abcde", true),
            ("a*c*e", "abde", false),
            ("a*a", "a", false),
        ] {
            assert_eq!(matches(pattern, address), expected, "{pattern} {address}");
        }
    }

    #[test]
    fn aliases_lead_to_addresses() {
        let aliases =
            Aliases::parse("root: admin, Ops <ops@x.test>\nadmin: a@x.test # the boss\nloop: loop\n").unwrap();
        let resolve = |text: &str| -> Result<Vec<String>, Fault> {
            let found = aliases.resolve(Mailbox::parse(text).unwrap())?;
            Ok(found.into_iter().map(|mailbox| mailbox.address.to_string()).collect())
        };
        assert_eq!(resolve("Root").unwrap(), ["a@x.test", "ops@x.test"]);
        assert_eq!(resolve("b@y.test").unwrap(), ["b@y.test"]);
        assert_eq!(resolve("nobody").unwrap(), ["nobody"]);
        assert!(resolve("loop").is_err());
        let fallback = Aliases::parse("default: all@x.test").unwrap();
        assert_eq!(fallback.resolve(Mailbox::parse("nobody").unwrap()).unwrap()[0].address, "all@x.test");
        let long = Aliases::parse("\"Ops\": a@x.test,\n\tb@x.test # both\n\n  , c@x.test\nlast: ops\n").unwrap();
        assert_eq!(long.resolve(Mailbox::parse("last").unwrap()).unwrap().len(), 3);
        for bad in [
            "no colon",
            "a: b c d",
            "a: <",
            "a: |/bin/prog",
            "a: b@x.test, \"|prog -x\"",
            "a: /var/mail/a",
            "a: \"/var/mail/a\"",
            "a: :include:/etc/list",
        ] {
            assert_eq!(Aliases::parse(bad).unwrap_err().kind, Kind::Config, "{bad}");
        }
    }
}
