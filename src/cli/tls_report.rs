//! The TLS report of several tools' probes: the negotiated parameters, the certificates of the server, their remaining lifetime,
//! and whether they are trusted.

use serde::Serialize;

use crate::cli::exit::Tally;
use crate::cli::output::{Output, TextLine};
use crate::fault::{Fault, Kind};
use crate::net::certificate::{CertificateFacts, MAX_CHAIN, rfc3339};
use crate::net::clock;
use crate::net::stream::TlsInfo;
use crate::net::tls::ClientTls;

/// TLS with one server.
#[derive(Debug, Serialize)]
pub struct TlsReport {
    version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cipher: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alpn: Option<String>,
    /// The certificate is trusted, whether or not a check was requested.
    verified: bool,
    /// The reason if it is not trusted.
    #[serde(skip_serializing_if = "Option::is_none")]
    untrusted: Option<String>,
    /// Days until the first of the certificates expires.
    #[serde(skip_serializing_if = "Option::is_none")]
    days_left: Option<i64>,
    /// The certificates of the chain, the server's own first.
    certificates: Vec<CertificateReport>,
    #[serde(skip)]
    fault: Option<Fault>,
}

/// One certificate.
#[derive(Debug, Serialize)]
struct CertificateReport {
    subject: String,
    issuer: String,
    names: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_before: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_after: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    days_left: Option<i64>,
    serial: String,
    key_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_bits: Option<usize>,
    signature_algorithm: String,
    authority: bool,
    /// The hash of the certificate, hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    /// The hash of its public key, base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    key_sha256: Option<String>,
}

impl CertificateReport {
    fn new(der: &[u8], now: i64) -> CertificateReport {
        let facts = CertificateFacts::read(der);
        CertificateReport {
            not_before: facts.not_before.and_then(rfc3339),
            not_after: facts.not_after.and_then(rfc3339),
            days_left: facts.days_left(now),
            sha256: facts.pin.map(|pin| pin.hex()),
            key_sha256: facts.key_pin.map(|pin| pin.base64()),
            subject: facts.subject,
            issuer: facts.issuer,
            names: facts.names,
            serial: facts.serial,
            key_type: facts.key_type,
            key_bits: facts.key_bits,
            signature_algorithm: facts.signature_algorithm,
            authority: facts.authority,
        }
    }
}

impl TlsReport {
    /// The report of a handshake with `host`.
    pub fn new(info: &TlsInfo, tls: &ClientTls, host: &str) -> TlsReport {
        let now = clock::unix_seconds();
        let certificates: Vec<_> =
            info.peer_chain.iter().take(MAX_CHAIN).map(|der| CertificateReport::new(der, now)).collect();
        let fault = tls.judge(host, &info.peer_chain).err();
        TlsReport {
            version: info.version,
            cipher: info.cipher.clone(),
            alpn: info.alpn.clone(),
            verified: fault.is_none(),
            untrusted: fault.as_ref().map(|fault| fault.detail.clone()),
            days_left: certificates.iter().filter_map(|certificate| certificate.days_left).min(),
            certificates,
            fault,
        }
    }

    /// Appends the lines of the report to a text, each after a line feed.
    pub fn text(&self, line: &mut TextLine) {
        let verdict = if self.verified { "verified" } else { "not verified" };
        line.text("\ntls\t").text(self.version).text(" ");
        line.escaped(self.cipher.as_deref().unwrap_or("-")).text(" ").text(verdict);
        if let Some(why) = &self.untrusted {
            line.text("\nuntrusted\t").escaped(why);
        }
        if let Some(alpn) = &self.alpn {
            line.text("\nalpn\t").escaped(alpn);
        }
        for (at, certificate) in self.certificates.iter().enumerate() {
            certificate.text(at, line);
        }
    }
}

impl CertificateReport {
    fn text(&self, at: usize, line: &mut TextLine) {
        let unknown = || "-".to_owned();
        let end = self.not_after.clone().unwrap_or_else(unknown);
        let left = self.days_left.map_or_else(unknown, |days| days.to_string());
        if at > 0 {
            line.text("\nchain\t").escaped(&self.subject).text("\tissued by ").escaped(&self.issuer);
            line.text("\tends ").escaped(end).text(&format!(", {left} days left"));
            return;
        }
        line.text("\ncertificate\tsha256 ").escaped(self.sha256.as_deref().unwrap_or("-"));
        line.text("\nkey\tsha256 ").escaped(self.key_sha256.as_deref().unwrap_or("-"));
        line.text("\nkey type\t").escaped(&self.key_type);
        line.text(&self.key_bits.map_or_else(String::new, |bits| format!(", {bits} bits")));
        line.text("\nsubject\t").escaped(&self.subject).text("\nissuer\t").escaped(&self.issuer);
        line.text("\nnames\t").escaped(self.names.join(", "));
        line.text("\nserial\t").escaped(&self.serial).text("\nsigned\t").escaped(&self.signature_algorithm);
        line.text("\nbegins\t").escaped(self.not_before.as_deref().unwrap_or("-"));
        line.text("\nends\t").escaped(end).text(&format!("\t{left} days left"));
    }
}

/// The demands on certificates that the user of a probe sets.
#[derive(Debug, Clone, Copy)]
pub struct CertificateDemands {
    /// The least number of days until they expire.
    pub min_days: Option<u32>,
    /// Whether they must be trusted.
    pub trusted: bool,
}

impl CertificateDemands {
    /// Reports the first demand that is not met, and counts the result.
    pub fn check(self, report: Option<&TlsReport>, target: &str, out: &Output, tally: &mut Tally) {
        let Err(fault) = self.verdict(report) else { return tally.success() };
        tally.fault(&fault);
        // With -q the answer "no" prints nothing.
        if fault.kind != Kind::Negative || !out.quiet() {
            out.error(target, &fault);
        }
    }

    fn verdict(self, report: Option<&TlsReport>) -> Result<(), Fault> {
        let Some(report) = report else {
            let missing = Fault::new(Kind::TlsUntrusted, "no TLS, and so no certificate that could end");
            return self.min_days.map_or(Ok(()), |_| Err(missing));
        };
        if let Some(fault) = report.fault.clone().filter(|_| self.trusted) {
            return Err(fault);
        }
        let (Some(least), Some(days)) = (self.min_days, report.days_left) else {
            let unread = Fault::new(Kind::TlsUntrusted, "the end of the certificate cannot be read");
            return self.min_days.map_or(Ok(()), |_| Err(unread));
        };
        if days >= i64::from(least) {
            return Ok(());
        }
        let first = report.certificates.iter().find(|certificate| certificate.days_left == Some(days));
        let (subject, end) = first.map_or(("", ""), |it| (&it.subject, it.not_after.as_deref().unwrap_or_default()));
        let words = format!("the certificate of {subject} ends at {end}: {days} days left, {least} wanted");
        Err(Fault::new(Kind::Negative, words))
    }
}
