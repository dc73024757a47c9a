//! `ftpget`: fetches files and trees by FTP. A file appears under its name when it is complete.

use std::fs::File;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use crate::cli::args::{LoginArgs, NetArgs, OutputArgs, RetryArgs, TlsArgs};
use crate::cli::exit::Exit;
use crate::cli::output::Output;
use crate::fault::{Fault, Kind};
use crate::ftp::client::{Client, Way};
use crate::ftp::mirror::{self, Settings};
use crate::ftp::path::{FtpUrl, check_name};
use crate::ftp::transfer::{Get, Got, LocalDir, Part, Progress, Replace, fetch_part, fetch_to};
use crate::tool::ftp_args::{Connecting, FtpArgs, Servers, parse_urls, stdout_file};
use crate::tool::ftp_report::{Shared, Summary, TransferRecord, lock, reporter};

/// The arguments.
#[derive(clap::Parser)]
#[command(name = "ftpget", version, about = "Fetch files and trees by FTP")]
pub struct Args {
    /// What to fetch: ftp://, ftpes:// (AUTH TLS) or ftps:// (implicit TLS)
    #[arg(required = true, value_name = "URL")]
    urls: Vec<String>,
    /// Where to: a file, a directory (several URLs, or a trailing `/`), or `-` for stdout; by default ./NAME
    #[arg(short = 'o', long = "output", value_name = "FILE|DIR|-")]
    target: Option<PathBuf>,
    /// Fetch whole trees; files that have the same size and time already are left alone
    #[arg(short = 'r', long)]
    recursive: bool,
    /// Begin again instead of continuing what an earlier run left
    #[arg(long)]
    no_resume: bool,
    /// Never replace a file that is there
    #[arg(long, conflicts_with = "recursive")]
    no_clobber: bool,
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
    const NAME: &'static str = "ftpget";

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

/// Where one URL goes.
enum Target {
    Stdout,
    /// A device or a FIFO: written directly.
    Direct(PathBuf),
    File(Arc<LocalDir>, Vec<u8>),
    Tree(PathBuf),
}

fn run(args: Args, out: &Output) -> anyhow::Result<Exit> {
    let urls = parse_urls(&args.urls)?;
    if is_stdout(args.target.as_deref()) {
        out.payload()?;
        if args.recursive {
            return Err(Fault::new(Kind::Usage, "a tree cannot go to stdout").into());
        }
    }
    // All names are settled before the first byte moves.
    for url in &urls {
        if !args.recursive && (url.directory || url.path.name().is_none()) {
            let fault = Fault::new(Kind::Usage, format!("{url}: names a directory"));
            return Err(fault.with_hint("-r fetches a tree, ftpls lists it").into());
        }
    }
    crate::cli::block_on(async move {
        let Args { net, tls, login, ftp, .. } = &args;
        let mut servers = Servers::new(Connecting { out, net, tls, login, ftp });
        let summary = Arc::new(Mutex::new(Summary::new()));
        for url in &urls {
            let result = match target(&args, url, urls.len() > 1) {
                Ok(Target::Tree(path)) => tree(&args, out, &mut servers, url, &path, &summary).await,
                Ok(target) => single(&args, out, &mut servers, url, &target, &summary).await,
                Err(fault) => Err(fault),
            };
            match result {
                // The reader of our stdout has gone: nobody wants the rest.
                Err(fault) if fault.kind == Kind::Cancelled && is_stdout(args.target.as_deref()) => {
                    return Ok(Exit::PIPE);
                }
                Err(fault) => lock(&summary).fail(out, &url.to_string(), &fault),
                Ok(()) => {}
            }
        }
        servers.quit().await;
        out.emit(&*lock(&summary))?;
        Ok(lock(&summary).exit())
    })
}

fn is_stdout(target: Option<&Path>) -> bool {
    target == Some(Path::new("-"))
}

/// Decides where a URL goes.
fn target(args: &Args, url: &FtpUrl, several: bool) -> Result<Target, Fault> {
    if is_stdout(args.target.as_deref()) {
        return Ok(Target::Stdout);
    }
    let name = url.path.name();
    if let Some(name) = name {
        check_name(name).map_err(|bad| Fault::new(Kind::Usage, format!("{url}: {}", bad.as_str())))?;
    }
    let own_name = || Path::new(std::ffi::OsStr::from_bytes(name.unwrap_or(b"."))).to_owned();
    if args.recursive {
        return Ok(Target::Tree(match (&args.target, url.directory) {
            (Some(target), true) => target.clone(),
            (Some(target), false) => target.join(own_name()),
            (None, _) => own_name(),
        }));
    }
    let file_name = name.unwrap_or_default().to_vec();
    let Some(target) = &args.target else {
        return Ok(Target::File(LocalDir::open(Path::new("."))?, file_name));
    };
    if several || target.as_os_str().as_bytes().ends_with(b"/") {
        return Ok(Target::File(LocalDir::create(target)?, file_name));
    }
    match std::fs::metadata(target) {
        Ok(meta) if meta.is_dir() => return Ok(Target::File(LocalDir::open(target)?, file_name)),
        Ok(meta) if !meta.is_file() => {
            let kind = meta.file_type();
            let direct = kind.is_char_device() || kind.is_block_device() || kind.is_fifo();
            return match direct {
                true => Ok(Target::Direct(target.clone())),
                false => Err(Fault::new(Kind::CannotCreate, format!("{}: not a file", target.display()))),
            };
        }
        _ => {}
    }
    // A symbolic link stays; what it points to is replaced.
    let real = match std::fs::read_link(target) {
        Ok(_) => std::fs::canonicalize(target).map_err(|error| Fault::local(target.display(), &error))?,
        Err(_) => target.clone(),
    };
    let name =
        real.file_name().ok_or_else(|| Fault::new(Kind::Usage, format!("{}: not a file name", target.display())))?;
    let parent = real.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let dir = LocalDir::open(parent).map_err(|fault| Fault { kind: Kind::CannotCreate, ..fault })?;
    Ok(Target::File(dir, name.to_owned().into_vec()))
}

/// One file, tried again on a fresh connection as long as that may help; each attempt continues the one before.
async fn single(
    args: &Args,
    out: &Output,
    servers: &mut Servers<'_>,
    url: &FtpUrl,
    target: &Target,
    summary: &Shared,
) -> Result<(), Fault> {
    let mut retries = 0;
    loop {
        let attempt = match servers.take(url).await {
            Ok(mut client) => {
                let result = fetch(args, out, &mut client, url, target, retries).await;
                servers.give_back(url, client);
                result
            }
            Err(fault) => Err(fault),
        };
        match attempt {
            Ok((got, local)) => {
                lock(summary).add(got.bytes);
                return out.emit(&TransferRecord::got(url.to_string(), local.as_deref(), &got, retries));
            }
            // What went to a pipe cannot be taken back.
            Err(fault) if fault.temporary() && retries < args.retry.retry && matches!(target, Target::File(..)) => {
                retries += 1;
                let wait = crate::retry::delay(retries, args.retry.retry_delay, None, crate::net::random::fraction());
                out.warn(&format!("{url}: {fault}; trying again in {:.1} s", wait.as_secs_f64()));
                tokio::time::sleep(wait).await;
            }
            Err(fault) => return Err(fault),
        }
    }
}

async fn fetch(
    args: &Args,
    out: &Output,
    client: &mut Client,
    url: &FtpUrl,
    target: &Target,
    retries: u32,
) -> Result<(Got, Option<PathBuf>), Fault> {
    let bar = out.progress(None, &String::from_utf8_lossy(url.path.name().unwrap_or_default()));
    let shown = bar.clone();
    let progress: Progress = Arc::new(move |bytes| shown.add(bytes));
    let get = Get {
        path: &url.path,
        url: url.to_string(),
        ascii: url.ascii,
        size: None,
        modified: None,
        resume: !args.no_resume || retries > 0,
        progress,
    };
    let result = match target {
        Target::Stdout => fetch_to(client, &get, &stdout_file()?).await.map(|got| (got, None)),
        Target::Direct(path) => {
            let file = File::options().write(true).open(path).map_err(|error| Fault::local(path.display(), &error))?;
            fetch_to(client, &get, &file).await.map(|got| (got, Some(path.clone())))
        }
        Target::File(dir, name) => {
            if args.no_clobber && dir.exists(name) {
                let path = dir.path().join(std::ffi::OsStr::from_bytes(name));
                return Err(Fault::new(Kind::CannotCreate, format!("{}: is there already", path.display())));
            }
            let part = Part::open(dir, name)?;
            let path = part.target();
            match fetch_part(client, &get, &part).await {
                Ok(got) => part.commit(got.modified, true, !args.no_clobber).map(|()| (got, Some(path))),
                Err(fault) => Err(kept(fault, &part)),
            }
        }
        Target::Tree(_) => Err(Fault::new(Kind::Internal, "a tree is no file")),
    };
    bar.finish();
    result
}

/// Says that a part was kept, where it was.
fn kept(fault: Fault, part: &Part) -> Fault {
    match fault.temporary() && part.length().is_ok_and(|length| length > 0) {
        true => fault.with_hint("what arrived is kept: the same command again continues it"),
        false => fault,
    }
}

async fn tree(
    args: &Args,
    out: &Output,
    servers: &mut Servers<'_>,
    url: &FtpUrl,
    local: &Path,
    summary: &Shared,
) -> Result<(), Fault> {
    let client = servers.take(url).await?;
    let options = servers.options(url)?;
    let target = LocalDir::create(local)?;
    let bar = out.progress(None, &url.to_string());
    let shown = bar.clone();
    let settings = Settings {
        url: url.clone(),
        options,
        way: Way::Auto,
        connections: args.jobs.map(usize::from),
        retries: args.retry.retry,
        retry_delay: args.retry.retry_delay,
        resume: !args.no_resume,
        replace: Replace::Atomic,
        progress: Arc::new(move |bytes| shown.add(bytes)),
        report: reporter(out, summary),
    };
    let result = mirror::get(&settings, client, target).await;
    bar.finish();
    result
}
