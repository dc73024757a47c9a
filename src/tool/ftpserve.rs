//! `ftpserve`: serves a directory by FTP.

mod hook;
mod record;
mod service;
mod system;

use std::net::Ipv4Addr;
use std::num::NonZeroU64;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::{Parser, ValueEnum};
use rustix::fs::Mode;
use rustix::process::umask;

use crate::cli::args::{
    ConfineArgs, ListenArgs, LogArgs, MetricsArgs, OperateArgs, OutputArgs, ServeArgs, appended_files, gauge,
};
use crate::cli::exit::Exit;
use crate::cli::helper::{self, end_with_helper};
use crate::cli::input;
use crate::cli::login_gate::LoginGate;
use crate::cli::output::{FormLog, Output};
use crate::cli::reload::Reloader;
use crate::cli::user_terms::directory_rule;
use crate::cli::users::{User, Users};
use crate::cli::{self, signals, units};
use crate::fault::{Fault, Kind};
use crate::ftp::charset::WireCharset;
use crate::ftp::server::{self, FtpServerOptions};
use crate::ftp::session::{RightRule, Rights, TreeRights};
use crate::ftp::store::{FtpStore, NameRules, UploadLimits, UploadSync};
use crate::net::BoxFuture;
use crate::net::activation::ActivatedSockets;
use crate::net::counters::{CountedConnection, Counter};
use crate::net::listen::Shutdown;
use crate::net::privilege::UnixIdentity;
use crate::net::program::ProgramHelper;
use crate::net::reload::Reloaded;
use crate::net::sandbox::Sandbox;

use hook::UploadHook;
use service::Logins;
use system::{LoginTable, SystemLogins};

/// The largest file of --banner, in bytes.
const MAX_BANNER: u64 = 16 << 10;
/// The most descriptors of one client: control and data connection, listener, file, directory, and the two ends of a pipe.
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
    /// With --user-file or --system-users: let anonymous list and download too
    #[arg(long)]
    anonymous: bool,
    /// Let users of the system log in with their passwords of /etc/shadow, each with their own rights, in their home directory
    #[arg(long)]
    system_users: bool,
    /// Serve PATH to all users of the system instead of their home directories
    #[arg(long, value_name = "PATH", requires = "system_users")]
    system_root: Option<PathBuf>,
    /// Lowest number of a user of the system that may log in, by --system-users or as= in the user file; root never may
    #[arg(long, value_name = "UID", default_value_t = 1000)]
    min_uid: u32,
    /// When TLS starts, with a certificate: on the client's request (AUTH TLS), always (AUTH TLS), or before the first byte
    #[arg(long, value_name = "MODE", default_value = "try")]
    tls: TlsStart,
    /// Log a user in without a password if the client's certificate has the user's name (as CN, mail address or DNS name)
    #[arg(long, requires_all = ["client_ca", "user_file"])]
    cert_login: bool,
    /// Accept passwords without TLS from other hosts
    #[arg(long)]
    auth_in_clear: bool,
    /// Take data connections inside TLS that do not resume the session of their control connection (curl -Z, rclone)
    #[arg(long)]
    no_require_tls_reuse: bool,
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
    /// What is on the disk when an upload is reported as complete; --fsync alone is --fsync=full
    #[arg(long, value_name = "WHAT", num_args = 0..=1, require_equals = true, default_missing_value = "full",
        default_value = "data")]
    fsync: FsyncMode,
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
    /// Charset of names on the wire, until a client sends OPTS UTF8 ON (koi8-r, shift_jis ...); names in DIR are UTF-8
    #[arg(long, value_name = "NAME", value_parser = WireCharset::named)]
    charset: Option<WireCharset>,
    /// Leave names that match GLOB (* and ?) out of listings; may be repeated
    #[arg(long, value_name = "GLOB")]
    hide: Vec<String>,
    /// Refuse every command on names that match GLOB, and links that lead to such names; may be repeated
    #[arg(long, value_name = "GLOB")]
    deny: Vec<String>,
    /// Set the rights in the directory PATH and below: words of the user file, or none; may be repeated, the longest PATH applies
    #[arg(long, value_name = "PATH=RIGHTS", value_parser = rule)]
    rule: Vec<RightRule>,
    /// Run CMD with the path of each file that has arrived as its last argument; no shell reads CMD
    #[arg(long, value_name = "CMD")]
    exec_upload: Option<String>,
    /// Kill the program of --exec-upload after this time
    #[arg(long, value_name = "TIME", value_parser = units::duration, default_value = "5m", requires = "exec_upload")]
    exec_limit: Duration,
    /// Limit each login to RATE bytes per second in each direction; up= and down= of the user file override it
    #[arg(long, value_name = "RATE", value_parser = units::size)]
    rate: Option<u64>,
    /// Run at most N transfers and listings at once; more are refused with 450
    #[arg(long, value_name = "N")]
    max_transfers: Option<u64>,
    /// Permission bits that new files and directories do not get (default: those of the process)
    #[arg(long, value_name = "OCTAL", value_parser = mask)]
    umask: Option<u32>,
    /// Text of the greeting
    #[arg(long, value_name = "TEXT", default_value = "FTP server ready.", conflicts_with = "banner")]
    greeting: String,
    /// A file with the lines of the greeting
    #[arg(long, value_name = "FILE")]
    banner: Option<PathBuf>,
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

/// What an upload waits for before it is reported as complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FsyncMode {
    /// Nothing: the system writes the file when it sees fit.
    None,
    /// The bytes, before the file gets its name.
    Data,
    /// The bytes and the name.
    Full,
}

crate::cli::tool!("ftpserve", Args, guide crate::tool::guides::FTPSERVE, activated run);

fn run(args: Args, out: &Output, activated: ActivatedSockets) -> anyhow::Result<Exit> {
    if let Some(kind) = args.serve.hash_password {
        return cli::args::print_password_hash(kind, out);
    }
    let operate = args.operate.clone();
    operate.verdict(out, serve(args, out, activated))
}

fn serve(args: Args, out: &Output, activated: ActivatedSockets) -> anyhow::Result<Exit> {
    signals::hold_habits()?;
    let limits = UploadLimits {
        max_file: args.max_file_size.unwrap_or(u64::MAX),
        min_free: args.min_free,
        sync: match args.fsync {
            FsyncMode::None => UploadSync::Nothing,
            FsyncMode::Data => UploadSync::Data,
            FsyncMode::Full => UploadSync::Name,
        },
        append: args.append,
    };
    let rights = match (args.write, args.upload_only, args.drop_box) {
        (true, ..) => Rights::ALL,
        (_, true, _) => Rights::UPLOAD_ONLY,
        (_, _, true) => Rights::DROP_BOX,
        _ => Rights::READ_ONLY,
    };
    let dir = args.dir.clone().unwrap_or_else(|| ".".into());
    let names = NameRules { hide: args.hide.clone(), deny: args.deny.clone() };
    let store = FtpStore::open(&dir, rights, limits)?.with_names(names);
    let users = args.serve.users(out)?;
    let umask = set_umask(args.umask);
    let system = start_helper(&args, out, &store, users.as_ref(), &dir)?;
    let users = users.map(Reloaded::new);
    let named = users.is_some() || args.system_users;
    if args.anonymous && !named {
        return Err(Fault::new(Kind::Usage, "--anonymous needs --user-file or --system-users").into());
    }
    let tls = args.serve.tls(out, &["ftp", "ftp-data"])?;
    // A client that must present a certificate does so before any other command.
    let start = match (args.tls, &args.serve.client_ca) {
        (TlsStart::Try, Some(_)) => TlsStart::Starttls,
        (start, _) => start,
    };
    if tls.is_none() && start != TlsStart::Try {
        return Err(Fault::new(Kind::Usage, "--tls needs --cert or --self-signed").into());
    }
    let greeting = greeting(&args)?;
    let anonymous = !named || args.anonymous;
    let program = args.exec_upload.as_deref().map(|text| hook::command(text, args.exec_limit)).transpose()?;
    if program.as_ref().is_some_and(|program| hook::is_below(program, &dir)) {
        out.warn("--exec-upload: the program lies in the served directory, where clients may replace it");
    }
    tell_of_missing(out, &dir, &args.rule, users.as_ref().map(Reloaded::now).as_deref(), anonymous);
    if args.operate.check_config {
        args.confine.successor(std::slice::from_ref(&dir))?;
        args.listen.admission(out, MAX_CLIENT_DESCRIPTORS, false);
        return args.operate.healthy(out, &args.listen, tls.as_ref());
    }
    let listeners = args.listen.bind("127.0.0.1:2121", activated)?;
    let metrics = args.operate.metrics.bind(out)?;
    let addresses = listeners.addresses();
    if named && tls.is_none() && !args.auth_in_clear && !addresses.iter().all(|address| address.ip().is_loopback()) {
        let fault = Fault::new(Kind::Usage, "named users need --cert or --self-signed: passwords go inside TLS")
            .with_hint("--auth-in-clear accepts them unencrypted");
        return Err(fault.into());
    }
    let reloader = Reloader::of(out, &args.serve, tls.as_ref(), users.as_ref());
    // Read here: the sandbox may hide /proc.
    let defaults = FtpServerOptions::default();
    let options = FtpServerOptions {
        greeting,
        tls: tls.clone(),
        tls_required: start != TlsStart::Try,
        clear_passwords: args.auth_in_clear,
        tls_reuse_required: !args.no_require_tls_reuse,
        tls_end_lenient: args.lenient_tls_end,
        active: !args.no_active,
        passive_ports: args.pasv_ports.clone().unwrap_or_else(|| defaults.passive_ports.clone()),
        passive_address: args.pasv_address,
        idle: args.idle,
        data_limits: args.serve.limits(args.timeout),
        locate: args.xferlog.is_some(),
        keep_partial: args.keep_partial,
        umask,
        certificates: args.cert_login,
        charset: args.charset,
        max_transfers: args.max_transfers.unwrap_or(u64::MAX),
        trace: out.verbose().then(|| out.trace()),
        ..defaults
    };
    let scheme = match start {
        TlsStart::Try => "ftp",
        TlsStart::Starttls => "ftpes",
        TlsStart::Implicit => "ftps",
    };
    let xferlog = args.xferlog.as_deref().map(|path| FormLog::open("transfer log", path)).transpose()?;
    let gate = LoginGate::default();
    let mut appended = appended_files(&args.output, &args.log);
    appended.extend(args.xferlog.as_deref());
    let urls = args.listen.write_addresses(scheme, addresses)?;
    args.confine.give_up_root(out, (&appended, &reloader), std::slice::from_ref(&dir))?;
    // With the rights of the user who serves, and outside of the sandbox.
    let hook = program.map(ProgramHelper::start).transpose()?.map(|helper| UploadHook::new(helper, out));
    let service = Arc::new(Logins {
        store,
        rules: args.rule.clone(),
        users,
        system: system.clone(),
        gate,
        anonymous,
        xferlog,
        rate: args.rate.and_then(NonZeroU64::new),
        shares: Mutex::default(),
        hook: hook.clone(),
        out: out.clone(),
    });
    if let Some(users) = &service.users {
        tell_of_owners(out, &dir, &users.now());
    }
    let mut sandbox = Sandbox::default();
    match TreeRights::new(rights, args.rule).changes() || service.users.is_some() {
        true => sandbox.write(&dir),
        false => sandbox.read(&dir),
    }
    if let Some(users) = &service.users {
        // A root that the file names later is reached after a restart only.
        let now = users.now();
        let own = now.all().filter(|user| user.account.system_user.is_none());
        own.filter_map(|user| user.account.root.as_deref()).for_each(|root| sandbox.write(root));
    }
    args.confine.enclose(out, (&appended, &reloader), sandbox)?;
    cli::block_on_threads_and_files(async {
        let admission = args.listen.admission(out, MAX_CLIENT_DESCRIPTORS, false);
        let shutdown = Shutdown::on_signals(args.listen.drain)?;
        signals::outlive_habits(out, Some(Arc::new(reloader)), args.operate.reload_every)?;
        let programs = hook.clone();
        signals::tell_of_drain(out, &shutdown, Some(args.listen.drain), move || {
            let programs = programs.as_ref().map_or(0, |hook| hook.open());
            vec![(transfers_open(), "transfer"), (CountedConnection::open(), "connection"), (programs, "program")]
        });
        hook.as_ref().map_or(Ok(()), UploadHook::begin)?;
        urls.announce(out)?;
        let helper = system.map(|system| system.helper().clone());
        if let Some(helper) = helper.clone() {
            let why = "no user of the system can log in";
            end_with_helper(helper, why, out, shutdown.clone(), args.listen.drain);
        }
        let open = || -> BoxFuture<'static, _> {
            let transfers = transfers_open().cast_signed();
            Box::pin(async move { vec![gauge("transfers_open", "Transfers and listings that run", transfers)] })
        };
        MetricsArgs::serve(out, metrics, tls, Box::new(open))?;
        let listeners = vec![(listeners, start == TlsStart::Implicit)];
        server::serve(listeners, &admission, &shutdown, options, service).await?;
        if let Some(hook) = hook {
            tokio::select! {
                () = hook.drained() => {}
                () = shutdown.ended() => hook.abandon(),
            }
        }
        helper::verdict(helper.as_ref())?;
        Ok(Exit::OK)
    })
}

/// Starts the helper for logins as users of the system, if any can log in. `None` for `--check-config`, too.
fn start_helper(
    args: &Args,
    out: &Output,
    store: &FtpStore,
    users: Option<&Users>,
    dir: &Path,
) -> Result<Option<Arc<SystemLogins>>, Fault> {
    if !args.system_users && users.is_none_or(|users| users.of_the_system().next().is_none()) {
        return Ok(None);
    }
    let table = LoginTable {
        store: store.clone(),
        rules: args.rule.clone(),
        user_file: args.serve.user_file.clone(),
        system: args.system_users,
        min_uid: args.min_uid,
        system_root: args.system_root.clone(),
        sandboxed: !args.confine.no_sandbox,
    };
    let server = table.check(users, &args.confine, dir)?;
    if args.operate.check_config {
        return Ok(None);
    }
    let logins = table.start(&server, args.listen.max_clients)?;
    out.note("users of the system: a helper process checks their passwords, and starts a process for each session");
    Ok(Some(Arc::new(logins)))
}

/// The server accesses all homes with its own rights. Warns about each home in the user file that belongs to another user.
fn tell_of_owners(out: &Output, dir: &Path, users: &Users) {
    let server = rustix::process::geteuid();
    let own = |user: &&User| !server.is_root() && user.account.system_user.is_none();
    let mut named: Vec<_> = users.all().filter(own).collect();
    named.sort_unstable_by_key(|user| user.name.as_str());
    for user in named {
        let User { name, home, account } = user;
        let (top, home) = (account.root.as_deref().unwrap_or(dir), home.as_deref().unwrap_or_default());
        if account.root.is_none() && home.is_empty() {
            continue;
        }
        let Ok(owner) = UnixIdentity::owner_of(&tree_of(dir, user)) else { continue };
        if !owner.is_root() && !owner.is_user(server) {
            let uid = server.as_raw();
            let home = if home.is_empty() { top.display().to_string() } else { home.to_owned() };
            out.warn(&format!("{name}: home {home} belongs to {owner}; it is served with the rights of user {uid}"));
        }
    }
}

/// Warns about each rule for a directory that is not in the tree, or in none of the users' trees.
fn tell_of_missing(out: &Output, dir: &Path, rules: &[RightRule], users: Option<&Users>, anonymous: bool) {
    let users: Vec<&User> = users.iter().flat_map(|users| users.all()).collect();
    let mut trees: Vec<_> = users.iter().map(|user| tree_of(dir, user)).collect();
    trees.extend(anonymous.then(|| dir.to_owned()));
    let is_missing = |tree: &PathBuf, path: &String| {
        tree.join(path).metadata().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
    };
    for path in rules.iter().filter_map(RightRule::path) {
        if trees.iter().all(|tree| is_missing(tree, &path)) {
            out.warn(&format!("--rule /{path}: no such directory"));
        }
    }
    for (user, tree) in users.iter().zip(&trees) {
        for path in user.account.rules.iter().filter_map(RightRule::path).filter(|path| is_missing(tree, path)) {
            out.warn(&format!("{}: dir=/{path}: no such directory", user.name));
        }
    }
}

/// The directory that a user sees as the root.
fn tree_of(dir: &Path, user: &User) -> PathBuf {
    let (top, home) = (user.account.root.as_deref().unwrap_or(dir), user.home.as_deref().unwrap_or_default());
    top.join(home.trim_start_matches('/'))
}

fn transfers_open() -> u64 {
    Counter::TransfersBegun.now().saturating_sub(Counter::TransfersEnded.now())
}

/// The lines of the greeting.
fn greeting(args: &Args) -> Result<String, Fault> {
    let refuse = |what: &str| Err(Fault::new(Kind::Usage, format!("{what} is text without control characters")));
    match &args.banner {
        None if args.greeting.chars().any(char::is_control) => refuse("--greeting"),
        None => Ok(args.greeting.clone()),
        Some(file) => {
            let text = String::from_utf8(input::read(file, MAX_BANNER)?).unwrap_or_default();
            let text = text.trim_end().replace("\r\n", "\n");
            match text.is_empty() || text.chars().any(|letter| letter.is_control() && letter != '\n') {
                true => refuse("--banner"),
                false => Ok(text),
            }
        }
    }
}

/// The umask for new files, which SITE UMASK also shows. Sets it if the command line names one.
fn set_umask(named: Option<u32>) -> u32 {
    let before = umask(Mode::from_raw_mode(named.unwrap_or(0o077)));
    named.unwrap_or_else(|| {
        umask(before);
        before.as_raw_mode()
    })
}

fn rule(text: &str) -> Result<RightRule, String> {
    directory_rule(text, '=')
}

fn mask(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        // The owner must be able to open what was uploaded.
        Ok(mask) if mask & !0o077 == 0 && text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(mask),
        _ => Err("a mask is octal, from 000 to 077".to_owned()),
    }
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
