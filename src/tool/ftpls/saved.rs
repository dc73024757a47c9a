//! `--parse`: reads a listing from a file instead of a server.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use super::record::Printer;
use crate::cli::exit::{Exit, Tally};
use crate::cli::input;
use crate::cli::output::Output;
use crate::fault::{Fault, Kind};
use crate::ftp::charset::{WireCharset, listed};
use crate::ftp::listing::{Lister, ListingLine, MAX_LINE};
use crate::line::{Ends, LineError, Splitter};
use crate::net::clock::unix_seconds;
use crate::tool::ftp_pick::Pick;

/// Bytes per read.
const READ: usize = 64 * 1024;

/// Lists the content of a file; `-` is stdin. `now` is the time of the listing, by default the current time.
pub(super) fn list(
    file: &Path,
    now: Option<i64>,
    charset: Option<WireCharset>,
    pick: &Pick,
    printer: Printer<'_>,
    out: &Output,
) -> Result<Exit, Fault> {
    let stdin = file == Path::new("-");
    let label = if stdin { "stdin".to_owned() } else { file.display().to_string() };
    let local = |error: std::io::Error| Fault::local(&label, &error);
    let mut source: Box<dyn Read> =
        if stdin { Box::new(input::stdin()?) } else { Box::new(File::open(file).map_err(local)?) };
    let now = now.unwrap_or_else(unix_seconds);
    let mut reader = SavedListing {
        now,
        charset,
        lister: None,
        folder: Vec::new(),
        after_gap: true,
        number: 0,
        label: &label,
        pick,
        printer,
        out,
        tally: Tally::default(),
    };
    let mut splitter = Splitter::new(Ends::Lenient, MAX_LINE);
    let mut buffer = vec![0; READ];
    loop {
        let count = source.read(&mut buffer).map_err(local)?;
        if count == 0 {
            break;
        }
        splitter.push(buffer.get(..count).unwrap_or_default());
        loop {
            match splitter.next_line() {
                Ok(Some(line)) => reader.line(line)?,
                Ok(None) => break,
                Err(LineError::TooLong) => reader.unknown(b"(a line that is too long)"),
                Err(error) => return Err(error.fault(MAX_LINE)),
            }
        }
    }
    let rest = splitter.take_pending();
    if !rest.is_empty() {
        reader.line(&rest)?;
    }
    reader.end()
}

struct SavedListing<'a> {
    now: i64,
    charset: Option<WireCharset>,
    lister: Option<Lister>,
    /// The directory of the last `ls -lR` heading.
    folder: Vec<u8>,
    /// True at the beginning and after an empty line, where a heading is possible.
    after_gap: bool,
    number: u64,
    label: &'a str,
    pick: &'a Pick,
    printer: Printer<'a>,
    out: &'a Output,
    tally: Tally,
}

impl SavedListing<'_> {
    fn line(&mut self, line: &[u8]) -> Result<(), Fault> {
        self.number += 1;
        let gap = line.trim_ascii().is_empty();
        let heading = std::mem::replace(&mut self.after_gap, gap);
        if gap {
            return Ok(());
        }
        let now = self.now;
        let parsed = self.lister.get_or_insert_with(|| Lister::saved(line, now)).line(line);
        match listed(self.charset, parsed) {
            ListingLine::Entry(entry) => {
                let path = [self.folder.as_slice(), &entry.name].concat();
                if self.pick.admits(&path, &entry) {
                    self.printer.entry(entry, path, &Arc::from(""), line)?;
                }
            }
            ListingLine::Nothing => {}
            ListingLine::Unknown => match line.strip_suffix(b":").filter(|_| heading) {
                // `./pub/docs:`, as `ls -lR` prints it.
                Some(folder) => {
                    let folder = folder.strip_prefix(b"./").unwrap_or(folder);
                    self.folder = if folder == b"." { Vec::new() } else { [folder, b"/"].concat() };
                }
                None => self.unknown(line),
            },
            misfit @ ListingLine::Misfit { .. } => self.failed(&misfit.fault(line)),
        }
        Ok(())
    }

    fn unknown(&mut self, line: &[u8]) {
        let shown: Vec<u8> = line.iter().copied().take(200).collect();
        self.failed(&Fault::new(Kind::BadData, format!("not a listing line: {}", String::from_utf8_lossy(&shown))));
    }

    fn failed(&mut self, fault: &Fault) {
        self.out.error(&format!("{}:{}", self.label, self.number), fault);
        self.tally.fault(fault);
    }

    fn end(mut self) -> Result<Exit, Fault> {
        if self.lister.as_mut().is_some_and(|lister| lister.finish() == ListingLine::Unknown) {
            self.unknown(b"(the listing ends in the middle of an entry)");
        }
        self.printer.finish()?;
        if self.printer.printed() == 0 && !self.pick.is_empty() && self.tally.failed() == 0 {
            return Err(Fault::new(Kind::Negative, "nothing matches").context(self.label));
        }
        Ok(self.tally.exit())
    }
}
