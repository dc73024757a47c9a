//! `ftpput`: stores files and trees by FTP. An upload appears under its name when it is complete.

use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use crate::cli::args::OutputArgs;
use crate::cli::exit::Exit;
use crate::cli::input;
use crate::cli::output::Output;
use crate::cli::progress::{Bar, Measure};
use crate::cli::words;
use crate::fault::{Fault, Kind};
use crate::ftp::client::ListMethod;
use crate::ftp::listing::ListingEntry;
use crate::ftp::mirror::{
    self, FileFacts, FileMode, Links, MirrorEvent, MirrorReporter, MirrorSettings, MirroredFile, PutRequest, PutSource,
};
use crate::ftp::part::PartTag;
use crate::ftp::path::FtpUrl;
use crate::ftp::transfer::{self, Checks, Put, ReplaceMode, TransferStep, store};
use crate::net::clock::unix_seconds;
use crate::tool::ftp_args::{FtpClientArgs, QuoteArgs, Servers, TransferArgs, url_text};
use crate::tool::ftp_itemize::MirrorDirection;
use crate::tool::ftp_progress::{label_of, shown_in};
use crate::tool::ftp_report::{SharedSummary, TransferSummary, lock, reporter};
use crate::tool::ftp_select::{DeleteArgs, SelectArgs};
use crate::tool::ftp_words;

/// The arguments.
#[derive(clap::Parser)]
#[command(name = "ftpput", version, about = "Store files and trees by FTP")]
#[command(override_usage = "ftpput [OPTIONS] SRC... URL")]
pub struct Args {
    /// Files to store (`-` is stdin), and the URL as the last argument; a URL that ends with `/` keeps the name
    #[arg(required = true, value_name = "SRC... URL")]
    sources: Vec<PathBuf>,
    /// Store the contents of directories below the URL; skip files whose size and time are the same
    #[arg(short = 'r', long, short_alias = 'R')]
    recursive: bool,
    /// Print the files that would be stored or deleted; change nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Write under the final name from the start, without a temporary name
    #[arg(long, conflicts_with_all = ["replace", "append"])]
    in_place: bool,
    /// Delete the old file before the complete upload is renamed, for servers that do not rename over a file
    #[arg(long, conflicts_with = "append")]
    replace: bool,
    /// Add to the end of the remote file
    #[arg(short = 'a', long, conflicts_with_all = ["recursive", "no_clobber"])]
    append: bool,
    /// Start over instead of continuing the part of an earlier run
    #[arg(long, short_alias = 'Z')]
    no_resume: bool,
    /// Never replace an existing file; with -r it is skipped, else it is an error
    #[arg(long, visible_alias = "only-missing")]
    no_clobber: bool,
    /// Symbolic links in trees: skip (with a warning), follow (store their targets)
    #[arg(long, value_name = "HOW", value_parser = words::one_of(LINKS), hide_possible_values = true, default_value = "skip")]
    links: Links,
    /// Set these permission bits on every file (SITE CHMOD)
    #[arg(long, value_name = "OCTAL", value_parser = parse_mode, visible_alias = "chmod", conflicts_with = "keep_mode")]
    mode: Option<u32>,
    /// Copy the permission bits of every file (SITE CHMOD)
    #[arg(long)]
    keep_mode: bool,
    /// Transfer text: line ends become CRLF; the same as `;type=a` in the URL
    #[arg(short = 'B', long, visible_alias = "use-ascii")]
    ascii: bool,
    /// Number of connections (default: by round-trip time and number of files)
    #[arg(short = 'j', long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: Option<u16>,
    #[command(flatten)]
    select: SelectArgs,
    #[command(flatten)]
    delete: DeleteArgs,
    #[command(flatten)]
    transfer: TransferArgs,
    #[command(flatten)]
    client: FtpClientArgs,
    #[command(flatten)]
    quote: QuoteArgs,
    #[command(flatten)]
    output: OutputArgs,
}

crate::cli::tool!("ftpput", Args, guide crate::tool::guides::FTPPUT, words &[ftp_words::PUT, ftp_words::ALL], prints |args| args.output.json || args.dry_run || args.transfer.itemize, run run);

const LINKS: &[(&str, Links)] = &[("skip", Links::Skip), ("follow", Links::Follow)];

fn parse_mode(text: &str) -> Result<u32, String> {
    let octal = (1..=5).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| octal && *mode <= 0o7777);
    mode.ok_or_else(|| "an octal number such as 644".to_owned())
}

impl Args {
    fn replace_mode(&self) -> ReplaceMode {
        match (self.in_place, self.replace, self.append) {
            (true, ..) => ReplaceMode::InPlace,
            (_, true, _) => ReplaceMode::DeleteFirst,
            (.., true) => ReplaceMode::Append,
            _ => ReplaceMode::TempAndRename,
        }
    }

    fn modes(&self) -> FileMode {
        match (self.mode, self.keep_mode) {
            (Some(mode), _) => FileMode::Set(mode),
            (None, true) => FileMode::Keep,
            (None, false) => FileMode::Server,
        }
    }
}

/// The plan of a run, in this order.
struct StorePlan {
    url: FtpUrl,
    /// The upload from stdin, with its position on the command line.
    stdin: Option<(usize, FtpUrl, File)>,
    orders: Vec<usize>,
    sources: Vec<PutSource>,
}

fn run(args: Args, out: &Output) -> anyhow::Result<Exit> {
    let plan = plan(&args)?;
    crate::cli::block_on(async move {
        let servers = Servers::new(out, &args.client).quoting(args.quote.before());
        let servers = servers.at_pace(args.transfer.pace());
        let summary = Arc::new(Mutex::new(TransferSummary::new(args.dry_run, Arc::clone(&servers.transferred))));
        let mut run = FtpputRun { args: &args, out, servers, summary };
        let StorePlan { url, stdin, orders, sources } = plan;
        if let Some((order, url, file)) = stdin
            && let Err(fault) = run.stdin(&url, &file).await
        {
            lock(&run.summary).fail(out, order, &url.to_string(), &fault);
        }
        let first = orders.first().copied().unwrap_or_default();
        if !sources.is_empty()
            && let Err(fault) = run.files(&url, orders, sources).await
        {
            lock(&run.summary).fail(out, first, &url.to_string(), &fault);
        }
        if lock(&run.summary).succeeded()
            && !args.dry_run
            && let Err(fault) = run.servers.after(&url, &args.quote.after()).await
        {
            lock(&run.summary).fail(out, first, &url.to_string(), &fault);
        }
        run.servers.quit().await;
        out.emit(&*lock(&run.summary))?;
        Ok(lock(&run.summary).exit())
    })
}

/// Checks the sources and determines their targets before anything is sent.
fn plan(args: &Args) -> Result<StorePlan, Fault> {
    let usage = |detail: String| Fault::new(Kind::Usage, detail);
    let (last, given) = args.sources.split_last().ok_or_else(|| usage("nothing to store".to_owned()))?;
    if given.is_empty() {
        return Err(usage("nothing to store".to_owned()).with_hint("ftpput SRC... URL"));
    }
    let mut url = FtpUrl::parse(&url_text(last.as_os_str().as_bytes()))?;
    url.ascii |= args.ascii;
    if given.iter().filter(|source| source.as_os_str() == "-").count() + usize::from(args.client.login.reads_stdin())
        > 1
    {
        return Err(usage("stdin can be read only once".to_owned()));
    }
    let mut plan = StorePlan { url: url.clone(), stdin: None, orders: Vec::new(), sources: Vec::new() };
    let mut files = 0;
    for (order, source) in given.iter().enumerate() {
        if source.as_os_str() == "-" {
            if url.directory {
                return Err(usage(format!("{url}: stdin needs a name: the URL must not end in a slash")));
            }
            plan.stdin = Some((order, url.clone(), input::stdin()?));
            files += 1;
            continue;
        }
        let meta = std::fs::metadata(source).map_err(|error| Fault::local(source.display(), &error))?;
        let (local, ascii) = (source.clone(), url.ascii);
        plan.orders.push(order);
        if meta.is_dir() {
            if !args.recursive {
                let detail = format!("{}: is a directory", source.display());
                return Err(usage(detail).with_hint("-r stores its contents"));
            }
            plan.sources.push(PutSource::Tree { local, remote: url.path.clone(), ascii });
            continue;
        }
        let remote = match url.directory {
            true => {
                let name = source.file_name().ok_or_else(|| usage(format!("{}: no file name", source.display())))?;
                url.path.join(name.as_bytes())
            }
            false => url.path.clone(),
        };
        files += 1;
        plan.sources.push(PutSource::File { local, remote, ascii, compare: args.select.compare_named() });
    }
    if files > 0 && given.len() > 1 && !url.directory {
        return Err(usage(format!("{url}: several sources need a URL that ends in a slash")));
    }
    if args.delete.rule().is_some() && given.len() > 1 {
        return Err(usage("--delete needs one source: what the others bring would go again".to_owned()));
    }
    Ok(plan)
}

struct FtpputRun<'a> {
    args: &'a Args,
    out: &'a Output,
    servers: Servers<'a>,
    summary: SharedSummary,
}

impl FtpputRun<'_> {
    fn reporter(&self, orders: Vec<usize>) -> MirrorReporter {
        reporter(self.out, &self.summary, (MirrorDirection::Put, self.args.transfer.itemize), orders)
    }

    /// Stores files and trees.
    async fn files(&mut self, url: &FtpUrl, orders: Vec<usize>, sources: Vec<PutSource>) -> Result<(), Fault> {
        let args = self.args;
        let label = match sources.as_slice() {
            [PutSource::File { local, .. } | PutSource::Tree { local, .. }] => local.display().to_string(),
            _ => label_of(url),
        };
        let client = self.servers.take_patiently(url).await?;
        let bar = if args.dry_run { Bar::hidden() } else { self.out.progress(&label, Measure::Bytes) };
        let settings = MirrorSettings {
            url: url.clone(),
            options: self.servers.options(url)?,
            list_method: ListMethod::Auto,
            connections: args.jobs.map(usize::from),
            // Appending twice would store twice.
            retries: if args.append { 0 } else { args.client.retry.retry },
            retry_delay: args.client.retry.retry_delay,
            resume: !args.no_resume,
            select: args.select.select()?,
            compare: args.select.compare(),
            links: args.links,
            checks: Checks { server: args.transfer.verify, sha256: None },
            no_clobber: args.no_clobber,
            delete: args.delete.rule(),
            dry_run: args.dry_run,
            itemize: args.transfer.itemize,
            now: unix_seconds(),
            progress: shown_in(&bar),
            report: self.reporter(orders),
        };
        let offered = PutRequest { sources, replace: args.replace_mode(), mode: args.modes() };
        let result = mirror::put(&settings, client, offered).await;
        bar.finish();
        result
    }

    /// Stores stdin. It cannot be read twice, so there is no retry after the first byte.
    async fn stdin(&mut self, url: &FtpUrl, file: &File) -> Result<(), Fault> {
        let args = self.args;
        let mut client = self.servers.take_patiently(url).await?;
        let there = match args.no_clobber || args.transfer.itemize {
            true => Some(client.stat(&url.path).await?),
            false => None,
        };
        if args.no_clobber && there.as_ref().is_some_and(Option::is_some) {
            return Err(Fault::new(Kind::CannotCreate, "already exists"));
        }
        let facts = |entry: ListingEntry| {
            let modified = entry.modified.filter(|modified| modified.utc).map(|modified| modified.seconds);
            FileFacts { size: entry.size, modified }
        };
        let replaces = there.map(|there| there.map(facts));
        if args.dry_run {
            let planned = MirroredFile::planned(url.to_string());
            self.reporter(Vec::new())(0, MirrorEvent::Planned(MirroredFile { replaces, ..planned }));
            return Ok(());
        }
        let bar = self.out.progress(&label_of(url), Measure::Bytes);
        let progress = shown_in(&bar);
        progress(TransferStep::Found(None));
        let mode = match args.modes() {
            FileMode::Set(mode) => Some(mode),
            FileMode::Server | FileMode::Keep => None,
        };
        let (path, replace, ascii) = (&url.path, args.replace_mode(), url.ascii);
        let checks = Checks { server: args.transfer.verify, sha256: None };
        let tag = PartTag::of_run()?;
        let put = Put { path, replace, ascii, tag, resume: false, mode, checks, progress };
        let result = store(&mut client, &put, &transfer::OpenFile { file, size: None, modified: None }).await;
        bar.finish();
        self.servers.give_back(url, client);
        let done = MirroredFile::done(url.to_string(), PathBuf::new(), result?);
        self.reporter(Vec::new())(0, MirrorEvent::Done(MirroredFile { replaces, ..done }));
        self.out.check()
    }
}
