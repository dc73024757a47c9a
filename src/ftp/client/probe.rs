//! What a server tells whoever asks before the login.

use super::FtpClientOptions;
use super::login::greeted;
use crate::fault::Fault;
use crate::ftp::command::{FtpCommand, Protection};
use crate::ftp::path::FtpUrl;
use crate::ftp::reply::FtpReply;
use crate::net::stream::TlsInfo;

/// What a server told. A refusal is an answer, too.
#[derive(Debug)]
pub struct ServerFacts {
    /// Its first reply.
    pub greeting: FtpReply,
    /// Its address; `None` behind a proxy that does not tell.
    pub address: Option<std::net::SocketAddr>,
    /// What the TLS handshake settled.
    pub tls: Option<TlsInfo>,
    /// The reply to FEAT (RFC 2389, section 3).
    pub features: FtpReply,
    /// The reply to SYST.
    pub system: FtpReply,
    /// The reply to PROT P inside TLS (RFC 4217, section 9).
    pub protection: Option<FtpReply>,
}

impl ServerFacts {
    /// Connects, begins TLS as the options say, asks, and leaves without a login.
    ///
    /// # Errors
    /// No connection, no TLS where it was asked for, or a server that does not greet.
    pub async fn ask(url: &FtpUrl, options: &FtpClientOptions) -> Result<ServerFacts, Fault> {
        let tls = options.tls_client.clone();
        let (mut control, greeting) = greeted(url, options, tls.as_ref()).await?;
        let mut ask = async |command: FtpCommand| control.call(&command).await;
        let features = ask(FtpCommand::Feat).await?;
        let system = ask(FtpCommand::Syst).await?;
        let info = control.stream().tls_info();
        let protection = match info {
            Some(_) => {
                control.call(&FtpCommand::Pbsz(0)).await?;
                Some(control.call(&FtpCommand::Prot(Protection::Private)).await?)
            }
            None => None,
        };
        let address = control.stream().peer_addr();
        control.quit().await;
        Ok(ServerFacts { greeting, address, tls: info, features, system, protection })
    }
}
