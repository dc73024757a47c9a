//! `ftpls`: lists FTP directories, as text or as JSON that is the same for every server.

use std::process::ExitCode;

use serde::Serialize;

use crate::cli::args::{LoginArgs, NetArgs, OutputArgs, RetryArgs, TlsArgs};
use crate::cli::exit::{Exit, Tally};
use crate::cli::output::{Output, Record, TextLine};
use crate::fault::{Fault, Kind};
use crate::ftp::client::{Client, Way};
use crate::ftp::listing::{Entry, Line};
use crate::ftp::mirror::MAX_DEPTH;
use crate::ftp::path::{FtpUrl, RemotePath, check_name};
use crate::tool::ftp_args::{Connecting, FtpArgs, Servers, base64_unless_utf8, letter, parse_urls, time_text};

/// The arguments.
#[derive(clap::Parser)]
#[command(name = "ftpls", version, about = "List FTP directories")]
pub struct Args {
    /// What to list: ftp://, ftpes:// (AUTH TLS) or ftps:// (implicit TLS)
    #[arg(required = true, value_name = "URL")]
    urls: Vec<String>,
    /// Type, mode, owner, group, size, time and name, with TABs between them
    #[arg(short = 'l', long)]
    long: bool,
    /// Go down into directories
    #[arg(short = 'R', short_alias = 'r', long)]
    recursive: bool,
    /// How to list: auto (MLSD, else LIST), mlsd, list, or stat (needs no data connection)
    #[arg(long, value_name = "WAY", value_parser = parse_way, default_value = "auto")]
    way: Way,
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
    const NAME: &'static str = "ftpls";

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

fn parse_way(text: &str) -> Result<Way, String> {
    match text {
        "auto" => Ok(Way::Auto),
        "mlsd" => Ok(Way::Mlsd),
        "list" => Ok(Way::List),
        "stat" => Ok(Way::Stat),
        _ => Err("auto, mlsd, list or stat".to_owned()),
    }
}

fn run(args: Args, out: &Output) -> anyhow::Result<Exit> {
    let urls = parse_urls(&args.urls)?;
    crate::cli::block_on(async move {
        let Args { net, tls, login, ftp, .. } = &args;
        let mut servers = Servers::new(Connecting { out, net, tls, login, ftp });
        let mut tally = Tally::default();
        for url in &urls {
            match list_url(&args, out, &mut servers, url, &mut tally).await {
                Ok(()) => tally.success(),
                Err(fault) => {
                    out.error(&url.to_string(), &fault);
                    tally.fault(&fault);
                }
            }
        }
        servers.quit().await;
        Ok(tally.exit())
    })
}

/// Lists one URL. A failure is tried again only as long as nothing was printed.
async fn list_url(
    args: &Args,
    out: &Output,
    servers: &mut Servers<'_>,
    url: &FtpUrl,
    tally: &mut Tally,
) -> Result<(), Fault> {
    let mut attempt = 0;
    loop {
        let mut listing = Listing { args, out, url, printed: 0 };
        let result = match servers.take(url).await {
            Ok(mut client) => {
                let result = listing.url(&mut client, tally).await;
                servers.give_back(url, client);
                result
            }
            Err(fault) => Err(fault),
        };
        match result {
            Err(fault) if fault.temporary() && attempt < args.retry.retry && listing.printed == 0 => {
                attempt += 1;
                let wait = crate::retry::delay(attempt, args.retry.retry_delay, None, crate::net::random::fraction());
                out.warn(&format!("{url}: {fault}; trying again in {:.1} s", wait.as_secs_f64()));
                tokio::time::sleep(wait).await;
            }
            result => return result,
        }
    }
}

struct Listing<'a> {
    args: &'a Args,
    out: &'a Output,
    url: &'a FtpUrl,
    printed: u64,
}

impl Listing<'_> {
    async fn url(&mut self, client: &mut Client, tally: &mut Tally) -> Result<(), Fault> {
        let mut waiting = vec![(self.url.path.clone(), Vec::new(), 0)];
        while let Some((path, prefix, depth)) = waiting.pop() {
            match self.directory(client, &path, &prefix, depth, &mut waiting, tally).await {
                Ok(()) => {}
                Err(fault) if depth == 0 && !self.url.directory && client.usable() => {
                    return self.single(client, fault).await;
                }
                // One directory that may not be read is no reason to leave out the others.
                Err(fault) if depth > 0 && client.usable() => {
                    self.out.error(&self.url.with_path(path, true).to_string(), &fault);
                    tally.fault(&fault);
                }
                Err(fault) => return Err(fault),
            }
        }
        Ok(())
    }

    async fn directory(
        &mut self,
        client: &mut Client,
        path: &RemotePath,
        prefix: &[u8],
        depth: usize,
        waiting: &mut Vec<(RemotePath, Vec<u8>, usize)>,
        tally: &mut Tally,
    ) -> Result<(), Fault> {
        if depth > MAX_DEPTH {
            return Err(Fault::new(Kind::Protocol, format!("more than {MAX_DEPTH} directories deep")));
        }
        let mut below = Vec::new();
        let mut odd = Vec::new();
        let way = self.args.way;
        let each = &mut |line: Line, raw: &[u8]| -> Result<(), Fault> {
            let entry = match line {
                Line::Entry(entry) => entry,
                Line::Nothing => return Ok(()),
                Line::Unknown => {
                    let shown: Vec<u8> = raw.iter().copied().take(200).collect();
                    let detail = format!("a listing line that makes no sense: {}", String::from_utf8_lossy(&shown));
                    odd.push(Fault::new(Kind::BadData, detail));
                    return Ok(());
                }
            };
            if self.args.recursive && entry.is_dir() {
                match check_name(&entry.name) {
                    Ok(()) => {
                        let inner = [prefix, entry.name.as_slice(), b"/"].concat();
                        below.push((path.join(&entry.name), inner, depth + 1));
                    }
                    Err(bad) => {
                        let detail = format!("{}: {}", String::from_utf8_lossy(&entry.name), bad.as_str());
                        odd.push(Fault::new(Kind::BadData, detail));
                    }
                }
            }
            self.print(&entry, prefix)
        };
        let listed = client.list(path, way, depth == 0, each).await;
        for fault in odd {
            self.out.error(&self.url.with_path(path.clone(), true).to_string(), &fault);
            tally.fault(&fault);
        }
        listed?;
        // Depth first, in the order of the listing.
        waiting.extend(below.into_iter().rev());
        Ok(())
    }

    /// The URL may name a file: its own facts are the listing.
    async fn single(&mut self, client: &mut Client, fault: Fault) -> Result<(), Fault> {
        match client.stat(&self.url.path).await {
            Ok(Some(mut entry)) => {
                entry.name = self.url.path.name().unwrap_or_default().to_vec();
                self.print(&entry, b"")
            }
            _ => Err(fault),
        }
    }

    fn print(&mut self, entry: &Entry, prefix: &[u8]) -> Result<(), Fault> {
        self.printed += 1;
        let path = [prefix, entry.name.as_slice()].concat();
        self.out.emit(&EntryRecord::new(entry, path, self.url, self.args.long))
    }
}

/// One listed entry.
#[derive(Serialize)]
pub(super) struct EntryRecord {
    url: String,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name_base64: Option<String>,
    path: String,
    entry_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    size_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    modified: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    modified_precision: Option<&'static str>,
    /// `utc`, or `unknown` for the server's own zone, which LIST does not name.
    #[serde(skip_serializing_if = "Option::is_none")]
    modified_zone: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    link_target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    perm: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unique: Option<String>,
    #[serde(skip)]
    shown: Vec<u8>,
    #[serde(skip)]
    long: bool,
    #[serde(skip)]
    letter: &'static str,
}

impl EntryRecord {
    /// The record of an entry at `path` below `url`.
    pub(super) fn new(entry: &Entry, path: Vec<u8>, url: &FtpUrl, long: bool) -> EntryRecord {
        let text = |bytes: &Option<Vec<u8>>| bytes.as_ref().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        let remote = match url.path.name() == Some(path.as_slice()) && !url.directory && !entry.is_dir() {
            true => url.path.clone(),
            false => url.path.join(&path),
        };
        EntryRecord {
            url: url.with_path(remote, entry.is_dir()).to_string(),
            name: String::from_utf8_lossy(&entry.name).into_owned(),
            name_base64: base64_unless_utf8(&entry.name),
            path: String::from_utf8_lossy(&path).into_owned(),
            entry_type: entry.entry_type.as_str(),
            size_bytes: entry.size,
            modified: entry.modified.as_ref().map(time_text),
            modified_precision: entry.modified.map(|modified| modified.precision.as_str()),
            modified_zone: entry.modified.map(|modified| if modified.utc { "utc" } else { "unknown" }),
            mode: entry.mode.map(|mode| format!("{mode:04o}")),
            owner: text(&entry.owner),
            group: text(&entry.group),
            link_target: text(&entry.link_target),
            perm: entry.perm.clone(),
            unique: text(&entry.unique),
            shown: path,
            long,
            letter: letter(entry.entry_type),
        }
    }
}

impl Record for EntryRecord {
    const TYPE: &'static str = "entry";

    fn text(&self, line: &mut TextLine) {
        if !self.long {
            line.field(&self.shown);
            return;
        }
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        line.field(self.letter).field(or_dash(&self.mode)).field(or_dash(&self.owner)).field(or_dash(&self.group));
        line.field(or_dash(&self.size_bytes.map(|size| size.to_string()))).field(or_dash(&self.modified));
        line.field(&self.shown);
        if let Some(target) = &self.link_target {
            line.text(" -> ").escaped(target);
        }
    }
}
