//! Delivery to the mail exchangers of each recipient's domain: one delivery per domain.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use super::report::{SettledRecipient, TimesMs};
use super::together::together;
use super::{Args, SendJob, job};
use crate::cli::output::Output;
use crate::dns::resolve::Resolver;
use crate::fault::{Fault, Kind};
use crate::net::random;
use crate::net::tls::{ClientTls, ClientTlsOptions, TlsMode};
use crate::relay::connection::{RouteConnection, ServerHealth};
use crate::relay::deliver::{Delivery, RelayTransport, RouteProgress, undelivered};
use crate::relay::route::{Hop, Routing};
use crate::smtp::client::{BeforeCommit, SendOptions};
use crate::smtp::transaction::Envelope;

/// The routes to all domains of the run.
pub(super) struct Exchangers {
    transport: RelayTransport,
    resolver: Resolver,
    routing: Routing,
    lanes: BTreeMap<String, RouteConnection>,
}

/// Does not remember dead hosts: a message does not wait long enough to need it.
struct NoMemory;

impl ServerHealth for NoMemory {
    fn down(&self, _hop: &Hop) -> Option<Fault> {
        None
    }

    fn note(&self, _hop: &Hop, _failed: Option<&Fault>) {}
}

impl Exchangers {
    pub(super) fn new(args: &Args, out: &Output) -> Result<Exchangers, Fault> {
        let dialer = args.net.dialer("smtp", "", 0)?;
        if dialer.proxy.is_some() {
            return Err(Fault::new(Kind::Usage, "--proxy: mail exchangers are reached directly"));
        }
        if !args.tls.trust.pin.is_empty() {
            return Err(Fault::new(Kind::Usage, "--pin: each mail exchanger has a certificate of its own"));
        }
        let resolver = match args.way.resolver.resolver.as_slice() {
            [] => Resolver::system()?,
            named => Resolver::named(named)?,
        };
        let helo = args.way.helo.clone().unwrap_or_else(|| job::host_name().to_owned());
        let transport = RelayTransport {
            dialer,
            verified_tls: args.tls.client(out, &[])?,
            opportunistic_tls: ClientTls::new(&ClientTlsOptions {
                insecure: true,
                cert: args.tls.trust.cert.clone(),
                key: args.tls.trust.key.clone(),
                ..ClientTlsOptions::default()
            })?,
            helo: helo.clone(),
            limits: args.net.limits(),
            trace: out.trace(),
        };
        let routing = Routing {
            mx_port: args.way.mx_port,
            mx_tls: args.tls.mode(TlsMode::Try),
            own_names: vec![helo],
            ..Routing::default()
        };
        Ok(Exchangers { transport, resolver, routing, lanes: BTreeMap::new() })
    }

    /// Sends one message to the servers of all domains. Without `--partial`, every server must have accepted its recipients
    /// before the first one gets the message. After that, a server's reply concerns only its own recipients.
    pub(super) async fn send(&mut self, job: &SendJob, options: &SendOptions<'_>) -> Vec<SettledRecipient> {
        let mut domains: BTreeMap<String, Envelope> = BTreeMap::new();
        for recipient in &job.envelope.recipients {
            let domain = recipient.address.destination();
            let envelope =
                domains.entry(domain).or_insert_with(|| Envelope { recipients: Vec::new(), ..job.envelope.clone() });
            envelope.recipients.push(recipient.clone());
        }
        let mut ways = Vec::with_capacity(domains.len());
        for (domain, envelope) in domains {
            let route = self.route(&domain).await;
            ways.push((domain, envelope, route));
        }
        let side_by_side = !options.partial && ways.len() > 1;
        let start = side_by_side.then(|| Start::new(ways.len()));
        let transport = &self.transport;
        let one = async |(domain, envelope, route): (String, Envelope, Result<RouteConnection, Fault>)| {
            let ready = Arc::new(AtomicBool::new(false));
            let options =
                SendOptions { before_data: start.as_ref().map(|start| start.hook(&ready)), ..options.clone() };
            let mut route = route;
            let delivery = match &mut route {
                Err(fault) => undelivered(&envelope, fault),
                Ok(route) => route.deliver(transport, &NoMemory, &envelope, &job.message, &options).await,
            };
            if let Some(start) = start.as_ref().filter(|_| !ready.load(Ordering::Relaxed)) {
                start.fail();
            }
            (domain, route.ok(), delivery)
        };
        let done = match side_by_side {
            true => together(ways.into_iter().map(one)).await,
            false => {
                let mut done = Vec::with_capacity(ways.len());
                for way in ways {
                    done.push(one(way).await);
                }
                done
            }
        };
        let mut settled = Vec::new();
        for (domain, route, delivery) in done {
            self.lanes.extend(route.map(|route| (domain, route)));
            settled.extend(settle(delivery));
        }
        name_the_cause(&mut settled);
        settled
    }

    /// The route to a domain, which is looked up once. [`Exchangers::send`] puts it back afterwards.
    async fn route(&mut self, domain: &str) -> Result<RouteConnection, Fault> {
        if let Some(route) = self.lanes.remove(domain) {
            return Ok(route);
        }
        let mut dice = || (random::fraction() * f64::from(u32::MAX)) as u32;
        let hops = self.routing.find(domain, &self.resolver, &mut dice).await?;
        Ok(RouteConnection::new(hops))
    }

    pub(super) async fn close(self) {
        for route in self.lanes.into_values() {
            route.quit().await;
        }
    }
}

fn settle(delivery: Delivery) -> impl Iterator<Item = SettledRecipient> {
    let reached = delivery.progress != RouteProgress::Unreached;
    let times = reached.then(|| TimesMs::new(delivery.connect.unwrap_or(Duration::ZERO), delivery.times));
    delivery.recipients.into_iter().map(move |one| SettledRecipient::new(one.result, one.peer, times))
}

/// If another server's refusal kept recipients from getting the message, their faults name the refused address.
fn name_the_cause(settled: &mut [SettledRecipient]) {
    let cancelled = |it: &SettledRecipient| it.result.fault.as_ref().is_some_and(|fault| fault.kind == Kind::Cancelled);
    let cause = settled.iter().find(|it| !it.result.outcome.is_delivered() && !cancelled(it));
    let Some(address) = cause.map(|it| it.result.address.clone()) else { return };
    for it in settled.iter_mut().filter(|it| cancelled(it)) {
        it.result.fault = Some(Fault::new(Kind::Cancelled, format!("not sent: {address} was not accepted")));
    }
}

/// The barrier that all servers reach, with their recipients accepted, before the first message is sent.
struct Start(watch::Sender<StartLine>);

#[derive(Debug, Clone, Copy)]
struct StartLine {
    /// The number of servers that have not reached it.
    missing: usize,
    /// True if one of them will not reach it.
    failed: bool,
}

impl Start {
    fn new(count: usize) -> Start {
        Start(watch::Sender::new(StartLine { missing: count, failed: false }))
    }

    /// The hook of a server's transaction before DATA, which waits for all other servers. It sets `ready` when it is called.
    fn hook(&self, ready: &Arc<AtomicBool>) -> BeforeCommit {
        let (line, ready) = (self.0.clone(), Arc::clone(ready));
        Arc::new(move || {
            // The next server of the same domain comes here again.
            if !ready.swap(true, Ordering::Relaxed) {
                line.send_modify(|line| line.missing = line.missing.saturating_sub(1));
            }
            let mut seen = line.subscribe();
            Box::pin(async move {
                let decided = seen.wait_for(|line| line.failed || line.missing == 0).await;
                decided.is_ok_and(|line| !line.failed)
            })
        })
    }

    fn fail(&self) {
        self.0.send_modify(|line| line.failed = true);
    }
}
