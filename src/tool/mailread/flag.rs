//! Setting and removing Maildir flags.

use serde::Serialize;

use super::Args;
use super::boxes::OpenMailbox;
use crate::cli::exit::{Exit, Tally};
use crate::cli::output::{Output, OutputRecord, TextLine};
use crate::cli::words::meant;
use crate::fault::{Fault, Kind};
use crate::mail::maildir::reader::{MaildirFolder, ReadableMaildir};

/// One message with its flags, changed or not.
#[derive(Debug, Serialize)]
struct Flagged {
    number: usize,
    id: String,
    flags: String,
    changed: bool,
    dry_run: bool,
}

impl OutputRecord for Flagged {
    const TYPE: &'static str = "flag";

    fn text(&self, line: &mut TextLine) {
        // Nothing on success, except in a dry run.
        if self.dry_run {
            line.field(self.number.to_string()).field(&self.flags);
        }
    }
}

pub(super) fn run(folder: &OpenMailbox, chosen: &[usize], args: &Args, out: &Output) -> anyhow::Result<Exit> {
    let (add, remove) = (letters(&args.add)?, letters(&args.remove)?);
    let maildir = maildir(folder)?;
    let mut tally = Tally::default();
    for &number in chosen {
        let item = folder.item(number)?;
        if maildir.is_link(item) {
            let path = maildir.item_path(item);
            out.warn(&format!("message {number}: {}: a link keeps its name, so its flags stay", path.display()));
            let (id, flags) = (folder.id(number).unwrap_or_default(), item.flags());
            out.emit(&Flagged { number, id, flags, changed: false, dry_run: args.dry_run })?;
            tally.success();
            continue;
        }
        let flags = together(&item.flags(), &add, &remove);
        let changed = flags != item.flags() || item.place == MaildirFolder::New;
        let result = if args.dry_run { Ok(item.clone()) } else { maildir.set_flags(item, &flags) };
        match result {
            Ok(_) => {
                tally.success();
                let id = folder.id(number).unwrap_or_default();
                out.emit(&Flagged { number, id, flags, changed, dry_run: args.dry_run })?;
            }
            Err(fault) => {
                out.error(&format!("message {number}"), &fault);
                tally.fault(&fault);
            }
        }
    }
    Ok(tally.exit())
}

/// The Maildir. Another mailbox has no flags, which is an error.
pub(super) fn maildir(folder: &OpenMailbox) -> Result<&ReadableMaildir, Fault> {
    match folder {
        OpenMailbox::Maildir(maildir, _) => Ok(maildir),
        _ => Err(Fault::new(Kind::Unsupported, "only a Maildir has flags")),
    }
}

/// The flags of a message after some are added and others removed.
pub(super) fn together(own: &str, add: &str, remove: &str) -> String {
    let mut flags: Vec<char> = own.chars().chain(add.chars()).filter(|letter| !remove.contains(*letter)).collect();
    flags.sort_unstable();
    flags.dedup();
    flags.into_iter().collect()
}

/// The names of the flags.
pub(super) const NAMES: [&str; 6] = ["seen", "replied", "flagged", "trashed", "draft", "passed"];

/// Converts flag names and Maildir letters to Maildir letters.
pub(super) fn letters(given: &[String]) -> Result<String, Fault> {
    let mut out = String::new();
    for word in given.iter().flat_map(|text| text.split(',')).filter(|word| !word.is_empty()) {
        match word.to_ascii_lowercase().as_str() {
            "seen" | "read" => out.push('S'),
            "replied" | "answered" => out.push('R'),
            "flagged" => out.push('F'),
            "trashed" | "deleted" => out.push('T'),
            "draft" => out.push('D'),
            "passed" | "forwarded" => out.push('P'),
            _ if word
                .bytes()
                .all(|letter| b"DFPRST".contains(&letter) || letter.is_ascii_lowercase() && word.len() == 1) =>
            {
                out.push_str(word);
            }
            _ => {
                let fault = Fault::new(Kind::Usage, format!("{word}: unknown flag{}", meant(word, NAMES)));
                return Err(fault.with_hint("seen, replied, flagged, trashed, draft, passed, or letters of DFPRST"));
            }
        }
    }
    Ok(out)
}
