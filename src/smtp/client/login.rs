//! AUTH as a client (RFC 4954).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::{SmtpClient, SmtpClientOptions};
use crate::fault::{Fault, Kind};
use crate::net::login::Login;
use crate::net::tls::TlsMode;
use crate::smtp::auth::{ClientLogin, Credentials, Mechanism};
use crate::smtp::command::SmtpCommand;

/// The longest AUTH line with an initial response: a command line is 512 bytes (RFC 4954, section 4); a longer token
/// goes in a line of its own.
const MAX_AUTH_LINE: usize = 510;

/// The most challenges in one exchange.
const MAX_CHALLENGES: usize = 8;

impl SmtpClient {
    pub(super) async fn login(&mut self, login: &Login, options: &SmtpClientOptions) -> Result<(), Fault> {
        let clear = options.tls == TlsMode::None;
        let chosen = Mechanism::choose(&self.offer.auth, options.mechanism, self.stream.is_tls(), clear);
        let mechanism = chosen.map_err(|fault| {
            let hint = "--tls none allows the password in clear text";
            if self.stream.is_tls() || clear { fault } else { fault.with_hint(hint) }
        })?;
        let mut nonce = [0; 18];
        getrandom::fill(&mut nonce).map_err(|error| Fault::new(Kind::Io, format!("no randomness: {error}")))?;
        let nonce = BASE64.encode(nonce);
        let credentials = Credentials {
            user: &login.user,
            password: login.password.expose(),
            host: &self.host.clone(),
            port: self.stream.peer_addr().map_or(0, |address| address.port()),
            nonce: &nonce,
        };
        let mut exchange = ClientLogin::new(mechanism, credentials)?;
        let name = mechanism.as_str();
        let encode = |bytes: Vec<u8>| if bytes.is_empty() { "=".to_owned() } else { BASE64.encode(bytes) };
        let initial = exchange.initial().map(encode);
        let fits = |initial: &String| "AUTH  ".len() + name.len() + initial.len() <= MAX_AUTH_LINE;
        let (now, mut later) = match initial {
            Some(initial) if fits(&initial) => (Some(initial), None),
            late => (None, late),
        };
        self.trace.sent_secret(&format!("AUTH {name}"));
        SmtpCommand::Auth { mechanism: name.to_owned(), initial: now }.wire(&mut self.out)?;
        self.flush("AUTH").await?;
        for _ in 0..MAX_CHALLENGES {
            let reply = self.read_reply(self.limits, "AUTH").await?;
            match reply.code {
                235 if exchange.server_proved() => return Ok(()),
                235 => {
                    let detail = "the server took the login without proof that it knows the password";
                    return Err(Fault::new(Kind::AuthFailed, detail));
                }
                334 => {}
                // A refusal that is not temporary is about who we are, whatever code the server found.
                500..=599 => {
                    let mut fault = reply.fault(&format!("AUTH {name}"));
                    fault.kind = Kind::AuthFailed;
                    return Err(fault);
                }
                _ => return Err(reply.fault(&format!("AUTH {name}"))),
            }
            let response = match later.take() {
                Some(initial) => initial,
                None => {
                    let text = reply.lines.first().map(String::as_str).unwrap_or_default();
                    match BASE64.decode(text.trim()).ok().map(|challenge| exchange.respond(&challenge)) {
                        Some(Ok(response)) => BASE64.encode(response),
                        failed => {
                            self.out.extend_from_slice(b"*\r\n");
                            self.flush("AUTH").await?;
                            let malformed = || Fault::new(Kind::Protocol, "AUTH: challenge is not base64");
                            return Err(failed.and_then(Result::err).unwrap_or_else(malformed));
                        }
                    }
                }
            };
            self.trace.sent_secret("");
            self.out.extend_from_slice(response.as_bytes());
            self.out.extend_from_slice(b"\r\n");
            self.flush("AUTH").await?;
        }
        Err(Fault::new(Kind::Protocol, "AUTH: the server does not come to an end"))
    }
}
