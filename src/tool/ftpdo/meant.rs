//! What a word of a command means: one path, or what a glob in its last part matches, as far as filters admit it.

use super::actor::Actor;
use super::script::{glob_of, literal};
use crate::fault::{Fault, Kind};
use crate::ftp::client::ListMethod;
use crate::ftp::listing::{ListingEntry, ListingLine, Modified};
use crate::ftp::part::unfinished;
use crate::ftp::path::{RemotePath, check_name};
use crate::tool::ftp_pick::Pick;

/// The most names that one glob may stand for.
const MAX_MEANT: usize = 1_000_000;

/// The most names of one directory whose misfit is told.
const MAX_MISFITS: usize = 100;

/// One path that is meant.
pub(super) struct Meant {
    pub(super) path: RemotePath,
    /// As the user would write it.
    pub(super) shown: Vec<u8>,
    /// What a listing showed of it.
    pub(super) entry: Option<ListingEntry>,
}

impl Actor<'_> {
    /// What a word means. A glob that matches nothing is the answer no.
    pub(super) async fn meant(&mut self, word: &[u8]) -> Result<Vec<Meant>, Fault> {
        let shown = literal(word);
        let Some(glob) = glob_of(word)? else {
            return Ok(vec![Meant { path: self.resolve(&shown), shown, entry: None }]);
        };
        let cut = shown.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        let (parent, name) = shown.split_at_checked(cut).unwrap_or_default();
        let directory = if parent.is_empty() { self.url.path.clone() } else { self.resolve(parent) };
        let (mut found, mut itself, mut misfits) = (Vec::new(), false, Vec::new());
        let each = &mut |line: ListingLine, raw: &[u8]| {
            let entry = match line {
                ListingLine::Entry(entry) => entry,
                // Nobody knows whether the glob means it.
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
            if found.len() >= MAX_MEANT {
                return Err(Fault::new(Kind::Protocol, format!("more than {MAX_MEANT} names match")));
            }
            // A name that is there as it is written is meant itself: `file[1].txt` is not file1.txt.
            itself |= entry.name == name;
            let (path, shown) = (directory.join(&entry.name), [parent, &entry.name].concat());
            found.push(Meant { path, shown, entry: Some(entry) });
            Ok(())
        };
        self.client.list(&directory, ListMethod::Any, true, each).await?.uncut()?;
        for fault in misfits {
            self.out.error(&self.url.with_path(directory.clone(), true).to_string(), &fault);
            self.tally.fault(&fault);
        }
        if itself {
            found.retain(|meant| meant.shown == shown);
        }
        match found.is_empty() {
            true => Err(Fault::new(Kind::Negative, "nothing matches")),
            false => Ok(found),
        }
    }

    /// What of it the filters surely admit. A file whose time or size nobody knows stays, and that is said; directories
    /// only go with `recursive`.
    pub(super) async fn picked(
        &mut self,
        pick: &Pick,
        recursive: bool,
        found: Vec<Meant>,
    ) -> Result<Vec<Meant>, Fault> {
        let mut picked = Vec::with_capacity(found.len());
        for meant in found {
            let entry = match &meant.entry {
                Some(entry) => Some(entry.clone()),
                None => self.client.stat(&meant.path).await?,
            };
            // What is not there is told by who is to remove it.
            let Some(mut entry) = entry else {
                picked.push(meant);
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
                picked.push(meant);
            } else if (pick.asks_time() && entry.modified.is_none()) || (pick.asks_size() && entry.size.is_none()) {
                self.out.warn(&format!("{}: stays: its time or size is not known", meant.path));
            }
        }
        Ok(picked)
    }
}
