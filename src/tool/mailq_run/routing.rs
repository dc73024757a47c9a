//! The routing of outgoing mail: rules for domains, the smarthost, and the settings of all connections.

use std::sync::Arc;

use super::Args;
use super::accounts::{self, AccountConnector};
use crate::cli::output::Output;
use crate::fault::{Fault, Kind};
use crate::net::tls::TlsMode;
use crate::relay::route::{AccountServers, RouteRule, RouteTarget, Routing};
use crate::tool::smtp_account::{Account, Accounts};

/// The routing of every message, from the command line and the account that it names.
pub(super) fn routing(args: &Args, out: &Output) -> Result<(Routing, Arc<AccountConnector>), Fault> {
    let account = match &args.way.account {
        None => usual(args, out)?,
        Some(name) => {
            let path = args.way.accounts.clone().map_or_else(Accounts::must_be, Ok)?;
            Some(Accounts::read(&path, out)?.named(name)?.clone())
        }
    };
    let helo = args.way.helo.as_deref();
    let transport = accounts::transport(&args.net, &args.tls.trust, helo, account.as_ref(), out)?;
    let mut rules = args.way.route.clone();
    let smarthosts = match (args.way.smarthost.as_slice(), &account) {
        ([], Some(account)) => vec![accounts::of(account, &args.login, &args.tls, args.way.auth, out)?],
        ([], None) if args.login.user.is_some() => {
            return Err(Fault::new(Kind::Usage, "--user needs a --smarthost"));
        }
        ([], None) if !args.tls.trust.pin.is_empty() => {
            return Err(Fault::new(Kind::Usage, "--pin: there is no --smarthost that could have this certificate"));
        }
        ([_, _, ..], _) if args.login.reads_stdin() => {
            return Err(Fault::new(Kind::Usage, "stdin holds the password of one --smarthost"));
        }
        (urls, _) => urls.iter().map(|url| named(url, args, out)).collect::<Result<_, _>>()?,
    };
    rules.extend(smarthosts.into_iter().map(|target| RouteRule { pattern: "*".to_owned(), target }));
    let own_names = vec![transport.helo.clone()];
    let connector = Arc::new(AccountConnector::new(args, transport, out));
    let routing = Routing {
        rules,
        mx_port: args.way.mx_port,
        // A pin is the smarthost's.
        mx_tls: args.tls.tls.unwrap_or(TlsMode::Try),
        own_names,
        own_addresses: args.way.local.clone(),
        accounts: Some(Arc::clone(&connector) as Arc<dyn AccountServers>),
    };
    Ok((routing, connector))
}

/// The default account of the accounts file, if the command line has no default route. So cron, `sendmail -q` and a manual run use
/// the same relay.
fn usual(args: &Args, out: &Output) -> Result<Option<Account>, Fault> {
    let is_said = !args.way.smarthost.is_empty() || args.way.route.iter().any(|rule| rule.pattern == "*");
    let path = args.way.accounts.clone().or_else(Accounts::usual).filter(|_| !is_said);
    let Some(path) = path else { return Ok(None) };
    let account = Accounts::read(&path, out)?.by_author(None).cloned();
    if let Some(account) = &account {
        out.note(&format!("routing by account {} in {}", account.name, path.display()));
    }
    Ok(account)
}

/// The target of one `--smarthost`, with the login and TLS options of the command line.
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
