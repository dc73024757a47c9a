//! Turns a [`Draft`] into a message ([`Composed`]): correct MIME, 7-bit, streamed. The content determines charset and
//! encoding. Bcc addresses appear in the envelope and nowhere else.

use super::address::Mailbox;
use super::header;
use super::html;
use super::message::{MailMessage, Segment};
use super::transfer::{Encoding, canonical_text};
use crate::blob::Blob;
use crate::fault::{Fault, Kind};
use crate::smtp::address::Address;

/// The maximum size of a text or HTML body in bytes; anything larger must be an attachment.
pub const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;
/// The maximum number of attachments of one message.
pub const MAX_ATTACHMENTS: usize = 10_000;

/// The content of a message to be composed. All of it is plain, readable text; nothing is encoded yet.
#[derive(Debug, Clone, Default)]
pub struct Draft {
    /// The author. Without one the message cannot be composed.
    pub from: Option<Mailbox>,
    /// The sender, if different from the author.
    pub sender: Option<Mailbox>,
    /// Recipients that everybody sees.
    pub to: Vec<Mailbox>,
    /// Recipients of a copy that everybody sees.
    pub cc: Vec<Mailbox>,
    /// Recipients that nobody sees.
    pub bcc: Vec<Mailbox>,
    /// The addresses for replies, if different from the author.
    pub reply_to: Vec<Mailbox>,
    /// The subject.
    pub subject: Option<String>,
    /// Further fields. Fields that have their own member here are refused.
    pub headers: Vec<(String, String)>,
    /// The text body.
    pub text: Option<Vec<u8>>,
    /// The HTML body. Without `text`, a text is generated from it.
    pub html: Option<Vec<u8>>,
    /// Files to attach.
    pub attachments: Vec<Attachment>,
    /// Files that the HTML displays: `cid:NAME` in it refers to the one with this name.
    pub inline: Vec<Attachment>,
    /// The identifiers of the messages that this one answers.
    pub in_reply_to: Vec<String>,
    /// The identifiers of the whole thread; those of `in_reply_to` if empty.
    pub references: Vec<String>,
    /// The Date field's value (RFC 5322, section 3.3).
    pub date: String,
    /// `<left@right>`.
    pub message_id: String,
    /// Letters and digits that occur in no other message, for the boundaries.
    pub unique: String,
}

/// One file to attach.
#[derive(Debug, Clone)]
pub struct Attachment {
    /// The bytes of the file.
    pub blob: Blob,
    /// The name that the reader sees.
    pub name: Option<String>,
    /// `type/subtype`; guessed from the name if absent.
    pub content_type: Option<String>,
}

/// A composed message and its envelope.
#[derive(Debug, Clone)]
pub struct Composed {
    /// The message.
    pub message: MailMessage,
    /// The author's or sender's address.
    pub sender: Address,
    /// To, Cc and Bcc.
    pub recipients: Vec<Address>,
    /// An address has letters outside ASCII before the `@`, in the envelope or in a field: SMTPUTF8 is needed (RFC 6531).
    pub smtputf8: bool,
    /// The text was not UTF-8; it is labelled `unknown-8bit` (RFC 1428).
    pub unknown_charset: bool,
    /// The Message-ID.
    pub message_id: String,
}

impl Draft {
    /// Composes the message. CR, LF and NUL in any value are refused.
    ///
    /// # Errors
    /// [`Kind::Usage`] for a value that is not allowed in a message, [`Kind::BadData`] for a body that is too large.
    pub fn compose(mut self) -> Result<Composed, Fault> {
        for list in [&mut self.to, &mut self.cc, &mut self.bcc, &mut self.reply_to] {
            *list = list.drain(..).map(Mailbox::to_ascii_domain).collect::<Result<_, _>>()?;
        }
        let from = self.from.take().ok_or_else(|| Fault::new(Kind::Usage, "no From address"))?.to_ascii_domain()?;
        let sender = self.sender.take().map(Mailbox::to_ascii_domain).transpose()?;
        if self.unique.is_empty() || !self.unique.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(Fault::new(Kind::Internal, "a boundary needs letters and digits"));
        }
        if self.attachments.len() + self.inline.len() > MAX_ATTACHMENTS {
            return Err(Fault::new(Kind::Usage, format!("more than {MAX_ATTACHMENTS} attachments")));
        }
        let head = self.header(&from, sender.as_ref())?;
        let unknown_charset = [&self.text, &self.html].into_iter().flatten().any(|text| str::from_utf8(text).is_err());
        let named = self.to.iter().chain(&self.cc).chain(&self.bcc);
        let recipients: Vec<Address> = named.map(|mailbox| mailbox.address.clone()).collect();
        let sender = sender.unwrap_or(from).address;
        let smtputf8 = !head.is_ascii() || !sender.is_ascii() || !recipients.iter().all(Address::is_ascii);
        let message_id = self.message_id.clone();
        let unique = self.unique.clone();
        let root = self.body()?;
        let mut writer = PartWriter { segments: Vec::new(), bytes: head.into_bytes(), unique, boundaries: 0 };
        writer.part(root)?;
        let message = writer.finish();
        Ok(Composed { message, sender, recipients, smtputf8, unknown_charset, message_id })
    }

    fn header(&self, from: &Mailbox, sender: Option<&Mailbox>) -> Result<String, Fault> {
        header::check_value("Date", &self.date)?;
        let mut out = format!("Date: {}\r\n", self.date);
        out += &header::addresses("From", std::slice::from_ref(from))?;
        if let Some(sender) = sender {
            out += &header::addresses("Sender", std::slice::from_ref(sender))?;
        }
        for (name, list) in [("Reply-To", &self.reply_to), ("To", &self.to), ("Cc", &self.cc)] {
            if !list.is_empty() {
                out += &header::addresses(name, list)?;
            }
        }
        if self.to.is_empty() && self.cc.is_empty() {
            out += "To: undisclosed-recipients:;\r\n";
        }
        if let Some(subject) = &self.subject {
            out += &header::unstructured("Subject", subject)?;
        }
        out += &header::identifiers("Message-ID", std::slice::from_ref(&self.message_id))?;
        if !self.in_reply_to.is_empty() {
            out += &header::identifiers("In-Reply-To", &self.in_reply_to)?;
        }
        let references = if self.references.is_empty() { &self.in_reply_to } else { &self.references };
        if !references.is_empty() {
            out += &header::identifiers("References", references)?;
        }
        for (name, value) in &self.headers {
            check_extra(name)?;
            out += &header::unstructured(name, value)?;
        }
        out += "MIME-Version: 1.0\r\n";
        Ok(out)
    }

    fn body(self) -> Result<MimePart, Fault> {
        let Draft { text, html, attachments, inline, unique, message_id, .. } = self;
        let domain = message_id.rsplit_once('@').map_or("localhost", |(_, domain)| domain.trim_end_matches('>'));
        let mut shown = None;
        let mut loose = Vec::new();
        if let Some(mut html) = html {
            check_size("HTML body", &html)?;
            let text = text.unwrap_or_else(|| html::to_text(&String::from_utf8_lossy(&html)).into_bytes());
            let mut related = Vec::new();
            for (index, file) in inline.into_iter().enumerate() {
                let id = format!("part{index}.{unique}@{domain}");
                if let Some(name) = &file.name {
                    html = refer(&html, name, &id);
                }
                related.push(attachment(file, "inline", Some(&id))?);
            }
            let page = text_part("text/html", &html)?;
            let page = if related.is_empty() {
                page
            } else {
                related.insert(0, page);
                MimePart::Multi { kind: "related", parameters: vec![("type", "text/html")], parts: related }
            };
            let parts = vec![text_part("text/plain", &text)?, page];
            shown = Some(MimePart::Multi { kind: "alternative", parameters: vec![], parts });
        } else {
            check_size("body", text.as_deref().unwrap_or_default())?;
            if text.is_some() || (attachments.is_empty() && inline.is_empty()) {
                shown = Some(text_part("text/plain", &text.unwrap_or_default())?);
            }
            for file in inline {
                loose.push(attachment(file, "inline", None)?);
            }
        }
        for file in attachments {
            loose.push(attachment(file, "attachment", None)?);
        }
        Ok(match (shown, loose.is_empty()) {
            (Some(shown), true) => shown,
            (shown, _) => {
                MimePart::Multi { kind: "mixed", parameters: vec![], parts: shown.into_iter().chain(loose).collect() }
            }
        })
    }
}

/// Refuses the fields that `--header` may not set: they have their own flag, or MIME sets them.
fn check_extra(name: &str) -> Result<(), Fault> {
    const OWN: &[&str] = &[
        "from",
        "sender",
        "to",
        "cc",
        "bcc",
        "reply-to",
        "subject",
        "date",
        "message-id",
        "in-reply-to",
        "references",
        "mime-version",
        "resent-bcc",
        "return-path",
        "received",
    ];
    if !header::is_field_name(name) {
        return Err(Fault::new(Kind::Usage, format!("{name}: not the name of a header field")));
    }
    let lower = name.to_ascii_lowercase();
    if OWN.contains(&lower.as_str()) || lower.starts_with("content-") {
        return Err(Fault::new(Kind::Usage, format!("{name}: this field cannot be set here")));
    }
    Ok(())
}

fn check_size(what: &str, text: &[u8]) -> Result<(), Fault> {
    if text.len() > MAX_BODY_BYTES {
        return Err(Fault::new(Kind::BadData, format!("{what}: larger than {MAX_BODY_BYTES} bytes"))
            .with_hint("attach it instead"));
    }
    Ok(())
}

/// A part of the MIME tree before it is written.
enum MimePart {
    Leaf { header: String, body: Segment },
    Multi { kind: &'static str, parameters: Vec<(&'static str, &'static str)>, parts: Vec<MimePart> },
}

fn text_part(kind: &str, text: &[u8]) -> Result<MimePart, Fault> {
    let charset = charset_of(text);
    let text = canonical_text(text);
    let encoding = Encoding::of_text(&text);
    let header = format!(
        "{}Content-Transfer-Encoding: {}\r\n",
        header::with_parameters("Content-Type", kind, &[("charset", charset)])?,
        encoding.as_str()
    );
    Ok(MimePart::Leaf { header, body: Segment::Bytes(encoding.encode_text(&text)) })
}

fn charset_of(text: &[u8]) -> &'static str {
    match str::from_utf8(text) {
        Ok(text) if text.is_ascii() => "us-ascii",
        Ok(_) => "utf-8",
        Err(_) => "unknown-8bit",
    }
}

fn attachment(file: Attachment, disposition: &str, id: Option<&str>) -> Result<MimePart, Fault> {
    let name = file.name.as_deref().unwrap_or_default();
    let kind = match &file.content_type {
        Some(kind) => {
            check_type(kind)?;
            kind.as_str()
        }
        // A message may not be sent in base64 (RFC 2046, section 5.2.1): a file it is, then, with its name.
        None => type_of(name),
    };
    let named: &[(&str, &str)] = &[("name", name)];
    let mut header = header::with_parameters("Content-Type", kind, if name.is_empty() { &[] } else { named })?;
    header += "Content-Transfer-Encoding: base64\r\n";
    let named: &[(&str, &str)] = &[("filename", name)];
    header += &header::with_parameters("Content-Disposition", disposition, if name.is_empty() { &[] } else { named })?;
    if let Some(id) = id {
        header += &header::identifiers("Content-ID", &[format!("<{id}>")])?;
    }
    Ok(MimePart::Leaf { header, body: Segment::Base64(file.blob) })
}

/// Checks for `type/subtype`, both tokens (RFC 2045, section 5.1), optionally with `; charset=…`; composite types are refused.
fn check_type(kind: &str) -> Result<(), Fault> {
    let token = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&+-.^_`{|}~".contains(&byte))
    };
    let (essence, parameters) = kind.split_once(';').map_or((kind, None), |(essence, rest)| (essence, Some(rest)));
    let well_formed = essence.split_once('/').is_some_and(|(main, sub)| token(main) && token(sub))
        && parameters
            .is_none_or(|rest| rest.trim().split_once('=').is_some_and(|(key, text)| token(key) && token(text)));
    if !well_formed {
        return Err(Fault::new(Kind::Usage, format!("{kind}: not a media type, type/subtype")));
    }
    let lower = essence.to_ascii_lowercase();
    if lower.starts_with("multipart/") || lower.starts_with("message/") {
        return Err(Fault::new(Kind::Usage, format!("{kind}: a file cannot be attached with a composite type")));
    }
    Ok(())
}

/// The media type for a file name's extension (IANA's names).
pub fn type_of(name: &str) -> &'static str {
    const TYPES: &[(&str, &str)] = &[
        ("7z", "application/x-7z-compressed"),
        ("avif", "image/avif"),
        ("bmp", "image/bmp"),
        ("bz2", "application/x-bzip2"),
        ("c", "text/x-c"),
        ("css", "text/css"),
        ("csv", "text/csv"),
        ("diff", "text/x-diff"),
        ("doc", "application/msword"),
        ("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
        ("epub", "application/epub+zip"),
        ("flac", "audio/flac"),
        ("gif", "image/gif"),
        ("gz", "application/gzip"),
        ("heic", "image/heic"),
        ("htm", "text/html"),
        ("html", "text/html"),
        ("ics", "text/calendar"),
        ("jpeg", "image/jpeg"),
        ("jpg", "image/jpeg"),
        ("js", "text/javascript"),
        ("json", "application/json"),
        ("log", "text/plain"),
        ("m4a", "audio/mp4"),
        ("md", "text/markdown"),
        ("mov", "video/quicktime"),
        ("mp3", "audio/mpeg"),
        ("mp4", "video/mp4"),
        ("odp", "application/vnd.oasis.opendocument.presentation"),
        ("ods", "application/vnd.oasis.opendocument.spreadsheet"),
        ("odt", "application/vnd.oasis.opendocument.text"),
        ("ogg", "audio/ogg"),
        ("patch", "text/x-diff"),
        ("pdf", "application/pdf"),
        ("png", "image/png"),
        ("ppt", "application/vnd.ms-powerpoint"),
        ("pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation"),
        ("rtf", "application/rtf"),
        ("svg", "image/svg+xml"),
        ("tar", "application/x-tar"),
        ("tgz", "application/gzip"),
        ("tif", "image/tiff"),
        ("tiff", "image/tiff"),
        ("tsv", "text/tab-separated-values"),
        ("txt", "text/plain"),
        ("vcf", "text/vcard"),
        ("wav", "audio/wav"),
        ("webm", "video/webm"),
        ("webp", "image/webp"),
        ("xls", "application/vnd.ms-excel"),
        ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
        ("xml", "application/xml"),
        ("xz", "application/x-xz"),
        ("yaml", "application/yaml"),
        ("yml", "application/yaml"),
        ("zip", "application/zip"),
        ("zst", "application/zstd"),
    ];
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending).to_ascii_lowercase();
    TYPES
        .binary_search_by(|(known, _)| (*known).cmp(ending.as_str()))
        .ok()
        .and_then(|index| TYPES.get(index))
        .map_or("application/octet-stream", |(_, kind)| kind)
}

/// Replaces `cid:NAME` by `cid:ID` wherever the name ends there.
fn refer(html: &[u8], name: &str, id: &str) -> Vec<u8> {
    let wanted = format!("cid:{name}");
    let mut out = Vec::with_capacity(html.len() + id.len());
    let mut from = 0;
    for at in memchr::memmem::find_iter(html, wanted.as_bytes()) {
        let end = at + wanted.len();
        let ends = html.get(end).is_none_or(|next| b"\"') \t\r\n>&".contains(next));
        if ends {
            out.extend_from_slice(html.get(from..at).unwrap_or_default());
            out.extend_from_slice(format!("cid:{id}").as_bytes());
            from = end;
        }
    }
    out.extend_from_slice(html.get(from..).unwrap_or_default());
    out
}

/// Collects the segments of the message.
struct PartWriter {
    segments: Vec<Segment>,
    bytes: Vec<u8>,
    unique: String,
    boundaries: usize,
}

impl PartWriter {
    fn part(&mut self, part: MimePart) -> Result<(), Fault> {
        match part {
            MimePart::Leaf { header, body } => {
                self.bytes.extend_from_slice(header.as_bytes());
                self.bytes.extend_from_slice(b"\r\n");
                match body {
                    Segment::Bytes(bytes) => self.bytes.extend_from_slice(&bytes),
                    other => {
                        self.segments.push(Segment::Bytes(std::mem::take(&mut self.bytes)));
                        self.segments.push(other);
                    }
                }
            }
            MimePart::Multi { kind, parameters, parts } => {
                self.boundaries += 1;
                // "=_" occurs neither in quoted-printable nor in base64 (RFC 2045, section 6.7).
                let boundary = format!("=_{}_{}", self.boundaries, self.unique);
                let mut all = parameters;
                all.push(("boundary", &boundary));
                let field = header::with_parameters("Content-Type", &format!("multipart/{kind}"), &all)?;
                self.bytes.extend_from_slice(field.as_bytes());
                for part in parts {
                    self.bytes.extend_from_slice(format!("\r\n--{boundary}\r\n").as_bytes());
                    self.part(part)?;
                }
                self.bytes.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
            }
        }
        Ok(())
    }

    fn finish(mut self) -> MailMessage {
        self.segments.push(Segment::Bytes(self.bytes));
        let has_8bit =
            self.segments.iter().any(|segment| matches!(segment, Segment::Bytes(bytes) if !bytes.is_ascii()));
        MailMessage::new(self.segments, has_8bit)
    }
}

#[cfg(test)]
mod tests;
