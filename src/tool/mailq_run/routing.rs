//! How mail leaves: rules for domains, the smarthost, and what holds for every connection.

use super::Args;
use crate::cli::output::Output;
use crate::fault::{Fault, Kind};
use crate::net::tls::{ClientTls, ClientTlsOptions, TlsMode};
use crate::relay::deliver::RelayTransport;
use crate::relay::route::{Protocol, RouteRule, RouteTarget, Routing};
use crate::tool::smtp_account::{Account, Accounts};

/// The way of every message, as the command line and the account it names say.
pub(super) fn routing(args: &Args, out: &Output) -> Result<(Routing, RelayTransport), Fault> {
    let account = match &args.way.account {
        None => usual(args, out)?,
        Some(name) => {
            let path = args.way.accounts.clone().map_or_else(Accounts::must_be, Ok)?;
            Some(Accounts::read(&path, out)?.named(name)?.clone())
        }
    };
    let transport = transport(args, account.as_ref(), out)?;
    let mut rules = args.way.route.clone();
    let smarthosts = match (args.way.smarthost.as_slice(), &account) {
        ([], Some(account)) => vec![of(account, args, out)?],
        ([], None) if args.login.user.is_some() => {
            return Err(Fault::new(Kind::Usage, "--user needs a --smarthost"));
        }
        ([_, _, ..], _) if args.login.reads_stdin() => {
            return Err(Fault::new(Kind::Usage, "stdin holds the password of one --smarthost"));
        }
        (urls, _) => urls.iter().map(|url| named(url, args, out)).collect::<Result<_, _>>()?,
    };
    rules.extend(smarthosts.into_iter().map(|target| RouteRule { pattern: "*".to_owned(), target }));
    let routing = Routing {
        rules,
        mx_port: args.way.mx_port,
        mx_tls: args.tls.mode(TlsMode::Try),
        own_names: vec![transport.helo.clone()],
        own_addresses: args.way.local.clone(),
    };
    Ok((routing, transport))
}

/// The default account of the usual accounts file, if nothing else says where mail goes: cron, `sendmail -q` and hands on a
/// keyboard use the same relay.
fn usual(args: &Args, out: &Output) -> Result<Option<Account>, Fault> {
    let is_said = !args.way.smarthost.is_empty() || args.way.route.iter().any(|rule| rule.pattern == "*");
    let Some(path) = Accounts::usual().filter(|_| !is_said) else { return Ok(None) };
    let account = Accounts::read(&path, out)?.by_author(None).cloned();
    if let Some(account) = &account {
        out.note(&format!("routing by account {} in {}", account.name, path.display()));
    }
    Ok(account)
}

/// `--smarthost`.
fn named(url: &str, args: &Args, out: &Output) -> Result<RouteTarget, Fault> {
    Ok(match RouteTarget::parse(url)? {
        RouteTarget::Server { host, port, protocol, tls, login, mechanism } => {
            let mechanism = args.way.auth.or(mechanism);
            let in_url = login.as_ref();
            let user = in_url.map(|login| login.user.as_str());
            let password = in_url.map(|login| &login.password).filter(|password| !password.expose().is_empty());
            let login = args.login.login(out, &host, user, password)?;
            RouteTarget::Server { host, port, protocol, tls: args.tls.mode(tls), login, mechanism }
        }
        other => other,
    })
}

/// `--account`.
fn of(account: &Account, args: &Args, out: &Output) -> Result<RouteTarget, Fault> {
    if let Some(path) = &account.socket {
        return Ok(RouteTarget::Unix(path.clone()));
    }
    if account.proxy_host.is_some() {
        let detail = format!("account {}: proxy_host: the queue is delivered directly", account.name);
        return Err(Fault::new(Kind::Config, detail));
    }
    let (host, port) = account.server()?;
    let (login, mechanism) = account.login(&host, &args.login, args.way.auth, out)?;
    let protocol = if account.lmtp { Protocol::Lmtp } else { Protocol::Smtp };
    Ok(RouteTarget::Server { host, port, protocol, tls: args.tls.mode(account.tls()), login, mechanism })
}

fn transport(args: &Args, account: Option<&Account>, out: &Output) -> Result<RelayTransport, Fault> {
    let any = ClientTlsOptions { insecure: true, ..ClientTlsOptions::default() };
    let system = || rustix::system::uname().nodename().to_string_lossy().into_owned();
    let mut dialer = args.net.dialer("smtp", "", 0)?;
    let mut limits = args.net.limits();
    let trust = match account {
        Some(account) => account.trust(&args.tls.trust, out)?,
        None => args.tls.trust.options(out)?,
    };
    let mut helo = args.way.helo.clone();
    if let Some(account) = account {
        helo = helo.or_else(|| account.helo.clone());
        dialer.bind = dialer.bind.or(account.bind);
        if let Some(time) = account.timeout {
            dialer.connect_timeout = dialer.connect_timeout.min(time);
            limits = limits.with_idle(args.net.timeout.min(time));
        }
    }
    Ok(RelayTransport {
        dialer,
        verified_tls: ClientTls::new(&trust)?,
        opportunistic_tls: ClientTls::new(&any)?,
        helo: helo.unwrap_or_else(system),
        limits,
        trace: out.trace(),
    })
}
