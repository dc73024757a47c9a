//! Entry points of `mail` that read a stranger's bytes: one line each, `(name, function)`.

use std::io::Read;

use applayer::blob::Blob;
use applayer::fault::Fault;
use applayer::mail::aliases::{AliasEnd, AliasTable, MailboxFinder};
use applayer::mail::complete::Complete;
use applayer::mail::compose::Draft;
use applayer::mail::maildir::is_safe_name;
use applayer::mail::maildir::owners::MailboxRequest;
use applayer::mail::maildir::quota::MaildirSize;
use applayer::mail::read::Reading;
use applayer::mail::template::{Fields, Values};
use applayer::mail::{
    address, address_list, charset, date, flowed, gzip, header, html, links, mbox, parameter, scan, transfer, uuencode,
};
use applayer::smtp::address::Address;

/// Every entry: used by the fuzz targets and by the replay of the committed corpus.
pub const ENTRIES: &[(&str, fn(&[u8]))] = &[
    ("mail_complete", complete),
    ("mail_read", read),
    ("mail_links", found_links),
    ("mail_charset", charset),
    ("mail_transfer", transfer_encodings),
    ("mail_scan", scan),
    ("mail_address", address),
    ("mail_address_list", address_list),
    ("mail_parameter", parameter),
    ("mail_date", date),
    ("mail_mbox", mbox),
    ("mail_gzip", gzip),
    ("mail_flowed", flowed),
    ("mail_html", html),
    ("mail_encode", encode),
    ("mail_downgrade", downgrade),
    ("mail_template", template),
    ("mail_accounts", accounts),
    ("mail_owner_request", owner_request),
    ("mail_aliases", aliases),
    ("mail_maildirsize", maildirsize),
];

/// A complete message: what is sent has its announced size, CRLF line ends only, and no Bcc.
fn complete(bytes: &[u8]) {
    let Ok(message) = Complete::read(&Blob::memory(bytes), bytes.len() % 2 == 1) else { return };
    let _ = message.recipients();
    let message = message.into_message();
    let mut sent = Vec::new();
    let read = message.reader().read_to_end(&mut sent);
    assert!(read.is_ok());
    assert_eq!(sent.len() as u64, applayer::smtp::data::Content::size_bytes(&message));
    let mut check = applayer::smtp::data::NewlineCheck::default();
    assert!(check.feed(&sent).is_ok() && check.finish().is_ok(), "a bare CR or LF leaves");
    for (name, _) in scan::fields(&sent) {
        assert!(!name.eq_ignore_ascii_case(b"bcc") && !name.eq_ignore_ascii_case(b"resent-bcc"), "Bcc leaves");
    }
}

/// An accounts file in msmtp's words.
fn accounts(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = applayer::tool::smtpsend::is_accounts_file(text);
    }
}

/// What a helper takes for a request names one mailbox of its table and one file in it, and is as it would be written.
fn owner_request(bytes: &[u8]) {
    if let Some(request) = MailboxRequest::parse(bytes) {
        assert_eq!(request.compose(), bytes);
        assert!(is_safe_name(&request.name));
    }
}

/// The file of a quota: a sum is never below zero.
fn maildirsize(bytes: &[u8]) {
    let parsed = std::str::from_utf8(bytes).ok().and_then(MaildirSize::parse);
    assert!(parsed.is_none_or(|size| size.used.bytes >= 0 && size.used.messages >= 0 && size.lines > 0));
}

/// Mailboxes of short names in one domain.
struct ShortNames;

impl MailboxFinder for ShortNames {
    type Found = ();

    fn is_ours(&self, domain: &str) -> bool {
        domain == "x.test"
    }

    fn find(&mut self, local: &str, _: &str) -> Result<Option<()>, Fault> {
        assert!(!local.is_empty());
        Ok((local.len() < 5).then_some(()))
    }
}

/// An alias file: what passes the check expands without a loop, each destination once, and permits its own commands alone.
fn aliases(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut table = AliasTable::default();
    let commands = text.contains("commands");
    if table.add("F", text, commands, &mut |_| Ok("bob\n".to_owned())).is_err() {
        return;
    }
    let checked = table.check(&["x.test".to_owned()], &mut ShortNames).is_ok();
    for line in text.lines().take(20) {
        let local = line.split([':', '@', ' ']).next().unwrap_or_default();
        if local.is_empty() {
            continue;
        }
        let Ok(found) = table.expand(local, "x.test", &mut ShortNames) else {
            assert!(!checked, "{local}: a loop after the check");
            continue;
        };
        let ends: Vec<_> = found.ends.iter().filter(|end| !matches!(end, AliasEnd::Mailbox(..))).collect();
        let remote = |end: &&&AliasEnd<()>| matches!(end, AliasEnd::Remote(_));
        let keys: Vec<_> = ends.iter().filter(remote).map(|end| format!("{end:?}").to_lowercase()).collect();
        assert_eq!(keys.iter().collect::<std::collections::HashSet<_>>().len(), keys.len());
        for end in ends {
            match end {
                AliasEnd::Command(words) => assert!(commands && table.has_command(words) && words[0].starts_with('/')),
                AliasEnd::File(path) => assert!(commands && table.has_file(path) && path.is_absolute()),
                AliasEnd::Remote(_) | AliasEnd::Mailbox(..) => {}
            }
        }
    }
}

/// The first line is the value of every field of a template that is the rest: it makes no address, no header field and no
/// HTML of its own.
fn template(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (value, text) = text.split_once('\n').unwrap_or((text, ""));
    let mut fields = Fields::new("0123456789abcdef0123456789abcdef");
    let (Ok(line), Ok(body)) = (fields.mark(text.lines().next().unwrap_or_default()), fields.mark(text)) else {
        return;
    };
    let Ok(to) = address::parse_list(&line) else { return };
    let count = to.len();
    let values = vec![value.to_owned(); fields.names().len()];
    let draft = Draft {
        from: Some(address::Mailbox { name: None, address: Address::parse_lenient("a@a.test").unwrap() }),
        to,
        subject: Some(line.clone()),
        headers: vec![("X-Field".to_owned(), line)],
        text: Some(body.clone().into_bytes()),
        html: Some(body.into_bytes()),
        date: "Mon, 23 Nov 2026 05:00:00 +0000".to_owned(),
        message_id: "<x@a.test>".to_owned(),
        unique: "u".to_owned(),
        ..Draft::default()
    };
    let Ok(filled) = fields.fill_draft(&draft, Values(&values)) else { return };
    assert!(filled.to.len() <= count, "an address came from a value");
    let Ok(composed) = filled.compose() else { return };
    assert!(composed.recipients.len() <= count);
    let mut sent = Vec::new();
    let read = composed.message.reader().read_to_end(&mut sent);
    assert!(read.is_ok());
    let names = scan::fields(&sent).count();
    assert_eq!(names, 8, "Date, From, To, Subject, Message-ID, X-Field, MIME-Version, Content-Type");
}

/// Every part has a number of its own, and a content that is not longer than the message.
fn read(bytes: &[u8]) {
    let Ok(reading) = Reading::parse(bytes.to_vec()) else { return };
    let mut numbers = std::collections::HashSet::new();
    for part in &reading.parts {
        assert!(reading.content(part).bytes.len() <= bytes.len(), "a content grew");
        assert!(numbers.insert(&part.path), "two parts {}", part.path);
        if let Some(name) = part.name.as_deref().and_then(applayer::mail::read::safe_file_name) {
            assert!(!name.contains('/') && !name.starts_with('.') && !name.chars().any(char::is_control));
        }
    }
}

/// The first line is a label, the rest is text in its charset.
fn charset(bytes: &[u8]) {
    let (label, text) = bytes.split_at(bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len()));
    let decoded = charset::decode(&String::from_utf8_lossy(label), text);
    assert!(decoded.len() <= 4 * text.len() + 4, "a text grew");
}

/// No transfer encoding makes more of a content than it was.
fn transfer_encodings(bytes: &[u8]) {
    for decode in [transfer::base64_content, transfer::quoted_printable_content, uuencode::decode] {
        assert!(decode(bytes).bytes.len() <= bytes.len(), "a content grew");
    }
    let mut last = 0;
    for block in uuencode::blocks(bytes, 100) {
        assert!(last <= block.span.start && block.span.start < block.span.end && block.span.end <= bytes.len());
        last = block.span.end;
    }
}

fn scan(bytes: &[u8]) {
    for (_, value) in scan::fields(bytes) {
        let text = scan::decode(value);
        assert!(!text.contains(['\r', '\n']), "a value is one line");
        let _ = (address_list::read(value), scan::identifiers(value), scan::date(value));
    }
}

/// What is taken for an address list is written as a header that reads back the same.
fn address(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(list) = address::parse_list(text) else { return };
    let Ok(field) = header::addresses("To", &list) else { return };
    let value = field.strip_prefix("To:").unwrap_or_default().trim_end().replace("\r\n", "");
    let again: Vec<Address> = read_addresses(value.as_bytes());
    let before: Vec<Address> = list.into_iter().map(|mailbox| mailbox.address).collect();
    assert_eq!(before, again, "{value}");
}

fn read_addresses(value: &[u8]) -> Vec<Address> {
    address_list::read(value).mailboxes.into_iter().map(|mailbox| mailbox.address).collect()
}

/// What is read of a stranger's list is an address list that anybody can read.
fn address_list(bytes: &[u8]) {
    let list = address_list::read(bytes);
    let Ok(field) = header::addresses("To", &list.mailboxes) else { return };
    let value = field.strip_prefix("To:").unwrap_or_default();
    let before: Vec<Address> = list.mailboxes.into_iter().map(|mailbox| mailbox.address).collect();
    assert_eq!(before, read_addresses(value.as_bytes()), "{value}");
}

/// Every parameter that was read is written as a field that reads back the same.
fn parameter(bytes: &[u8]) {
    let (_, parameters) = parameter::parse(bytes);
    for name in parameters.names() {
        let text = parameters.get(name).unwrap_or_default();
        let Ok(field) = header::with_parameters("Content-Disposition", "attachment", &[("filename", &text)]) else {
            continue;
        };
        let value = field.strip_prefix("Content-Disposition:").unwrap_or_default();
        assert_eq!(parameter::parse(value.as_bytes()).1.get("filename"), Some(text), "{value}");
    }
}

/// A date of any form is one that the standard form says as well.
fn date(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Some(found) = date::parse(text) else { return };
    let again = date::parse(&found.strftime("%a, %d %b %Y %H:%M:%S %z").to_string());
    assert_eq!(again.map(|again| again.timestamp()), Some(found.timestamp()));
}

fn mbox(bytes: &[u8]) {
    let blob = Blob::memory(bytes);
    for span in mbox::spans::find(&blob).ok().flatten().unwrap_or_default() {
        assert!(span.start <= span.end && span.end <= bytes.len() as u64);
        let _ = mbox::spans::read(&blob, span, 1 << 20);
    }
}

/// What comes out of a packed mailbox is within its bound, or an error.
fn gzip(bytes: &[u8]) {
    let most = gzip::MAX_SMALL_BYTES.max(bytes.len() as u64 * gzip::MAX_RATIO);
    if let Ok(blob) = gzip::unpacked("fuzz", Blob::memory(bytes)) {
        assert!(blob.size_bytes() <= most);
    }
}

/// Paragraphs of format=flowed: nothing but line ends, marks and spaces is lost or added.
fn flowed(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let kept =
        |text: &str| -> String { text.chars().filter(|letter| !matches!(letter, '\n' | '\r' | ' ' | '>')).collect() };
    for delsp in [false, true] {
        assert_eq!(kept(&flowed::unflow(text, delsp)), kept(text));
    }
}

fn html(bytes: &[u8]) {
    if let Ok(page) = std::str::from_utf8(bytes) {
        let _ = html::to_text(page);
    }
}

/// Links of a text are parts of it, in order; those of HTML are found in bounded time.
fn found_links(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut rest = text;
    for link in links::in_text(text) {
        let (_, after) = rest.split_once(&link).expect("a part of the text");
        rest = after;
        assert!(link.contains(':') && !link.contains(char::is_whitespace));
    }
    let _ = html::links(text);
}

/// A subject and a text of any bytes: what is written is ASCII, in lines that fit, and reads back.
fn encode(bytes: &[u8]) {
    let canonical = transfer::canonical_text(bytes);
    let encoding = transfer::Encoding::of_text(&canonical);
    let encoded = encoding.encode_text(&canonical);
    assert!(encoded.is_ascii());
    let decoded = match encoding {
        transfer::Encoding::SevenBit => encoded,
        transfer::Encoding::QuotedPrintable => transfer::decode_quoted_printable(&encoded),
        transfer::Encoding::Base64 => transfer::decode_base64(&encoded),
    };
    assert_eq!(decoded, canonical);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(field) = header::unstructured("Subject", text) {
        assert!(field.is_ascii() && field.strip_suffix("\r\n").is_some_and(|line| !line.contains("\r\n\r\n")));
        let value = field.strip_prefix("Subject:").unwrap_or_default();
        // White space that was not encoded is trimmed at the ends of a value; ours is encoded there.
        assert_eq!(scan::decode(value.trim_end().as_bytes()), text);
    }
}

/// Whatever is converted is ASCII.
fn downgrade(bytes: &[u8]) {
    let Ok(complete) = Complete::read(&Blob::memory(bytes), false) else { return };
    let mut sent = Vec::new();
    if applayer::mail::downgrade::to_seven_bit(&complete.into_message(), &mut sent).is_err() {
        return;
    }
    assert!(sent.is_ascii());
    let mut check = applayer::smtp::data::NewlineCheck::default();
    assert!(check.feed(&sent).is_ok() && check.finish().is_ok(), "a bare CR or LF leaves");
}
