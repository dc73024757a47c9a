//! The total size of a tree: `ftpls --du` and `ftpdo du`.

use serde::Serialize;

use crate::cli::output::{OutputRecord, TextLine};
use crate::fault::{Fault, Kind};
use crate::ftp::client::{FtpClient, ListMethod};
use crate::ftp::listing::{ListingEntry, ListingLine};
use crate::ftp::mirror::{Ancestors, MAX_DEPTH, MAX_TREE, SpoolWriter};
use crate::ftp::path::{FtpUrl, RemotePath, check_name};

/// The total of a tree.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Usage {
    #[serde(rename = "size_bytes")]
    pub(super) size: u64,
    pub(super) files: u64,
    pub(super) directories: u64,
    /// Files of unknown size.
    #[serde(rename = "unknown_sizes")]
    pub(super) unknown: u64,
}

impl Usage {
    /// Counts one more entry.
    pub(super) fn count(&mut self, entry: &ListingEntry) {
        if entry.is_dir() {
            self.directories += 1;
            return;
        }
        self.files += 1;
        match entry.size {
            Some(size) => self.size = self.size.saturating_add(size),
            None => self.unknown += 1,
        }
    }

    /// Adds the total of a subtree.
    pub(super) fn add(&mut self, inner: &Usage) {
        self.size = self.size.saturating_add(inner.size);
        self.files += inner.files;
        self.directories += inner.directories;
        self.unknown += inner.unknown;
    }

    /// The total of the file or tree at this path.
    pub(super) async fn of(client: &mut FtpClient, path: &RemotePath) -> Result<Usage, Fault> {
        let mut usage = Usage::default();
        match client.stat(path).await? {
            None => return Err(Fault::new(Kind::NoInput, "no such file or directory")),
            Some(entry) if !entry.is_dir() => {
                usage.count(&entry);
                return Ok(usage);
            }
            Some(_) => {}
        }
        usage.add_below(client, path, 0, &Ancestors::default(), &mut 0).await?;
        Ok(usage)
    }

    async fn add_below(
        &mut self,
        client: &mut FtpClient,
        path: &RemotePath,
        depth: usize,
        above: &Ancestors,
        seen: &mut u64,
    ) -> Result<(), Fault> {
        if depth > MAX_DEPTH {
            return Err(Fault::new(Kind::Protocol, format!("more than {MAX_DEPTH} directories deep")));
        }
        let mut below = SpoolWriter::default();
        let each = &mut |line: ListingLine, _: &[u8]| {
            let entry = match line {
                ListingLine::Entry(entry) => entry,
                ListingLine::Nothing => return Ok(()),
                odd => return Err(odd.fault(b"")),
            };
            *seen += 1;
            if *seen > MAX_TREE {
                return Err(Fault::new(Kind::Protocol, format!("more than {MAX_TREE} entries")));
            }
            self.count(&entry);
            if entry.is_dir() {
                check_name(&entry.name).map_err(|bad| Fault::new(Kind::BadData, bad.as_str()))?;
                below.add(&entry)?;
            }
            Ok(())
        };
        above.listed(client.list(path, ListMethod::Any, depth == 0, each).await?.uncut()?)?;
        for entry in below.finish()?.read() {
            let entry = entry?;
            // The content of a directory that contains itself is already counted.
            if let Some(inside) = above.with(&entry) {
                Box::pin(self.add_below(client, &path.join(&entry.name), depth + 1, &inside, seen)).await?;
            }
        }
        Ok(())
    }
}

/// The record of a total.
#[derive(Serialize)]
pub(super) struct UsageRecord {
    url: String,
    path: String,
    #[serde(flatten)]
    usage: Usage,
    #[serde(skip)]
    shown: Vec<u8>,
}

impl UsageRecord {
    /// The record of the total at `path`, displayed as `shown`.
    pub(super) fn new(url: &FtpUrl, path: RemotePath, shown: &[u8], usage: Usage) -> UsageRecord {
        let shown = if shown.is_empty() { b"." } else { shown };
        UsageRecord {
            url: url.with_path(path, usage.directories > 0 || usage.files != 1).to_string(),
            path: String::from_utf8_lossy(shown).into_owned(),
            usage,
            shown: shown.to_vec(),
        }
    }
}

impl OutputRecord for UsageRecord {
    const TYPE: &'static str = "du";

    fn text(&self, line: &mut TextLine) {
        line.field(self.usage.size.to_string()).field(&self.shown);
    }
}
