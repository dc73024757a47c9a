//! mailread: lists, shows, extracts, answers and flags the messages of a Maildir, an mbox, or one message on stdin.

use std::path::PathBuf;

use clap::ValueEnum;
use serde::Serialize;

use crate::cli::args::OutputArgs;
use crate::cli::colour;
use crate::cli::exit::{Exit, Tally};
use crate::cli::output::{Output, OutputRecord, TextLine};
use crate::cli::words;
use crate::fault::{Fault, Kind};
use crate::ftp::glob::Glob;
use crate::mail::address_list::AddressList;
use crate::mail::scan;
use crate::tool::message_content::{Person, people, unparsed};

mod boxes;
mod delivered;
mod extract;
mod flag;
mod recipients;
mod reply;
mod select;
mod show;

use boxes::OpenMailbox;

/// What mailread is asked to do.
#[derive(Debug, clap::Parser)]
#[command(name = "mailread", version, about = "Read mail: list, show, extract, reply, flag", max_term_width = 100)]
pub struct Args {
    /// Action
    #[arg(value_enum)]
    action: MailreadAction,
    /// Messages: numbers of the list, ranges (2-5, 7-), `last`, `all`, or Message-IDs
    #[arg(value_name = "SELECTION")]
    selection: Vec<String>,
    /// Mailbox: a Maildir, an mbox, a file with one message, or `-` for stdin (default: $MAIL, then ~/Maildir)
    #[arg(short = 'm', long, value_name = "MAILBOX")]
    mailbox: Option<PathBuf>,
    /// Only unread messages
    #[arg(short = 'u', long)]
    unread: bool,
    /// Only messages with TEXT in From (in any case)
    #[arg(long, value_name = "TEXT")]
    from: Option<String>,
    /// Only messages with TEXT in To or Cc
    #[arg(long, value_name = "TEXT")]
    to: Option<String>,
    /// Only messages with TEXT in the subject
    #[arg(long, value_name = "TEXT")]
    subject: Option<String>,
    /// show: print all header fields
    #[arg(short = 'H', long)]
    headers: bool,
    /// show: print the message exactly as it is stored; several as an mbox
    #[arg(long, conflicts_with = "headers")]
    raw: bool,
    /// show, reply: keep the line breaks of format=flowed text
    #[arg(long, conflicts_with = "raw")]
    no_reflow: bool,
    /// extract: write the files into DIR, created if missing (default: the working directory); `-` writes one part to stdout
    #[arg(short = 'o', long, value_name = "DIR|-")]
    output_dir: Option<PathBuf>,
    /// extract: write these parts (1, 2.1 …) instead of all attachments; may be repeated
    #[arg(long, value_name = "PART")]
    part: Vec<String>,
    /// extract: only parts of this type, in any case: application/pdf, image/*; may be repeated
    #[arg(long = "type", value_name = "TYPE", value_parser = extract::pattern, conflicts_with = "part")]
    content_type: Vec<Glob>,
    /// extract: only parts that were sent under such a name, in any case: '*.pdf'; may be repeated
    #[arg(long, value_name = "PATTERN", value_parser = extract::pattern, conflicts_with = "part")]
    name: Vec<Glob>,
    /// extract: set these flags of each message whose parts were written: seen …
    #[arg(long, value_name = "FLAGS")]
    flag: Vec<String>,
    /// reply: answer all recipients
    #[arg(short = 'a', long)]
    all: bool,
    /// reply: own address, which gets no answer; `*` matches any text; may be repeated
    #[arg(long, value_name = "ADDRESS")]
    me: Vec<String>,
    /// flag: set these flags: seen, replied, flagged, trashed, draft, passed, or Maildir letters
    #[arg(long, value_name = "FLAGS", value_parser = words::offered(flag::NAMES), hide_possible_values = true)]
    add: Vec<String>,
    /// flag: remove these flags
    #[arg(long, value_name = "FLAGS", value_parser = words::offered(flag::NAMES), hide_possible_values = true)]
    remove: Vec<String>,
    /// extract, flag: print the changes without making them
    #[arg(short = 'n', long)]
    dry_run: bool,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum MailreadAction {
    /// Print one line per message
    List,
    /// Print header and text
    Show,
    /// Write the attachments into files
    Extract,
    /// Print the beginning of a reply, for smtpsend -t
    Reply,
    /// Set or remove flags
    Flag,
}

crate::cli::tool!("mailread", Args, guide crate::tool::guides::MAILREAD, words &[crate::tool::mail_words::READ], prints Args::prints, run run);

fn run(args: Args, out: &Output) -> anyhow::Result<Exit> {
    args.check()?;
    let folder = OpenMailbox::open(args.mailbox.as_deref())?;
    let chosen = select::choose(&folder, &args)?;
    if chosen.is_empty() {
        // An empty mailbox is an answer; a filter that matches nothing says no.
        return Ok(if args.filters() || !folder.is_empty() { Exit::NEGATIVE } else { Exit::OK });
    }
    match args.action {
        MailreadAction::List => list(&folder, &chosen, out),
        MailreadAction::Show => show::run(&folder, &chosen, &args, out),
        MailreadAction::Extract => extract::run(&folder, &chosen, &args, out),
        MailreadAction::Reply => each(&chosen, out, |number| reply::run(&folder, number, &args, out)),
        MailreadAction::Flag => flag::run(&folder, &chosen, &args, out),
    }
}

impl Args {
    /// True if stdout gets output: `flag` prints only with --json or --dry-run.
    fn prints(&self) -> bool {
        self.output.json || self.action != MailreadAction::Flag || self.dry_run
    }

    fn filters(&self) -> bool {
        self.unread || self.from.is_some() || self.to.is_some() || self.subject.is_some()
    }

    /// Checks the options. An option of another action is a usage error.
    fn check(&self) -> Result<(), Fault> {
        let stray = [
            (self.headers, "--headers", MailreadAction::Show),
            (self.raw, "--raw", MailreadAction::Show),
            (self.output_dir.is_some(), "--output-dir", MailreadAction::Extract),
            (!self.part.is_empty(), "--part", MailreadAction::Extract),
            (!self.content_type.is_empty(), "--type", MailreadAction::Extract),
            (!self.name.is_empty(), "--name", MailreadAction::Extract),
            (!self.flag.is_empty(), "--flag", MailreadAction::Extract),
            (self.all, "--all", MailreadAction::Reply),
            (!self.me.is_empty(), "--me", MailreadAction::Reply),
            (!self.add.is_empty(), "--add", MailreadAction::Flag),
            (!self.remove.is_empty(), "--remove", MailreadAction::Flag),
        ];
        for (given, name, action) in stray {
            if given && self.action != action {
                let action = format!("{action:?}").to_lowercase();
                return Err(Fault::new(Kind::Usage, format!("{name} goes with {action} only")));
            }
        }
        if self.dry_run && !matches!(self.action, MailreadAction::Extract | MailreadAction::Flag) {
            return Err(Fault::new(Kind::Usage, "--dry-run goes with extract and flag only"));
        }
        if self.no_reflow && !matches!(self.action, MailreadAction::Show | MailreadAction::Reply) {
            return Err(Fault::new(Kind::Usage, "--no-reflow goes with show and reply only"));
        }
        if self.action == MailreadAction::Flag && self.add.is_empty() && self.remove.is_empty() {
            return Err(Fault::new(Kind::Usage, "flag needs --add or --remove"));
        }
        Ok(())
    }
}

/// Applies an action to several messages. A failure does not stop the others.
fn each(chosen: &[usize], out: &Output, mut action: impl FnMut(usize) -> Result<(), Fault>) -> anyhow::Result<Exit> {
    let mut tally = Tally::default();
    for &number in chosen {
        match action(number) {
            Ok(()) => tally.success(),
            Err(fault) => {
                out.error(&format!("message {number}"), &fault);
                tally.fault(&fault);
            }
        }
    }
    Ok(tally.exit())
}

fn list(folder: &OpenMailbox, chosen: &[usize], out: &Output) -> anyhow::Result<Exit> {
    let zone = crate::cli::clock::zone();
    let mut scratch = Vec::new();
    let mut tally = Tally::default();
    for &number in chosen {
        match folder.header(number, &mut scratch) {
            Ok(()) => out.emit(&MessageLine::new(folder, number, &scratch, &zone, out.json()))?,
            // Another reader may have moved it meanwhile.
            Err(fault) => {
                out.error(&format!("message {number}"), &fault);
                tally.fault(&fault);
            }
        }
    }
    Ok(tally.exit())
}

/// One line of the list.
#[derive(Debug, Serialize)]
struct MessageLine {
    number: usize,
    /// The file name without flags, in a Maildir.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// The path of the file, in a Maildir.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    flags: String,
    unread: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    date: Option<String>,
    /// The source of the date, if it is not the Date field.
    #[serde(skip_serializing_if = "Option::is_none")]
    date_source: Option<&'static str>,
    from: Vec<Person>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    to: Vec<Person>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cc: Vec<Person>,
    /// The text in From, To and Cc that is not an address.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unparsed: Vec<String>,
    subject: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    in_reply_to: Option<String>,
    size_bytes: u64,
    /// The date in local time, for text.
    #[serde(skip)]
    shown_date: String,
    /// The author, for text.
    #[serde(skip)]
    shown_from: String,
}

impl MessageLine {
    fn new(folder: &OpenMailbox, number: usize, header: &[u8], zone: &jiff::tz::TimeZone, full: bool) -> MessageLine {
        let [from, subject, id, answers] = scan::pick(header, ["from", "subject", "message-id", "in-reply-to"]);
        let read = |name: &str| if full { scan::addresses(header, name) } else { AddressList::default() };
        let (authors, to, cc) = (scan::addresses(header, "from"), read("to"), read("cc"));
        let (date, date_source) = delivered::date_of(folder, number, header);
        let shown_from = match authors.mailboxes.first() {
            Some(person) => person.name.clone().unwrap_or_else(|| person.address.to_string()),
            None => from.map(|from| scan::text(header, from)).unwrap_or_default(),
        };
        let shown_date = date.as_ref().map(|date| date.with_time_zone(zone.clone()).strftime("%F %H:%M").to_string());
        MessageLine {
            number,
            id: folder.id(number),
            path: folder.path(number).filter(|_| full),
            flags: folder.flags(number),
            unread: folder.is_unread(number),
            date: date.filter(|_| full).map(|date| date.timestamp().to_string()),
            date_source,
            unparsed: unparsed([&authors, &to, &cc]),
            from: people(authors),
            to: people(to),
            cc: people(cc),
            subject: subject.map(|subject| scan::text(header, subject)).unwrap_or_default(),
            message_id: id.filter(|_| full).and_then(|id| scan::identifiers(id).into_iter().next()),
            in_reply_to: answers.filter(|_| full).and_then(|id| scan::identifiers(id).into_iter().next()),
            size_bytes: if full { folder.size_bytes(number) } else { 0 },
            shown_date: shown_date.unwrap_or_else(|| "-".to_owned()),
            shown_from,
        }
    }
}

impl OutputRecord for MessageLine {
    const TYPE: &'static str = "message";

    fn text(&self, line: &mut TextLine) {
        let marks = format!("{}{}", if self.unread { "N" } else { "-" }, self.flags);
        let colour = if self.unread { colour::HEADING } else { "" };
        line.field(self.number.to_string()).field_in(colour, marks).field(&self.shown_date).field(&self.shown_from);
        line.field(&self.subject);
    }
}
