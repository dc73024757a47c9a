//! To the server of each recipient's domain, as the DNS names it: one delivery per domain.

use std::collections::BTreeMap;
use std::time::Duration;

use super::report::{Settled, TimesMs};
use super::{Args, Job, job};
use crate::cli::output::Output;
use crate::dns::resolve::Resolver;
use crate::fault::Fault;
use crate::net::random;
use crate::net::tls::{ClientTls, ClientTlsOptions, TlsMode};
use crate::relay::deliver::{Health, Lane, Transport, undelivered};
use crate::relay::route::{Place, Routing};
use crate::smtp::client::SendOptions;
use crate::smtp::transaction::Envelope;

/// The way to every domain that was met.
pub(super) struct Exchangers {
    transport: Transport,
    resolver: Resolver,
    routing: Routing,
    lanes: BTreeMap<String, Lane>,
}

/// One message does not wait long enough to remember dead hosts.
struct NoMemory;

impl Health for NoMemory {
    fn down(&self, _place: &Place) -> Option<Fault> {
        None
    }

    fn note(&self, _place: &Place, _failed: Option<&Fault>) {}
}

impl Exchangers {
    pub(super) fn new(args: &Args, out: &Output) -> Result<Exchangers, Fault> {
        let resolver = match args.way.resolver.resolver.as_slice() {
            [] => Resolver::system()?,
            named => Resolver::named(named)?,
        };
        let helo = args.way.helo.clone().unwrap_or_else(job::host_name);
        let transport = Transport {
            dialer: args.net.dialer("smtp", "")?,
            tls_checked: args.tls.client(out, &[])?,
            tls_any: ClientTls::new(&ClientTlsOptions {
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

    pub(super) async fn send(&mut self, job: &Job, options: &SendOptions<'_>) -> Vec<Settled> {
        let mut domains: BTreeMap<String, Envelope> = BTreeMap::new();
        for recipient in &job.envelope.recipients {
            let domain = recipient.address.rsplit_once('@').map_or("", |(_, domain)| domain).to_lowercase();
            let envelope =
                domains.entry(domain).or_insert_with(|| Envelope { recipients: Vec::new(), ..job.envelope.clone() });
            envelope.recipients.push(recipient.clone());
        }
        let mut settled = Vec::new();
        for (domain, envelope) in domains {
            let delivery = match self.lane(&domain).await {
                Err(fault) => undelivered(&envelope, &fault),
                Ok((lane, transport)) => lane.deliver(transport, &NoMemory, &envelope, &job.message, options).await,
            };
            let reached = !delivery.unreachable;
            let times = reached.then(|| TimesMs::new(delivery.connect.unwrap_or(Duration::ZERO), delivery.times));
            settled.extend(
                delivery
                    .results
                    .into_iter()
                    .zip(delivery.peers)
                    .map(|(result, peer)| Settled::new(result, peer, times)),
            );
        }
        settled
    }

    /// The way to a domain, found once.
    async fn lane(&mut self, domain: &str) -> Result<(&mut Lane, &Transport), Fault> {
        if !self.lanes.contains_key(domain) {
            let mut dice = || (random::fraction() * f64::from(u32::MAX)) as u32;
            let hops = self.routing.find(domain, &self.resolver, &mut dice).await?;
            let family = self.transport.dialer.family;
            let fits = |place: &Place| match place {
                Place::Address(address) => family.allows(address.ip()),
                _ => true,
            };
            let usable: Vec<_> = hops.iter().filter(|hop| fits(&hop.place)).cloned().collect();
            self.lanes.insert(domain.to_owned(), Lane::new(if usable.is_empty() { hops } else { usable }));
        }
        let lane = self.lanes.entry(domain.to_owned()).or_insert_with(|| Lane::new(Vec::new()));
        Ok((lane, &self.transport))
    }

    pub(super) async fn close(self) {
        for lane in self.lanes.into_values() {
            lane.quit().await;
        }
    }
}
