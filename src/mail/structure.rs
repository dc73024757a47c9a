//! The MIME structure of a message (RFC 2045, 2046): one pass over its lines finds headers, boundaries and parts.
//!
//! A boundary is recognised only at the beginning of a line, for every open level, so that an unterminated inner
//! multipart takes nothing from the outer one. Each line needs one look-up, whatever the depth: the time is linear in
//! the bytes for every input.

use std::ops::Range;

use super::boundary::{self, OpenBoundaries};
use super::header_line::{self, HeaderLine, HeaderLines};
use super::parameter::{self, Parameters};
use super::scan::HeaderCharset;
use super::transfer::{self, Decoded};
use super::{charset, scan, uuencode};
use crate::fault::{Fault, Kind};

/// The maximum number of parts in a message, multiparts included.
pub const MAX_PARTS: usize = 10_000;
/// The maximum nesting of multiparts and messages.
pub const MAX_DEPTH: usize = 100;

/// The transfer encoding of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentEncoding {
    /// Unencoded: 7bit, 8bit, binary, and unknown encodings.
    Identity,
    /// RFC 2045, section 6.8.
    Base64,
    /// RFC 2045, section 6.7.
    QuotedPrintable,
    /// `x-uuencode` and its aliases.
    Uuencode,
}

/// The role of a part in the structure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartRole {
    /// A single content.
    Leaf,
    /// Parts between boundaries (RFC 2046, section 5.1).
    Multipart,
    /// A message with parts of its own (RFC 2046, section 5.2.1), which is also a content.
    Message,
}

/// One part.
#[derive(Debug)]
pub struct StructurePart {
    /// Its path: `1`, `2.1` (as in IMAP, RFC 9051, section 6.4.5.1); the outermost multipart of a message has the message's path.
    pub path: String,
    /// `type/subtype`, lower case.
    pub content_type: String,
    /// The parameters of Content-Type.
    pub parameters: Parameters,
    /// `inline`, `attachment` …, lower case, if stated.
    pub disposition: Option<String>,
    /// The file name as sent.
    pub name: Option<String>,
    /// The Content-ID without its brackets.
    pub content_id: Option<String>,
    /// Its role in the structure.
    pub role: PartRole,
    /// The parts in it, as indices into [`Structure::parts`].
    pub children: Vec<usize>,
    /// The message ends in this part, before its multiparts are closed.
    pub cut_off: bool,
    encoding: ContentEncoding,
    /// The source of its content, by index: the message, or a decoded content with parts of its own.
    source: usize,
    body: Range<usize>,
}

/// The parts of a message.
#[derive(Debug)]
pub struct Structure {
    /// The parts in the order of their beginnings, the message's own first; files in a text follow all others.
    pub parts: Vec<StructurePart>,
    /// The sources of the parts: the message, then decoded contents.
    sources: Vec<Vec<u8>>,
}

impl Structure {
    /// Parses a message.
    ///
    /// # Errors
    /// [`Kind::BadData`] above [`MAX_PARTS`], [`MAX_DEPTH`] or [`scan::MAX_HEADER_BYTES`].
    pub fn parse(message: Vec<u8>) -> Result<Structure, Fault> {
        // Decoded contents are looked into as long as all of them are no more than the message: encodings that hold
        // encodings cost nothing then.
        let mut budget = message.len();
        let mut structure = Structure { parts: Vec::new(), sources: Vec::new() };
        structure.walk(message, None)?;
        let mut next = 0;
        while let Some(part) = structure.parts.get(next) {
            if part.role == PartRole::Leaf && part.encoding != ContentEncoding::Identity && is_message(part) {
                let content = structure.content(part).bytes;
                if content.len() <= budget {
                    budget -= content.len();
                    structure.walk(content, Some(next))?;
                }
            }
            next += 1;
        }
        structure.find_files(budget);
        Ok(structure)
    }

    /// The raw message.
    pub fn message(&self) -> &[u8] {
        self.sources.first().map_or(&[], Vec::as_slice)
    }

    /// The decoded content of a part.
    pub fn content(&self, part: &StructurePart) -> Decoded {
        let source = self.sources.get(part.source).map_or(&[][..], Vec::as_slice);
        let bytes = source.get(part.body.clone()).unwrap_or_default();
        let mut decoded = match part.encoding {
            ContentEncoding::Identity => Decoded { bytes: bytes.to_vec(), damaged: false },
            ContentEncoding::Base64 => transfer::base64_content(bytes),
            ContentEncoding::QuotedPrintable => transfer::quoted_printable_content(bytes),
            ContentEncoding::Uuencode => uuencode::decode(bytes),
        };
        decoded.damaged |= part.cut_off;
        decoded
    }

    /// Finds the parts of one source; they belong to the message part `owner`.
    fn walk(&mut self, source: Vec<u8>, owner: Option<usize>) -> Result<(), Fault> {
        let holder = owner.and_then(|owner| self.parts.get_mut(owner));
        let depth = holder.map_or(0, |holder| {
            holder.role = PartRole::Message;
            holder.path.split('.').count()
        });
        let mut walk = PartWalk {
            parts: &mut self.parts,
            bytes: &source,
            source: self.sources.len(),
            depth,
            open: Vec::new(),
            boundaries: OpenBoundaries::default(),
            charset: String::new(),
        };
        if let Some(owner) = owner {
            walk.open.push(OpenPart { part: owner, message: true, holder: true });
        }
        walk.run()?;
        self.sources.push(source);
        Ok(())
    }

    /// Adds uuencoded files in texts as children of their text. A uuencoded part without a name gets the name from its
    /// `begin` line.
    fn find_files(&mut self, mut budget: usize) {
        for index in 0..self.parts.len() {
            let room = (MAX_PARTS + 1).saturating_sub(self.parts.len());
            let Some(part) = self.parts.get_mut(index) else { break };
            if part.encoding == ContentEncoding::Uuencode && part.name.is_none() {
                let content = self.sources.get(part.source).and_then(|source| source.get(part.body.clone()));
                part.name = content.and_then(uuencode::name).map(scan::decode);
                continue;
            }
            let Some(part) = self.parts.get(index) else { break };
            if part.role != PartRole::Leaf || part.content_type != "text/plain" || part.name.is_some() {
                continue;
            }
            let (mut source, mut start) = (part.source, part.body.start);
            let decoded = (part.encoding != ContentEncoding::Identity).then(|| self.content(part).bytes);
            let text = match &decoded {
                Some(decoded) => decoded.as_slice(),
                None => self.sources.get(source).and_then(|bytes| bytes.get(part.body.clone())).unwrap_or_default(),
            };
            let blocks = uuencode::blocks(text, room);
            if let Some(decoded) = decoded.filter(|decoded| !blocks.is_empty() && decoded.len() <= budget) {
                budget -= decoded.len();
                (source, start) = (self.sources.len(), 0);
                self.sources.push(decoded);
            } else if part.encoding != ContentEncoding::Identity {
                continue;
            }
            let path = part.path.clone();
            for (number, block) in blocks.into_iter().enumerate() {
                let file = StructurePart {
                    path: format!("{path}.{}", number + 1),
                    content_type: "application/octet-stream".to_owned(),
                    parameters: Parameters::default(),
                    disposition: None,
                    name: Some(scan::decode(&block.name)),
                    content_id: None,
                    role: PartRole::Leaf,
                    children: Vec::new(),
                    cut_off: false,
                    encoding: ContentEncoding::Uuencode,
                    source,
                    body: start + block.span.start..start + block.span.end,
                };
                let place = self.parts.len();
                self.parts.push(file);
                if let Some(text) = self.parts.get_mut(index) {
                    text.children.push(place);
                }
            }
        }
    }
}

/// The context of the next line.
enum WalkState {
    /// In the header that began at `start`.
    Header { start: usize, lines: HeaderLines, digest: bool },
    /// In a content, or in the text before and after the parts of a multipart: only a boundary matters.
    Content,
}

/// A part whose end was not found yet.
struct OpenPart {
    part: usize,
    /// The part is a message.
    message: bool,
    /// The content has a source of its own, so that its end is known.
    holder: bool,
}

struct PartWalk<'a> {
    parts: &'a mut Vec<StructurePart>,
    bytes: &'a [u8],
    source: usize,
    /// The depth of the part that contains this source.
    depth: usize,
    open: Vec<OpenPart>,
    boundaries: OpenBoundaries,
    /// The first charset that a text part names, for raw bytes in other headers.
    charset: String,
}

impl PartWalk<'_> {
    fn run(&mut self) -> Result<(), Fault> {
        let mut state = WalkState::Header { start: 0, lines: HeaderLines::default(), digest: false };
        let dashes = memchr::memmem::Finder::new(b"\n--");
        let mut at = 0;
        while at < self.bytes.len() {
            let rest = self.bytes.get(at..).unwrap_or_default();
            if matches!(state, WalkState::Content) && !rest.starts_with(b"--") {
                // A content is passed over as fast as memory can be read.
                let next = dashes.find(rest).map_or(rest.len(), |next| next + 1);
                touched(next);
                at += next;
                continue;
            }
            let end = at + memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1);
            let line = self.bytes.get(at..end).unwrap_or_default();
            touched(line.len());
            if let Some((level, last)) = self.boundaries.delimiter(line) {
                if let WalkState::Header { start, digest, .. } = state {
                    self.begin(start..at, at, digest)?;
                }
                self.close_above(level + usize::from(!last), Some(at));
                state = if last {
                    WalkState::Content
                } else {
                    let multipart = self.open.last().and_then(|open| self.parts.get(open.part));
                    let digest = multipart.is_some_and(|part| part.content_type == "multipart/digest");
                    WalkState::Header { start: end, lines: HeaderLines::default(), digest }
                };
                at = end;
                continue;
            }
            if let WalkState::Header { start, lines, digest } = &mut state {
                let (start, digest) = (*start, *digest);
                let body = match lines.line(line) {
                    HeaderLine::Separator => Some(end),
                    // This line is looked at again: it can be a boundary of what the header said.
                    HeaderLine::Body => Some(at),
                    HeaderLine::Field(_) | HeaderLine::Continuation | HeaderLine::MboxFrom => None,
                };
                if end - start > scan::MAX_HEADER_BYTES {
                    return Err(header_too_long());
                }
                if let Some(body) = body {
                    state = self.begin(start..at, body, digest)?;
                    at = body;
                    continue;
                }
            }
            at = end;
        }
        if let WalkState::Header { start, digest, .. } = state {
            let header = start..self.bytes.len();
            if let WalkState::Header { start, digest, .. } = self.begin(header, self.bytes.len(), digest)? {
                self.begin(start..start, start, digest)?;
            }
        }
        self.close_above(0, None);
        Ok(())
    }

    /// Begins the part with this header; returns the state for its content.
    fn begin(&mut self, header: Range<usize>, body: usize, digest: bool) -> Result<WalkState, Fault> {
        if self.parts.len() > MAX_PARTS {
            return Err(Fault::new(Kind::BadData, format!("more than {MAX_PARTS} parts")));
        }
        if self.depth + self.open.len() > MAX_DEPTH {
            return Err(Fault::new(Kind::BadData, format!("parts nested deeper than {MAX_DEPTH}")));
        }
        let (mut part, boundaries) = self.describe(self.bytes.get(header).unwrap_or_default(), digest);
        part.body = body..self.bytes.len();
        if self.charset.is_empty() && part.content_type.starts_with("text/") {
            let named = part.parameters.get("charset").filter(|label| label.len() <= charset::MAX_LABEL_BYTES);
            self.charset = named.unwrap_or_default();
        }
        let place = self.parts.len();
        part.path = match self.open.last().and_then(|open| self.parts.get_mut(open.part)) {
            None if part.role == PartRole::Multipart => String::new(),
            None => "1".to_owned(),
            Some(holder) => {
                holder.children.push(place);
                match (holder.role, holder.path.as_str()) {
                    // A message's multipart has its number.
                    (PartRole::Message, path) if part.role == PartRole::Multipart => path.to_owned(),
                    (_, "") => holder.children.len().to_string(),
                    (_, path) => format!("{path}.{}", holder.children.len()),
                }
            }
        };
        let role = part.role;
        self.parts.push(part);
        self.boundaries.open(self.open.len(), boundaries);
        self.open.push(OpenPart { part: place, message: role == PartRole::Message, holder: false });
        Ok(match role {
            PartRole::Message => WalkState::Header { start: body, lines: HeaderLines::default(), digest: false },
            PartRole::Leaf | PartRole::Multipart => WalkState::Content,
        })
    }

    /// Closes all parts except the outermost `level`, before the line that begins at `end` or at the end of the source.
    fn close_above(&mut self, level: usize, end: Option<usize>) {
        while self.open.len() > level {
            let Some(open) = self.open.pop() else { break };
            self.boundaries.close(self.open.len());
            let Some(part) = self.parts.get_mut(open.part).filter(|_| !open.holder) else { continue };
            if let Some(at) = end {
                // The line end before a boundary belongs to the boundary; a message ends with one in any case.
                let whole = self.bytes.get(part.body.start..at).unwrap_or_default();
                let content = whole.strip_suffix(b"\n").unwrap_or(whole);
                let content = content.strip_suffix(b"\r").unwrap_or(content);
                let shared = part.role == PartRole::Message && !content.ends_with(b"\n");
                part.body.end = part.body.start + if shared { whole.len() } else { content.len() };
            } else if part.role != PartRole::Multipart {
                part.cut_off = !self.boundaries.is_empty();
            }
            if part.role == PartRole::Multipart && part.children.is_empty() {
                // No boundary was met: it can only be shown as it is.
                part.role = PartRole::Leaf;
                part.content_type = "text/plain".to_owned();
                let own_number = part.path.is_empty() || self.open.last().is_some_and(|open| open.message);
                if own_number {
                    part.path = format!("{}.1", part.path).trim_start_matches('.').to_owned();
                }
            }
        }
    }

    /// The part described by a header, and the boundaries of a multipart.
    fn describe(&self, header: &[u8], digest: bool) -> (StructurePart, Vec<Vec<u8>>) {
        touched(header.len());
        let charset = HeaderCharset::of_part(header, &self.charset);
        let types = boundary::content_types(header, &charset);
        let boundaries = boundary::boundaries(&types);
        let (mut disposition, mut encoding, mut content_id) = (None, None, None);
        for (name, value) in header_line::fields(header).take(scan::MAX_FIELDS) {
            let is = |wanted: &[u8]| name.eq_ignore_ascii_case(wanted);
            if is(b"content-disposition") && disposition.is_none() {
                disposition = Some(parameter::parse(&charset.utf8(value)));
            } else if is(b"content-transfer-encoding") && encoding.is_none() {
                encoding = Some(encoding_of(value));
            } else if is(b"content-id") && content_id.is_none() {
                let id = scan::decode(value);
                content_id = Some(id.trim_matches(['<', '>', ' ']).to_owned()).filter(|id| !id.is_empty());
            }
        }
        let given = types.into_iter().next();
        let default = if digest { "message/rfc822" } else { "text/plain" };
        let (content_type, parameters) = given.unwrap_or_else(|| (default.to_owned(), Parameters::default()));
        let content_type = match content_type.split_once('/') {
            Some((kind, subtype)) if !kind.is_empty() && !subtype.is_empty() => content_type,
            _ if !boundaries.is_empty() => "multipart/mixed".to_owned(),
            // What cannot be read is text (RFC 2045, section 5.2).
            _ => default.to_owned(),
        };
        let file_name = disposition.as_ref().and_then(|(_, parameters)| parameters.get("filename"));
        let name = file_name.or_else(|| parameters.get("name")).filter(|name| !name.trim().is_empty());
        let mut part = StructurePart {
            path: String::new(),
            content_type,
            parameters,
            disposition: disposition.map(|(value, _)| value).filter(|value| !value.is_empty()),
            name,
            content_id,
            role: PartRole::Leaf,
            children: Vec::new(),
            cut_off: false,
            encoding: encoding.unwrap_or(ContentEncoding::Identity),
            source: self.source,
            body: 0..0,
        };
        if !boundaries.is_empty() {
            part.role = PartRole::Multipart;
            // No encoding may hide boundaries (RFC 2045, section 6.4).
            part.encoding = ContentEncoding::Identity;
        } else if part.content_type.starts_with("multipart/") {
            part.content_type = "text/plain".to_owned();
        } else if part.encoding == ContentEncoding::Identity && is_message(&part) {
            part.role = PartRole::Message;
        }
        (part, boundaries)
    }
}

/// Tests count the examined bytes.
fn touched(_bytes: usize) {
    #[cfg(test)]
    tests::TOUCHED.set(tests::TOUCHED.get() + _bytes);
}

fn is_message(part: &StructurePart) -> bool {
    matches!(part.content_type.as_str(), "message/rfc822" | "message/global" | "message/news")
}

fn header_too_long() -> Fault {
    Fault::new(Kind::BadData, format!("header longer than {} bytes", scan::MAX_HEADER_BYTES))
}

/// Parses Content-Transfer-Encoding (RFC 2045, section 6.1), even with invalid text after it.
fn encoding_of(value: &[u8]) -> ContentEncoding {
    let (value, _) = parameter::parse(value);
    match value.trim_matches(|letter: char| !letter.is_ascii_alphanumeric()) {
        "base64" | "base-64" | "x-base64" => ContentEncoding::Base64,
        "quoted-printable" | "quotedprintable" | "quoted" | "qp" => ContentEncoding::QuotedPrintable,
        "x-uuencode" | "uuencode" | "x-uue" | "uue" | "x-uu" => ContentEncoding::Uuencode,
        _ => ContentEncoding::Identity,
    }
}

#[cfg(test)]
mod tests;
