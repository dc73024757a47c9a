//! Queries a server without sending a message: its capabilities and accepted addresses, by greeting, EHLO, TLS, AUTH, MAIL, RCPT,
//! and a stop before DATA.

use serde::Serialize;

use super::report::TimesMs;
use super::server::{ProbeStage, ProbedServer, ServerConnection};
use crate::cli::exit::Tally;
use crate::cli::output::{Output, OutputRecord, TextLine};
use crate::cli::tls_report::{CertificateDemands, TlsReport};
use crate::fault::Fault;
use crate::net::pin::CertificatePin;
use crate::smtp::address::{Address, ReversePath};
use crate::smtp::command::{MailFrom, SmtpCommand};
use crate::smtp::envelope::Recipient;
use crate::smtp::extension::Capabilities;
use crate::smtp::reply::SmtpReply;

/// The properties of a server.
#[derive(Debug, Serialize)]
struct Probe {
    host: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    greeting: String,
    capabilities: Vec<String>,
    auth_mechanisms: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size_limit_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_version: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_cipher: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_verified: Option<bool>,
    /// The reason why the server, which offers STARTTLS, refused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_failed: Option<String>,
    /// The SHA-256 hash of the certificate, in the format of `tls_fingerprint` in the accounts file.
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_fingerprint: Option<String>,
    /// The full TLS report. The members above are older.
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<TlsReport>,
    logged_in: bool,
    times_ms: TimesMs,
}

impl OutputRecord for Probe {
    const TYPE: &'static str = "probe";

    fn text(&self, line: &mut TextLine) {
        line.text("host\t").escaped(&self.host).text("\ngreeting\t").escaped(&self.greeting);
        for capability in &self.capabilities {
            line.text("\noffers\t").escaped(capability);
        }
        if let Some(tls) = &self.tls {
            tls.text(line);
        }
        if let Some(why) = &self.tls_failed {
            line.text("\ntls\tfailed: ").escaped(why);
        }
        if self.logged_in {
            line.text("\nlogin\tdone");
        }
    }
}

/// The reply to MAIL or RCPT.
#[derive(Debug, Serialize)]
struct ProbeRecord {
    /// `MAIL` or `RCPT`.
    command: &'static str,
    address: String,
    accepted: bool,
    code: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    enhanced: Option<String>,
    reply: String,
}

impl OutputRecord for ProbeRecord {
    const TYPE: &'static str = "probe_answer";

    fn text(&self, line: &mut TextLine) {
        line.field(self.command.to_lowercase()).field(&self.address).field(&self.reply);
    }
}

/// Runs the probe up to `until`. It sends MAIL if there is a sender, and RCPT for each recipient.
pub(super) async fn run(
    mut way: ServerConnection<'_>,
    sender: Option<ReversePath>,
    recipients: Vec<Address>,
    until: Option<ProbeStage>,
    min_days: Option<u32>,
    out: &Output,
    tally: &mut Tally,
) -> Result<(), Fault> {
    let (insecure, name) = (way.is_insecure(), way.name());
    let ProbedServer { client, peer, connect, tls: report, believed } = way.open().await?;
    let offer = client.capabilities().clone();
    let tls = peer.tls.as_ref();
    let digest = tls.and_then(|tls| tls.peer_chain.first()).map(|der| CertificatePin::of(der).hex());
    let probe = Probe {
        host: peer.host.clone().unwrap_or_default(),
        ip: peer.ip.map(|address| address.ip().to_string()),
        port: peer.ip.map(|address| address.port()),
        greeting: words(client.greeting()),
        capabilities: keywords(&offer),
        auth_mechanisms: offer.auth.clone(),
        size_limit_bytes: offer.size.filter(|size| *size > 0),
        tls_version: tls.map(|tls| tls.version),
        tls_cipher: tls.and_then(|tls| tls.cipher.clone()),
        tls_verified: tls.map(|_| peer.verified),
        tls_failed: peer.tls_failed.clone(),
        tls_fingerprint: digest,
        tls: report,
        logged_in: client.times().login > std::time::Duration::ZERO,
        times_ms: TimesMs::new(connect, client.times()),
    };
    out.emit(&probe)?;
    let trusted = !believed || (min_days.is_some() && !insecure);
    CertificateDemands { min_days, trusted }.check(probe.tls.as_ref(), &name, out, tally);
    if !believed {
        way.close().await;
        return Ok(());
    }
    let mut questions = Vec::new();
    let sender = sender.or((until == Some(ProbeStage::Mail)).then_some(ReversePath::Null));
    let goes_to = |stage| until.is_none_or(|until| until >= stage);
    if let Some(sender) = sender.filter(|_| goes_to(ProbeStage::Mail)) {
        let utf8 = !sender.address().into_iter().chain(&recipients).all(Address::is_ascii);
        let address = sender.to_string();
        let mail = MailFrom {
            sender,
            size: None,
            body: None,
            smtputf8: utf8 && offer.smtputf8,
            ret: None,
            envid: None,
            auth: None,
        };
        questions.push(("MAIL", address, SmtpCommand::Mail(mail)));
    }
    for recipient in recipients.into_iter().filter(|_| goes_to(ProbeStage::Rcpt)) {
        questions.push(("RCPT", recipient.to_string(), SmtpCommand::Rcpt(Recipient::new(recipient))));
    }
    for (command, address, question) in questions {
        let reply = client.exchange(&question).await?;
        let accepted = reply.accepts();
        out.emit(&ProbeRecord {
            command,
            address: address.clone(),
            accepted,
            code: reply.code,
            enhanced: reply.enhanced.map(|code| code.to_string()),
            reply: words(&reply),
        })?;
        if !accepted {
            let fault = reply.fault(command);
            out.error(&address, &fault);
            tally.fault(&fault);
            if command == "MAIL" {
                break;
            }
        }
    }
    way.close().await;
    Ok(())
}

/// A reply as one line.
fn words(reply: &SmtpReply) -> String {
    let enhanced = reply.enhanced.map(|code| format!(" {code}")).unwrap_or_default();
    format!("{}{enhanced} {}", reply.code, reply.lines.join(" ")).trim_end().to_owned()
}

/// The offered extensions, as keywords.
fn keywords(offer: &Capabilities) -> Vec<String> {
    let lines = offer.reply().lines;
    lines.into_iter().skip(1).filter(|line| !line.is_empty()).collect()
}
