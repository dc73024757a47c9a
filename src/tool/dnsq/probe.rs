//! `dnsq --probe`: the properties of an encrypted server, above all its certificates.

use std::time::Instant;

use serde::Serialize;

use super::query::query;
use super::servers::NamedServer;
use super::words::QueryPlan;
use super::{Args, policy};
use crate::cli::exit::{Exit, Tally};
use crate::cli::output::{Output, OutputRecord, TextLine};
use crate::cli::tls_report::{CertificateDemands, TlsReport};
use crate::dns::client::Endpoint;
use crate::dns::client::connection::DnsConnection;
use crate::dns::edns::EdnsOption;
use crate::dns::message::{Message, Question};
use crate::fault::{Fault, Kind};

/// The flags of probing.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Encryption")]
pub(super) struct ProbeArgs {
    /// Tell what the servers (tls://, https://, quic://) show of themselves: protocol, certificates and their end, trust; ask for
    /// `. NS` unless a name is given
    #[arg(long, conflicts_with_all = ["file", "json_rfc8427", "format", "short", "race", "out"])]
    pub(super) probe: bool,
    /// With --probe: end with status 1 if a certificate of the server's chain ends in fewer days
    #[arg(long, value_name = "N", requires = "probe")]
    min_days: Option<u32>,
}

/// The properties of one server.
#[derive(Serialize)]
struct DnsServerProbe<'a> {
    server: String,
    host: &'a str,
    transport: &'static str,
    /// From the first packet to the end of the handshake.
    connect_ms: f64,
    /// The duration of the query.
    elapsed_ms: f64,
    /// The question: name and type.
    question: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<String>,
    edns: bool,
    /// The answer is padded (RFC 8467).
    padded: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<TlsReport>,
}

impl OutputRecord for DnsServerProbe<'_> {
    const TYPE: &'static str = "probe";

    fn text(&self, line: &mut TextLine) {
        line.text("server\t").escaped(&self.server).text("\nhost\t").escaped(self.host);
        line.text(&format!("\ntransport\t{}\t{:.0} ms", self.transport, self.connect_ms));
        line.text("\nanswer\t").escaped(&self.question).text("\t").escaped(self.status.as_deref().unwrap_or("-"));
        line.text(&format!("\t{:.0} ms", self.elapsed_ms));
        line.text(if self.edns { ", EDNS" } else { "" }).text(if self.padded { ", padded" } else { "" });
        if let Some(tls) = &self.tls {
            tls.text(line);
        }
    }
}

/// Probes every server on the command line.
pub(super) fn run(args: &Args, plan: &QueryPlan, servers: &[NamedServer], out: &Output) -> anyhow::Result<Exit> {
    if let Some(plain) = servers.iter().find(|server| !server.endpoint.transport.is_encrypted()) {
        let what = format!("--probe: {} is asked over {}", plain.name, plain.endpoint.transport.name());
        return Err(Fault::new(Kind::Usage, what).with_hint("name servers by tls://, https:// or quic://").into());
    }
    let [question] = plan.questions.as_slice() else {
        return Err(Fault::new(Kind::Usage, "--probe asks one question").into());
    };
    let mut tally = Tally::default();
    crate::cli::block_on(async {
        for server in servers {
            if let Err(fault) = probe(args, question, server, out, &mut tally).await {
                out.error(&server.name, &fault);
                tally.fault(&fault);
            }
        }
        Ok(())
    })?;
    Ok(tally.exit())
}

/// Probes one server. If its certificate is not trusted, it is asked only the question of the user.
async fn probe(
    args: &Args,
    question: &Question,
    server: &NamedServer,
    out: &Output,
    tally: &mut Tally,
) -> Result<(), Fault> {
    let (begun, limit) = (Instant::now(), policy(&args.transport).timeout);
    let endpoint = &server.endpoint;
    let connection = match DnsConnection::open(endpoint, limit).await {
        Err(fault) if fault.kind == Kind::TlsUntrusted => {
            let any = Endpoint { tls: Some(endpoint.trust()?.unchecked()), ..endpoint.clone() };
            // If the fault is not the trust in the certificate, it occurs again.
            DnsConnection::open(&any, limit).await.map_err(|_| fault)?
        }
        connection => connection?,
    };
    let (connected, asked) = (begun.elapsed(), Instant::now());
    let wire = query(args, question)?.compose_over(0, endpoint.transport);
    let answer = async {
        let answer = tokio::time::timeout(limit, connection.ask(&wire)).await;
        let answer = answer.map_err(|_| Fault::new(Kind::TimedOut, "no answer in time"))??;
        Message::parse(&answer).map_err(|error| Fault::new(Kind::Protocol, error.to_string()))
    };
    let answer = answer.await;
    let elapsed = asked.elapsed();
    connection.close().await;
    let edns = answer.as_ref().ok().and_then(|message| message.edns.as_ref());
    let trust = endpoint.trust()?;
    let tls = connection.tls_info().map(|info| TlsReport::new(info, trust, &endpoint.host));
    let ms = |time: std::time::Duration| (time.as_secs_f64() * 1_000_000.0).round() / 1000.0;
    let probe = DnsServerProbe {
        server: endpoint.place(),
        host: &endpoint.host,
        transport: endpoint.transport.name(),
        connect_ms: ms(connected),
        elapsed_ms: ms(elapsed),
        question: format!("{} {}", question.name, question.rtype),
        status: answer.as_ref().ok().map(|message| message.rcode().to_string()),
        edns: edns.is_some(),
        padded: edns.is_some_and(|edns| edns.option(EdnsOption::PADDING).is_some()),
        tls,
    };
    out.emit(&probe)?;
    let demands = CertificateDemands { min_days: args.probe.min_days, trusted: trust.verifies() };
    demands.check(probe.tls.as_ref(), &server.name, out, tally);
    answer.map(|_| ())
}
