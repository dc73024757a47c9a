//! `ftpserve`: serve a directory by FTP.

mod record;
mod service;

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::cli::args::{ConfineArgs, ListenArgs, LogArgs, OperateArgs, OutputArgs, ServeArgs, appended_files, gauge};
use crate::cli::exit::Exit;
use crate::cli::login_gate::LoginGate;
use crate::cli::output::{FormLog, Output};
use crate::cli::reload::Reloader;
use crate::cli::{self, signals, units};
use crate::fault::{Fault, Kind};
use crate::ftp::server::{self, FtpServerOptions};
use crate::ftp::session::Rights;
use crate::ftp::store::{FtpStore, UploadLimits};
use crate::net::BoxFuture;
use crate::net::activation::ActivatedSockets;
use crate::net::counters::{CountedConnection, Counter};
use crate::net::listen::Shutdown;
use crate::net::reload::Reloaded;
use crate::net::sandbox::Sandbox;

use service::Logins;

/// What one client may hold: control and data connection, listener, file, directory, and the pipe between two of them.
const MAX_CLIENT_DESCRIPTORS: u64 = 7;

/// Serve a directory by FTP
///
/// The default: on loopback, for anonymous, list and download only. Nothing outside DIR is reachable.
#[derive(Debug, Parser)]
#[command(name = "ftpserve", version)]
pub struct Args {
    /// Directory to serve
    #[arg(value_name = "DIR", required_unless_present = "hash_password")]
    dir: Option<PathBuf>,
    /// Let clients upload, delete, rename and make directories
    #[arg(long)]
    write: bool,
    /// As --write, without downloads
    #[arg(long, conflicts_with = "write")]
    upload_only: bool,
    /// Accept new files only; nothing is listed, downloaded or overwritten
    #[arg(long, conflicts_with_all = ["write", "upload_only"])]
    drop_box: bool,
    /// With --user-file: let anonymous list and download too
    #[arg(long, requires = "user_file")]
    anonymous: bool,
    /// When TLS starts, with a certificate: on the client's request (AUTH TLS), always (AUTH TLS), or before the first byte
    #[arg(long, value_name = "MODE", default_value = "try")]
    tls: TlsStart,
    /// Accept passwords without TLS from other hosts
    #[arg(long)]
    auth_in_clear: bool,
    /// A data connection inside TLS must resume the session of its control connection
    #[arg(long)]
    require_tls_reuse: bool,
    /// Accept an upload that ends without a TLS close notice as complete
    #[arg(long)]
    lenient_tls_end: bool,
    /// Ports for passive data connections
    #[arg(long, value_name = "FIRST-LAST", value_parser = port_range)]
    pasv_ports: Option<RangeInclusive<u16>>,
    /// Address in replies to PASV (behind NAT)
    #[arg(long, value_name = "ADDR")]
    pasv_address: Option<Ipv4Addr>,
    /// Refuse active mode (PORT, EPRT)
    #[arg(long)]
    no_active: bool,
    /// Largest file that may be uploaded
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    max_file_size: Option<u64>,
    /// Refuse uploads when the file system has less free space than this
    #[arg(long, value_name = "SIZE", value_parser = units::size, default_value = "0")]
    min_free: u64,
    /// Report an upload as complete only when it is on the disk
    #[arg(long)]
    fsync: bool,
    /// Keep the received part of an interrupted upload, if its name was free
    #[arg(long)]
    keep_partial: bool,
    /// Let APPE, and REST with STOR, write into any file; the default is only into an interrupted upload of the same user
    #[arg(long)]
    append: bool,
    /// End connections that are silent for this time
    #[arg(long, value_name = "TIME", value_parser = units::duration, default_value = "5m")]
    idle: Duration,
    /// End transfers that stall for this time
    #[arg(long, value_name = "TIME", value_parser = units::duration, default_value = "60")]
    timeout: Duration,
    /// Append a line per transfer of a file to FILE, in the form of wu-ftpd's xferlog(5)
    #[arg(long, value_name = "FILE")]
    xferlog: Option<PathBuf>,
    /// Text of the greeting
    #[arg(long, value_name = "TEXT", default_value = "FTP server ready.")]
    greeting: String,
    #[command(flatten)]
    listen: ListenArgs,
    #[command(flatten)]
    serve: ServeArgs,
    #[command(flatten)]
    log: LogArgs,
    #[command(flatten)]
    operate: OperateArgs,
    #[command(flatten)]
    confine: ConfineArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// When TLS starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TlsStart {
    /// On the client's request.
    Try,
    /// By AUTH TLS, before any other command.
    Starttls,
    /// Before the first byte.
    Implicit,
}

crate::cli::tool!("ftpserve", Args, guide crate::tool::guides::FTPSERVE, activated run);

fn run(args: Args, out: &Output, activated: ActivatedSockets) -> anyhow::Result<Exit> {
    if args.serve.hash_password {
        return cli::args::print_password_hash(out);
    }
    let operate = args.operate.clone();
    operate.verdict(out, serve(args, out, activated))
}

fn serve(args: Args, out: &Output, activated: ActivatedSockets) -> anyhow::Result<Exit> {
    signals::hold_habits()?;
    let limits = UploadLimits {
        max_file: args.max_file_size.unwrap_or(u64::MAX),
        min_free: args.min_free,
        sync: args.fsync,
        append: args.append,
    };
    let rights = match (args.write, args.upload_only, args.drop_box) {
        (true, ..) => Rights::ALL,
        (_, true, _) => Rights::UPLOAD_ONLY,
        (_, _, true) => Rights::DROP_BOX,
        _ => Rights::READ_ONLY,
    };
    let dir = args.dir.clone().unwrap_or_else(|| ".".into());
    let store = FtpStore::open(&dir, rights, limits)?;
    let users = args.serve.users(out)?.map(Reloaded::new);
    let tls = args.serve.tls(out, &["ftp", "ftp-data"])?;
    // Who is to show a certificate shows it first.
    let start = match (args.tls, &args.serve.client_ca) {
        (TlsStart::Try, Some(_)) => TlsStart::Starttls,
        (start, _) => start,
    };
    if tls.is_none() && start != TlsStart::Try {
        return Err(Fault::new(Kind::Usage, "--tls needs --cert or --self-signed").into());
    }
    let greeting = args.greeting.clone();
    if greeting.chars().any(char::is_control) {
        return Err(Fault::new(Kind::Usage, "--greeting is one line of text").into());
    }
    if args.operate.check_config {
        return args.operate.healthy(out, &args.listen, tls.as_ref());
    }
    let listeners = args.listen.bind("127.0.0.1:2121", activated)?;
    let metrics = args.operate.bind_metrics(out)?;
    let addresses = listeners.addresses();
    if users.is_some()
        && tls.is_none()
        && !args.auth_in_clear
        && !addresses.iter().all(|address| address.ip().is_loopback())
    {
        let fault = Fault::new(Kind::Usage, "--user-file needs --cert or --self-signed: passwords go inside TLS")
            .with_hint("--auth-in-clear accepts them unencrypted");
        return Err(fault.into());
    }
    let mut reloader = Reloader::new(out);
    reloader.add_tls(tls.as_ref(), &args.serve);
    reloader.add_users(users.as_ref(), &args.serve);
    let options = FtpServerOptions {
        greeting,
        tls: tls.clone(),
        tls_required: start != TlsStart::Try,
        clear_passwords: args.auth_in_clear,
        tls_reuse_required: args.require_tls_reuse,
        tls_end_lenient: args.lenient_tls_end,
        active: !args.no_active,
        passive_ports: args.pasv_ports.clone(),
        passive_address: args.pasv_address,
        idle: args.idle,
        data_limits: args.serve.limits(args.timeout),
        locate: args.xferlog.is_some(),
        keep_partial: args.keep_partial,
        trace: out.verbose().then(|| out.trace()),
        ..FtpServerOptions::default()
    };
    let scheme = match start {
        TlsStart::Try => "ftp",
        TlsStart::Starttls => "ftpes",
        TlsStart::Implicit => "ftps",
    };
    let anonymous = users.is_none() || args.anonymous;
    let xferlog = args.xferlog.as_deref().map(|path| FormLog::open("transfer log", path)).transpose()?;
    let gate = LoginGate::default();
    let service = Arc::new(Logins { store, users, gate, anonymous, xferlog, out: out.clone() });
    let mut appended = appended_files(&args.output, &args.log);
    appended.extend(args.xferlog.as_deref());
    args.confine.give_up_root(out, &appended, std::slice::from_ref(&dir))?;
    let mut sandbox = Sandbox::default();
    match rights == Rights::READ_ONLY && service.users.is_none() {
        true => sandbox.read(&dir),
        false => sandbox.write(&dir),
    }
    args.listen.name_files(&mut sandbox);
    args.serve.name_files(&mut sandbox);
    args.confine.enclose(out, &appended, sandbox)?;
    cli::block_on_threads(async {
        let admission = args.listen.admission(out, MAX_CLIENT_DESCRIPTORS, false);
        let shutdown = Shutdown::on_signals(args.listen.drain)?;
        signals::outlive_habits(out, Some(Arc::new(reloader)), args.operate.reload_every)?;
        signals::tell_of_drain(out, &shutdown, args.listen.drain, || {
            vec![(transfers_open(), "transfer"), (CountedConnection::open(), "connection")]
        });
        args.listen.announce(out, scheme, &addresses)?;
        let open = || -> BoxFuture<'static, _> {
            let transfers = transfers_open().cast_signed();
            Box::pin(async move { vec![gauge("transfers_open", "Transfers and listings that run", transfers)] })
        };
        OperateArgs::serve_metrics(out, metrics, tls, Box::new(open))?;
        let listeners = vec![(listeners, start == TlsStart::Implicit)];
        server::serve(listeners, &admission, &shutdown, options, service).await?;
        Ok(Exit::OK)
    })
}

fn transfers_open() -> u64 {
    Counter::TransfersBegun.now().saturating_sub(Counter::TransfersEnded.now())
}

fn port_range(text: &str) -> Result<RangeInclusive<u16>, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let port = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port >= 1024);
    match (port(first), port(last)) {
        (Some(first), Some(last)) if first <= last => Ok(first..=last),
        _ => Err("a range is FIRST-LAST, from 1024 to 65535".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        assert_eq!(port_range("40000-40010"), Ok(40000..=40010));
        assert_eq!(port_range("40000"), Ok(40000..=40000));
        for bad in ["", "1-", "80-90", "40010-40000", "40000-65536", "a-b"] {
            assert!(port_range(bad).is_err(), "{bad}");
        }
    }
}
