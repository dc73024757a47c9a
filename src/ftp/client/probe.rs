//! The facts that a server reports before a login.

use super::FtpClientOptions;
use super::login::greeted;
use crate::fault::Fault;
use crate::ftp::command::{FtpCommand, Protection};
use crate::ftp::path::FtpUrl;
use crate::ftp::reply::FtpReply;
use crate::net::stream::TlsInfo;

/// The answers of a server without a login. A refusal is an answer, too.
#[derive(Debug)]
pub struct ServerFacts {
    /// Its first reply.
    pub greeting: FtpReply,
    /// Its address; `None` if a proxy hides it.
    pub address: Option<std::net::SocketAddr>,
    /// The parameters that the TLS handshake negotiated.
    pub tls: Option<TlsInfo>,
    /// The reply to FEAT (RFC 2389, section 3).
    pub features: FtpReply,
    /// The reply to SYST.
    pub system: FtpReply,
    /// The reply to PROT P inside TLS (RFC 4217, section 9).
    pub protection: Option<FtpReply>,
}

impl ServerFacts {
    /// Connects, starts TLS according to the options, asks, and quits without a login.
    ///
    /// # Errors
    /// No connection, no TLS although it was requested, or a server without a positive greeting.
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
