//! `ftpput`: stores files and trees by FTP. An upload appears under its name when it is complete.

use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use crate::cli::args::{LoginArgs, NetArgs, OutputArgs, RetryArgs, TlsArgs};
use crate::cli::exit::Exit;
use crate::cli::output::Output;
use crate::fault::{Fault, Kind};
use crate::ftp::client::{Client, Way};
use crate::ftp::mirror::{self, Settings};
use crate::ftp::path::FtpUrl;
use crate::ftp::transfer::{Progress, Put, PutDone, Replace, Source, store};
use crate::tool::ftp_args::{Connecting, FtpArgs, Servers};
use crate::tool::ftp_report::{Shared, Summary, TransferRecord, lock, reporter};

/// The arguments.
#[derive(clap::Parser)]
#[command(name = "ftpput", version, about = "Store files and trees by FTP")]
#[command(override_usage = "ftpput [OPTIONS] SRC... URL")]
pub struct Args {
    /// What to store (`-` is stdin), and as the last argument where: a URL that ends in `/` keeps the name
    #[arg(required = true, value_name = "SRC... URL")]
    sources: Vec<PathBuf>,
    /// Store the contents of directories below the URL
    #[arg(short = 'r', long)]
    recursive: bool,
    /// Write under the final name at once, without a temporary one
    #[arg(long, conflicts_with_all = ["replace", "append"])]
    in_place: bool,
    /// Delete the old file before the complete upload gets its name, for servers that do not rename over a file
    #[arg(long, conflicts_with = "append")]
    replace: bool,
    /// Add to the end of the remote file
    #[arg(short = 'a', long, conflicts_with = "recursive")]
    append: bool,
    /// Begin again instead of continuing what an earlier run left
    #[arg(long)]
    no_resume: bool,
    /// Connections for -r; chosen by the round trip if not given
    #[arg(short = 'j', long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: Option<u16>,
    #[command(flatten)]
    ftp: FtpArgs,
    #[command(flatten)]
    login: LoginArgs,
    #[command(flatten)]
    tls: TlsArgs,
    #[command(flatten)]
    net: NetArgs,
    #[command(flatten)]
    retry: RetryArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl crate::cli::Tool for Args {
    const NAME: &'static str = "ftpput";

    fn output(&self) -> &OutputArgs {
        &self.output
    }
}

/// The tool's `main`.
pub fn main() -> ExitCode {
    crate::cli::main::<Args>(run)
}

/// The command line, for man pages and completions.
pub fn command() -> clap::Command {
    <Args as clap::CommandFactory>::command()
}

impl Args {
    fn way_to_replace(&self) -> Replace {
        match (self.in_place, self.replace, self.append) {
            (true, ..) => Replace::InPlace,
            (_, true, _) => Replace::DeleteFirst,
            (.., true) => Replace::Append,
            _ => Replace::Atomic,
        }
    }
}

/// One source and where it goes.
enum Job {
    Stdin(FtpUrl),
    File(PathBuf, FtpUrl),
    Tree(PathBuf, FtpUrl),
}

fn run(args: Args, out: &Output) -> anyhow::Result<Exit> {
    let (url, sources) = plan_url(&args)?;
    let jobs = plan(&args, &url, sources)?;
    crate::cli::block_on(async move {
        let Args { net, tls, login, ftp, .. } = &args;
        let mut servers = Servers::new(Connecting { out, net, tls, login, ftp });
        let summary = Arc::new(Mutex::new(Summary::new()));
        for job in &jobs {
            let (target, result) = match job {
                Job::Tree(path, url) => (url.to_string(), tree(&args, out, &mut servers, path, url, &summary).await),
                Job::File(path, url) => {
                    (url.to_string(), single(&args, out, &mut servers, Some(path), url, &summary).await)
                }
                Job::Stdin(url) => (url.to_string(), single(&args, out, &mut servers, None, url, &summary).await),
            };
            if let Err(fault) = result {
                lock(&summary).fail(out, &target, &fault);
            }
        }
        servers.quit().await;
        out.emit(&*lock(&summary))?;
        Ok(lock(&summary).exit())
    })
}

fn plan_url(args: &Args) -> Result<(FtpUrl, &[PathBuf]), Fault> {
    let usage = |detail: &str| Fault::new(Kind::Usage, detail);
    let (last, sources) = args.sources.split_last().ok_or_else(|| usage("nothing to store"))?;
    if sources.is_empty() {
        return Err(usage("nothing to store").with_hint("ftpput SRC... URL"));
    }
    let text = last.to_str().ok_or_else(|| usage("the URL is not UTF-8: write %XX"))?;
    Ok((FtpUrl::parse(text)?, sources))
}

/// Decides where each source goes, and that it is there, before anything is sent.
fn plan(args: &Args, url: &FtpUrl, sources: &[PathBuf]) -> Result<Vec<Job>, Fault> {
    let usage = |detail: String| Fault::new(Kind::Usage, detail);
    if sources.iter().filter(|source| source.as_os_str() == "-").count() + usize::from(args.login.reads_stdin()) > 1 {
        return Err(usage("stdin can be read only once".to_owned()));
    }
    let mut jobs = Vec::new();
    for source in sources {
        if source.as_os_str() == "-" {
            if url.directory {
                return Err(usage(format!("{url}: stdin needs a name: the URL must not end in a slash")));
            }
            jobs.push(Job::Stdin(url.clone()));
            continue;
        }
        let meta = std::fs::metadata(source).map_err(|error| Fault::local(source.display(), &error))?;
        if meta.is_dir() {
            if !args.recursive {
                let detail = format!("{}: is a directory", source.display());
                return Err(usage(detail).with_hint("-r stores its contents"));
            }
            jobs.push(Job::Tree(source.clone(), url.with_path(url.path.clone(), true)));
            continue;
        }
        let target = match url.directory {
            true => {
                let name = source.file_name().ok_or_else(|| usage(format!("{}: no file name", source.display())))?;
                url.with_path(url.path.join(name.as_bytes()), false)
            }
            false => url.clone(),
        };
        jobs.push(Job::File(source.clone(), target));
    }
    if jobs.len() > 1 && !url.directory && jobs.iter().any(|job| !matches!(job, Job::Tree(..))) {
        return Err(usage(format!("{url}: several sources need a URL that ends in a slash")));
    }
    Ok(jobs)
}

/// One file or stdin, tried again on a fresh connection as long as that may help. Stdin cannot be read twice.
async fn single(
    args: &Args,
    out: &Output,
    servers: &mut Servers<'_>,
    local: Option<&PathBuf>,
    url: &FtpUrl,
    summary: &Shared,
) -> Result<(), Fault> {
    let mut retries = 0;
    loop {
        let attempt = match servers.take(url).await {
            Ok(mut client) => {
                let result = send(args, out, &mut client, local, url, retries).await;
                servers.give_back(url, client);
                result
            }
            Err(fault) => Err(fault),
        };
        match attempt {
            Ok((done, modified)) => {
                lock(summary).add(done.bytes);
                let record =
                    TransferRecord::put(url.to_string(), local.map(PathBuf::as_path), &done, modified, retries);
                return out.emit(&record);
            }
            // Appending twice would store twice.
            Err(fault) if fault.temporary() && retries < args.retry.retry && local.is_some() && !args.append => {
                retries += 1;
                let wait = crate::retry::delay(retries, args.retry.retry_delay, None, crate::net::random::fraction());
                out.warn(&format!("{url}: {fault}; trying again in {:.1} s", wait.as_secs_f64()));
                tokio::time::sleep(wait).await;
            }
            Err(fault) => return Err(fault),
        }
    }
}

async fn send(
    args: &Args,
    out: &Output,
    client: &mut Client,
    local: Option<&PathBuf>,
    url: &FtpUrl,
    retries: u32,
) -> Result<(PutDone, Option<i64>), Fault> {
    let fault =
        |error: &std::io::Error| Fault::local(local.map_or("stdin".into(), |path| path.display().to_string()), error);
    let file = match local {
        Some(path) => File::open(path).map_err(|error| fault(&error))?,
        None => {
            use std::os::fd::AsFd;
            std::io::stdin().as_fd().try_clone_to_owned().map(File::from).map_err(|error| fault(&error))?
        }
    };
    let meta = file.metadata().map_err(|error| fault(&error))?;
    let plain = meta.is_file() && local.is_some();
    let modified = plain.then(|| std::os::unix::fs::MetadataExt::mtime(&meta));
    let bar = out.progress(plain.then_some(meta.len()), &String::from_utf8_lossy(url.path.name().unwrap_or_default()));
    let shown = bar.clone();
    let progress: Progress = Arc::new(move |bytes| shown.add(bytes));
    let source = Source { file: &file, size: plain.then_some(meta.len()), modified };
    let put = Put {
        path: &url.path,
        replace: args.way_to_replace(),
        ascii: url.ascii,
        resume: (!args.no_resume || retries > 0) && plain,
        progress,
    };
    let result = store(client, &put, &source).await;
    bar.finish();
    result.map(|done| (done, modified))
}

async fn tree(
    args: &Args,
    out: &Output,
    servers: &mut Servers<'_>,
    local: &Path,
    url: &FtpUrl,
    summary: &Shared,
) -> Result<(), Fault> {
    let client = servers.take(url).await?;
    let bar = out.progress(None, &local.display().to_string());
    let shown = bar.clone();
    let settings = Settings {
        url: url.clone(),
        options: servers.options(url)?,
        way: Way::Auto,
        connections: args.jobs.map(usize::from),
        retries: args.retry.retry,
        retry_delay: args.retry.retry_delay,
        resume: !args.no_resume,
        replace: args.way_to_replace(),
        progress: Arc::new(move |bytes| shown.add(bytes)),
        report: reporter(out, summary),
    };
    let result = mirror::put(&settings, client, local).await;
    bar.finish();
    result
}
