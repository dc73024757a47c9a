//! The opening of a dialogue: greeting, EHLO or LHLO, TLS, login.

use std::time::Instant;

use super::{SmtpClient, SmtpClientOptions, Times};
use crate::fault::{Fault, Kind};
use crate::net::counters::CountedConnection;
use crate::net::stream::Stream;
use crate::net::tls::TlsMode;
use crate::smtp::command::SmtpCommand;
use crate::smtp::extension::Capabilities;
use crate::smtp::reply::{SmtpReply, SmtpReplyReader};

const CLEAR_WITH_PASSWORD: &str = "--tls none sends in clear text, the password too";

/// The reason why a dialogue could not be opened.
#[derive(Debug, Clone)]
pub struct OpeningFault {
    /// The fault.
    pub fault: Fault,
    /// True if TLS failed: the handshake, or the commands just before and after it.
    pub in_tls: bool,
}

impl OpeningFault {
    fn in_tls(mut fault: Fault, options: &SmtpClientOptions) -> OpeningFault {
        let hint = match options.tls {
            TlsMode::Implicit => "smtps:// begins with TLS; submission:// and smtp:// begin without it",
            _ if options.login.is_some() => CLEAR_WITH_PASSWORD,
            _ => "--tls none sends in clear text",
        };
        fault.hint.get_or_insert(hint.into());
        OpeningFault { fault, in_tls: true }
    }
}

impl From<Fault> for OpeningFault {
    fn from(fault: Fault) -> OpeningFault {
        OpeningFault { fault, in_tls: false }
    }
}

impl SmtpClient {
    /// Opens the dialogue on a connection: greeting, EHLO (or HELO, LHLO), TLS and login as the options say. `host` is the
    /// name to check the certificate against.
    ///
    /// # Errors
    /// The fault of the step that fails.
    pub async fn open(stream: Stream, host: &str, options: &SmtpClientOptions) -> Result<SmtpClient, Fault> {
        SmtpClient::establish(stream, host, options).await.map_err(|failed| failed.fault)
    }

    /// Like [`SmtpClient::open`], for callers that can do without TLS.
    ///
    /// # Errors
    /// Those of [`SmtpClient::open`], with a flag that says whether TLS failed.
    pub async fn establish(
        stream: Stream,
        host: &str,
        options: &SmtpClientOptions,
    ) -> Result<SmtpClient, OpeningFault> {
        let began = Instant::now();
        let implicit = options.tls == TlsMode::Implicit && !stream.is_tls();
        let stream = match implicit {
            true => {
                let handshake = options.limits.run("TLS handshake", options.tls_client.connect(stream, host)).await;
                handshake.map_err(|fault| OpeningFault::in_tls(fault, options))?
            }
            false => stream,
        };
        let mut client = SmtpClient {
            stream,
            reader: SmtpReplyReader::default(),
            input: Vec::with_capacity(4096),
            out: Vec::new(),
            host: host.to_owned(),
            lmtp: options.lmtp,
            limits: options.limits,
            trace: options.trace.clone(),
            offer: Capabilities::default(),
            greeting: SmtpReply::new(220, None, ""),
            tls_refusal: None,
            most_recipients: None,
            times: Times::default(),
            ahead: None,
            open: true,
            served: 0,
            stale: false,
            _counted: CountedConnection::begin(),
        };
        client.times.tls = began.elapsed();
        let began = Instant::now();
        client.greeting = client.read_reply(client.limits, "greeting").await?;
        client.times.greeting = began.elapsed();
        if client.greeting.code != 220 {
            return Err(client.greeting.fault("greeting").into());
        }
        if options.greeting_only {
            return Ok(client);
        }
        client.hello(&options.helo).await?;
        let mut client = client.secure(options).await?;
        if let Some(login) = &options.login {
            let began = Instant::now();
            client.login(login, options).await?;
            client.times.login = began.elapsed();
        }
        Ok(client)
    }

    async fn hello(&mut self, name: &str) -> Result<(), Fault> {
        let began = Instant::now();
        let command = if self.lmtp { SmtpCommand::Lhlo(name.to_owned()) } else { SmtpCommand::Ehlo(name.to_owned()) };
        let verb = if self.lmtp { "LHLO" } else { "EHLO" };
        let reply = self.exchange(&command).await?;
        self.offer = match reply.code {
            250 => Capabilities::from_reply(&reply),
            500..=504 | 550 | 554 if !self.lmtp => {
                // A server from before RFC 1425 has no extensions.
                let reply = self.exchange(&SmtpCommand::Helo(name.to_owned())).await?;
                if reply.code != 250 {
                    return Err(reply.fault("HELO"));
                }
                let name = reply.lines.first().and_then(|line| line.split(' ').next()).unwrap_or_default();
                Capabilities { name: name.to_owned(), ..Capabilities::default() }
            }
            _ => return Err(reply.fault(verb)),
        };
        self.most_recipients = self.offer.most_recipients();
        self.times.hello += began.elapsed();
        Ok(())
    }

    /// Sends STARTTLS if the options ask for it.
    async fn secure(mut self, options: &SmtpClientOptions) -> Result<SmtpClient, OpeningFault> {
        let required = match options.tls {
            _ if self.stream.is_tls() => return Ok(self),
            TlsMode::None | TlsMode::Implicit => return Ok(self),
            TlsMode::Try => options.login.is_some(),
            TlsMode::Starttls => true,
        };
        let failed = |fault| OpeningFault::in_tls(fault, options);
        if !self.offer.starttls {
            let fault = Fault::new(Kind::TlsUntrusted, "the server does not offer STARTTLS");
            return if required { Err(failed(fault.with_hint(CLEAR_WITH_PASSWORD))) } else { Ok(self) };
        }
        let began = Instant::now();
        let reply = self.exchange(&SmtpCommand::StartTls).await.map_err(failed)?;
        if reply.refuses() && reply.code != 421 && !required {
            self.tls_refusal = Some(reply);
            return Ok(self);
        }
        if reply.code != 220 {
            return Err(failed(reply.fault("STARTTLS")));
        }
        if self.reader.has_pending() {
            let detail = "bytes in clear text behind the answer to STARTTLS: somebody may be injecting them";
            return Err(failed(Fault::new(Kind::Protocol, detail)));
        }
        // Everything from before TLS is forgotten (RFC 3207, section 4.2).
        let handshake = options.tls_client.connect(self.stream, &self.host);
        let stream = options.limits.run("TLS handshake", handshake).await.map_err(failed)?;
        let mut client = SmtpClient { stream, offer: Capabilities::default(), ..self };
        client.times.tls = began.elapsed();
        client.hello(&options.helo).await.map_err(failed)?;
        Ok(client)
    }
}
