//! smtpsend: composes a message or takes a complete one, and sends it to a server, by MX, or into the queue.

use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr as _;
use std::sync::PoisonError;

use crate::cli::args::{LoginArgs, NetArgs, OutputArgs, QueueArgs, ResolverArgs, RetryArgs, TlsArgs};
use crate::cli::exit::{Exit, Tally};
use crate::cli::output::Output;
use crate::cli::words;
use crate::fault::{Fault, Kind};
use crate::millis::millis;
use crate::smtp::auth::Mechanism;
use crate::smtp::envelope::{Envid, Notify, Ret};
use crate::tool::smtp_account::Accounts;

mod deliver;
mod each;
mod edit;
mod foreign;
mod job;
mod local;
mod merge;
mod mx;
mod probe;
mod queue;
mod report;
mod results;
mod rows;
mod save;
mod sendmail;
mod server;
mod session;
mod together;

use deliver::{Messages, SendRun};
use each::EachInput;
pub(super) use foreign::WORDS as FOREIGN_WORDS;
use job::{SendJob, Sendable};
use results::Noted;

/// What smtpsend is asked to do.
#[derive(Debug, clap::Parser)]
#[command(name = "smtpsend", version, about = "Send mail: compose or relay a message", max_term_width = 100)]
pub struct Args {
    /// Recipients, besides those of --to, --cc, --bcc or -t
    #[arg(value_name = "RECIPIENT")]
    recipient: Vec<String>,
    #[command(flatten)]
    compose: ComposeArgs,
    #[command(flatten)]
    take: TakeArgs,
    #[command(flatten)]
    merge: MergeArgs,
    #[command(flatten)]
    local: LocalArgs,
    #[command(flatten)]
    way: SendWayArgs,
    /// Send to the accepted recipients even if others are refused
    #[arg(long)]
    partial: bool,
    /// Save a copy in this mailbox: a Maildir (a directory, or a name that ends with /) or an mbox
    #[arg(long, value_name = "MAILBOX")]
    save_to: Option<PathBuf>,
    /// Print the message instead of sending it
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Retry even if it may already have been delivered (no reply after the complete message)
    #[arg(long)]
    retry_unknown: bool,
    #[command(flatten)]
    retry: RetryArgs,
    #[command(flatten)]
    net: NetArgs,
    #[command(flatten)]
    tls: TlsArgs,
    #[command(flatten)]
    login: LoginArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// A message from its parts.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Composing")]
struct ComposeArgs {
    /// Author, 'Name <address>' (default: $EMAIL, else the user at this host)
    #[arg(long, value_name = "ADDRESS")]
    from: Option<String>,
    /// Recipients in To, separated by commas; may be repeated
    #[arg(long, value_name = "ADDRESSES")]
    to: Vec<String>,
    /// Recipients of a copy (Cc)
    #[arg(long, value_name = "ADDRESSES")]
    cc: Vec<String>,
    /// Hidden recipients (Bcc)
    #[arg(long, value_name = "ADDRESSES")]
    bcc: Vec<String>,
    /// Address for replies (Reply-To)
    #[arg(long, value_name = "ADDRESSES")]
    reply_to: Vec<String>,
    /// Subject
    #[arg(short = 's', long, value_name = "TEXT")]
    subject: Option<String>,
    /// Additional header field, 'Name: value'; may be repeated
    #[arg(long, value_name = "FIELD")]
    header: Vec<String>,
    /// File with the text; `-` is stdin, which is also the default without --body, --text, --html, --attach and --inline
    #[arg(long, value_name = "FILE|-")]
    body: Option<PathBuf>,
    /// Text of the message on the command line, where other users can see it; a line end is added
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["body", "template", "edit"])]
    text: Option<String>,
    /// HTML body; without --body and --text a text part is made from it
    #[arg(long, value_name = "FILE|-")]
    html: Option<PathBuf>,
    /// File to attach: FILE[;type=TYPE][;name=NAME]; a name with a `;` needs double quotes
    #[arg(long, value_name = "FILE")]
    attach: Vec<String>,
    /// File that the HTML refers to as cid:NAME
    #[arg(long, value_name = "FILE")]
    inline: Vec<String>,
    /// Edit recipients, subject and text in $VISUAL or $EDITOR; without a change nothing is sent
    #[arg(long)]
    edit: bool,
    /// Message with {{fields}}: header fields, an empty line, the text; options override its fields
    #[arg(long, value_name = "FILE|-", conflicts_with_all = ["body", "edit"])]
    template: Option<PathBuf>,
    /// Message-ID of the message that this one answers
    #[arg(long, value_name = "ID")]
    in_reply_to: Vec<String>,
}

/// Many messages from one template.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "One message per row")]
struct MergeArgs {
    /// Compose one message per row of this file; {{fields}} in the template and the options are replaced by the row's values
    #[arg(long, value_name = "JSONL|CSV", conflicts_with_all = ["each", "probe", "edit"])]
    merge: Option<PathBuf>,
    /// Value of a field for rows without it
    #[arg(long, value_name = "FIELD=VALUE")]
    set: Vec<String>,
    /// Record the outcome of each row in this file; recorded rows are not sent again
    #[arg(long, value_name = "FILE", requires = "merge")]
    results: Option<PathBuf>,
    /// Send at most N messages in this time
    #[arg(long, value_name = "N/TIME", value_parser = crate::cli::units::interval, conflicts_with = "queue")]
    rate: Option<std::time::Duration>,
}

/// A complete message.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Complete messages (on stdin)")]
struct TakeArgs {
    /// Read the recipients from the header; Bcc is removed
    #[arg(short = 't')]
    header_recipients: bool,
    /// Accepted for sendmail's users: a line with a single dot never ends the message
    #[arg(short = 'i')]
    ignore_dots: bool,
    /// Send every message of a file, a folder, an mbox or a Maildir over one connection; may be repeated
    #[arg(long, value_name = "FILE|DIR|MBOX|MAILDIR")]
    each: Vec<PathBuf>,
    /// Use up to N connections for --each or --merge
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    concurrency: u16,
    /// Envelope sender; '<>' for none
    #[arg(short = 'f', value_name = "ADDRESS", allow_hyphen_values = true)]
    envelope_from: Option<String>,
    /// A line with a single dot ends the message
    #[arg(long, conflicts_with = "ignore_dots")]
    dot_ends: bool,
    /// Repair a malformed message: bare CRs, NULs, long lines, 8-bit text without MIME fields
    ///
    /// Content that the protocol cannot carry becomes quoted-printable. In signed parts long lines are broken instead, with a warning.
    #[arg(long)]
    mend: bool,
    /// Author's name, if From is missing
    #[arg(short = 'F', value_name = "NAME")]
    full_name: Option<String>,
}

/// What becomes of addresses of this host.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Addresses of this host")]
struct LocalArgs {
    /// Domain for addresses without one, in the envelope and in the header
    #[arg(long, value_name = "DOMAIN")]
    local_domain: Option<String>,
    /// Aliases file for names without a domain, as /etc/aliases: addresses only, no programs or files
    ///
    /// The default is the `aliases` file of the account.
    #[arg(long, value_name = "FILE")]
    aliases: Option<PathBuf>,
    /// Domain that replaces this host's (--local-domain, its name, localhost) in sender addresses
    #[arg(long, value_name = "DOMAIN")]
    masquerade: Option<String>,
    /// Recipient of mail for local names that no alias covers
    #[arg(long, value_name = "ADDRESS")]
    admin_address: Option<String>,
}

/// Where to.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Destination")]
struct SendWayArgs {
    /// smtp://, smtps://, submission://, lmtp://[USER@]HOST[:PORT], lmtp+unix:PATH, or HOST[:PORT] alone
    #[arg(long, value_name = "URL", conflicts_with_all = ["queue", "mx", "account"])]
    server: Option<String>,
    /// Protocol of a --server without a scheme
    #[arg(long, value_name = "PROTOCOL", requires = "server", ignore_case = true)]
    protocol: Option<server::ServerProtocol>,
    /// Account in the accounts file (default: the one whose `from` is the author)
    #[arg(short = 'A', long, value_name = "NAME", conflicts_with = "mx")]
    account: Option<String>,
    /// Accounts file, in msmtp's format (default: ~/.config/applayer/accounts, else /etc/applayer/accounts)
    #[arg(long, value_name = "FILE")]
    accounts: Option<PathBuf>,
    /// Put the message into the outgoing queue, for mailq-run; with --account, for the server of that account
    #[arg(long, conflicts_with = "mx")]
    queue: bool,
    /// Use the system queue, or its drop directory without access to it; never the user's queue
    #[arg(long)]
    system_queue: bool,
    /// Put the message into the queue if a server does not accept it now
    #[arg(long, conflicts_with = "queue")]
    queue_on_failure: bool,
    /// Print the server's features and its answers to --from and the recipients; send nothing
    #[arg(long, conflicts_with_all = ["queue", "mx", "each", "dry_run"])]
    probe: bool,
    /// With --probe: end with status 1 if a certificate of the server's chain ends in fewer days, and with 77 if it is not trusted
    #[arg(long, value_name = "N", requires = "probe")]
    min_days: Option<u32>,
    /// As --probe, and end after this stage of the dialogue
    #[arg(long, value_name = "STAGE", ignore_case = true, conflicts_with_all = ["queue", "mx", "each", "merge", "dry_run"])]
    quit_after: Option<server::ProbeStage>,
    /// Send to each recipient's mail exchanger (MX)
    #[arg(long)]
    mx: bool,
    /// Port of mail exchangers
    #[arg(long, value_name = "PORT", default_value_t = 25)]
    mx_port: u16,
    /// Log in with this mechanism: scram-sha-256, plain, login, cram-md5, external, oauthbearer, xoauth2 …
    #[arg(long, value_name = "MECHANISM", hide_possible_values = true)]
    #[arg(value_parser = words::listed(words::MECHANISMS, Mechanism::parse))]
    auth: Option<Mechanism>,
    /// Host name in EHLO (default: the name of this host)
    #[arg(long, visible_alias = "ehlo", value_name = "NAME")]
    helo: Option<String>,
    /// Request delivery notices (DSN): never, or a list of success, failure and delay
    #[arg(long, value_name = "WHEN", hide_possible_values = true)]
    #[arg(value_parser = words::listed(["never", "success", "failure", "delay"], Notify::from_str))]
    notify: Option<Notify>,
    /// Content of delivery notices: full (message) or hdrs (header)
    #[arg(long, value_name = "WHAT", value_parser = words::listed(["full", "hdrs"], Ret::from_str))]
    #[arg(hide_possible_values = true)]
    ret: Option<Ret>,
    /// Identifier of this message in delivery notices
    #[arg(long, value_name = "TEXT", value_parser = Envid::from_str)]
    envid: Option<Envid>,
    #[command(flatten)]
    queue_args: QueueArgs,
    #[command(flatten)]
    resolver: ResolverArgs,
}

impl Args {
    /// True if stdout gets output: results are printed in JSON only.
    fn prints(&self) -> bool {
        self.output.json || self.dry_run || self.way.probe || self.way.quit_after.is_some()
    }
}

crate::cli::tool!("smtpsend", Args, guide crate::tool::guides::SMTPSEND, words & [foreign::WORDS], prints Args::prints);

/// The entry point. sendmail's command line applies under the name `sendmail` or `mailq`, or with `--sendmail` as the first argument.
pub fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    match sendmail::read(&arguments, job::host_name(), job::calling_user) {
        None => crate::cli::main_from::<Args>(arguments, run),
        Some(Ok(sendmail::SendmailCall::Send(own))) => crate::cli::main_from::<Args>(own, run),
        Some(Ok(sendmail::SendmailCall::Session(own))) => crate::cli::main_from::<Args>(own, session::run),
        Some(Ok(sendmail::SendmailCall::Other(program, own))) => become_other(program, &own),
        Some(Err(fault)) => {
            crate::cli::output::print_fault("smtpsend", &fault);
            Exit::from(fault.kind).into()
        }
    }
}

/// Executes another program of the suite in place of this one: the one in the same directory, else the one in PATH.
fn become_other(program: &str, arguments: &[std::ffi::OsString]) -> ExitCode {
    use std::os::unix::process::CommandExt;
    let beside =
        std::env::current_exe().ok().and_then(|own| own.canonicalize().ok()).map(|own| own.with_file_name(program));
    let path = beside.filter(|path| path.is_file()).unwrap_or_else(|| program.into());
    let error = std::process::Command::new(&path).args(arguments).exec();
    let fault = Fault::local(path.display(), &error);
    crate::cli::output::print_fault("smtpsend", &fault);
    Exit::from(fault.kind).into()
}

/// True if the text is a valid accounts file for `--accounts`. Reads no files, runs no commands and uses no system defaults.
pub fn is_accounts_file(text: &str) -> bool {
    Accounts::parse(text, &mut |_| Ok(String::new())).is_ok()
}

fn run(args: Args, out: &Output) -> anyhow::Result<Exit> {
    let accounts = accounts(&args, out)?;
    let elsewhere = args.way.server.is_some() || args.way.queue || args.way.mx;
    let missing =
        || Fault::new(Kind::Usage, "no destination").with_hint("--server URL, --mx, --queue or an account names one");
    if !args.take.each.is_empty() {
        if !elsewhere && accounts.is_none() && !args.dry_run {
            return Err(missing().into());
        }
        return many(&args, accounts.as_ref(), out);
    }
    if args.merge.merge.is_some() || args.compose.template.is_some() || !args.merge.set.is_empty() {
        if !elsewhere && accounts.is_none() && !args.dry_run {
            return Err(missing().into());
        }
        return merge::run(&args, accounts.as_ref(), out);
    }
    if args.way.probe || args.way.quit_after.is_some() {
        return ask(&args, accounts.as_ref(), out);
    }
    let (job, account) = job::make(&args, accounts.as_ref(), out)?;
    if args.dry_run {
        job.print(out)?;
        return Ok(Exit::OK);
    }
    if !elsewhere && account.is_none() {
        return Err(missing().into());
    }
    let mut only = Some((job, account));
    send(&args, out, None, &mut |_| only.take())
}

/// Runs `--probe` or `--quit-after`.
fn ask(args: &Args, accounts: Option<&Accounts>, out: &Output) -> anyhow::Result<Exit> {
    let (sender, recipients, account) = job::questions(args, accounts)?;
    let way = match (&args.way.server, &account) {
        (Some(url), _) => server::ServerConnection::to_url(url, args, out)?,
        (None, Some(account)) => server::ServerConnection::to_account(account, args, out)?,
        (None, None) => {
            let fault = Fault::new(Kind::Usage, "no server");
            return Err(fault.with_hint("--server URL or an account names one").into());
        }
    };
    let mut tally = Tally::default();
    crate::cli::block_on(async {
        probe::run(way, sender, recipients, args.way.quit_after, args.way.min_days, out, &mut tally).await?;
        Ok(())
    })?;
    Ok(tally.exit())
}

/// Sends every message of `--each`. A message that cannot be sent does not stop the others.
fn many(args: &Args, accounts: Option<&Accounts>, out: &Output) -> anyhow::Result<Exit> {
    if args.compose.given() {
        return Err(Fault::new(Kind::Usage, "--each sends complete messages: nothing can be composed").into());
    }
    let mut each = EachInput::new(&args.take.each)?;
    if each.len() == 0 {
        return Ok(Exit::OK);
    }
    let mut next = |tally: &mut Tally| -> Option<Sendable> {
        loop {
            let (label, source) = each.next()?;
            let made = source.and_then(|source| job::take(args, accounts, &source, &label, out));
            match made.and_then(|made| with_a_way(made, args)) {
                Ok(sendable) => return Some(sendable),
                Err(fault) => {
                    out.error(&label, &fault);
                    tally.fault(&fault);
                }
            }
        }
    };
    if args.dry_run {
        let mut tally = Tally::default();
        while let Some((job, _)) = next(&mut tally) {
            job.print(out)?;
        }
        return Ok(tally.exit());
    }
    send(args, out, None, &mut next)
}

/// Checks that a message has a destination. Of several messages, each one has its own account.
fn with_a_way(made: Sendable, args: &Args) -> Result<Sendable, Fault> {
    let elsewhere = args.way.server.is_some() || args.way.queue || args.way.mx;
    if made.1.is_none() && !elsewhere && !args.dry_run {
        return Err(Fault::new(Kind::Config, "no account matches the author, and there is no default account"));
    }
    Ok(made)
}

fn send(args: &Args, out: &Output, results: Option<Noted>, source: Messages<'_>) -> anyhow::Result<Exit> {
    let began = std::time::Instant::now();
    let run = SendRun {
        args,
        out,
        source: std::cell::RefCell::new(source),
        summary: Default::default(),
        tally: Default::default(),
        broken: Default::default(),
        results: results.clone(),
        next_at: Default::default(),
    };
    crate::cli::block_on(async {
        match args.way.queue {
            true => run.queue_all().await?,
            false => run.send_all(args.take.concurrency.into()).await?,
        }
        Ok(())
    })?;
    let mut summary = run.summary.take();
    summary.skipped = results.map(|results| results.lock().unwrap_or_else(PoisonError::into_inner).skipped);
    summary.elapsed_ms = millis(began.elapsed());
    out.emit(&summary)?;
    Ok(run.tally.take().exit())
}

/// The accounts file of the command line, else the usual one if it exists and nothing else names a destination.
fn accounts(args: &Args, out: &Output) -> Result<Option<Accounts>, Fault> {
    let elsewhere = args.way.server.is_some() || args.way.queue || args.way.mx;
    let path = match &args.way.accounts {
        Some(path) => path.clone(),
        None if args.way.account.is_some() => Accounts::must_be()?,
        None if elsewhere => return Ok(None),
        None => match Accounts::usual() {
            Some(path) => path,
            None => return Ok(None),
        },
    };
    Accounts::read(&path, out).map(Some)
}
