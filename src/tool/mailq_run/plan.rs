//! `mailq-run -n`: the routes of the queued messages, without delivery.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::cli::exit::{Exit, Tally};
use crate::cli::output::{Output, OutputRecord, TextLine};
use crate::dns::resolve::Resolver;
use crate::net::tls::TlsMode;
use crate::queue::entry::{RecipientState, Time};
use crate::queue::sqlite::SqliteStore;
use crate::queue::store::{Filter, MAX_BATCH, QueueStore};
use crate::relay::route::{RouteOverride, Routing};

/// A server to which the mail of a destination would go.
#[derive(Debug, Serialize)]
struct RouteRecord {
    domain: String,
    recipients: u64,
    due_at: String,
    host: String,
    place: String,
    protocol: &'static str,
    tls: &'static str,
    verify: bool,
}

impl OutputRecord for RouteRecord {
    const TYPE: &'static str = "route";

    fn text(&self, line: &mut TextLine) {
        line.field(&self.domain)
            .field(&self.due_at)
            .field(&self.host)
            .field(&self.place)
            .field(self.protocol)
            .field(self.tls);
    }
}

/// The mail that waits for one domain, by the next hop that the operator chose, if any.
#[derive(Debug, Default)]
struct WaitingMail {
    recipients: u64,
    due: Option<Time>,
    route: Option<RouteOverride>,
}

/// Emits one record per server, in the order of the attempts. A destination without a route is an error and affects the status.
pub(super) async fn show(
    store: &SqliteStore,
    routing: &Routing,
    resolver: &Resolver,
    filter: &Filter,
    out: &Output,
) -> anyhow::Result<Exit> {
    let mut tally = Tally::default();
    let destinations = waiting(store, filter, out, &mut tally).await?;
    let mut dice = || getrandom::u32().unwrap_or(0);
    for ((domain, _), waiting) in &destinations {
        let found = match &waiting.route {
            None => routing.find(domain, resolver, &mut dice).await,
            Some(route) => routing.follow(route.target(), domain, resolver, &mut dice).await,
        };
        let hops = match found {
            Ok(hops) => hops,
            Err(fault) => {
                out.error(domain, &fault);
                tally.fault(&fault);
                continue;
            }
        };
        for hop in hops {
            out.emit(&RouteRecord {
                domain: domain.clone(),
                recipients: waiting.recipients,
                due_at: waiting.due.unwrap_or_default().to_string(),
                host: hop.name.clone(),
                place: hop.endpoint.to_string(),
                protocol: hop.protocol_name(),
                tls: tls_name(hop.policy.tls),
                verify: hop.policy.verify,
            })?;
        }
    }
    Ok(if destinations.is_empty() && !filter.is_empty() { Exit::NEGATIVE } else { tally.exit() })
}

/// The queued recipients by domain and chosen next hop. Unreadable messages are reported as errors.
async fn waiting(
    store: &SqliteStore,
    filter: &Filter,
    out: &Output,
    tally: &mut Tally,
) -> anyhow::Result<BTreeMap<(String, Option<String>), WaitingMail>> {
    let mut destinations: BTreeMap<(String, Option<String>), WaitingMail> = BTreeMap::new();
    let mut after = None;
    loop {
        let page = store.list(filter.clone(), after, MAX_BATCH).await?;
        if page.last.is_none() {
            return Ok(destinations);
        }
        after = page.last;
        for damaged in &page.damaged {
            out.error("", &damaged.fault);
            tally.fault(&damaged.fault);
        }
        for recipient in page.entries.iter().flat_map(|entry| &entry.envelope.recipients) {
            if recipient.state != RecipientState::Queued {
                continue;
            }
            let chosen = recipient.route.as_ref().map(|route| route.as_str().to_owned());
            let found = destinations.entry((recipient.to.address.destination(), chosen)).or_default();
            found.route.clone_from(&recipient.route);
            found.recipients += 1;
            found.due = Some(found.due.map_or(recipient.due, |due| due.min(recipient.due)));
        }
    }
}

fn tls_name(mode: TlsMode) -> &'static str {
    match mode {
        TlsMode::None => "none",
        TlsMode::Try => "try",
        TlsMode::Starttls => "starttls",
        TlsMode::Implicit => "implicit",
    }
}
