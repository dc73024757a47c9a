//! AUTH, client side (RFC 4954).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::{SmtpClient, SmtpClientOptions};
use crate::fault::{Fault, Kind};
use crate::net::login::Login;
use crate::net::tls::TlsMode;
use crate::smtp::auth::{AuthAttempts, AuthFailure, ClientLogin, Credentials, Mechanism};
use crate::smtp::command::SmtpCommand;
use crate::smtp::reply::SmtpReply;

/// The longest AUTH line with an initial response: a command line is 512 bytes (RFC 4954, section 4). A longer token is
/// sent on a line of its own.
const MAX_AUTH_LINE: usize = 510;

/// The maximum number of challenges in one exchange.
const MAX_CHALLENGES: usize = 8;

/// One AUTH exchange that failed.
struct FailedExchange {
    fault: Fault,
    failure: AuthFailure,
}

impl FailedExchange {
    fn ends(fault: Fault) -> FailedExchange {
        FailedExchange { fault, failure: AuthFailure::Ends }
    }
}

impl SmtpClient {
    /// AUTH by the best mechanism, then by another one if that may help.
    ///
    /// # Errors
    /// The fault of the last attempt; its detail names all attempts.
    pub(super) async fn login(&mut self, login: &Login, options: &SmtpClientOptions) -> Result<(), Fault> {
        let (tls, clear) = (self.stream.is_tls(), options.tls == TlsMode::None);
        let mut offered = self.offer.auth.clone();
        if self.stream.channel_binding().is_none() {
            offered.retain(|name| name != Mechanism::ScramSha256Plus.as_str());
        }
        let usable = Mechanism::choose(&offered, options.mechanism, tls, clear).map_err(|fault| {
            let hint = "--tls none allows the password in clear text";
            if tls || clear { fault } else { fault.with_hint(hint) }
        })?;
        let several = usable.len() > 1;
        let mut attempts = AuthAttempts::new(usable);
        let mut details: Vec<String> = Vec::new();
        let (mut failed, mut last) = (None, Fault::new(Kind::AuthFailed, "no AUTH mechanism"));
        while let Some(mechanism) = attempts.next(failed, tls) {
            match self.authenticate(mechanism, login).await {
                Ok(()) => return Ok(()),
                Err(FailedExchange { fault, failure }) => {
                    details.push(fault.detail.clone());
                    (failed, last) = (Some((mechanism, failure)), fault);
                }
            }
        }
        last.detail = details.join("; ");
        if several {
            last.hint.get_or_insert("--auth MECHANISM chooses one of those that the server offers".into());
        }
        Err(last)
    }

    /// Runs one AUTH exchange. Unless the connection fails, the exchange is over after a fault and the next one may begin.
    async fn authenticate(&mut self, mechanism: Mechanism, login: &Login) -> Result<(), FailedExchange> {
        let name = mechanism.as_str();
        let mut nonce = [0; 18];
        getrandom::fill(&mut nonce)
            .map_err(|error| FailedExchange::ends(Fault::new(Kind::Io, format!("no randomness: {error}"))))?;
        let nonce = BASE64.encode(nonce);
        let binding = self.stream.channel_binding().unwrap_or_default();
        let credentials = Credentials {
            user: &login.user,
            password: login.password.expose(),
            host: &self.host.clone(),
            port: self.stream.peer_addr().map_or(0, |address| address.port()),
            nonce: &nonce,
            binding: &binding,
        };
        let mut exchange = ClientLogin::new(mechanism, credentials).map_err(FailedExchange::ends)?;
        let encode = |bytes: Vec<u8>| if bytes.is_empty() { "=".to_owned() } else { BASE64.encode(bytes) };
        let initial = exchange.initial().map(encode);
        let fits = |initial: &String| "AUTH  ".len() + name.len() + initial.len() <= MAX_AUTH_LINE;
        let (now, mut later) = match initial {
            Some(initial) if fits(&initial) => (Some(initial), None),
            late => (None, late),
        };
        let mut line = Vec::new();
        let command = SmtpCommand::Auth { mechanism: name.to_owned(), initial: now };
        command.wire(&mut line).map_err(FailedExchange::ends)?;
        let mut said = format!("AUTH {name}");
        for _ in 0..MAX_CHALLENGES {
            let reply = self.say_secret(&said, &line).await.map_err(FailedExchange::ends)?;
            said.clear();
            match reply.code {
                235 if exchange.server_proved() => return Ok(()),
                235 => {
                    let detail = "the server took the login without proof that it knows the password";
                    return Err(FailedExchange::ends(Fault::new(Kind::AuthFailed, format!("AUTH {name}: {detail}"))));
                }
                334 => {}
                _ => return Err(refused(&reply, name)),
            }
            let response = match later.take() {
                Some(initial) => Ok(initial),
                None => {
                    let text = reply.lines.first().map(String::as_str).unwrap_or_default();
                    let malformed = |_| Fault::new(Kind::Protocol, "challenge is not base64");
                    let challenge = BASE64.decode(text.trim()).map_err(malformed);
                    challenge.and_then(|challenge| exchange.respond(&challenge)).map(|bytes| BASE64.encode(bytes))
                }
            };
            match response {
                Ok(response) => line = format!("{response}\r\n").into_bytes(),
                Err(fault) => {
                    let failure = match fault.kind {
                        _ if exchange.is_impostor() => AuthFailure::Ends,
                        Kind::AuthFailed => AuthFailure::Judged,
                        _ => AuthFailure::Mechanism,
                    };
                    let fault = fault.context(format!("AUTH {name}"));
                    // The exchange is called off (RFC 4954, section 4): 501, and the next command may come.
                    return match self.say_secret("*", b"*\r\n").await {
                        Ok(reply) if reply.refuses() && reply.code != 421 => Err(FailedExchange { fault, failure }),
                        _ => Err(FailedExchange::ends(fault)),
                    };
                }
            }
        }
        let detail = format!("AUTH {name}: the server asks without end");
        Err(FailedExchange::ends(Fault::new(Kind::Protocol, detail)))
    }

    /// Sends one line of an exchange, which the trace shows as `said`, and waits for the reply.
    async fn say_secret(&mut self, said: &str, line: &[u8]) -> Result<SmtpReply, Fault> {
        self.in_step()?;
        self.trace.sent_secret(said);
        self.out.extend_from_slice(line);
        self.flush("AUTH").await?;
        self.read_reply(self.limits, "AUTH").await
    }
}

/// A reply that ends the exchange without a login.
fn refused(reply: &SmtpReply, name: &str) -> FailedExchange {
    let mut fault = reply.fault(&format!("AUTH {name}"));
    // A permanent refusal counts as an authentication failure, whatever its code.
    if reply.permanent() {
        fault.kind = Kind::AuthFailed;
    }
    let failure = match reply.code {
        421 => AuthFailure::Ends,
        500..=504 | 534 => AuthFailure::Mechanism,
        _ if reply.refuses() => AuthFailure::Judged,
        _ => AuthFailure::Ends,
    };
    FailedExchange { fault, failure }
}

#[cfg(test)]
mod tests;
