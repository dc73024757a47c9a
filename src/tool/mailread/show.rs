//! Shows messages: header fields, text and attachments for people, everything as JSON, or the stored bytes.

use std::io::Write;

use serde::Serialize;

use super::boxes::OpenMailbox;
use super::{Args, delivered, extract, select};
use crate::cli::colour;
use crate::cli::exit::Exit;
use crate::cli::output::{Output, OutputRecord, TextLine};
use crate::fault::Fault;
use crate::mail::read::{Reading, printable};
use crate::mail::{mbox, scan};
use crate::tool::message_content::MessageContent;

pub(super) fn run(folder: &OpenMailbox, chosen: &[usize], args: &Args, out: &Output) -> anyhow::Result<Exit> {
    // The form of the output depends on the selection, not on the current number of matches, so that scripts always get the same form.
    let several = chosen.len() > 1 || select::may_be_several(args);
    let mut is_first = true;
    super::each(chosen, out, |number| {
        let raw = folder.message(number)?;
        if args.raw {
            return write_raw(folder, number, &raw, several, out);
        }
        let title = several.then(|| format!("{}==> message {number} <==\n", if is_first { "" } else { "\n" }));
        is_first = false;
        show(folder, number, raw, args, title, out)
    })
}

/// Writes the stored bytes of one message. Several messages form an mbox that mail programs can read.
fn write_raw(folder: &OpenMailbox, number: usize, raw: &[u8], several: bool, out: &Output) -> Result<(), Fault> {
    let mut stdout = out.payload()?;
    let written = if several {
        let head = scan::header_of(raw)?;
        // The Return-Path of a bounce is null, and so is the sender in its `From ` line.
        let [return_path] = scan::pick(head, ["return-path"]);
        let sender = scan::addresses(head, if return_path.is_some() { "return-path" } else { "from" });
        let sender = sender.mailboxes.into_iter().next().map(|sender| sender.address.to_string()).unwrap_or_default();
        let date = delivered::in_mailbox(folder, number).or_else(|| delivered::date_of(folder, number, head).0);
        let date = date.map(|date| date.timestamp()).unwrap_or_default();
        mbox::write(&mut stdout, &sender, &date.strftime(mbox::DATE).to_string(), &mut &raw[..])
    } else {
        stdout.write_all(raw)
    };
    written.map_err(|error| Fault::local("stdout", &error))
}

fn show(
    folder: &OpenMailbox,
    number: usize,
    raw: Vec<u8>,
    args: &Args,
    title: Option<String>,
    out: &Output,
) -> Result<(), Fault> {
    let size_bytes = raw.len() as u64;
    let reading = Reading::parse_with(raw, !args.no_reflow)?;
    let head = scan::header_of(reading.raw())?;
    let (date, date_source) = delivered::date_of(folder, number, head);
    let content = MessageContent::of(reading)?;
    for part in content.parts.iter().filter(|part| part.damaged) {
        extract::warn_of_damage(number, &part.part, out);
    }
    out.emit(&MessageRecord {
        number,
        id: folder.id(number),
        path: folder.path(number),
        flags: folder.flags(number),
        unread: folder.is_unread(number),
        date: date.map(|date| date.timestamp().to_string()),
        date_source,
        size_bytes,
        content,
        all_headers: args.headers,
        title,
    })
}

/// One complete message.
#[derive(Debug, Serialize)]
struct MessageRecord {
    number: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    flags: String,
    unread: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    date: Option<String>,
    /// The source of the date, if it is not the Date field.
    #[serde(skip_serializing_if = "Option::is_none")]
    date_source: Option<&'static str>,
    size_bytes: u64,
    #[serde(flatten)]
    content: MessageContent,
    #[serde(skip)]
    all_headers: bool,
    /// The heading of the message if there are several, for text.
    #[serde(skip)]
    title: Option<String>,
}

impl OutputRecord for MessageRecord {
    const TYPE: &'static str = "message";

    fn text(&self, line: &mut TextLine) {
        line.text_in(colour::HEADING, self.title.as_deref().unwrap_or_default());
        const USUAL: &[&str] = &["date", "from", "reply-to", "to", "cc", "subject"];
        for header in &self.content.headers {
            if self.all_headers || USUAL.contains(&header.name.to_ascii_lowercase().as_str()) {
                let value = printable(&header.value).replace('\n', " ");
                line.text_in(colour::FIELD, &format!("{}:", printable(&header.name))).text(&format!(" {value}\n"));
            }
        }
        line.text("\n");
        let text = printable(&self.content.text);
        for (number, shown) in text.trim_end_matches('\n').split('\n').enumerate() {
            line.text(if number > 0 { "\n" } else { "" });
            // Quoted text (RFC 3676, section 4.5).
            line.text_in(if shown.starts_with('>') { colour::CAUTION } else { "" }, shown);
        }
        let mut listed = self.content.parts.iter().filter(|part| part.listed).peekable();
        if listed.peek().is_some() {
            line.text("\n");
        }
        for part in listed {
            let name = part.name.as_deref().map(|name| printable(name).replace('\n', " "));
            let kind = printable(&part.content_type);
            line.text(&format!(
                "\n[{} {} {kind}, {} bytes{}]",
                part.part,
                name.as_deref().unwrap_or("-"),
                part.size_bytes,
                if part.damaged { ", damaged" } else { "" }
            ));
        }
    }
}
