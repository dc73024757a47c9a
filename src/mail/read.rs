//! Reads one message for display and extraction: its structure and its texts behind one type with limits. Attachments
//! are returned byte for byte, text as characters.

use std::collections::HashSet;

use super::bodies::Bodies;
use super::structure::{PartRole, Structure, StructurePart};
use super::transfer::Decoded;
use super::{charset, flowed, html, scan, uuencode};
use crate::fault::Fault;
use crate::steering::{has_no_width, steers, steers_or_joins};

/// The maximum size of a message in bytes.
pub const MAX_MESSAGE_BYTES: usize = 512 * 1024 * 1024;

/// A parsed message.
#[derive(Debug)]
pub struct Reading {
    structure: Structure,
    /// Header fields: name, and decoded value.
    pub headers: Vec<(String, String)>,
    /// All parts except multiparts, in their order; the parts of an attached message follow it.
    pub parts: Vec<ReadPart>,
    /// The text body; generated from the HTML if there is no other text.
    pub text: String,
    /// The HTML body, if there is one.
    pub html: Option<String>,
}

/// One part of a message.
#[derive(Debug, Clone)]
pub struct ReadPart {
    /// The path in the tree: `1`, `2.1` (numbered as in IMAP, RFC 9051, section 6.4.5.1).
    pub path: String,
    /// `type/subtype`, lower case.
    pub content_type: String,
    /// The charset of a text, if stated.
    pub charset: Option<String>,
    /// `inline`, `attachment` …, lower case, if stated.
    pub disposition: Option<String>,
    /// The file name as sent: unsafe without [`safe_file_name`].
    pub name: Option<String>,
    /// The Content-ID without its brackets.
    pub content_id: Option<String>,
    /// True for the parts that a reader saves: all except the displayed texts and the parts of attached messages.
    pub is_attachment: bool,
    /// True for the parts that a reader lists beside the text.
    pub is_listed: bool,
    /// Its index in the structure.
    place: usize,
}

impl Reading {
    /// Parses a message. It ends in linear time for any input. Text sent as format=flowed (RFC 3676) is joined into
    /// paragraphs again.
    ///
    /// # Errors
    /// [`crate::fault::Kind::BadData`] for a message beyond the limits.
    pub fn parse(raw: Vec<u8>) -> Result<Reading, Fault> {
        Reading::parse_with(raw, true)
    }

    /// Like [`Reading::parse`], but format=flowed stays unchanged unless `reflow` is set.
    ///
    /// # Errors
    /// [`crate::fault::Kind::BadData`] for a message beyond the limits.
    pub fn parse_with(raw: Vec<u8>, reflow: bool) -> Result<Reading, Fault> {
        let header = scan::header_of(&raw)?;
        let charset = scan::HeaderCharset::of(header);
        let headers = scan::fields(header)
            .map(|(name, value)| (String::from_utf8_lossy(name).into_owned(), charset.text(value)))
            .collect();
        let structure = Structure::parse(raw)?;
        let bodies = Bodies::choose(&structure.parts);
        let shown = |place: &usize| structure.parts.get(*place);
        let mut pages = String::new();
        for part in bodies.html.iter().filter_map(shown) {
            flowed::append(&mut pages, &text_of(&structure, part));
        }
        let mut text = String::new();
        for part in bodies.text.iter().filter_map(shown) {
            let sent = text_of(&structure, part);
            let readable = match flow_of(part).filter(|_| reflow) {
                Some(delsp) => flowed::unflow(&sent, delsp),
                None if part.content_type == "text/html" => html::to_text(&sent),
                None => sent,
            };
            flowed::append(&mut text, &readable);
        }
        if text.trim().is_empty() && !pages.trim().is_empty() {
            // The plain alternative was left empty.
            text = html::to_text(&pages);
        }
        let html = (!bodies.html.is_empty()).then_some(pages);
        let shown: HashSet<usize> = bodies.text.into_iter().chain(bodies.html).collect();
        let mut parts = Vec::new();
        // Depth first; true for what is in an attached message.
        let mut waiting = vec![(0, false)];
        while let Some((place, attached)) = waiting.pop() {
            let Some(part) = structure.parts.get(place) else { continue };
            let inside = attached || part.role == PartRole::Message && place != 0;
            waiting.extend(part.children.iter().rev().map(|child| (*child, inside)));
            if part.role != PartRole::Multipart {
                parts.push(ReadPart::new(part, place, shown.contains(&place), attached));
            }
        }
        Ok(Reading { headers, parts, text, html, structure })
    }

    /// The raw message.
    pub fn raw(&self) -> &[u8] {
        self.structure.message()
    }

    /// The value of the first header field with this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The decoded bytes of a part: exactly the attached bytes, unless the part is damaged.
    pub fn content(&self, part: &ReadPart) -> Decoded {
        self.structure.parts.get(part.place).map(|part| self.structure.content(part)).unwrap_or_default()
    }
}

impl ReadPart {
    fn new(part: &StructurePart, place: usize, shown: bool, attached: bool) -> ReadPart {
        let is_file = part.name.is_some() || part.disposition.as_deref() == Some("attachment");
        let attached_text = attached && part.content_type.starts_with("text/");
        ReadPart {
            path: part.path.clone(),
            content_type: part.content_type.clone(),
            charset: part.parameters.get("charset").filter(|_| part.content_type.starts_with("text/")),
            disposition: part.disposition.clone(),
            name: part.name.clone(),
            content_id: part.content_id.clone(),
            is_attachment: is_file || !shown && !attached_text,
            is_listed: is_file || !shown,
            place,
        }
    }
}

/// The characters of a text part with LF line ends, without the uuencoded files in it.
fn text_of(structure: &Structure, part: &StructurePart) -> String {
    let content = structure.content(part).bytes;
    let charset = part.parameters.get("charset").or_else(|| charset_in_page(part, &content)).unwrap_or_default();
    if part.children.is_empty() {
        return with_line_feeds(charset::decode(&charset, &content));
    }
    let mut kept = Vec::with_capacity(content.len());
    let mut at = 0;
    for block in uuencode::blocks(&content, part.children.len()) {
        kept.extend_from_slice(content.get(at..block.span.start).unwrap_or_default());
        at = block.span.end;
    }
    kept.extend_from_slice(content.get(at..).unwrap_or_default());
    with_line_feeds(charset::decode(&charset, &kept))
}

/// Converts CRLF and CRCRLF to LF; any other CR is a character of the text.
fn with_line_feeds(text: String) -> String {
    if !text.contains("\r\n") {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        match line.strip_suffix('\n') {
            Some(ended) => {
                out.push_str(ended.trim_end_matches('\r'));
                out.push('\n');
            }
            None => out.push_str(line),
        }
    }
    out
}

/// The charset in a `meta` element of an HTML page, for use if the part states none.
fn charset_in_page(part: &StructurePart, page: &[u8]) -> Option<String> {
    const MAX_PROLOGUE_BYTES: usize = 1024;
    if part.content_type != "text/html" || str::from_utf8(page).is_ok() {
        return None;
    }
    let start = page.get(..page.len().min(MAX_PROLOGUE_BYTES)).unwrap_or_default().to_ascii_lowercase();
    let meta = start.get(memchr::memmem::find(&start, b"<meta")?..)?;
    let label = meta.get(memchr::memmem::find(meta, b"charset=")? + 8..)?;
    let label: Vec<u8> = label
        .iter()
        .copied()
        .filter(|byte| !matches!(byte, b'"' | b'\''))
        .take_while(|byte| byte.is_ascii_graphic() && !matches!(byte, b'>' | b';' | b'/'))
        .collect();
    String::from_utf8(label).ok()
}

/// For a format=flowed part: whether the space before a soft line end is deleted (RFC 3676, section 4); `None` for others.
fn flow_of(part: &StructurePart) -> Option<bool> {
    let says = |name, value| part.parameters.get(name).is_some_and(|found| found.eq_ignore_ascii_case(value));
    (part.content_type == "text/plain" && says("format", "flowed")).then(|| says("delsp", "yes"))
}

/// Makes a file name safe: no directory, no `/`, no `\`, no leading `.`, `~` or `-`, no control characters, none that
/// change the text direction; at most 200 bytes, with its extension kept. `None` if nothing is left.
pub fn safe_file_name(name: &str) -> Option<String> {
    const MAX_BYTES: usize = 200;
    // Windows mailers send whole paths; only the last piece is a name.
    let last = name.rsplit(['/', '\\']).find(|piece| !piece.trim().is_empty())?;
    let clean: String = last.chars().filter(|letter| !steers_or_joins(*letter)).collect();
    let clean = clean.trim().trim_start_matches(['.', '~', '-', ' ']).trim_end_matches(['.', ' ']);
    if clean.is_empty() {
        return None;
    }
    if clean.len() <= MAX_BYTES {
        return Some(clean.to_owned());
    }
    let (stem, ending) = match clean.rsplit_once('.') {
        Some((stem, ending)) if ending.len() <= 20 => (stem, format!(".{ending}")),
        _ => (clean, String::new()),
    };
    let most = MAX_BYTES - ending.len();
    let cut = (0..=most.min(stem.len())).rev().find(|at| stem.is_char_boundary(*at)).unwrap_or(0);
    Some(format!("{}{ending}", stem.get(..cut).unwrap_or_default()))
}

/// Makes text safe for a terminal. Control characters except line feed and tab become visible, and so do characters
/// that change the text direction or hide in it; zero-width characters are removed. Line ends become LF.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\r' => {}
            '\n' | '\t' => out.push(letter),
            '\0'..='\x1f' => out.push(char::from_u32(0x2400 + u32::from(letter)).unwrap_or('\u{fffd}')),
            '\x7f' => out.push('\u{2421}'),
            letter if has_no_width(letter) => {}
            letter if steers(letter) => out.push('\u{fffd}'),
            letter => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Kind;
    use crate::mail::structure::{MAX_DEPTH, MAX_PARTS};

    const MIXED: &[u8] = b"Subject: =?utf-8?q?=C3=BC?=\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\
        Content-Type: multipart/alternative; boundary=c\n\n--c\n\nplain\n--c\nContent-Type: text/html\n\n<p>html</p>\n--c--\n\
        --b\nContent-Type: text/csv; charset=iso-8859-1; name=x.csv\nContent-Disposition: attachment; filename=\"../x.csv\"\n\
        Content-Transfer-Encoding: base64\n\n5Dti\n--b\nContent-Type: application/octet-stream\n\nraw\n\n--b--\n";

    #[test]
    fn parts_and_bodies() {
        let reading = Reading::parse(MIXED.to_vec()).unwrap();
        assert_eq!(reading.header("subject"), Some("ü"));
        let found: Vec<(&str, &str, bool)> = reading
            .parts
            .iter()
            .map(|part| (part.path.as_str(), part.content_type.as_str(), part.is_attachment))
            .collect();
        assert_eq!(
            found,
            [
                ("1.1", "text/plain", false),
                ("1.2", "text/html", false),
                ("2", "text/csv", true),
                ("3", "application/octet-stream", true)
            ]
        );
        assert_eq!(reading.text.trim(), "plain");
        assert_eq!(reading.html.as_deref().map(str::trim), Some("<p>html</p>"));
        assert_eq!(reading.content(&reading.parts[2]).bytes, b"\xe4;b", "exact bytes, not the charset's characters");
        assert_eq!(reading.content(&reading.parts[3]).bytes, b"raw\n");
        assert_eq!(reading.parts[2].name.as_deref().and_then(safe_file_name).as_deref(), Some("x.csv"));
    }

    #[test]
    fn a_message_of_one_part() {
        for (raw, text) in [
            (&b"A: b\n\nhello\n"[..], "hello\n"),
            (b"Content-Type: text/html\n\n<b>x</b> y", "x y\n"),
            (b"Content-Type: text/html\n\n<meta charset=\"gb2312\"><p>\xbb\xe3", "\u{6c47}\n"),
            (b"Content-Type: text/html\n\n<META content='text/html; charset=koi8-r'>\xf0", "\u{41f}\n"),
            (b"Content-Type: text/html\n\n<p>charset=koi8-r \xf0", "charset=koi8-r \u{f0}\n"),
            (b"A: b\r\n\r\none\r\ntwo\r\r\n10%\r20%", "one\ntwo\n10%\r20%"),
            (b"Content-Transfer-Encoding: quoted-printable\n\none=0D\ntwo=0D=0A", "one\ntwo\n"),
            (b"Content-Type: text/html\r\n\r\n<pre>a\r\nb</pre>", "a\nb\n"),
            (b"A: b\n", ""),
            (b"", ""),
        ] {
            assert_eq!(Reading::parse(raw.to_vec()).unwrap().text, text);
        }
        let lone = Reading::parse(b"Content-Type: image/png\nContent-Transfer-Encoding: base64\n\niVBORw==\n".to_vec())
            .unwrap();
        assert_eq!((lone.parts[0].path.as_str(), lone.content(&lone.parts[0]).bytes), ("1", b"\x89PNG".to_vec()));
    }

    #[test]
    fn bombs_are_refused_or_read_in_bounds() {
        let mut deep = String::new();
        for depth in 0..MAX_DEPTH + 10 {
            deep += &format!("Content-Type: multipart/mixed; boundary=b{depth}\n\n--b{depth}\n");
        }
        assert_eq!(Reading::parse(deep.into_bytes()).unwrap_err().kind, Kind::BadData);
        let many = format!("Content-Type: multipart/mixed; boundary=b\n\n{}", "--b\n\nx\n".repeat(MAX_PARTS + 1));
        assert_eq!(Reading::parse(many.into_bytes()).unwrap_err().kind, Kind::BadData);
        let header = format!("A: {}\n\n", "x".repeat(scan::MAX_HEADER_BYTES));
        assert_eq!(Reading::parse(header.into_bytes()).unwrap_err().kind, Kind::BadData);
    }

    /// The examples of RFC 2231, sections 3, 4 and 4.1, as file names; then the form that this crate writes, read back.
    #[test]
    fn names_as_rfc_2231_writes_them() {
        let name = |disposition: &str| {
            let raw = format!("Content-Type: application/x-stuff\n{disposition}\n\nx\n");
            Reading::parse(raw.into_bytes()).unwrap().parts[0].name.clone()
        };
        for (parameters, expected) in [
            (
                "filename*0=\"ftp://\";\n filename*1=\"cs.utk.edu/pub/moose/bulk-mailer/bulk-mailer.tar\"",
                "ftp://cs.utk.edu/pub/moose/bulk-mailer/bulk-mailer.tar",
            ),
            ("filename*=us-ascii'en-us'This%20is%20%2A%2A%2Afun%2A%2A%2A", "This is ***fun***"),
            (
                "filename*0*=us-ascii'en'This%20is%20even%20more%20;\n filename*1*=%2A%2A%2Afun%2A%2A%2A%20;\n \
                 filename*2=\"isn't it!\"",
                "This is even more ***fun*** isn't it!",
            ),
            ("filename*=iso-8859-1''Gr%FC%DFe", "Grüße"),
        ] {
            let found = name(&format!("Content-Disposition: attachment;\n {parameters}"));
            assert_eq!(found.as_deref(), Some(expected), "{parameters}");
        }
        for own in ["plain.txt", "a b;c=\"d\".txt", "Grüße an alle.pdf", &"長い名前".repeat(30), &"x".repeat(200)]
        {
            let field = crate::mail::header::with_parameters("Content-Disposition", "attachment", &[("filename", own)]);
            assert_eq!(name(field.unwrap().trim_end()).as_deref(), Some(own));
        }
    }

    #[test]
    fn file_names_stay_where_they_belong() {
        for (name, expected) in [
            ("photo.jpg", Some("photo.jpg")),
            ("../../etc/passwd", Some("passwd")),
            ("C:\\Users\\x\\a.doc", Some("a.doc")),
            (".bashrc", Some("bashrc")),
            ("..", None),
            ("", None),
            ("/", None),
            ("~root", Some("root")),
            ("-rf", Some("rf")),
            ("a\0b\nc\x1b[31m.txt", Some("abc[31m.txt")),
            ("gpj.\u{202e}exe", Some("gpj.exe")),
            ("a b.txt ", Some("a b.txt")),
            ("dir/", Some("dir")),
        ] {
            assert_eq!(safe_file_name(name).as_deref(), expected, "{name:?}");
            assert!(expected.is_none_or(|name| crate::steering::is_plain_name(name.as_bytes())));
        }
        let long = safe_file_name(&format!("{}.pdf", "ü".repeat(300))).unwrap();
        assert!(long.len() <= 200 && long.ends_with("ü.pdf"));
    }

    #[test]
    fn shown_text_cannot_steer() {
        assert_eq!(printable("a\x1b[31m\r\nb\tc\u{9b}\u{202e}\x7f"), "a␛[31m\nb\tc\u{fffd}\u{fffd}␡");
    }
}
