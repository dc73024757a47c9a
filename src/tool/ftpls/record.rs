//! The output of ftpls: entries and totals, immediate or sorted.

use std::cmp::Ordering;
use std::io;
use std::sync::Arc;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::Args;
use crate::cli::colour::{NameColours, NameType};
use crate::cli::output::{Output, OutputRecord, TextLine};
use crate::fault::Fault;
use crate::ftp::listing::{EntryType, ListingEntry, Modified};
use crate::ftp::mirror::{FieldReader, FieldWriter, Sorter, Spooled};
use crate::ftp::path::url_encoded;
use crate::tool::ftp_args::{base64_unless_utf8, letter, time_text};
use crate::tool::ftp_usage::UsageRecord;

/// In which order entries are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(super) enum Order {
    /// The server's order, printed as it arrives
    #[default]
    None,
    /// By path, in byte order
    Name,
    /// Largest first
    Size,
    /// Latest first
    Time,
}

/// Prints entries, immediately or sorted at the end.
pub(super) struct Printer<'a> {
    out: &'a Output,
    long: bool,
    order: Order,
    reverse: bool,
    limit: u64,
    printed: u64,
    kept: Sorter<Collected>,
}

/// An entry that is kept until the list is sorted.
#[derive(Debug, PartialEq, Eq)]
struct Collected {
    /// The sort key before the path.
    first: u64,
    path: Vec<u8>,
    /// Its index in the listing.
    number: u64,
    reverse: bool,
    entry: ListingEntry,
    base: String,
    raw: Vec<u8>,
}

impl Ord for Collected {
    fn cmp(&self, other: &Collected) -> Ordering {
        let order = (self.first, &self.path, self.number).cmp(&(other.first, &other.path, other.number));
        if self.reverse { order.reverse() } else { order }
    }
}

impl PartialOrd for Collected {
    fn partial_cmp(&self, other: &Collected) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Spooled for Collected {
    fn write(&self, to: &mut FieldWriter) {
        [self.first, self.number, u64::from(self.reverse)].into_iter().for_each(|number| to.number(Some(number)));
        [&self.path, self.base.as_bytes(), &self.raw].into_iter().for_each(|field| to.bytes(Some(field)));
        self.entry.write(to);
    }

    fn read(from: &mut FieldReader) -> io::Result<Collected> {
        let mut number = || Ok::<_, io::Error>(from.number()?.unwrap_or_default());
        let (first, number, reverse) = (number()?, number()?, number()? == 1);
        let mut field = || Ok::<_, io::Error>(from.bytes()?.unwrap_or_default());
        let (path, base, raw) = (field()?, String::from_utf8_lossy(&field()?).into_owned(), field()?);
        Ok(Collected { first, path, number, reverse, entry: ListingEntry::read(from)?, base, raw })
    }
}

impl<'a> Printer<'a> {
    /// A printer without entries.
    pub(super) fn new(out: &'a Output, args: &Args) -> Printer<'a> {
        let Args { long, sort: order, reverse, limit, .. } = *args;
        Printer { out, long, order, reverse, limit: limit.unwrap_or(u64::MAX), printed: 0, kept: Sorter::default() }
    }

    /// The number of entries that were printed or are kept.
    pub(super) fn printed(&self) -> u64 {
        self.printed
    }

    /// Prints or keeps one entry, with its path below the URL, the URL of its directory and its line of the listing.
    pub(super) fn entry(
        &mut self,
        entry: ListingEntry,
        path: Vec<u8>,
        base: &Arc<str>,
        raw: &[u8],
    ) -> Result<(), Fault> {
        self.printed += 1;
        if !self.sorts() {
            return if self.printed > self.limit { Ok(()) } else { self.print(&entry, &path, base, raw) };
        }
        // Largest and latest first, unknown values last.
        let first = match self.order {
            Order::None => self.printed,
            Order::Name => 0,
            Order::Size => u64::MAX - entry.size.map_or(0, |size| size.saturating_add(1)),
            Order::Time => {
                let shifted = |time: Modified| time.seconds.cast_unsigned() ^ (1 << 63);
                u64::MAX - entry.modified.map_or(0, |time| shifted(time).saturating_add(1))
            }
        };
        let raw = if self.out.json() { raw.to_vec() } else { Vec::new() };
        let (number, reverse, base) = (self.printed, self.reverse, base.to_string());
        self.kept.add(Collected { first, path, number, reverse, entry, base, raw })
    }

    fn sorts(&self) -> bool {
        self.order != Order::None || self.reverse
    }

    /// Prints the kept entries.
    pub(super) fn finish(&mut self) -> Result<(), Fault> {
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        for one in std::mem::take(&mut self.kept).finish()?.read().take(limit) {
            let one = one?;
            self.print(&one.entry, &one.path, &one.base, &one.raw)?;
        }
        Ok(())
    }

    /// Prints the total of one directory.
    pub(super) fn usage(&mut self, usage: &UsageRecord) -> Result<(), Fault> {
        self.printed += 1;
        self.out.emit(usage)
    }

    /// Drops the entries kept from a failed attempt.
    pub(super) fn forget(&mut self) {
        if self.sorts() {
            self.kept = Sorter::default();
            self.printed = 0;
        }
    }

    fn print(&self, entry: &ListingEntry, path: &[u8], base: &str, raw: &[u8]) -> Result<(), Fault> {
        self.out.emit(&EntryRecord { entry, path, base, raw, long: self.long })
    }
}

/// One listed entry.
pub(in crate::tool) struct EntryRecord<'a> {
    /// The entry.
    pub(in crate::tool) entry: &'a ListingEntry,
    /// Its path below the listed directory.
    pub(in crate::tool) path: &'a [u8],
    /// The URL of its directory, with a slash at its end; empty for a saved listing.
    pub(in crate::tool) base: &'a str,
    /// Its line of the listing; empty if there is none.
    pub(in crate::tool) raw: &'a [u8],
    /// True to print all columns.
    pub(in crate::tool) long: bool,
}

impl Serialize for EntryRecord<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let entry = self.entry;
        let mut map = serializer.serialize_map(None)?;
        if !self.base.is_empty() {
            let slash = if entry.is_dir() { "/" } else { "" };
            map.serialize_entry("url", &format!("{}{}{slash}", self.base, url_encoded(&entry.name)))?;
        }
        map.serialize_entry("name", &String::from_utf8_lossy(&entry.name))?;
        if let Some(exact) = base64_unless_utf8(&entry.name) {
            map.serialize_entry("name_base64", &exact)?;
        }
        map.serialize_entry("path", &String::from_utf8_lossy(self.path))?;
        if let Some(exact) = base64_unless_utf8(self.path) {
            map.serialize_entry("path_base64", &exact)?;
        }
        map.serialize_entry("entry_type", entry.entry_type.as_str())?;
        if let Some(size) = entry.size {
            map.serialize_entry("size_bytes", &size)?;
        }
        if let Some(modified) = &entry.modified {
            map.serialize_entry("modified", &time_text(modified))?;
            map.serialize_entry("modified_precision", modified.precision.as_str())?;
            // `unknown` is the server's own zone, which LIST does not name.
            map.serialize_entry("modified_zone", if modified.utc { "utc" } else { "unknown" })?;
        }
        if let Some(mode) = entry.mode {
            map.serialize_entry("mode", &format!("{mode:04o}"))?;
        }
        for (name, value) in [
            ("owner", &entry.owner),
            ("group", &entry.group),
            ("link_target", &entry.link_target),
            ("unique", &entry.unique),
        ] {
            if let Some(value) = value {
                map.serialize_entry(name, &String::from_utf8_lossy(value))?;
            }
        }
        if let Some(links) = entry.links {
            map.serialize_entry("links", &links)?;
        }
        if let Some(perm) = &entry.perm {
            map.serialize_entry("perm", perm)?;
        }
        if !entry.facts.is_empty() {
            map.serialize_entry("facts", &FactsMap(&entry.facts))?;
        }
        if !self.raw.is_empty() {
            map.serialize_entry("raw", &String::from_utf8_lossy(self.raw))?;
        }
        map.end()
    }
}

/// Facts as an object.
struct FactsMap<'a>(&'a [(String, Vec<u8>)]);

impl Serialize for FactsMap<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, String::from_utf8_lossy(value))))
    }
}

impl OutputRecord for EntryRecord<'_> {
    const TYPE: &'static str = "entry";

    fn text(&self, line: &mut TextLine) {
        let entry = self.entry;
        let kind = match entry.entry_type {
            EntryType::Directory => NameType::Directory,
            EntryType::Symlink => NameType::Link,
            EntryType::File if entry.mode.is_some_and(|mode| mode & 0o111 != 0) => NameType::Executable,
            EntryType::File | EntryType::Other => NameType::File,
        };
        let colour = if line.has_colour() { NameColours::of_env().of(&entry.name, kind) } else { None };
        let colour = colour.unwrap_or_default();
        if !self.long {
            line.field_in(colour, self.path);
            return;
        }
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        line.field(letter(entry.entry_type)).field(or_dash(entry.mode.map(|mode| format!("{mode:04o}"))));
        line.field(entry.owner.as_deref().unwrap_or(b"-")).field(entry.group.as_deref().unwrap_or(b"-"));
        line.field(or_dash(entry.size.map(|size| size.to_string())));
        line.field(or_dash(entry.modified.as_ref().map(time_text))).field_in(colour, self.path);
        if let Some(target) = &entry.link_target {
            line.text(" -> ").escaped(target);
        }
    }
}
