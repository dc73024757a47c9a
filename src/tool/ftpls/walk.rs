//! The walk through one URL of ftpls: directories depth first, globs step by step, totals.

use std::sync::Arc;

use super::Args;
use super::record::Printer;
use crate::cli::exit::Tally;
use crate::cli::output::Output;
use crate::fault::{Fault, Kind};
use crate::ftp::client::FtpClient;
use crate::ftp::glob::{Glob, GlobWalk};
use crate::ftp::listing::{EntryType, ListingEntry, ListingLine};
use crate::ftp::mirror::{
    Ancestors, FieldReader, FieldWriter, INSIDE_ITSELF, MAX_DEPTH, MAX_TREE, Spool, SpoolWriter, Spooled,
};
use crate::ftp::path::{FtpUrl, RemotePath, check_name};
use crate::tool::ftp_pick::Pick;
use crate::tool::ftp_usage::{Usage, UsageRecord};

/// The listing of one URL.
pub(super) struct UrlListing<'a> {
    pub(super) args: &'a Args,
    pub(super) out: &'a Output,
    pub(super) pick: &'a Pick,
    pub(super) url: &'a FtpUrl,
    pub(super) glob: Option<&'a Glob>,
    pub(super) printer: Printer<'a>,
    /// The number of entries so far, printed or not.
    pub(super) seen: u64,
    /// The totals so far.
    pub(super) sums: SpoolWriter<Sum>,
}

/// A directory that is to be listed.
struct UrlDirectory {
    path: RemotePath,
    /// Its path below the URL, with a trailing slash unless it is the URL's directory.
    prefix: Vec<u8>,
    depth: usize,
    /// The state of the glob; `None` if everything in the directory matches.
    walk: Option<GlobWalk>,
    /// True if it may not be a directory, but a link for example.
    uncertain: bool,
    /// The directories above it, as far as the server identifies them.
    above: Ancestors,
}

/// The total size of the files in a directory and below it.
#[derive(Debug)]
pub(super) struct Sum {
    path: RemotePath,
    /// The path to display.
    shown: Vec<u8>,
    usage: Usage,
}

impl Spooled for Sum {
    fn write(&self, to: &mut FieldWriter) {
        to.bytes(Some(self.path.as_bytes()));
        to.bytes(Some(&self.shown));
        let Usage { size, files, directories, unknown } = self.usage;
        [size, files, directories, unknown].into_iter().for_each(|number| to.number(Some(number)));
    }

    fn read(from: &mut FieldReader) -> std::io::Result<Sum> {
        let path = RemotePath::new(&from.bytes()?.unwrap_or_default());
        let shown = from.bytes()?.unwrap_or_default();
        let mut number = || Ok::<_, std::io::Error>(from.number()?.unwrap_or_default());
        let usage = Usage { size: number()?, files: number()?, directories: number()?, unknown: number()? };
        Ok(Sum { path, shown, usage })
    }
}

impl UrlListing<'_> {
    /// Lists the URL. Failures below it are reported and do not stop the listing.
    pub(super) async fn run(&mut self, client: &mut FtpClient, tally: &mut Tally) -> Result<(), Fault> {
        self.printer.forget();
        self.seen = 0;
        self.sums = SpoolWriter::default();
        let (path, walk) = (self.url.path.clone(), self.glob.map(Glob::walk));
        let above = Ancestors::default();
        let top = UrlDirectory { path, prefix: Vec::new(), depth: 0, walk, uncertain: false, above };
        self.tree(client, &top, tally).await?;
        // The totals of subdirectories precede that of their directory.
        for sum in std::mem::take(&mut self.sums).finish()?.read() {
            let Sum { path, shown, usage } = sum?;
            self.printer.usage(&UsageRecord::new(self.url, path, &shown, usage))?;
        }
        Ok(())
    }

    /// Lists a directory, then its subdirectories in the order of the listing. Returns the total of its files.
    async fn tree(&mut self, client: &mut FtpClient, node: &UrlDirectory, tally: &mut Tally) -> Result<Usage, Fault> {
        let mut usage = Usage::default();
        let seen = self.seen;
        let mut listed = self.directory(client, node, &mut usage, tally).await;
        let hung_up = |fault: &Fault| matches!(fault.kind, Kind::Disconnected | Kind::PeerTemporary);
        // A server may end a session between two listings. No entry of this listing has arrived yet, so no entry is listed twice.
        if node.depth > 0 && self.seen == seen && !client.usable() && listed.as_ref().is_err_and(hung_up) {
            client.renew("the server ended this one between two listings").await?;
            listed = self.directory(client, node, &mut usage, tally).await;
        }
        match listed {
            Ok(below) => {
                for entry in below.read() {
                    if let Some(inner) = self.enter(node, &entry?) {
                        usage.add(&Box::pin(self.tree(client, &inner, tally)).await?);
                    }
                }
            }
            Err(fault) if node.depth == 0 && self.glob.is_none() && !self.url.directory && client.usable() => {
                self.single(client, fault).await?;
                return Ok(usage);
            }
            // A link to a file, met while a glob looked for directories.
            Err(fault) if node.uncertain && client.usable() && !fault.temporary() => {}
            // A directory without read permission does not stop the others.
            Err(fault) if node.depth > 0 && client.usable() => {
                self.out.error(&self.url.with_path(node.path.clone(), true).to_string(), &fault);
                tally.fault(&fault);
            }
            Err(fault) => return Err(fault),
        }
        if self.args.du && node.depth <= self.args.deepest() {
            let shown = node.prefix.strip_suffix(b"/").unwrap_or(&node.prefix).to_vec();
            self.sums.add(&Sum { path: node.path.clone(), shown, usage })?;
        }
        Ok(usage)
    }

    /// Lists one directory. Returns the subdirectories that are to be listed too.
    async fn directory(
        &mut self,
        client: &mut FtpClient,
        node: &UrlDirectory,
        usage: &mut Usage,
        tally: &mut Tally,
    ) -> Result<Spool<ListingEntry>, Fault> {
        if node.depth > MAX_DEPTH {
            return Err(Fault::new(Kind::Protocol, format!("more than {MAX_DEPTH} directories deep")));
        }
        let base: Arc<str> = self.url.with_path(node.path.clone(), true).to_string().into();
        let way = self.args.way;
        let (mut below, mut odd) = (SpoolWriter::default(), Vec::new());
        let each = &mut |line: ListingLine, raw: &[u8]| -> Result<(), Fault> {
            match line {
                ListingLine::Entry(entry) => self.entry(entry, node, &base, raw, &mut below, usage, &mut odd),
                ListingLine::Nothing => Ok(()),
                line => {
                    note(&mut odd, line.fault(raw).detail);
                    Ok(())
                }
            }
        };
        let listed = client.list(&node.path, way, node.depth == 0 || node.uncertain, each).await;
        for fault in odd {
            self.out.error(&base, &fault);
            tally.fault(&fault);
        }
        let listed = listed?;
        if let Some(why) = listed.warning() {
            self.out.warn(&format!("{base}: {why}"));
        }
        if let Some(fault) = listed.cut() {
            self.out.error(&base, &fault);
            tally.fault(&fault);
        }
        node.above.listed(&listed)?;
        below.finish()
    }

    /// Returns whether an entry matches, the glob state for its content (`None`: all of it matches), and whether its content can match.
    fn step(&self, node: &UrlDirectory, entry: &ListingEntry) -> (bool, Option<GlobWalk>, bool) {
        let depth = node.depth + 1;
        let (Some(walk), Some(glob)) = (&node.walk, self.glob) else { return (true, None, self.goes_down(depth)) };
        let (matched, mut below) = glob.step(walk, &entry.name);
        if !entry.is_dir() {
            below = glob.step_through(walk, &entry.name);
        }
        let lists = matched && (self.url.directory || self.goes_down(depth));
        let walk = if lists { None } else { Some(below) };
        let over = walk.as_ref().is_some_and(GlobWalk::is_over);
        (matched && !self.url.directory, walk, !over)
    }

    /// A subdirectory; `None` if it is one of the directories above, so that the walk would not end.
    fn enter(&self, node: &UrlDirectory, entry: &ListingEntry) -> Option<UrlDirectory> {
        Some(UrlDirectory {
            path: node.path.join(&entry.name),
            prefix: [node.prefix.as_slice(), &entry.name, b"/"].concat(),
            depth: node.depth + 1,
            walk: self.step(node, entry).1,
            uncertain: !entry.is_dir(),
            above: node.above.with(entry)?,
        })
    }

    #[allow(clippy::too_many_arguments, reason = "the state of one listing, borrowed apart")]
    fn entry(
        &mut self,
        entry: ListingEntry,
        node: &UrlDirectory,
        base: &Arc<str>,
        raw: &[u8],
        below: &mut SpoolWriter<ListingEntry>,
        usage: &mut Usage,
        odd: &mut Vec<Fault>,
    ) -> Result<(), Fault> {
        self.seen += 1;
        if self.seen > MAX_TREE {
            return Err(Fault::new(Kind::Protocol, format!("more than {MAX_TREE} entries")));
        }
        let path = [node.prefix.as_slice(), &entry.name].concat();
        let (meant, _, enter) = self.step(node, &entry);
        // A glob looks through links that its own components name, a tree is never left through one.
        let through = node.walk.is_some() && matches!(entry.entry_type, EntryType::Symlink | EntryType::Other);
        if enter && (entry.is_dir() || through) && self.pick.enters(&path) {
            match (check_name(&entry.name), self.enter(node, &entry)) {
                (Ok(()), Some(_)) => below.add(&entry)?,
                (Ok(()), None) => {
                    self.out.warn(&format!("{}: not entered: {INSIDE_ITSELF}", String::from_utf8_lossy(&path)))
                }
                (Err(bad), _) => note(odd, format!("{}: {}", String::from_utf8_lossy(&entry.name), bad.as_str())),
            }
        }
        if !meant || !self.pick.admits(&path, &entry) {
            return Ok(());
        }
        if !self.args.du {
            return self.printer.entry(entry, path, base, raw);
        }
        usage.count(&entry);
        Ok(())
    }

    /// True if the directories at this depth are to be listed too.
    fn goes_down(&self, depth: usize) -> bool {
        let args = self.args;
        args.du || ((args.recursive || args.max_depth.is_some()) && depth < args.deepest())
    }

    /// Lists a URL that names a file: the listing consists of the file's own facts.
    async fn single(&mut self, client: &mut FtpClient, fault: Fault) -> Result<(), Fault> {
        let parent = self.url.path.parent().unwrap_or_default();
        let base: Arc<str> = self.url.with_path(parent, true).to_string().into();
        match client.stat(&self.url.path).await {
            Ok(Some(mut entry)) => {
                entry.name = self.url.path.name().unwrap_or_default().to_vec();
                let path = entry.name.clone();
                if !self.pick.admits(&path, &entry) {
                    return Ok(());
                }
                if self.args.du {
                    let mut usage = Usage::default();
                    usage.count(&entry);
                    return self.sums.add(&Sum { path: self.url.path.clone(), shown: path, usage });
                }
                self.printer.entry(entry, path, &base, b"")
            }
            _ => Err(fault),
        }
    }
}

/// The most malformed lines of one listing that are reported individually.
const MAX_ODD: usize = 100;

fn note(odd: &mut Vec<Fault>, detail: String) {
    if odd.len() < MAX_ODD {
        odd.push(Fault::new(Kind::BadData, detail));
    } else if odd.len() == MAX_ODD {
        odd.push(Fault::new(Kind::BadData, "more such lines are not shown"));
    }
}
