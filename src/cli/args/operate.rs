//! Arguments about the operation of what runs for long: its log, its counters, what it reads again.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::cli::exit::Exit;
use crate::cli::output::{self, Output, OutputRecord, TextLine};
use crate::cli::{units, words};
use crate::fault::{Fault, Kind};
use crate::net::BoxFuture;
use crate::net::counters::{self, CountedConnection, Gauge};
use crate::net::tls::ServerTls;
use crate::net::{listen, metrics};

use super::ListenArgs;
use super::serve::Listening;

/// Where the log goes.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Operation")]
pub struct LogArgs {
    /// Append the log, one line of text per event, to FILE (created with mode 0600, not through a link); HUP reopens it
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// Send the log to the local syslog daemon as daemon, mail, ftp, auth, local0 …; FACILITY,rfc5424: in the format of RFC 5424
    #[arg(long, value_name = "FACILITY", num_args = 0..=1, require_equals = true, default_missing_value = "daemon",
        value_parser = words::listed(output::FACILITIES.map(|(name, _)| name), output::SyslogTarget::parse), hide_possible_values = true)]
    pub syslog: Option<output::SyslogTarget>,
}

/// Who may read the counters.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Operation")]
pub struct MetricsArgs {
    /// Serve the counters in Prometheus' text format at http://ADDR/metrics; a port alone is one of 127.0.0.1
    #[arg(long, value_name = "ADDR")]
    pub metrics: Option<String>,
}

/// How a server is run.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Operation")]
pub struct OperateArgs {
    /// Who may read the counters.
    #[command(flatten)]
    pub metrics: MetricsArgs,
    /// Check for changed certificate files at this interval; 0: read them again only on HUP
    #[arg(long, value_name = "TIME", value_parser = units::duration, default_value = "1h")]
    pub reload_every: Duration,
    /// Check the options and files without starting, and exit: 0 if they are valid, else 78
    #[arg(long)]
    pub check_config: bool,
}

/// What is counted at the moment when somebody asks.
pub type Gauges = Box<dyn Fn() -> BoxFuture<'static, Vec<Gauge>> + Send + Sync>;

impl OperateArgs {
    /// The end of `--check-config` where all is well, before anything is bound.
    ///
    /// # Errors
    ///
    /// The fault of an address; that of the output.
    pub fn healthy(&self, out: &Output, listen: &ListenArgs, tls: Option<&ServerTls>) -> anyhow::Result<Exit> {
        for address in &listen.listen {
            listen::parse_listen(address)?;
        }
        self.metrics.metrics.as_deref().map(metrics::parse_address).transpose()?;
        let expires = tls.and_then(ServerTls::not_after).and_then(|end| jiff::Timestamp::from_second(end).ok());
        out.emit(&HealthRecord { ok: true, certificate_expires_at: expires.map(|end| end.to_string()) })?;
        Ok(Exit::OK)
    }

    /// The end of a run: what is wrong with a configuration is 78, whatever it is elsewhere.
    ///
    /// # Errors
    ///
    /// Those of the run.
    pub fn verdict(&self, out: &Output, ended: anyhow::Result<Exit>) -> anyhow::Result<Exit> {
        if !self.check_config {
            return ended;
        }
        let wrong = match &ended {
            Ok(exit) => *exit != Exit::OK,
            Err(error) => error.downcast_ref::<Fault>().is_none_or(|fault| fault.kind != Kind::Usage),
        };
        if !wrong {
            return ended;
        }
        if let Err(error) = &ended {
            out.fail(error);
        }
        out.emit(&HealthRecord { ok: false, certificate_expires_at: None })?;
        Ok(Exit::from(Kind::Config))
    }
}

impl MetricsArgs {
    /// Binds the address of the counters and says which it is.
    ///
    /// # Errors
    ///
    /// The fault of the address.
    pub fn bind(&self, out: &Output) -> Result<Option<std::net::TcpListener>, Fault> {
        let Some(text) = &self.metrics else { return Ok(None) };
        let address = metrics::parse_address(text)?;
        if !address.ip().is_loopback() {
            out.warn(&format!("--metrics {address}: anyone who can reach this address can read the counters"));
        }
        metrics::bind(address).map(Some)
    }

    /// Serves the counters from now on, with these numbers beside them. Needs a running tokio runtime.
    ///
    /// # Errors
    ///
    /// Those of the output.
    pub fn serve(
        out: &Output,
        listener: Option<std::net::TcpListener>,
        tls: Option<ServerTls>,
        gauges: Gauges,
    ) -> Result<(), Fault> {
        let Some(listener) = listener else { return Ok(()) };
        if let Ok(address) = listener.local_addr() {
            out.emit(&Listening::of(&format!("http://{address}/metrics"), address))?;
        }
        let (tool, out) = (out.tool(), out.clone());
        let started = crate::net::clock::unix_seconds();
        let text = move || {
            let (asked, expires) = (gauges(), tls.as_ref().and_then(ServerTls::not_after));
            async move {
                let mut gauges = vec![
                    gauge("connections_open", "Connections that are open", CountedConnection::open().cast_signed()),
                    gauge("start_time_seconds", "When the server started, in seconds since 1970", started),
                ];
                let help = "The end of the certificate's validity, in seconds since 1970";
                gauges.extend(expires.map(|end| gauge("certificate_not_after_seconds", help, end)));
                gauges.extend(asked.await);
                counters::exposition(tool, &gauges)
            }
        };
        tokio::spawn(async move {
            if let Err(fault) = metrics::serve(listener, text).await {
                out.error("", &fault);
            }
        });
        Ok(())
    }
}

/// A gauge without labels.
pub fn gauge(name: &'static str, help: &'static str, value: i64) -> Gauge {
    Gauge { name, labels: String::new(), help, value }
}

/// What `--check-config` found.
#[derive(Debug, Serialize)]
struct HealthRecord {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate_expires_at: Option<String>,
}

impl OutputRecord for HealthRecord {
    const TYPE: &'static str = "health";
    const BARE: bool = true;

    fn text(&self, line: &mut TextLine) {
        line.field(if self.ok { "configuration is good" } else { "configuration is not good" });
        if let Some(end) = &self.certificate_expires_at {
            line.field(format!("certificate expires {end}"));
        }
    }
}
