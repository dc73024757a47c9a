//! Messages that were queued for an account (`smtpsend --account NAME --queue`). The account is looked up when a message is due, so
//! that the queue contains no password, and a new password applies to waiting messages, too.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::Args;
use crate::cli::args::{LoginArgs, NetArgs, TlsArgs, TrustArgs};
use crate::cli::output::Output;
use crate::fault::{Fault, Kind};
use crate::net::BoxFuture;
use crate::net::tls::{ClientTls, ClientTlsOptions};
use crate::relay::deliver::{Connector, ReachedServer, RelayTransport};
use crate::relay::route::{AccountServers, Hop, Protocol, RouteTarget};
use crate::smtp::auth::Mechanism;
use crate::tool::smtp_account::{Account, Accounts};

/// The accounts of a run, each read on first use. Opens the connections to their servers and to all others.
#[derive(Debug)]
pub(super) struct AccountConnector {
    /// The transport for hops without an account.
    pub(super) usual: Arc<RelayTransport>,
    settings: AccountSettings,
    known: Mutex<HashMap<Arc<str>, AccountWay>>,
}

/// The server of an account, and the transport to it.
type AccountWay = (RouteTarget, Arc<RelayTransport>);

/// The settings of the command line that apply to every account.
#[derive(Debug, Clone)]
struct AccountSettings {
    accounts: Option<PathBuf>,
    net: NetArgs,
    tls: TlsArgs,
    login: LoginArgs,
    helo: Option<String>,
    out: Output,
}

impl AccountConnector {
    pub(super) fn new(args: &Args, usual: RelayTransport, out: &Output) -> AccountConnector {
        // Login, certificate and TLS mode of the command line are for the smarthost it names.
        let trust = TrustArgs {
            ca_cert: args.tls.trust.ca_cert.clone(),
            insecure: args.tls.trust.insecure,
            ..TrustArgs::default()
        };
        let settings = AccountSettings {
            accounts: args.way.accounts.clone(),
            net: args.net.clone(),
            tls: TlsArgs { tls: None, trust },
            login: LoginArgs { netrc_file: args.login.netrc_file.clone(), ..LoginArgs::default() },
            helo: args.way.helo.clone(),
            out: out.clone(),
        };
        AccountConnector { usual: Arc::new(usual), settings, known: Mutex::default() }
    }

    fn transport(&self, hop: Option<&Hop>) -> Arc<RelayTransport> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let of_account = hop.and_then(|hop| hop.account.as_ref()).and_then(|name| known.get(name));
        Arc::clone(of_account.map_or(&self.usual, |(_, transport)| transport))
    }
}

impl AccountSettings {
    /// Reads the accounts file, and runs the account's `passwordeval`.
    fn find(&self, name: &str) -> Result<AccountWay, Fault> {
        let path = self.accounts.clone().map_or_else(Accounts::must_be, Ok)?;
        let accounts = Accounts::read(&path, &self.out)?;
        let account = accounts.named(name)?;
        let target = of(account, &self.login, &self.tls, None, &self.out)?;
        let transport = transport(&self.net, &self.tls.trust, self.helo.as_deref(), Some(account), &self.out)?;
        Ok((target, Arc::new(transport)))
    }
}

impl AccountServers for AccountConnector {
    fn server<'a>(&'a self, account: &'a str) -> BoxFuture<'a, Result<RouteTarget, Fault>> {
        Box::pin(async move {
            let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((target, _)) = known().get(account) {
                return Ok(target.clone());
            }
            let (settings, name) = (self.settings.clone(), account.to_owned());
            // A password manager may take its time; other deliveries go on meanwhile.
            let found = tokio::task::spawn_blocking(move || settings.find(&name)).await;
            let found = found.map_err(|error| Fault::new(Kind::Internal, error.to_string())).flatten();
            let (target, transport) = found.map_err(|fault| fault.context(format!("account:{account}")))?;
            known().insert(account.into(), (target.clone(), transport));
            Ok(target)
        })
    }
}

impl Connector for AccountConnector {
    fn excluded(&self, hop: &Hop) -> Option<Fault> {
        self.transport(Some(hop)).excluded(hop)
    }

    fn connect<'a>(&'a self, hops: &'a [Hop]) -> BoxFuture<'a, ReachedServer> {
        let transport = self.transport(hops.first());
        Box::pin(async move { transport.connect(hops).await })
    }
}

/// The server of an account. The command line takes precedence over the account's settings.
pub(super) fn of(
    account: &Account,
    login: &LoginArgs,
    tls: &TlsArgs,
    mechanism: Option<Mechanism>,
    out: &Output,
) -> Result<RouteTarget, Fault> {
    if let Some(path) = &account.socket {
        return Ok(RouteTarget::Unix(path.clone()));
    }
    if account.proxy_host.is_some() {
        let detail = format!("account {}: proxy_host: the queue is delivered directly", account.name);
        return Err(Fault::new(Kind::Config, detail));
    }
    let (host, port) = account.server()?;
    let (login, mechanism) = account.login(&host, login, mechanism, out)?;
    let protocol = if account.lmtp { Protocol::Lmtp } else { Protocol::Smtp };
    Ok(RouteTarget::Server { host, port, protocol, tls: tls.mode(account.tls()), login, mechanism })
}

/// The transport for connections. With an account, it uses the account's settings for its server.
pub(super) fn transport(
    net: &NetArgs,
    trust: &TrustArgs,
    helo: Option<&str>,
    account: Option<&Account>,
    out: &Output,
) -> Result<RelayTransport, Fault> {
    let any = ClientTlsOptions { insecure: true, ..ClientTlsOptions::default() };
    let system = || rustix::system::uname().nodename().to_string_lossy().into_owned();
    let mut dialer = net.dialer("smtp", "", 0)?;
    let mut limits = net.limits();
    let trust = match account {
        Some(account) => account.trust(trust, out)?,
        None => trust.options(out)?,
    };
    let mut helo = helo.map(str::to_owned);
    if let Some(account) = account {
        helo = helo.or_else(|| account.helo.clone());
        dialer.bind = dialer.bind.or(account.bind);
        if let Some(time) = account.timeout {
            dialer.connect_timeout = dialer.connect_timeout.min(time);
            limits = limits.with_idle(net.timeout.min(time));
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
