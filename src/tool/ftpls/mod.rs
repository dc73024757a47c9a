//! `ftpls`: lists FTP directories as text, or as JSON in the same form for every server.

mod record;
mod saved;
mod walk;

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::cli::args::OutputArgs;
use crate::cli::clock;
use crate::cli::exit::{Exit, Tally};
use crate::cli::output::Output;
use crate::cli::words;
use crate::fault::{Fault, Kind};
use crate::ftp::client::ListMethod;
use crate::ftp::glob::Glob;
use crate::ftp::mirror::SpoolWriter;
use crate::ftp::path::FtpUrl;
use crate::tool::ftp_args::{FtpClientArgs, Servers, url_text};
use crate::tool::ftp_pick::PickArgs;
use crate::tool::ftp_words;

pub(super) use record::EntryRecord;
use record::{Order, Printer};
use walk::UrlListing;

/// The arguments.
#[derive(clap::Parser)]
#[command(name = "ftpls", version, about = "List FTP directories")]
pub struct Args {
    /// URLs to list: ftp://, ftpes:// (AUTH TLS) or ftps:// (implicit TLS); the path may contain globs
    #[arg(required_unless_present = "parse", value_name = "URL")]
    urls: Vec<OsString>,
    /// Print type, mode, owner, group, size, time and name, separated by TABs
    #[arg(short = 'l', long)]
    long: bool,
    /// List directories recursively
    #[arg(short = 'R', short_alias = 'r', long)]
    recursive: bool,
    /// List at most N levels; 1 is the directory itself
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_depth: Option<u32>,
    /// Print the total size of the files below each directory, in bytes
    #[arg(long, conflicts_with_all = ["long", "parse"])]
    du: bool,
    /// Take *, ?, [ and { in URLs literally
    #[arg(short = 'g', long = "no-glob", visible_alias = "globoff")]
    no_glob: bool,
    /// Order: the server's (printed as it arrives), by name, largest first or latest first
    #[arg(long, value_name = "ORDER", value_enum, default_value_t)]
    sort: Order,
    /// The same as --sort time
    #[arg(short = 't', conflicts_with_all = ["sort", "by_size"])]
    by_time: bool,
    /// The same as --sort size
    #[arg(short = 'S', conflicts_with = "sort")]
    by_size: bool,
    /// Reverse the order
    #[arg(long)]
    reverse: bool,
    /// Print no more than the first N entries of each URL, in the order of --sort
    #[arg(long, value_name = "N", conflicts_with = "du")]
    limit: Option<u64>,
    /// As ls(1) takes them; done anyway: all entries, one a line
    #[arg(short = 'a', short_alias = '1', hide = true, action = clap::ArgAction::Count)]
    as_ls: u8,
    #[command(flatten)]
    pick: PickArgs,
    /// Listing command: auto (MLSD, else LIST, else STAT), mlsd, list, or stat (needs no data connection)
    #[arg(long, value_name = "WAY", value_parser = words::one_of(WAYS), hide_possible_values = true, default_value = "auto")]
    way: ListMethod,
    /// The same as --way stat
    #[arg(long, conflicts_with = "way")]
    stat: bool,
    /// Parse a saved listing, in any dialect, instead of a server's
    #[arg(long, value_name = "FILE|-", conflicts_with_all = ["urls", "recursive", "max_depth"])]
    parse: Option<PathBuf>,
    /// Time of the saved listing: it determines the year of dates without one
    #[arg(long, value_name = "TIME", value_parser = clock::moment)]
    now: Option<i64>,
    #[command(flatten)]
    client: FtpClientArgs,
    #[command(flatten)]
    output: OutputArgs,
}

crate::cli::tool!("ftpls", Args, guide crate::tool::guides::FTPLS, words &[ftp_words::LS, ftp_words::ALL], meanings ftp_words::LS_MEANINGS, run run);

impl Args {
    /// The depth limit of the listing.
    fn deepest(&self) -> usize {
        self.max_depth.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX))
    }
}

const WAYS: &[(&str, ListMethod)] =
    &[("auto", ListMethod::Any), ("mlsd", ListMethod::Mlsd), ("list", ListMethod::List), ("stat", ListMethod::Stat)];

fn run(mut args: Args, out: &Output) -> anyhow::Result<Exit> {
    if args.stat {
        args.way = ListMethod::Stat;
    }
    match (args.by_time, args.by_size) {
        (true, _) => args.sort = Order::Time,
        (_, true) => args.sort = Order::Size,
        _ => {}
    }
    let pick = args.pick.pick()?;
    let printer = || Printer::new(out, &args);
    if let Some(file) = &args.parse {
        return Ok(saved::list(file, args.now, args.client.charset(), &pick, printer(), out)?);
    }
    if args.now.is_some() {
        return Err(Fault::new(Kind::Usage, "--now is the time of a saved listing: it needs --parse").into());
    }
    // All URLs are parsed first: a typo in the last one must not show after an hour.
    let texts: Vec<String> = args.urls.iter().map(|url| url_text(url.as_bytes())).collect();
    let parse = |text: &String| match args.no_glob {
        true => Ok((FtpUrl::parse(text)?, None)),
        false => FtpUrl::parse_glob(text),
    };
    let urls: Vec<(FtpUrl, Option<Glob>)> = texts.iter().map(parse).collect::<Result<_, Fault>>()?;
    crate::cli::block_on(async {
        let mut servers = Servers::new(out, &args.client);
        let mut tally = Tally::default();
        for ((url, glob), text) in urls.iter().zip(&texts) {
            let (printer, sums, glob_ref) = (printer(), SpoolWriter::default(), glob.as_ref());
            let listing = UrlListing { args: &args, out, pick: &pick, url, glob: glob_ref, printer, seen: 0, sums };
            match list_url(listing, &mut servers, &mut tally).await {
                Ok(()) => tally.success(),
                Err(fault) => {
                    let shown = if glob.is_some() { without_login(text, url) } else { url.to_string() };
                    out.error(&shown, &fault);
                    tally.fault(&fault);
                }
            }
        }
        servers.quit().await;
        Ok(tally.exit())
    })
}

/// A URL with a glob, for messages: as the user wrote it, but without the password.
fn without_login(text: &str, url: &FtpUrl) -> String {
    let path = text
        .find("://")
        .and_then(|at| text.get(at + 3..))
        .and_then(|rest| rest.find('/').and_then(|at| rest.get(at..)));
    let server = url.with_path(crate::ftp::path::RemotePath::default(), true).to_string();
    format!("{}{}", server.trim_end_matches('/'), path.unwrap_or("/"))
}

/// Lists one URL. A failure is retried only if nothing is printed yet.
async fn list_url(mut listing: UrlListing<'_>, servers: &mut Servers<'_>, tally: &mut Tally) -> Result<(), Fault> {
    let (args, out, url) = (listing.args, listing.out, listing.url);
    let shown = url.to_string();
    let listed = args.client.retry.run(out, &shown, async |_| {
        let failed = tally.failed();
        let mut client = servers.take(url).await?;
        let result = listing.run(&mut client, tally).await;
        servers.give_back(url, client);
        let fresh = listing.printer.printed() == 0 && tally.failed() == failed;
        if fresh { result.map(Ok) } else { Ok(result) }
    });
    listed.await??;
    listing.printer.finish()?;
    let asked = listing.glob.is_some() || !listing.pick.is_empty();
    if asked && listing.printer.printed() == 0 && tally.failed() == 0 {
        return Err(Fault::new(Kind::Negative, "nothing matches"));
    }
    Ok(())
}
