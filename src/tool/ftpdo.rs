//! `ftpdo`: runs one command on an FTP server: make, remove, rename, look at, or whatever the server knows.

use std::process::ExitCode;

use serde::Serialize;

use crate::cli::args::{LoginArgs, NetArgs, OutputArgs, RetryArgs, TlsArgs};
use crate::cli::exit::{Exit, Tally};
use crate::cli::output::{Output, Record, TextLine};
use crate::fault::{Fault, Kind};
use crate::ftp::client::{Client, Way};
use crate::ftp::command::Command;
use crate::ftp::listing::Line;
use crate::ftp::mirror::MAX_DEPTH;
use crate::ftp::path::{FtpUrl, RemotePath, check_name};
use crate::ftp::reply::{Class, Reply};
use crate::tool::ftp_args::{Connecting, FtpArgs, Servers};
use crate::tool::ftpls::EntryRecord;

/// The arguments.
#[derive(clap::Parser)]
#[command(name = "ftpdo", version, about = "Run a command on an FTP server")]
pub struct Args {
    /// The server and the directory that the paths are relative to
    #[arg(value_name = "URL")]
    url: String,
    /// mkdir PATH…, rm PATH…, mv FROM TO, stat [PATH…], raw COMMAND
    #[arg(value_name = "VERB", value_enum)]
    verb: Verb,
    /// Paths relative to the URL's path (absolute with a leading `/`), or the words of a raw command
    #[arg(value_name = "ARG")]
    words: Vec<String>,
    /// With mkdir: parents too, and no error for what is there already
    #[arg(short = 'p', long)]
    parents: bool,
    /// With rm: directories with all that is in them
    #[arg(short = 'r', long)]
    recursive: bool,
    /// With rm: no error for what is not there
    #[arg(short = 'f', long)]
    force: bool,
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

/// What can be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Verb {
    /// Make directories
    Mkdir,
    /// Remove files and directories
    Rm,
    /// Rename
    Mv,
    /// Show what stands at a path
    Stat,
    /// Send a command as it is
    Raw,
}

impl Verb {
    const fn as_str(self) -> &'static str {
        match self {
            Verb::Mkdir => "mkdir",
            Verb::Rm => "rm",
            Verb::Mv => "mv",
            Verb::Stat => "stat",
            Verb::Raw => "raw",
        }
    }
}

impl crate::cli::Tool for Args {
    const NAME: &'static str = "ftpdo";

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

/// One command that was done.
#[derive(Serialize)]
struct CommandRecord {
    verb: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    code: u16,
    reply: Vec<String>,
    #[serde(skip)]
    show: bool,
}

impl Record for CommandRecord {
    const TYPE: &'static str = "command";

    /// Only a raw command's reply is output; the others are silent on success.
    fn text(&self, line: &mut TextLine) {
        if self.show {
            line.text(&format!("{} ", self.code));
            for (at, text) in self.reply.iter().enumerate() {
                line.text(if at == 0 { "" } else { "\n" }).escaped(text);
            }
        }
    }
}

fn run(args: Args, out: &Output) -> anyhow::Result<Exit> {
    let url = FtpUrl::parse(&args.url)?;
    let usage = |detail: &str| Fault::new(Kind::Usage, detail);
    match (args.verb, args.words.len()) {
        (Verb::Mv, count) if count != 2 => return Err(usage("mv needs FROM and TO").into()),
        (Verb::Raw, 0) => return Err(usage("raw needs a command").into()),
        (Verb::Rm, 0) if url.path.name().is_none() => return Err(usage("rm needs a path").into()),
        (Verb::Mkdir, 0) if url.path.name().is_none() => return Err(usage("mkdir needs a path").into()),
        _ => {}
    }
    let paths: Vec<RemotePath> = match (args.verb, args.words.is_empty()) {
        (Verb::Raw, _) => Vec::new(),
        (_, true) => vec![url.path.clone()],
        (_, false) => args.words.iter().map(|word| resolve(&url.path, word)).collect(),
    };
    crate::cli::block_on(async move {
        let Args { net, tls, login, ftp, .. } = &args;
        let mut servers = Servers::new(Connecting { out, net, tls, login, ftp });
        let mut tally = Tally::default();
        // Only connecting is tried again: a command may have been done although its reply got lost.
        let mut fail = |path: &RemotePath, fault: Fault| {
            out.error(&url.with_path(path.clone(), false).to_string(), &fault);
            tally.fault(&fault);
        };
        let mut client = match connect(&args, out, &mut servers, &url).await {
            Ok(client) => client,
            Err(fault) => {
                fail(&url.path, fault);
                return Ok(tally.exit());
            }
        };
        match (args.verb, paths.as_slice()) {
            (Verb::Raw, _) => match client.raw(&args.words.join(" ")).await {
                Ok(reply) => out.emit(&record(Verb::Raw, None, &reply))?,
                Err(fault) => fail(&url.path, fault),
            },
            (Verb::Mv, [from, to]) => match rename(&mut client, from, to).await {
                Ok(reply) => out.emit(&record(Verb::Mv, Some(to), &reply))?,
                Err(fault) => fail(from, fault),
            },
            (Verb::Mkdir | Verb::Rm | Verb::Stat | Verb::Mv, paths) => {
                for path in paths {
                    if let Err(fault) = one(&args, out, &mut client, &url, path).await {
                        fail(path, fault);
                    }
                }
            }
        }
        client.quit().await;
        Ok(tally.exit())
    })
}

async fn connect(args: &Args, out: &Output, servers: &mut Servers<'_>, url: &FtpUrl) -> Result<Client, Fault> {
    let mut retries = 0;
    loop {
        match servers.take(url).await {
            Err(fault) if fault.temporary() && retries < args.retry.retry => {
                retries += 1;
                let wait = crate::retry::delay(retries, args.retry.retry_delay, None, crate::net::random::fraction());
                out.warn(&format!("{url}: {fault}; trying again in {:.1} s", wait.as_secs_f64()));
                tokio::time::sleep(wait).await;
            }
            result => return result,
        }
    }
}

/// A path argument: absolute with a leading slash, else below the URL's path.
fn resolve(base: &RemotePath, word: &str) -> RemotePath {
    let path = RemotePath::new(word.as_bytes());
    match word.starts_with('/') || base.is_login() {
        true => path,
        false => RemotePath::new(base.join(path.as_bytes()).as_bytes()),
    }
}

async fn one(args: &Args, out: &Output, client: &mut Client, url: &FtpUrl, path: &RemotePath) -> Result<(), Fault> {
    match args.verb {
        Verb::Mkdir => {
            if args.parents {
                client.make_parents(path).await?;
            }
            let reply = client.call(&Command::Mkd(path.argument())).await?;
            let there = reply.ok() || (args.parents && exists_as_directory(client, path).await?);
            if !there {
                return Err(reply.fault("MKD", Kind::Refused));
            }
            out.emit(&record(Verb::Mkdir, Some(path), &reply))
        }
        Verb::Rm => remove(args, out, client, path, 0).await,
        Verb::Stat => match client.stat(path).await? {
            Some(mut entry) => {
                entry.name = path.name().unwrap_or(b"/").to_vec();
                if path.is_login() {
                    entry.name = b".".to_vec();
                }
                let parent = url.with_path(path.parent().unwrap_or_default(), true);
                let name = entry.name.clone();
                out.emit(&EntryRecord::new(&entry, name, &parent, true))
            }
            None => Err(Fault::new(Kind::NoInput, "nothing there")),
        },
        Verb::Mv | Verb::Raw => Err(Fault::new(Kind::Internal, "not a verb of one path")),
    }
}

async fn exists_as_directory(client: &mut Client, path: &RemotePath) -> Result<bool, Fault> {
    Ok(client.stat(path).await?.is_some_and(|entry| entry.is_dir()))
}

async fn rename(client: &mut Client, from: &RemotePath, to: &RemotePath) -> Result<Reply, Fault> {
    let reply = client.must(&Command::Rnfr(from.argument()), Kind::NoInput).await?;
    if reply.class() != Class::Intermediate {
        return Err(reply.fault("RNFR", Kind::Refused));
    }
    client.must(&Command::Rnto(to.argument()), Kind::Refused).await
}

/// Removes a file or a directory, with `-r` what is in it first.
async fn remove(args: &Args, out: &Output, client: &mut Client, path: &RemotePath, depth: usize) -> Result<(), Fault> {
    let as_file = client.call(&Command::Dele(path.argument())).await?;
    if as_file.ok() {
        return out.emit(&record(Verb::Rm, Some(path), &as_file));
    }
    if as_file.class() == Class::Transient {
        return Err(as_file.fault("DELE", Kind::NoInput));
    }
    let as_directory = client.call(&Command::Rmd(path.argument())).await?;
    if as_directory.ok() {
        return out.emit(&record(Verb::Rm, Some(path), &as_directory));
    }
    match client.stat(path).await? {
        None if args.force => Ok(()),
        None => Err(as_file.fault("DELE", Kind::NoInput)),
        Some(entry) if entry.is_dir() && args.recursive => {
            if depth > MAX_DEPTH {
                return Err(Fault::new(Kind::Protocol, format!("more than {MAX_DEPTH} directories deep")));
            }
            let mut names = Vec::new();
            let each = &mut |line: Line, _: &[u8]| match line {
                Line::Entry(entry) => check_name(&entry.name)
                    .map(|()| names.push(entry.name.clone()))
                    .map_err(|bad| Fault::new(Kind::BadData, bad.as_str())),
                Line::Nothing => Ok(()),
                Line::Unknown => Err(Fault::new(Kind::BadData, "a listing line that makes no sense")),
            };
            client.list(path, Way::Auto, true, each).await?;
            for name in names {
                Box::pin(remove(args, out, client, &path.join(&name), depth + 1)).await?;
            }
            let reply = client.must(&Command::Rmd(path.argument()), Kind::Refused).await?;
            out.emit(&record(Verb::Rm, Some(path), &reply))
        }
        Some(entry) if entry.is_dir() => {
            Err(as_directory.fault("RMD", Kind::Refused).with_hint("-r removes what is in it"))
        }
        Some(_) => Err(as_file.fault("DELE", Kind::Refused)),
    }
}

fn record(verb: Verb, path: Option<&RemotePath>, reply: &Reply) -> CommandRecord {
    CommandRecord {
        verb: verb.as_str(),
        path: path.map(RemotePath::to_text),
        code: reply.code,
        reply: reply.lines.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect(),
        show: verb == Verb::Raw,
    }
}
