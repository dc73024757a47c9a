//! `--itemize`: one line of text per file, directory or link that a run changed or skipped.

use std::os::unix::ffi::OsStrExt;

use serde::Serialize;

use crate::cli::colour;
use crate::cli::output::{Output, OutputRecord, TextLine};
use crate::ftp::mirror::{MirrorEvent, MirrorOutcome, MirroredFile};

/// The direction of the transfers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MirrorDirection {
    /// From the server.
    Get,
    /// To the server.
    Put,
}

/// A line of `--itemize`: a word, a name, and the details that belong to the word.
pub(super) struct ItemLine {
    word: &'static str,
    name: Vec<u8>,
    details: Vec<String>,
}

impl ItemLine {
    /// The line for an event; `None` if nothing was changed or skipped.
    pub(super) fn of(event: &MirrorEvent, direction: MirrorDirection) -> Option<ItemLine> {
        let line = |word, name: &str, details| Some(ItemLine { word, name: name.as_bytes().to_vec(), details });
        match event {
            MirrorEvent::Done(file) | MirrorEvent::Planned(file) => Some(ItemLine::of_file(file, direction)),
            MirrorEvent::Linked { outcome: MirrorOutcome::Same, .. } => None,
            MirrorEvent::Linked { local, leads_to, .. } => {
                let details = vec![String::from_utf8_lossy(leads_to).into_owned()];
                Some(ItemLine { word: "link", name: local.as_os_str().as_bytes().to_vec(), details })
            }
            MirrorEvent::Made { target, .. } => line("directory", target, Vec::new()),
            MirrorEvent::Deleted { target, .. } => line("deleted", target, Vec::new()),
            MirrorEvent::Moved { from, to, .. } => line("moved", from, vec![to.clone()]),
            MirrorEvent::Skipped { target, why } | MirrorEvent::LeftOut { target, why } => {
                line("skipped", target, vec![(*why).to_owned()])
            }
            MirrorEvent::Same(_) | MirrorEvent::Again { .. } | MirrorEvent::Failed { .. } => None,
        }
    }

    /// The line for a file: its name on the receiving side, its size, and the differences.
    pub(super) fn of_file(file: &MirroredFile, direction: MirrorDirection) -> ItemLine {
        let name = match direction {
            MirrorDirection::Get => file.local.as_os_str().as_bytes().to_vec(),
            MirrorDirection::Put => file.url.as_bytes().to_vec(),
        };
        let (size, modified) = (file.transferred.size, file.transferred.modified);
        let size_text = size.map_or("-".to_owned(), |size| size.to_string());
        let (word, why) = match file.replaces {
            None => ("sent", None),
            Some(None) => ("new", None),
            Some(Some(there)) => {
                let sizes = (size != there.size).then_some("size");
                let times = (modified.is_some() && modified != there.modified).then_some("time");
                let why: Vec<&str> = sizes.into_iter().chain(times).collect();
                ("changed", Some(if why.is_empty() { "-".to_owned() } else { why.join(",") }))
            }
        };
        ItemLine { word, name, details: std::iter::once(size_text).chain(why).collect() }
    }

    fn colour(&self) -> &'static str {
        match self.word {
            "new" | "sent" | "directory" | "link" => colour::GOOD,
            "changed" | "moved" => colour::CAUTION,
            "deleted" => colour::BAD,
            _ => colour::FAINT,
        }
    }
}

/// A record whose text is a line of `--itemize`, or nothing.
#[derive(Serialize)]
#[serde(transparent)]
struct Itemized<'a, R> {
    record: &'a R,
    #[serde(skip)]
    line: Option<ItemLine>,
}

impl<R: OutputRecord> OutputRecord for Itemized<'_, R> {
    const TYPE: &'static str = R::TYPE;

    fn text(&self, line: &mut TextLine) {
        if let Some(item) = &self.line {
            line.field_in(item.colour(), item.word).field(&item.name);
            for detail in &item.details {
                line.field(detail);
            }
        }
    }
}

/// A directory that the run created.
#[derive(Serialize)]
pub(super) struct DirectoryRecord {
    pub(super) target: String,
    pub(super) status: &'static str,
}

impl OutputRecord for DirectoryRecord {
    const TYPE: &'static str = "directory";
}

/// Prints a record; with `--itemize` its text is this line. The final flush reports a failed write.
pub(super) fn tell<R: OutputRecord>(out: &Output, itemize: bool, line: Option<ItemLine>, record: &R) {
    drop(match itemize {
        true => out.emit(&Itemized { record, line }),
        false => out.emit(record),
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ftp::mirror::FileFacts;
    use crate::ftp::transfer::Transferred;

    #[test]
    fn files_are_new_changed_or_sent() {
        let facts = |size, modified| Some(FileFacts { size: Some(size), modified: Some(modified) });
        for (replaces, word, details) in [
            (None, "sent", "7"),
            (Some(None), "new", "7"),
            (Some(facts(8, 100)), "changed", "7 size"),
            (Some(facts(7, 99)), "changed", "7 time"),
            (Some(facts(8, 99)), "changed", "7 size,time"),
            (Some(facts(7, 100)), "changed", "7 -"),
        ] {
            let transferred = Transferred { size: Some(7), modified: Some(100), ..Transferred::default() };
            let (url, local) = ("ftp://h/a".to_owned(), "b".into());
            let file = MirroredFile { url, local, retries: 0, transferred, replaces };
            for (direction, name) in [(MirrorDirection::Get, "b"), (MirrorDirection::Put, "ftp://h/a")] {
                let line = ItemLine::of_file(&file, direction);
                assert_eq!((line.word, line.name.as_slice()), (word, name.as_bytes()));
                assert_eq!(line.details.join(" "), details);
            }
        }
    }
}
