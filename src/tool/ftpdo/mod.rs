//! `ftpdo`: changes files on an FTP server, queries it, or sends any other command: a single command, or a script of
//! commands over one connection.

mod act;
mod actor;
mod meant;
mod probe;
mod remove;
mod script;
mod transfer;

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::cli::args::OutputArgs;
use crate::cli::exit::{Exit, Tally};
use crate::cli::input;
use crate::cli::output::Output;
use crate::cli::words;
use crate::fault::{Fault, Kind};
use crate::ftp::checksum::ChecksumAlgorithm;
use crate::ftp::path::FtpUrl;
use crate::tool::ftp_args::{FtpClientArgs, Servers, url_text};
use crate::tool::ftp_pick::PickArgs;
use crate::tool::ftp_words;

use actor::Actor;
use script::{Act, ScriptCommand};

/// The longest script, in bytes.
const MAX_SCRIPT: u64 = 64 << 20;

/// The arguments.
#[derive(clap::Parser)]
#[command(name = "ftpdo", version, about = "Run commands on an FTP server")]
pub struct Args {
    /// Server, and the directory that relative paths start from
    #[arg(value_name = "URL")]
    url: OsString,
    /// mkdir, rm, rmdir, mv, chmod, touch, stat, ls, get, put, cat, hash, du, pwd, raw or probe; without one, or with -, commands are read from stdin
    #[arg(value_name = "VERB", value_parser = words::offered(script::VERBS), hide_possible_values = true)]
    verb: Option<String>,
    /// Paths relative to the URL's path (absolute with a leading `/`), or the words of a raw command
    #[arg(value_name = "ARG")]
    words: Vec<OsString>,
    /// mkdir: make parents too; an existing directory is no error
    #[arg(short = 'p', long)]
    parents: bool,
    /// rm: remove directories with their contents
    #[arg(short = 'r', short_alias = 'R', long)]
    recursive: bool,
    /// rm: a missing file is no error
    #[arg(short = 'f', long)]
    force: bool,
    /// touch: set this time instead of now: 2026-11-23T05:52:22Z, @SECONDS, or 2d for two days ago
    #[arg(short = 'd', long, value_name = "TIME")]
    date: Option<String>,
    /// touch: do not create files
    #[arg(short = 'c', long)]
    no_create: bool,
    /// hash: use SHA-512, SHA-256, SHA-1, MD5 or CRC32 instead of the server's strongest
    #[arg(short = 'a', long, value_name = "NAME", hide_possible_values = true)]
    #[arg(value_parser = words::offered(ChecksumAlgorithm::ALL.map(ChecksumAlgorithm::as_str)))]
    algorithm: Option<String>,
    /// Continue the script after a failed command
    #[arg(short = 'k', long)]
    keep_going: bool,
    /// Print the changes without making them
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Take `*`, `?`, `[` and `{` in the paths of the command line literally
    #[arg(long)]
    no_glob: bool,
    /// ls: print all columns
    #[arg(short = 'l', long)]
    long: bool,
    /// get, put: target file; with a / at the end the target directory
    #[arg(short = 'o', long, value_name = "PATH")]
    to: Option<OsString>,
    /// probe: end with status 1 if a certificate of the server's chain ends in fewer days
    #[arg(long, value_name = "N")]
    min_days: Option<u32>,
    #[command(flatten)]
    pick: PickArgs,
    #[command(flatten)]
    client: FtpClientArgs,
    #[command(flatten)]
    output: OutputArgs,
}

crate::cli::tool!("ftpdo", Args, guide crate::tool::guides::FTPDO, words &[ftp_words::DO, ftp_words::ALL], prints |args| args.output.json || args.dry_run, run run);

fn run(args: Args, out: &Output) -> anyhow::Result<Exit> {
    let url = FtpUrl::parse(&url_text(args.url.as_bytes()))?;
    if args.verb.as_deref() == Some("probe") {
        return probe::run(&args, &url, out);
    }
    if args.min_days.is_some() {
        return Err(Fault::new(Kind::Usage, "--min-days: only with probe").into());
    }
    let commands = commands(&args, &url)?;
    if commands.iter().any(|command| command.act.prints()) {
        out.will_print()?;
    }
    crate::cli::block_on(async move {
        let mut servers = Servers::new(out, &args.client);
        let mut tally = Tally::default();
        // Only connecting is tried again: a command may have been done although its reply got lost.
        let client = match servers.take_patiently(&url).await {
            Ok(client) => client,
            Err(fault) => {
                out.error(&url.to_string(), &fault);
                tally.fault(&fault);
                return Ok(tally.exit());
            }
        };
        let mut actor = Actor { client, out, url: &url, dry_run: args.dry_run, tally };
        for command in &commands {
            let failed = actor.tally.failed();
            actor.run(command).await?;
            let lost = !actor.client.usable();
            if lost || (actor.tally.failed() > failed && command.line > 0 && !args.keep_going) {
                break;
            }
        }
        let Actor { client, tally, .. } = actor;
        client.quit().await;
        Ok(tally.exit())
    })
}

/// The commands to execute. All of them are parsed before the first one runs.
fn commands(args: &Args, url: &FtpUrl) -> Result<Vec<ScriptCommand>, Fault> {
    let verb = args.verb.as_deref().filter(|verb| *verb != "-");
    let Some(verb) = verb else {
        if !args.words.is_empty() {
            return Err(Fault::new(Kind::Usage, "a script takes no arguments"));
        }
        if args.client.login.reads_stdin() {
            return Err(Fault::new(Kind::Usage, "stdin can be read only once: the script or the password"));
        }
        let mut script = Vec::new();
        let stdin = input::stdin()?;
        stdin.take(MAX_SCRIPT + 1).read_to_end(&mut script).map_err(|error| Fault::local("stdin", &error))?;
        if u64::try_from(script.len()).is_ok_and(|length| length > MAX_SCRIPT) {
            return Err(Fault::new(Kind::Usage, format!("a script of more than {MAX_SCRIPT} bytes")));
        }
        return script::read(&script);
    };
    let mut words = vec![verb.as_bytes().to_vec()];
    let flags = [
        (args.parents, "--parents"),
        (args.recursive, "--recursive"),
        (args.force, "--force"),
        (args.no_create, "--no-create"),
        (args.long, "--long"),
    ];
    words.extend(flags.iter().filter(|(given, _)| *given).map(|(_, flag)| flag.as_bytes().to_vec()));
    for (flag, value) in [("--date", &args.date), ("--algorithm", &args.algorithm)] {
        if let Some(value) = value {
            words.push(format!("{flag}={value}").into_bytes());
        }
    }
    if let Some(to) = &args.to {
        words.push([b"--to=", to.as_encoded_bytes()].concat());
    }
    words.push(b"--".to_vec());
    let globs = !args.no_glob && !matches!(verb, "mkdir" | "raw");
    let marked = |word: Vec<u8>| if globs { script::from_command_line(&word) } else { word };
    words.extend(args.words.iter().map(|word| marked(word.clone().into_vec())));
    let mut command = script::parse(&words, 0, url.path.name().is_some())?;
    let given = args.pick.pick()?;
    match &mut command.act {
        Act::Rm { pick, .. } => *pick = given,
        _ if given.is_empty() => {}
        _ => return Err(Fault::new(Kind::Usage, format!("{verb} takes no filters, rm does"))),
    }
    Ok(vec![command])
}
