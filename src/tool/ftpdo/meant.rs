//! The paths that an argument stands for: one path, or the matches of a glob in its last part that pass the filters.

use std::io;

use super::actor::Actor;
use super::script::{glob_of, literal};
use crate::fault::{Fault, Kind};
use crate::ftp::client::ListMethod;
use crate::ftp::listing::{ListingEntry, ListingLine, Modified};
use crate::ftp::mirror::{FieldReader, FieldWriter, MAX_TREE, Spool, SpoolWriter, Spooled};
use crate::ftp::part::unfinished;
use crate::ftp::path::{RemotePath, check_name};
use crate::tool::ftp_pick::Pick;

/// The most malformed names of one directory that are reported.
const MAX_MISFITS: usize = 100;

/// One matching path.
#[derive(Debug)]
pub(super) struct Meant {
    pub(super) path: RemotePath,
    /// The path as the user would write it.
    pub(super) shown: Vec<u8>,
    /// The entry from the listing.
    pub(super) entry: Option<ListingEntry>,
}

/// All matching paths.
#[derive(Debug)]
pub(super) struct MeantPaths {
    pub(super) paths: Spool<Meant>,
    pub(super) count: usize,
}

impl MeantPaths {
    pub(super) fn of(paths: impl IntoIterator<Item = Meant>) -> Result<MeantPaths, Fault> {
        let (mut writer, mut count) = (SpoolWriter::default(), 0);
        for meant in paths {
            writer.add(&meant)?;
            count += 1;
        }
        Ok(MeantPaths { paths: writer.finish()?, count })
    }
}

impl Spooled for Meant {
    fn write(&self, to: &mut FieldWriter) {
        to.bytes(Some(self.path.as_bytes()));
        to.bytes(Some(&self.shown));
        to.number(self.entry.as_ref().map(|_| 1));
        self.entry.iter().for_each(|entry| entry.write(to));
    }

    fn read(from: &mut FieldReader) -> io::Result<Meant> {
        let path = RemotePath::new(&from.bytes()?.unwrap_or_default());
        let shown = from.bytes()?.unwrap_or_default();
        let entry = from.number()?.map(|_| ListingEntry::read(from)).transpose()?;
        Ok(Meant { path, shown, entry })
    }
}

impl Actor<'_> {
    /// The paths that an argument stands for. A glob without a match is [`Kind::Negative`].
    pub(super) async fn meant(&mut self, word: &[u8]) -> Result<MeantPaths, Fault> {
        let shown = literal(word);
        let Some(glob) = glob_of(word)? else {
            return MeantPaths::of([Meant { path: self.resolve(&shown), shown, entry: None }]);
        };
        let cut = shown.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        let (parent, name) = shown.split_at_checked(cut).unwrap_or_default();
        let directory = if parent.is_empty() { self.url.path.clone() } else { self.resolve(parent) };
        let (mut found, mut count, mut itself, mut misfits) = (SpoolWriter::default(), 0, None, Vec::new());
        let each = &mut |line: ListingLine, raw: &[u8]| {
            let entry = match line {
                ListingLine::Entry(entry) => entry,
                // It is unknown whether the glob matches it.
                ListingLine::Misfit { .. } if misfits.len() < MAX_MISFITS => {
                    misfits.push(line.fault(raw));
                    return Ok(());
                }
                _ => return Ok(()),
            };
            let matched = entry.name == name || glob.step(&glob.walk(), &entry.name).0;
            if !matched || check_name(&entry.name).is_err() || unfinished(&entry.name).is_some() {
                return Ok(());
            }
            count += 1;
            if count as u64 > MAX_TREE {
                return Err(Fault::new(Kind::Protocol, format!("more than {MAX_TREE} names match")));
            }
            let (path, shown) = (directory.join(&entry.name), [parent, &entry.name].concat());
            let written = entry.name == name;
            let meant = Meant { path, shown, entry: Some(entry) };
            found.add(&meant)?;
            itself = itself.take().or(written.then_some(meant));
            Ok(())
        };
        self.client.list(&directory, ListMethod::Any, true, each).await?.uncut()?;
        for fault in misfits {
            self.out.error(&self.url.with_path(directory.clone(), true).to_string(), &fault);
            self.tally.fault(&fault);
        }
        match (itself, count) {
            // An entry with exactly this name takes precedence over the glob: `file[1].txt` is not file1.txt.
            (Some(itself), _) => MeantPaths::of([itself]),
            (None, 0) => Err(Fault::new(Kind::Negative, "nothing matches")),
            (None, count) => Ok(MeantPaths { paths: found.finish()?, count }),
        }
    }

    /// The matches that certainly pass the filters. A file of unknown time or size is kept, with a warning. Directories match only with
    /// `recursive`.
    pub(super) async fn picked(
        &mut self,
        pick: &Pick,
        recursive: bool,
        found: MeantPaths,
    ) -> Result<MeantPaths, Fault> {
        let (mut picked, mut count) = (SpoolWriter::default(), 0);
        for meant in found.paths.read() {
            let meant = meant?;
            let entry = match &meant.entry {
                Some(entry) => Some(entry.clone()),
                None => self.client.stat(&meant.path).await?,
            };
            // The removal itself reports a missing entry.
            let Some(mut entry) = entry else {
                picked.add(&meant)?;
                count += 1;
                continue;
            };
            if entry.is_dir() && !recursive {
                continue;
            }
            let sure = entry.modified.is_some_and(|time| time.utc);
            if (pick.asks_time() && !sure) || (pick.asks_size() && entry.size.is_none()) {
                let (size, time) = self.client.size_and_time(&meant.path).await?;
                entry.size = entry.size.or(size);
                entry.modified = time.map(Modified::utc).or(entry.modified);
            }
            let name = meant.path.name().unwrap_or_default();
            if pick.surely_admits(name, &entry) {
                picked.add(&meant)?;
                count += 1;
            } else if (pick.asks_time() && entry.modified.is_none()) || (pick.asks_size() && entry.size.is_none()) {
                self.out.warn(&format!("{}: kept: its time or size is unknown", meant.path));
            }
        }
        Ok(MeantPaths { paths: picked.finish()?, count })
    }
}
