//! One URL of ftpls: directories depth first, globs step by step, sums.

use std::sync::Arc;

use super::Args;
use super::record::Printer;
use crate::cli::exit::Tally;
use crate::cli::output::Output;
use crate::fault::{Fault, Kind};
use crate::ftp::client::FtpClient;
use crate::ftp::glob::{Glob, GlobWalk};
use crate::ftp::listing::{EntryType, ListingEntry, ListingLine};
use crate::ftp::mirror::{Ancestors, INSIDE_ITSELF, MAX_DEPTH, MAX_TREE};
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
    /// Entries so far, printed or not.
    pub(super) seen: u64,
}

/// A directory that is to be listed.
struct UrlDirectory {
    path: RemotePath,
    /// Its path below the URL, with a slash at its end unless it is the URL's directory.
    prefix: Vec<u8>,
    depth: usize,
    /// Where the glob has come; `None`: everything in it is meant.
    walk: Option<GlobWalk>,
    /// It may be no directory at all: a link, say.
    uncertain: bool,
    /// Its place among the sums.
    sum: usize,
    /// The directories that it is in, as far as the server can tell them apart.
    above: Ancestors,
}

/// What was counted in one directory, and below it once all is done.
struct Sum {
    parent: usize,
    path: RemotePath,
    prefix: Vec<u8>,
    depth: usize,
    usage: Usage,
}

impl UrlListing<'_> {
    /// Lists the URL: what can be listed, each failure below it reported.
    pub(super) async fn run(&mut self, client: &mut FtpClient, tally: &mut Tally) -> Result<(), Fault> {
        self.printer.forget();
        self.seen = 0;
        let (path, walk) = (self.url.path.clone(), self.glob.map(Glob::walk));
        let mut sums = vec![Sum::new(0, &path, b"", 0)];
        let mut waiting = vec![UrlDirectory {
            path,
            prefix: Vec::new(),
            depth: 0,
            walk,
            uncertain: false,
            sum: 0,
            above: Ancestors::default(),
        }];
        while let Some(node) = waiting.pop() {
            match self.directory(client, &node, &mut waiting, &mut sums, tally).await {
                Ok(()) => {}
                Err(fault) if node.depth == 0 && self.glob.is_none() && !self.url.directory && client.usable() => {
                    return self.single(client, fault).await;
                }
                // A link to a file, met while a glob looked for directories.
                Err(fault) if node.uncertain && client.usable() && !fault.temporary() => {}
                // One directory that may not be read is no reason to leave out the others.
                Err(fault) if node.depth > 0 && client.usable() => {
                    self.out.error(&self.url.with_path(node.path, true).to_string(), &fault);
                    tally.fault(&fault);
                }
                Err(fault) => return Err(fault),
            }
        }
        if self.args.du { self.print_sums(sums) } else { Ok(()) }
    }

    async fn directory(
        &mut self,
        client: &mut FtpClient,
        node: &UrlDirectory,
        waiting: &mut Vec<UrlDirectory>,
        sums: &mut Vec<Sum>,
        tally: &mut Tally,
    ) -> Result<(), Fault> {
        if node.depth > MAX_DEPTH {
            return Err(Fault::new(Kind::Protocol, format!("more than {MAX_DEPTH} directories deep")));
        }
        let base: Arc<str> = self.url.with_path(node.path.clone(), true).to_string().into();
        let way = self.args.way;
        let (mut below, mut odd) = (Vec::new(), Vec::new());
        let each = &mut |line: ListingLine, raw: &[u8]| -> Result<(), Fault> {
            match line {
                ListingLine::Entry(entry) => self.entry(entry, node, &base, raw, &mut below, sums, &mut odd),
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
        // Depth first, in the order of the listing.
        waiting.extend(below.into_iter().rev());
        Ok(())
    }

    #[allow(clippy::too_many_arguments, reason = "the state of one listing, borrowed apart")]
    fn entry(
        &mut self,
        entry: ListingEntry,
        node: &UrlDirectory,
        base: &Arc<str>,
        raw: &[u8],
        below: &mut Vec<UrlDirectory>,
        sums: &mut Vec<Sum>,
        odd: &mut Vec<Fault>,
    ) -> Result<(), Fault> {
        self.seen += 1;
        if self.seen > MAX_TREE {
            return Err(Fault::new(Kind::Protocol, format!("more than {MAX_TREE} entries")));
        }
        let path = [node.prefix.as_slice(), &entry.name].concat();
        let depth = node.depth + 1;
        // Whether the entry itself is meant, and what is looked for below it.
        let (meant, walk, enter) = match (&node.walk, self.glob) {
            (Some(walk), Some(glob)) => {
                let (matched, mut below) = glob.step(walk, &entry.name);
                if !entry.is_dir() {
                    below = glob.step_through(walk, &entry.name);
                }
                let lists = matched && (self.url.directory || self.goes_down(depth));
                let walk = if lists { None } else { Some(below) };
                let over = walk.as_ref().is_some_and(GlobWalk::is_over);
                (matched && !self.url.directory, walk, !over)
            }
            _ => (true, None, self.goes_down(depth)),
        };
        // A glob looks through links that its own components name, a tree is never left through one.
        let through = node.walk.is_some() && matches!(entry.entry_type, EntryType::Symlink | EntryType::Other);
        if enter && (entry.is_dir() || through) && self.pick.enters(&path) {
            match (check_name(&entry.name), node.above.with(&entry)) {
                (Ok(()), Some(above)) => {
                    let inner = [path.as_slice(), b"/"].concat();
                    let at = node.path.join(&entry.name);
                    let sum = if self.args.du { sums.len() } else { 0 };
                    if self.args.du {
                        sums.push(Sum::new(node.sum, &at, &inner, depth));
                    }
                    let uncertain = !entry.is_dir();
                    below.push(UrlDirectory { path: at, prefix: inner, depth, walk, uncertain, sum, above });
                }
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
        if let Some(sum) = sums.get_mut(node.sum) {
            sum.usage.count(&entry);
        }
        Ok(())
    }

    /// True when the directories among the entries at this depth are to be listed too.
    fn goes_down(&self, depth: usize) -> bool {
        let args = self.args;
        let most = args.max_depth.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
        args.du || ((args.recursive || args.max_depth.is_some()) && depth < most)
    }

    /// The URL may name a file: its own facts are the listing.
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
                    let mut sum = Sum::new(0, &self.url.path, &path, 0);
                    sum.usage.count(&entry);
                    return self.print_sums(vec![sum]);
                }
                self.printer.entry(entry, path, &base, b"")
            }
            _ => Err(fault),
        }
    }

    /// Adds each directory to the one that it is in, and prints them: what is inside before what is around it.
    fn print_sums(&mut self, mut sums: Vec<Sum>) -> Result<(), Fault> {
        for at in (1..sums.len()).rev() {
            let (above, this) = sums.split_at_mut(at);
            if let (Some(inner), Some(outer)) = (this.first(), this.first().and_then(|sum| above.get_mut(sum.parent))) {
                outer.usage.add(&inner.usage);
            }
        }
        let most = self.args.max_depth.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
        for sum in sums.into_iter().rev().filter(|sum| sum.depth <= most) {
            let shown = sum.prefix.strip_suffix(b"/").unwrap_or(&sum.prefix).to_vec();
            self.printer.usage(&UsageRecord::new(self.url, sum.path, &shown, sum.usage))?;
        }
        Ok(())
    }
}

impl Sum {
    fn new(parent: usize, path: &RemotePath, prefix: &[u8], depth: usize) -> Sum {
        Sum { parent, path: path.clone(), prefix: prefix.to_vec(), depth, usage: Usage::default() }
    }
}

/// The most complaints about one listing that are told one by one.
const MAX_ODD: usize = 100;

fn note(odd: &mut Vec<Fault>, detail: String) {
    if odd.len() < MAX_ODD {
        odd.push(Fault::new(Kind::BadData, detail));
    } else if odd.len() == MAX_ODD {
        odd.push(Fault::new(Kind::BadData, "more such lines are not shown"));
    }
}
