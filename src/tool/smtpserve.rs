//! `smtpserve`: receives mail into Maildirs, and relays mail from authorized clients through the durable queue.

mod agent;
mod capture;
mod copies;
mod delivery;
pub mod fail;
mod mailbox;
mod names;
mod notice;
mod owners;
mod plan;
mod quotas;
mod recipients;
mod record;
mod roles;
mod room;
mod service;
mod strangers;
mod submission;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::cli::args::{
    ConfineArgs, ListenArgs, LogArgs, MetricsArgs, OperateArgs, OutputArgs, QueueArgs, ServeArgs, appended_files,
};
use crate::cli::exit::Exit;
use crate::cli::helper::{self, end_with_helper};
use crate::cli::login_gate::LoginGate;
use crate::cli::output::Output;
use crate::cli::reload::Reloader;
use crate::cli::{self, signals, units};
use crate::fault::{Fault, Kind};
use crate::mail::maildir::owners::MailboxTable;
use crate::net::activation::ActivatedSockets;
use crate::net::admission::{AdmissionRefusal, ClientPlace};
use crate::net::cidr::Network;
use crate::net::counters::CountedConnection;
use crate::net::helper::Helper;
use crate::net::listen::{Listeners, Shutdown};
use crate::net::proxied;
use crate::net::reload::Reloaded;
use crate::net::sandbox::Sandbox;
use crate::net::stream::Stream;
use crate::net::tls::ServerTls;
use crate::queue::queue_dir;
use crate::queue::sqlite::Process;
use crate::queue::store::QueueStore;
use crate::smtp::address;
use crate::smtp::command::CommandSyntax;
use crate::smtp::data::BareLf;
use crate::smtp::role::ServerRole;
use crate::smtp::server::{self, SmtpServerOptions, SmtpServerTls, SmtpService};
use crate::smtp::session::Config;
use crate::tool::queue_open;

use mailbox::Mailboxes;
use recipients::RecipientArgs;
use record::EndingMailSession;
use roles::{RoleArgs, RoleNeeds};
use room::DiskRoom;
use service::{MailReceiver, ReceivePolicy};

/// The most descriptors of one client: the connection, the message, and the mailbox to which it is written.
const MAX_CLIENT_DESCRIPTORS: u64 = 3;

const LISTEN_HELP: &str = "Listen on ADDRESS:PORT (port 0: any free one), on PORT of 127.0.0.1, or on a UNIX socket, /PATH; may be \
    repeated";

const LISTEN_LONG_HELP: &str = "Listen on ADDRESS:PORT (port 0: any free one), on PORT of 127.0.0.1, or on a UNIX socket, /PATH; may be \
    repeated\n\n[::]:PORT is every interface. [::] accepts IPv4 too, unless an IPv4 address with the same port is also named.\n\nROLE \
    is smtp (mail for --domain from everyone, relays for --relay-from and users), mx (mail for --domain from everyone, no logins, no \
    relaying), submission (users only, STARTTLS), submissions (users only, TLS from the first byte) or lmtp. An address without \
    ROLE has that of --submission or --lmtp, else smtp; a UNIX socket is for LMTP.";

/// Receive mail by SMTP or LMTP
///
/// Mail for each --domain goes into Maildirs below --mailboxes. Mail for other domains goes into the outgoing queue, but
/// only from clients in --relay-from networks and from users who logged in (--user-file).
#[derive(Debug, Parser)]
#[command(name = "smtpserve", version)]
#[command(mut_arg("listen", |arg| arg.value_name("ADDR[=ROLE]").help(LISTEN_HELP).long_help(LISTEN_LONG_HELP)))]
pub struct Args {
    /// Accept mail for this domain; may be repeated
    #[arg(long, value_name = "DOMAIN")]
    domain: Vec<String>,
    /// Directory of the mailboxes: DIR/USER or DIR/DOMAIN/USER, each a Maildir; only existing ones get mail
    #[arg(long, value_name = "DIR")]
    mailboxes: Option<PathBuf>,
    /// Create missing mailboxes
    #[arg(long, requires = "mailboxes")]
    create: bool,
    /// Relay for clients of this network, ADDRESS or ADDRESS/BITS; may be repeated
    #[arg(long, value_name = "NET")]
    relay_from: Vec<Network>,
    /// Host name in the greeting (default: the first domain, else the name of this host)
    #[arg(long, value_name = "NAME")]
    hostname: Option<String>,
    #[command(flatten)]
    roles: RoleArgs,
    /// When TLS starts: by STARTTLS on the client's request, by STARTTLS before any other command, or before the first byte
    #[arg(long, value_name = "MODE", default_value = "starttls")]
    tls: SmtpTlsStart,
    /// Accept passwords without TLS
    #[arg(long)]
    auth_in_clear: bool,
    /// Largest accepted message
    #[arg(long, value_name = "SIZE", value_parser = units::size, default_value = "64M")]
    max_size: u64,
    /// Answer 452 to MAIL, and break off a message, when the file system of mailboxes or queue has less free space than this
    #[arg(long, value_name = "SIZE", value_parser = units::size, default_value = "16M")]
    min_free: u64,
    /// Most recipients of one message
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    max_recipients: u32,
    /// Refuse a message that passed through N servers: mail loop
    #[arg(long, value_name = "N", default_value_t = 100)]
    max_hops: usize,
    /// Refuse commands that violate RFC 5321: addresses without <>, with comments or misplaced dots, bad names in EHLO
    #[arg(long)]
    strict_syntax: bool,
    /// Treatment of a line that ends with LF alone
    #[arg(long, value_name = "WHAT", default_value = "reject")]
    newlines: LoneLf,
    /// Time to wait for a silent client
    #[arg(long, value_name = "TIME", value_parser = units::duration, default_value = "5m")]
    timeout: Duration,
    #[command(flatten)]
    recipients: RecipientArgs,
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
    queue: QueueArgs,
    #[command(flatten)]
    strangers: strangers::StrangerArgs,
    #[command(flatten)]
    capture: capture::CaptureArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// When TLS starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SmtpTlsStart {
    /// By STARTTLS, on the client's request.
    Starttls,
    /// By STARTTLS, before any other command.
    Required,
    /// Before the first byte.
    Implicit,
}

/// What becomes of a line that ends with LF alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LoneLf {
    /// The message is refused and the connection ends.
    Reject,
    /// It is taken as CRLF, except at the end of a message.
    Normalize,
}

impl From<LoneLf> for BareLf {
    fn from(lone: LoneLf) -> BareLf {
        match lone {
            LoneLf::Reject => BareLf::Reject,
            LoneLf::Normalize => BareLf::Normalize,
        }
    }
}

crate::cli::tool!("smtpserve", Args, guide crate::tool::guides::SMTPSERVE, activated run);

fn run(args: Args, out: &Output, activated: ActivatedSockets) -> anyhow::Result<Exit> {
    if let Some(kind) = args.serve.hash_password {
        return cli::args::print_password_hash(kind, out);
    }
    let operate = args.operate.clone();
    operate.verdict(
        out,
        match args.capture.target() {
            Some(target) => capture::run(args, target, out, activated),
            None => prepare(args, out, activated),
        },
    )
}

fn prepare(args: Args, out: &Output, activated: ActivatedSockets) -> anyhow::Result<Exit> {
    signals::hold_habits()?;
    let tables = args.recipients.load(&args.domain)?;
    let domains = tables.domains.clone();
    let hostname = match args.hostname.clone().or_else(|| domains.first().cloned()) {
        Some(name) => local_domain(&name)?,
        None => host_name(),
    };
    let relays = args.serve.user_file.is_some() || !args.relay_from.is_empty();
    let queues = relays || args.recipients.needs_queue();
    let queue_dir = queues.then(|| queue_dir::find(args.queue.queue_dir.as_deref())).transpose()?;
    let place = args.mailboxes.as_ref().or(queue_dir.as_ref()).map_or(&[][..], std::slice::from_ref);
    let agent = match args.operate.check_config {
        true => None,
        false => args.recipients.agent(&args.confine, place, &args.domain, out)?.map(Arc::new),
    };
    let mailbox_place = args.mailboxes.as_deref();
    let table = mailbox_place.and_then(|directory| owners::table(&args.confine, directory, &domains, args.create));
    table.as_ref().map(MailboxTable::check).transpose()?;
    let table = table.filter(|_| !args.operate.check_config);
    let owners = table.map(|table| owners::start(table, &args.confine, out)).transpose()?;
    let users = args.serve.users(out)?.map(Reloaded::new);
    let tls = args.serve.tls(out, &["smtp", "esmtp", "lmtp"])?;
    let plan = args.roles.plan(&args.listen, args.tls)?;
    plan.check(&RoleNeeds {
        users: users.is_some(),
        tls: tls.is_some(),
        client_ca: args.serve.client_ca.is_some(),
        relay_from: !args.relay_from.is_empty(),
        domains: !domains.is_empty(),
    })?;
    check_tls(args.tls, tls.as_ref())?;
    if users.is_some() && tls.is_none() && !args.auth_in_clear {
        return Err(Fault::new(Kind::Usage, "--user-file needs --cert or --self-signed: passwords go inside TLS")
            .with_hint("--auth-in-clear accepts them unencrypted")
            .into());
    }
    if let Some(users) = users.as_ref().filter(|_| plan.any(ServerRole::is_submission)) {
        args.roles.look_at_users(out, &users.now(), &domains);
    }
    if !domains.is_empty() && args.mailboxes.is_none() && !args.recipients.is_destination() && !tables.has_routes() {
        let why = "mail for --domain has no destination: no --mailboxes, no --aliases, no --exec, no --route";
        return Err(Fault::new(Kind::Usage, why).into());
    }
    if domains.is_empty() && !relays && !tables.has_routes() {
        let fault = Fault::new(Kind::Usage, "no mail would be accepted: no --domain, no --relay-from, no --user-file");
        return Err(fault.into());
    }
    if args.operate.check_config {
        args.confine.successor(place)?;
        // A directory that a start would create may be missing.
        let directory = args.mailboxes.as_ref().filter(|directory| !args.create || directory.exists());
        let mailboxes = directory.map(|directory| Mailboxes::open(directory, &domains)).transpose()?;
        if mailboxes.is_some() || args.mailboxes.is_none() {
            RecipientArgs::check(&tables, mailboxes.map(|mailboxes| mailboxes.creating(args.create)).as_ref())?;
        }
        if let Some(directory) = &queue_dir {
            queue_open::open_existing(directory, Process::OneShot, out)?;
        }
        return args.operate.healthy(out, &plan.tcp_only(&args.listen), tls.as_ref());
    }
    let listeners = plan.bind(&args.listen, activated)?;
    let metrics = args.operate.metrics.bind(out)?;
    let appended = appended_files(&args.output, &args.log);
    let urls = args.listen.write_urls(listeners.iter().flat_map(|one| one.urls(&plan)).collect())?;
    let mut reloader = Reloader::of(out, &args.serve, tls.as_ref(), users.as_ref());
    reloader.watch(tables.files());
    args.confine.give_up_root(out, (&appended, &reloader), place)?;
    // From here on the process runs as the server's user, who becomes the owner of new files.
    let mut sandbox = Sandbox::default();
    let mailboxes = match &args.mailboxes {
        Some(directory) if args.create => Some(Mailboxes::create(directory, &domains)?),
        Some(directory) => Some(Mailboxes::open(directory, &domains)?),
        None => None,
    };
    let quotas = args.recipients.quotas();
    let mailboxes = mailboxes.map(|mailboxes| Arc::new(mailboxes.opened_by(owners.clone()).limited_by(quotas)));
    if let Some(mailboxes) = &mailboxes {
        mailboxes.name_files(&mut sandbox);
    }
    if let Some(directory) = &queue_dir {
        out.note(&format!("queue directory: {}", directory.display()));
        queue_dir::make(directory)?;
        sandbox.write(directory);
    }
    listeners.iter().for_each(|one| one.name_file(&mut sandbox));
    args.confine.enclose(out, (&appended, &reloader), sandbox)?;
    RecipientArgs::check(&tables, mailboxes.as_deref())?;
    let tables = Reloaded::new(tables);
    args.recipients.reload(&mut reloader, &args.domain, &tables, mailboxes.clone());
    let queue: Option<Arc<dyn QueueStore>> = match &queue_dir {
        Some(directory) => Some(Arc::new(queue_open::open(directory, Process::LongRunning, out)?)),
        None => None,
    };
    let (shown, waiting, proxies) = (tls.clone(), queue.clone(), args.strangers.proxy_from.clone());
    let mut common = args.server_options(&hostname, domains.first().unwrap_or(&hostname), out);
    let config = &mut common.config;
    (config.auth, config.auth_in_clear, config.dsn) = (users.is_some(), args.auth_in_clear, queue.is_some());
    let service = Arc::new(MailReceiver {
        policy: ReceivePolicy {
            hostname,
            relay_from: args.relay_from.clone(),
            max_hops: args.max_hops,
            users: args.roles.policy(),
            strangers: args.strangers.clone(),
        },
        recipients: tables,
        mailboxes,
        agent: agent.clone(),
        queue,
        users,
        gate: LoginGate::default(),
        room: DiskRoom::new(args.min_free, args.mailboxes.iter().chain(&queue_dir).cloned().collect()),
        out: out.clone(),
    });
    let served = plan.served(listeners, &common, tls.as_ref());
    cli::block_on_threads(async move {
        let shutdown = Shutdown::on_signals(args.listen.drain)?;
        signals::outlive_habits(out, Some(Arc::new(reloader)), args.operate.reload_every)?;
        signals::tell_of_drain(out, &shutdown, Some(args.listen.drain), || {
            vec![(CountedConnection::open(), "connection")]
        });
        urls.announce(out)?;
        MetricsArgs::serve(out, metrics, shown, queue_open::gauges(waiting))?;
        let helpers = [
            owners.map(|owners| (owners.helper(), "no mailbox can be opened")),
            agent.map(|agent| (agent.helper(), "no program can be run")),
        ];
        let helpers: Vec<(Arc<Helper>, &str)> = helpers.into_iter().flatten().collect();
        for (helper, why) in &helpers {
            end_with_helper(helper.clone(), why, out, shutdown.clone(), args.listen.drain);
        }
        let end = serve(&args.listen, out, (served, proxies), service, (shutdown.clone(), shutdown)).await?;
        helper::verdict(helpers.iter().map(|(helper, _)| helper))?;
        Ok(end)
    })
}

impl Args {
    /// The options that all roles share: nobody logs in, nothing is relayed. Addresses without a domain have that of `origin`.
    fn server_options(&self, hostname: &str, origin: &str, out: &Output) -> SmtpServerOptions {
        SmtpServerOptions {
            config: Config {
                name: hostname.to_owned(),
                max_size: self.max_size,
                max_recipients: usize::try_from(self.max_recipients).unwrap_or(usize::MAX),
                lmtp: false,
                starttls: false,
                tls_required: self.serve.client_ca.is_some(),
                auth: false,
                auth_in_clear: false,
                scram: false,
                auth_required: false,
                dsn: false,
                syntax: match self.strict_syntax {
                    true => CommandSyntax::Strict,
                    false => CommandSyntax::Liberal { origin: origin.to_owned() },
                },
                bare_lf: self.newlines.into(),
            },
            role: ServerRole::default(),
            tls: SmtpServerTls::Off,
            limits: self.serve.limits(self.timeout),
            trace: out.trace(),
        }
    }
}

/// What one listener serves: its options, its sockets, and whether TLS begins before the first byte.
type ServedRole = (Arc<SmtpServerOptions>, Listeners, bool);

/// Serves until the door closes and the clients inside have gone.
async fn serve<S: SmtpService + 'static>(
    args: &ListenArgs,
    out: &Output,
    (served, proxies): (Vec<ServedRole>, Vec<Network>),
    service: Arc<S>,
    (door, shutdown): (Shutdown, Shutdown),
) -> anyhow::Result<Exit> {
    let admission = args.admission(out, MAX_CLIENT_DESCRIPTORS, false);
    let mut loops = tokio::task::JoinSet::new();
    for (options, listeners, implicit) in served {
        let (out, service, during, proxies) = (out.clone(), service.clone(), shutdown.clone(), proxies.clone());
        let handler = move |stream: Stream, address: SocketAddr, place: ClientPlace| {
            let (options, service, out, shutdown) = (options.clone(), service.clone(), out.clone(), during.clone());
            let proxied = !stream.is_unix() && proxies.iter().any(|network| network.contains(address.ip()));
            async move {
                let (mut stream, mut address) = (stream, address);
                if proxied {
                    match proxied::read(&mut stream).await {
                        Ok(client) => address = client.unwrap_or(address),
                        Err(fault) => return out.of_client(None, &address.to_string(), &fault),
                    }
                }
                let address = (!stream.is_unix()).then_some(address);
                let shown = address.map_or_else(|| "UNIX socket".to_owned(), |address| address.to_string());
                let mut ending = EndingMailSession::begin(out.clone(), address);
                out.note(&format!("{shown}: connected, session {}", ending.session));
                let totals = &mut ending.totals;
                let result = server::serve(stream, address, &options, &*service, &place, &shutdown, totals).await;
                if let Err(fault) = result {
                    ending.totals.why = fault.kind.as_str();
                    out.of_client(Some(ending.session), &shown, &fault);
                }
            }
        };
        let (admission, door) = (admission.clone(), door.clone());
        let refuse = move |_, refusal| refuse(refusal, implicit);
        loops.spawn(async move { listeners.serve(&admission, &door, refuse, handler).await });
    }
    while let Some(ended) = loops.join_next().await {
        ended??;
    }
    Ok(Exit::OK)
}

fn check_tls(start: SmtpTlsStart, tls: Option<&ServerTls>) -> Result<(), Fault> {
    match tls.is_none() && start != SmtpTlsStart::Starttls {
        true => Err(Fault::new(Kind::Usage, "--tls required and implicit need --cert or --self-signed")),
        false => Ok(()),
    }
}

/// The reply to a client that is not admitted. With implicit TLS it is empty, because the client could not read it yet.
fn refuse(refusal: AdmissionRefusal, implicit: bool) -> &'static str {
    match refusal {
        _ if implicit => "",
        AdmissionRefusal::Full => "421 4.7.0 Too many clients\r\n",
        AdmissionRefusal::Address => "421 4.7.0 Too many connections from your address\r\n",
        AdmissionRefusal::Rate => "421 4.7.0 Your address connects too often\r\n",
    }
}

/// A domain in the form for comparisons: one spelling, with A-labels.
fn local_domain(name: &str) -> Result<String, Fault> {
    let wrong = || Fault::new(Kind::Usage, format!("{name}: not a domain name"));
    address::check_domain(name).map_err(|_| wrong())?;
    idna::domain_to_ascii(&address::canonical_domain(name)).map_err(|_| wrong())
}

fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if address::check_domain(&name).is_ok() { name } else { "localhost".to_owned() }
}
