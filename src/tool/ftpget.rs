//! `ftpget`: fetches files and trees by FTP. A file appears under its name when it is complete.

mod plan;

use std::ffi::OsString;
use std::fs::File;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::cli::args::OutputArgs;
use crate::cli::exit::Exit;
use crate::cli::output::Output;
use crate::cli::progress::{Bar, Measure};
use crate::cli::words;
use crate::fault::{Fault, Kind};
use crate::ftp::checksum::ChecksumAlgorithm;
use crate::ftp::client::ListMethod;
use crate::ftp::mirror::{
    self, AfterFetch, FetchRoot, Links, MirrorEvent, MirrorReporter, MirrorSettings, MirroredFile, Wanted,
};
use crate::ftp::path::{FtpUrl, RemotePath};
use crate::ftp::transfer::{
    Checks, Get, Range, TransferProgress, TransferStep, Transferred, fetch_range, fetch_to, refusal_of_named,
};
use crate::net::clock::unix_seconds;
use crate::tool::ftp_args::{FtpClientArgs, QuoteArgs, Servers, TransferArgs, stdout_file};
use crate::tool::ftp_itemize::MirrorDirection;
use crate::tool::ftp_progress::{label_of, shown_in};
use crate::tool::ftp_report::{SharedSummary, TransferSummary, lock, reporter};
use crate::tool::ftp_select::{DeleteArgs, SelectArgs};
use crate::tool::ftp_words;
use plan::{FetchGroup, FetchPlan};

/// The arguments.
#[derive(clap::Parser)]
#[command(name = "ftpget", version, about = "Fetch files and trees by FTP")]
// -0 is about the input of -i too, so it goes with --json.
#[command(mut_arg("nul", |arg| arg.conflicts_with(clap::builder::Resettable::Reset)))]
pub struct Args {
    /// URLs to fetch: ftp://, ftpes:// (AUTH TLS) or ftps:// (implicit TLS); globs `* ? [a-z] {a,b}` in the path
    #[arg(required_unless_present = "input", value_name = "URL")]
    urls: Vec<OsString>,
    /// Also fetch the URLs in FILE or on stdin, one per line; with --base they are paths; with -0 each ends with NUL
    #[arg(short = 'i', long, value_name = "FILE|-")]
    input: Option<PathBuf>,
    /// The lines of -i are literal paths below this URL
    #[arg(long, value_name = "URL", requires = "input")]
    base: Option<OsString>,
    /// Target: a file, a directory with a trailing `/`, or `-` for stdout; the default is ./NAME, and a directory for several files
    #[arg(short = 'o', long = "output", value_name = "FILE|DIR|-")]
    target: Option<PathBuf>,
    /// Take `* ? [ {` in URLs literally
    #[arg(short = 'g', long = "no-glob", visible_alias = "globoff")]
    no_glob: bool,
    /// Fetch whole trees; skip files whose size and time are the same
    #[arg(short = 'r', long, short_alias = 'R')]
    recursive: bool,
    /// Print the files that would be fetched, deleted or moved; change nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Continue a shorter local file that another tool left; parts of ftpget are always continued
    #[arg(short = 'c', long = "continue", short_alias = 'z', conflicts_with = "no_resume")]
    adopt: bool,
    /// As -c (curl's `-C -`)
    #[arg(short = 'C', long = "continue-at", value_name = "-", value_parser = ["-"], hide = true)]
    #[arg(allow_hyphen_values = true, conflicts_with = "no_resume")]
    continue_at: Option<String>,
    /// What happens anyway (curl's -O): a file keeps its name
    #[arg(short = 'O', long = "remote-name", hide = true, conflicts_with = "target")]
    remote_name: bool,
    /// Start over instead of continuing the part of an earlier run
    #[arg(long, short_alias = 'Z')]
    no_resume: bool,
    /// Never replace an existing file; with -r and globs it is skipped, else it is an error
    #[arg(long, visible_alias = "only-missing")]
    no_clobber: bool,
    /// Symbolic links: skip (with a warning), follow (fetch their targets), keep (create links)
    #[arg(long, value_name = "HOW", value_parser = words::one_of(LINKS), hide_possible_values = true, default_value = "skip")]
    links: Links,
    /// Transfer text: line ends become LF; the same as `;type=a` in every URL
    #[arg(short = 'B', long, visible_alias = "use-ascii")]
    ascii: bool,
    /// Fetch only these bytes of one file, counted from 0: 0-99, 100-, or -100 for the last hundred
    #[arg(long, value_name = "FIRST-LAST", allow_hyphen_values = true)]
    #[arg(conflicts_with_all = ["recursive", "input", "adopt", "continue_at", "ascii", "verify", "sha256", "delete_source", "move_source"])]
    range: Option<Range>,
    /// Fetch one file with this SHA-256; any other content is discarded, with status 65
    #[arg(long, value_name = "HEX", value_parser = parse_sha256)]
    #[arg(conflicts_with_all = ["recursive", "input", "newer", "size_only"])]
    sha256: Option<String>,
    /// Copy the permissions of each file, without set-user-ID, set-group-ID and the sticky bit
    #[arg(long, conflicts_with = "range")]
    keep_mode: bool,
    /// Number of connections (default: by round-trip time and number of files)
    #[arg(short = 'j', long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: Option<u16>,
    /// Delete each file on the server after it is verified and synced here
    #[arg(long, alias = "Remove-source-files", conflicts_with = "delete")]
    delete_source: bool,
    /// Move each file on the server into DIR after it is verified and synced here
    #[arg(long, value_name = "DIR", conflicts_with_all = ["delete_source", "delete"])]
    move_source: Option<String>,
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

crate::cli::tool!("ftpget", Args, guide crate::tool::guides::FTPGET, words &[ftp_words::GET, ftp_words::ALL], meanings ftp_words::GET_MEANINGS, prints |args| args.output.json || args.dry_run || args.transfer.itemize, run run);

impl Args {
    /// True if a shorter file with the final name counts as the beginning of the remote file.
    fn adopts(&self) -> bool {
        self.adopt || self.continue_at.is_some()
    }
}

const LINKS: &[(&str, Links)] = &[("skip", Links::Skip), ("follow", Links::Follow), ("keep", Links::Keep)];

fn parse_sha256(text: &str) -> Result<String, String> {
    let hex = text.len() == ChecksumAlgorithm::Sha256.digits() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if hex { Ok(text.to_ascii_lowercase()) } else { Err("64 hexadecimal digits, as sha256sum prints them".to_owned()) }
}

fn run(args: Args, out: &Output) -> anyhow::Result<Exit> {
    let to_stdout = args.target.as_deref() == Some(Path::new("-"));
    if to_stdout {
        out.payload()?;
        let usage = |detail: &str| Fault::new(Kind::Usage, detail);
        if args.recursive {
            return Err(usage("a tree cannot go to stdout").into());
        }
        if args.transfer.itemize {
            return Err(usage("--itemize: stdout takes the file").into());
        }
        if args.delete_source || args.move_source.is_some() {
            return Err(usage("what goes to stdout is not here: its source stays").into());
        }
    }
    // All names are settled before the first byte moves.
    let plan = plan::plan(&args, out)?;
    crate::cli::block_on(async move {
        let servers = Servers::new(out, &args.client).quoting(args.quote.before());
        let servers = servers.at_pace(args.transfer.pace());
        let summary = Arc::new(Mutex::new(TransferSummary::new(args.dry_run, Arc::clone(&servers.transferred))));
        let mut run = FtpgetRun { args: &args, out, servers, summary };
        let exit = match plan {
            FetchPlan::Direct(urls, path) => run.direct(urls, path.as_deref()).await?,
            FetchPlan::Files(groups) => {
                for group in groups {
                    run.group(group).await;
                }
                None
            }
        };
        run.servers.quit().await;
        if let Some(exit) = exit {
            return Ok(exit);
        }
        out.emit(&*lock(&run.summary))?;
        Ok(lock(&run.summary).exit())
    })
}

struct FtpgetRun<'a> {
    args: &'a Args,
    out: &'a Output,
    servers: Servers<'a>,
    summary: SharedSummary,
}

impl FtpgetRun<'_> {
    /// Fetches the files and trees of one server.
    async fn group(&mut self, group: FetchGroup) {
        let FetchGroup { url, label, orders, roots } = group;
        let first = orders.first().copied().unwrap_or_default();
        if let Err(fault) = self.fetch(&url, orders, roots).await {
            lock(&self.summary).fail(self.out, first, &label, &fault);
        }
    }

    async fn fetch(&mut self, url: &FtpUrl, orders: Vec<usize>, roots: Vec<FetchRoot>) -> Result<(), Fault> {
        let client = self.servers.take_patiently(url).await?;
        let bar = match self.args.dry_run {
            true => Bar::hidden(),
            false => self.out.progress(&label_of(url), Measure::Bytes),
        };
        let progress = shown_in(&bar);
        let form = (MirrorDirection::Get, self.args.transfer.itemize);
        let report = reporter(self.out, &self.summary, form, orders);
        let settings = self.settings(url, progress, report)?;
        let wanted = Wanted {
            roots,
            after: self.after(),
            adopt: self.args.adopts(),
            keep_mode: self.args.keep_mode,
            range: self.args.range,
        };
        let result = mirror::get(&settings, client, wanted).await;
        bar.finish();
        result?;
        match lock(&self.summary).succeeded() && !self.args.dry_run {
            true => self.servers.after(url, &self.args.quote.after()).await,
            false => Ok(()),
        }
    }

    fn checks(&self) -> Checks {
        Checks { server: self.args.transfer.verify, sha256: self.args.sha256.clone() }
    }

    fn after(&self) -> AfterFetch {
        match (&self.args.move_source, self.args.delete_source) {
            (Some(directory), _) => AfterFetch::Move(RemotePath::new(directory.as_bytes())),
            (None, true) => AfterFetch::Delete,
            (None, false) => AfterFetch::Keep,
        }
    }

    fn settings(
        &mut self,
        url: &FtpUrl,
        progress: TransferProgress,
        report: MirrorReporter,
    ) -> Result<MirrorSettings, Fault> {
        let args = self.args;
        Ok(MirrorSettings {
            url: url.clone(),
            options: self.servers.options(url)?,
            list_method: ListMethod::Auto,
            connections: args.jobs.map(usize::from),
            retries: args.client.retry.retry,
            retry_delay: args.client.retry.retry_delay,
            resume: !args.no_resume,
            select: args.select.select()?,
            compare: args.select.compare(),
            links: args.links,
            checks: self.checks(),
            no_clobber: args.no_clobber,
            delete: args.delete.rule(),
            dry_run: args.dry_run,
            itemize: args.transfer.itemize,
            now: unix_seconds(),
            progress,
            report,
        })
    }

    /// Writes files one after the other to stdout, a device or a FIFO. Returns a status if the run ends early.
    async fn direct(
        &mut self,
        roots: Vec<(FtpUrl, Option<FetchRoot>)>,
        path: Option<&Path>,
    ) -> anyhow::Result<Option<Exit>> {
        for (order, (url, glob)) in roots.into_iter().enumerate() {
            let urls = match glob {
                None => vec![url],
                Some(glob) => match self.expand(&url, glob, order).await {
                    Ok(urls) => urls,
                    Err(fault) => {
                        lock(&self.summary).fail(self.out, order, &url.to_string(), &fault);
                        continue;
                    }
                },
            };
            for url in urls {
                match self.stream(&url, path).await {
                    Ok(got) => {
                        let local = path.map(Path::to_owned).unwrap_or_default();
                        self.done(order, MirroredFile::done(url.to_string(), local, got));
                    }
                    // The reader of stdout has gone, so the rest is not needed.
                    Err(fault) if fault.kind == Kind::Cancelled && path.is_none() => return Ok(Some(Exit::PIPE)),
                    Err(fault) => lock(&self.summary).fail(self.out, order, &url.to_string(), &fault),
                }
            }
        }
        Ok(None)
    }

    fn done(&self, order: usize, file: MirroredFile) {
        let form = (MirrorDirection::Get, self.args.transfer.itemize);
        reporter(self.out, &self.summary, form, Vec::new())(order, MirrorEvent::Done(file));
    }

    /// The URLs that a glob matches, sorted; a dry run finds them.
    async fn expand(&mut self, url: &FtpUrl, glob: FetchRoot, order: usize) -> Result<Vec<FtpUrl>, Fault> {
        let client = self.servers.take_patiently(url).await?;
        let found = Arc::new(Mutex::new(Vec::new()));
        let form = (MirrorDirection::Get, self.args.transfer.itemize);
        let others = reporter(self.out, &self.summary, form, vec![order]);
        let list = found.clone();
        let report: MirrorReporter = Arc::new(move |root, event| match event {
            MirrorEvent::Planned(item) => list.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(item.url),
            event => others(root, event),
        });
        let settings = self.settings(url, Arc::new(|_| {}), report)?;
        let settings = MirrorSettings { dry_run: true, no_clobber: false, compare: mirror::Compare::Never, ..settings };
        let roots = vec![glob];
        let wanted = Wanted { roots, after: AfterFetch::Keep, adopt: false, keep_mode: false, range: None };
        mirror::get(&settings, client, wanted).await?;
        let mut found = std::mem::take(&mut *found.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        found.sort();
        let login = |found: FtpUrl| FtpUrl { user: url.user.clone(), password: url.password.clone(), ..found };
        found.iter().map(|text| FtpUrl::parse(text).map(login)).collect()
    }

    async fn stream(&mut self, url: &FtpUrl, path: Option<&Path>) -> Result<Transferred, Fault> {
        let mut client = self.servers.take_patiently(url).await?;
        let on_screen = path.is_none() && std::io::stdout().is_terminal();
        let bar = if on_screen { Bar::hidden() } else { self.out.progress(&label_of(url), Measure::Bytes) };
        let progress = shown_in(&bar);
        progress(TransferStep::Found(None));
        let get = Get {
            path: &url.path,
            url: url.to_string(),
            ascii: url.ascii || self.args.ascii,
            size: None,
            modified: None,
            resume: false,
            again: false,
            adopt: false,
            checks: self.checks(),
            progress,
        };
        let file = match path {
            None => stdout_file()?,
            Some(path) => {
                File::options().write(true).open(path).map_err(|error| Fault::local(path.display(), &error))?
            }
        };
        let result = match self.args.range {
            None => fetch_to(&mut client, &get, &file).await,
            Some(range) => fetch_range(&mut client, &get, range, &file).await,
        };
        bar.finish();
        let result = match result {
            Err(fault) => Err(refusal_of_named(&mut client, &url.path, fault).await),
            got => got,
        };
        self.servers.give_back(url, client);
        result
    }
}
