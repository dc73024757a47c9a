//! `ftpdo URL probe`: the properties of a server before the login, above all its certificates.

use serde::Serialize;

use super::Args;
use crate::cli::exit::{Exit, Tally};
use crate::cli::output::{Output, OutputRecord, TextLine};
use crate::cli::tls_report::{CertificateDemands, TlsReport};
use crate::fault::{Fault, Kind};
use crate::ftp::client::{FtpClientOptions, ServerFacts};
use crate::ftp::path::FtpUrl;
use crate::ftp::reply::FtpReply;
use crate::net::tls::ClientTls;
use crate::tool::ftp_args::Servers;

/// The properties of a server.
#[derive(Serialize)]
struct FtpServerProbe {
    url: String,
    host: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip: Option<String>,
    port: u16,
    greeting: String,
    /// The reply to SYST.
    system: String,
    /// The lines of FEAT, if the server sends them before the login.
    features: Vec<String>,
    /// With TLS: true if data connections can be protected, too (PROT P).
    #[serde(skip_serializing_if = "Option::is_none")]
    protects_data: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<TlsReport>,
}

impl OutputRecord for FtpServerProbe {
    const TYPE: &'static str = "probe";

    fn text(&self, line: &mut TextLine) {
        line.text("host\t").escaped(&self.host).text("\ngreeting\t").escaped(&self.greeting);
        line.text("\nsystem\t").escaped(&self.system);
        for feature in &self.features {
            line.text("\noffers\t").escaped(feature);
        }
        if let Some(protects) = self.protects_data {
            line.text("\nprot p\t").text(if protects { "accepted" } else { "refused" });
        }
        if let Some(tls) = &self.tls {
            tls.text(line);
        }
    }
}

pub(super) fn run(args: &Args, url: &FtpUrl, out: &Output) -> anyhow::Result<Exit> {
    if !args.words.is_empty() {
        return Err(Fault::new(Kind::Usage, "probe takes no arguments").into());
    }
    out.will_print()?;
    let mut tally = Tally::default();
    crate::cli::block_on(async {
        let mut servers = Servers::new(out, &args.client).without_login();
        let options = servers.options(url)?;
        let asked = args.client.retry.run(out, &url.to_string(), async |_| ask(url, &options).await).await;
        let facts = match asked {
            Ok(facts) => facts,
            Err(fault) => {
                out.error(&url.to_string(), &fault);
                tally.fault(&fault);
                return Ok(());
            }
        };
        let trust = options.tls_client.as_ref();
        let probe = FtpServerProbe {
            url: url.to_string(),
            host: url.host.clone(),
            ip: facts.address.map(|address| address.ip().to_string()),
            port: url.port(),
            greeting: words(&facts.greeting),
            system: words(&facts.system),
            features: features(&facts.features),
            protects_data: facts.protection.as_ref().map(FtpReply::ok),
            tls: facts.tls.as_ref().zip(trust).map(|(info, trust)| TlsReport::new(info, trust, &url.host)),
        };
        out.emit(&probe)?;
        let demands = CertificateDemands { min_days: args.min_days, trusted: trust.is_some_and(ClientTls::verifies) };
        demands.check(probe.tls.as_ref(), &url.to_string(), out, &mut tally);
        Ok(())
    })?;
    Ok(tally.exit())
}

/// Queries the server. An untrusted certificate does not stop the probe; it is reported afterwards.
async fn ask(url: &FtpUrl, options: &FtpClientOptions) -> Result<ServerFacts, Fault> {
    match ServerFacts::ask(url, options).await {
        Err(fault) if fault.kind == Kind::TlsUntrusted => {
            let tls_client = options.tls_client.as_ref().map(ClientTls::unchecked);
            // If the fault is not the trust in the certificate, it occurs again.
            ServerFacts::ask(url, &FtpClientOptions { tls_client, ..options.clone() }).await.map_err(|_| fault)
        }
        asked => asked,
    }
}

/// A reply as one line.
fn words(reply: &FtpReply) -> String {
    let lines: Vec<_> = reply.lines.iter().map(|line| String::from_utf8_lossy(line)).collect();
    format!("{} {}", reply.code, lines.join(" ")).trim_end().to_owned()
}

/// The lines of FEAT between the first and the last (RFC 2389, section 3.2).
fn features(reply: &FtpReply) -> Vec<String> {
    let lines = reply.middle().filter(|_| reply.code == 211);
    lines.map(|line| String::from_utf8_lossy(line).trim().to_owned()).collect()
}
