//! Address fields of received mail (RFC 5322, sections 3.4 and 4.4): every readable address, and the text of the
//! unreadable elements. The parser for user input is stricter ([`super::address::parse_list`]). Linear in the field.

use super::address::{MAX_ADDRESSES, Mailbox};
use super::encoded_word::{decode_words, unfold};
use crate::smtp::address::{Address, unquote};

/// The content of an address field.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddressList {
    /// The mailboxes, with groups flattened and names decoded.
    pub mailboxes: Vec<Mailbox>,
    /// The elements that are not readable mailboxes: their original text, decoded.
    pub unparsed: Vec<String>,
}

/// Parses an address field.
pub fn read(value: &[u8]) -> AddressList {
    let text = unfold(value);
    let mut tokens = ListTokens::new(&text);
    let mut list = AddressList::default();
    let mut item = ListItem::default();
    loop {
        let start = tokens.position;
        let token = tokens.next();
        match token {
            Some(ListToken::Word(raw) | ListToken::Quoted(raw)) if item.bracketed => join(&mut item.address, raw),
            Some(ListToken::Word(word)) => item.word(ListWord::Atom(word), start),
            Some(ListToken::Quoted(raw)) => item.word(ListWord::Quoted(raw), start),
            Some(ListToken::Comment(text)) => item.comment = item.comment.or(Some(text)),
            Some(ListToken::Special('<')) if item.bracketed => item.address.push('<'),
            Some(ListToken::Special('<')) => {
                if item.has_address {
                    // The comma is missing.
                    item = item.split(&text, start, &mut list);
                }
                (item.has_address, item.bracketed) = (true, true);
            }
            Some(ListToken::Special('>')) => item.bracketed = false,
            // "<@relay:user@domain>", and "<mailto:user@domain>".
            Some(ListToken::Special(':')) if item.bracketed => item.address.clear(),
            Some(ListToken::Special(',')) if item.bracketed && item.address.starts_with('@') => {}
            Some(ListToken::Special(':')) => {
                // The name of a group goes; an address before a colon is none.
                let lost = item.words.iter().any(|word| word.raw().contains('@')) || item.has_address;
                item.end(&text, start, lost, &mut list);
                item.start = tokens.position;
            }
            Some(ListToken::Special(_)) | None => {
                if item.behind.iter().any(|word| word.raw().contains('@')) {
                    item = item.split(&text, start, &mut list);
                }
                item.end(&text, start, true, &mut list);
                item.start = tokens.position;
                if token.is_none() {
                    return list;
                }
                if list.mailboxes.len() + list.unparsed.len() >= MAX_ADDRESSES {
                    let rest = text.get(tokens.position..).unwrap_or_default().trim();
                    list.unparsed.extend((!rest.is_empty()).then(|| rest.to_owned()));
                    return list;
                }
            }
        }
    }
}

/// The addresses found anywhere in a text: a last resort for a reply if a field cannot be parsed.
pub fn guess(text: &str) -> Vec<Mailbox> {
    let apart = |letter: char| letter.is_whitespace() || "<>()[],;:\"'".contains(letter);
    let words = text.split(apart).map(|word| word.trim_matches('.')).filter(|word| word.contains('@'));
    let addresses = words.filter_map(|word| Address::parse_lenient(word).ok()).take(MAX_ADDRESSES);
    addresses.map(|address| Mailbox { name: None, address }).collect()
}

/// One element of the list during parsing.
#[derive(Debug, Default)]
struct ListItem<'a> {
    start: usize,
    words: Vec<ListWord<'a>>,
    comment: Option<&'a str>,
    /// A `<` was found.
    has_address: bool,
    /// The position is between `<` and `>`.
    bracketed: bool,
    /// The text between `<` and `>`.
    address: String,
    /// The words after the `>`, followed by their position.
    behind: Vec<ListWord<'a>>,
    behind_start: usize,
}

#[derive(Debug, Clone, Copy)]
enum ListWord<'a> {
    Atom(&'a str),
    Quoted(&'a str),
}

impl<'a> ListWord<'a> {
    fn raw(self) -> &'a str {
        let (ListWord::Atom(text) | ListWord::Quoted(text)) = self;
        text
    }

    fn text(self) -> String {
        match self {
            ListWord::Atom(text) => text.to_owned(),
            ListWord::Quoted(raw) => unquote(raw).into_owned(),
        }
    }
}

impl<'a> ListItem<'a> {
    fn word(&mut self, word: ListWord<'a>, start: usize) {
        if !self.has_address {
            return self.words.push(word);
        }
        if self.behind.is_empty() {
            self.behind_start = start;
        }
        self.behind.push(word);
    }

    /// Ends the item at its `>`; the words after the `>` begin the next item.
    fn split(mut self, text: &'a str, end: usize, list: &mut AddressList) -> ListItem<'a> {
        let words = std::mem::take(&mut self.behind);
        let start = if words.is_empty() { end } else { self.behind_start };
        self.end(text, start, true, list);
        ListItem { start, words, ..ListItem::default() }
    }

    /// Adds the collected item as a mailbox, or its text as unparsed; with `noted` false, it adds nothing.
    fn end(&mut self, text: &'a str, end: usize, noted: bool, list: &mut AddressList) {
        let item = std::mem::take(self);
        if item.words.is_empty() && !item.has_address {
            return;
        }
        let raw = text.get(item.start..end).unwrap_or_default().trim();
        if !noted {
            return;
        }
        match item.mailbox() {
            Some(mailbox) => list.mailboxes.push(mailbox),
            None => list.unparsed.push(decode_words(raw)),
        }
    }

    fn mailbox(&self) -> Option<Mailbox> {
        let (address, name) = if self.has_address {
            let words = if self.words.is_empty() { &self.behind } else { &self.words };
            (self.address.clone(), named(words.iter().copied()))
        } else {
            self.without_brackets()?
        };
        // Some programs write 'user@domain'.
        let address = match address.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
            Some(inner) => inner.to_owned(),
            None => address,
        };
        let address = Address::parse_lenient(&address).ok()?;
        let comment = || self.comment.map(|comment| decode_words(&unescaped(comment)));
        let name = name.or_else(comment).map(|name| name.chars().filter(|letter| *letter != '\0').collect::<String>());
        Some(Mailbox { name: name.filter(|name| !name.is_empty()), address })
    }

    /// An address alone, with white space around its dots and its @ (RFC 5322, section 4.4), or with a name before or
    /// after it.
    fn without_brackets(&self) -> Option<(String, Option<String>)> {
        let mut runs: Vec<(String, Vec<ListWord<'a>>)> = Vec::new();
        for word in &self.words {
            let raw = word.raw();
            let joins = |text: &str| text.ends_with(['.', '@']) || raw.starts_with(['.', '@']);
            match runs.last_mut() {
                Some((text, words)) if joins(text) => {
                    text.push_str(raw);
                    words.push(*word);
                }
                _ => runs.push((raw.to_owned(), vec![*word])),
            }
        }
        if let [(only, words)] = runs.as_slice() {
            let quoted_name = matches!(words.as_slice(), [ListWord::Quoted(_)]);
            return (!quoted_name).then(|| (only.clone(), None));
        }
        let is_address = |text: &str| text.contains('@') && Address::parse_lenient(text).is_ok();
        let mut found = runs.iter().enumerate().filter(|(_, (text, _))| is_address(text));
        let (at, (address, _)) = found.next()?;
        // An @ elsewhere may be of another address.
        let alone = runs.iter().filter(|(text, _)| text.contains('@')).count() == 1;
        if !alone || !(at == 0 || at + 1 == runs.len()) {
            return None;
        }
        let others = runs.iter().enumerate().filter(|(index, _)| *index != at).flat_map(|(_, (_, words))| words.iter());
        Some((address.clone(), named(others.copied())))
    }
}

/// Appends the next word of an address. White space is allowed around its dots and its @ (RFC 5322, section 4.4), and
/// nowhere else.
fn join(address: &mut String, raw: &str) {
    if !(address.is_empty() || address.ends_with(['.', '@']) || raw.starts_with(['.', '@'])) {
        address.push(' ');
    }
    address.push_str(raw);
}

/// Joins words into a name, decoded.
fn named<'a>(words: impl Iterator<Item = ListWord<'a>>) -> Option<String> {
    let words: Vec<String> = words.map(ListWord::text).collect();
    let joined = words.join(" ");
    (!joined.is_empty()).then(|| if joined.contains("=?") { decode_words(&joined) } else { joined })
}

/// The text of a comment without its quoting backslashes.
fn unescaped(comment: &str) -> String {
    unquote(&format!("\"{comment}\"")).trim().to_owned()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ListToken<'a> {
    /// A run of characters that are neither white space nor special.
    Word(&'a str),
    /// A quoted string with its quotes.
    Quoted(&'a str),
    /// The text in parentheses.
    Comment(&'a str),
    Special(char),
}

/// Splits a field into tokens. An opening character that is never closed is an ordinary letter; the search for its end runs once.
struct ListTokens<'a> {
    text: &'a str,
    position: usize,
    quotes: bool,
    comments: bool,
    /// No encoded-word ends after this position.
    last_word_end: usize,
    /// No encoded-word ends before this position.
    no_word_before: usize,
}

impl<'a> ListTokens<'a> {
    fn new(text: &'a str) -> ListTokens<'a> {
        let last_word_end = text.rfind("?=").unwrap_or_default();
        ListTokens { text, position: 0, quotes: true, comments: true, last_word_end, no_word_before: 0 }
    }

    fn next(&mut self) -> Option<ListToken<'a>> {
        let rest = self.rest();
        let space = rest.len() - rest.trim_start_matches([' ', '\t', '\0']).len();
        self.position += space;
        let rest = self.rest();
        match rest.bytes().next()? {
            b'"' if self.quotes => {
                if let Some(end) = closed(rest, b'"', b'"') {
                    return Some(ListToken::Quoted(self.take(end)));
                }
                self.quotes = false;
            }
            b'(' if self.comments => {
                if let Some(end) = closed(rest, b'(', b')') {
                    return Some(ListToken::Comment(self.take(end).get(1..end - 1).unwrap_or_default()));
                }
                self.comments = false;
            }
            special @ (b'<' | b'>' | b',' | b';' | b':') => {
                self.take(1);
                return Some(ListToken::Special(char::from(special)));
            }
            _ => {}
        }
        let end = self.word_end();
        Some(ListToken::Word(self.take(end)))
    }

    fn word_end(&mut self) -> usize {
        let rest = self.rest();
        let mut skip = 0;
        for (at, letter) in rest.char_indices() {
            if at < skip {
                continue;
            }
            match letter {
                // Some mailers write commas and parentheses into encoded-words as they are.
                '=' if rest.get(at..).is_some_and(|rest| rest.starts_with("=?")) => {
                    skip = at + self.encoded_word(self.position + at);
                }
                '[' => {
                    let literal = rest.bytes().skip(at).take(64).position(|byte| byte == b']');
                    let inner = literal.and_then(|length| rest.get(at..at + length));
                    if inner.is_some_and(|inner| !inner.contains([' ', ',', '<', '"'])) {
                        skip = at + literal.unwrap_or_default();
                    }
                }
                ' ' | '\t' | '\0' | '<' | '>' | ',' | ';' | ':' if at > 0 => return at,
                '"' if self.quotes && at > 0 => {
                    self.quotes = closed(rest.get(at..).unwrap_or_default(), b'"', b'"').is_some();
                    if self.quotes {
                        return at;
                    }
                }
                '(' if self.comments && at > 0 => {
                    self.comments = closed(rest.get(at..).unwrap_or_default(), b'(', b')').is_some();
                    if self.comments {
                        return at;
                    }
                }
                _ => {}
            }
        }
        rest.len()
    }

    /// The length of the encoded-word at this offset of the text; 0 without one.
    fn encoded_word(&mut self, at: usize) -> usize {
        if at >= self.last_word_end || at < self.no_word_before {
            return 0;
        }
        let word = self.text.get(at..).unwrap_or_default();
        let mut marks = word.bytes().take(80).enumerate().skip(2).filter(|(_, byte)| *byte == b'?').map(|(at, _)| at);
        let (Some(first), Some(second)) = (marks.next(), marks.next()) else { return 0 };
        if first == 2 || second != first + 2 || word.get(..second).is_none_or(|start| start.contains([' ', ',', '<'])) {
            return 0;
        }
        let payload = word.get(second + 1..).unwrap_or_default();
        let space = |byte: u8| matches!(byte, b' ' | b'\t' | b'<');
        let mut before = b' ';
        for (length, byte) in payload.bytes().enumerate() {
            if byte == b'=' && before == b'?' {
                return second + 1 + length + 1;
            }
            if space(byte) {
                self.no_word_before = at + second + 1 + length;
                return 0;
            }
            before = byte;
        }
        0
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.position..).unwrap_or_default()
    }

    fn take(&mut self, count: usize) -> &'a str {
        let taken = self.rest().get(..count).unwrap_or_default();
        self.position += count;
        taken
    }
}

/// The length of the text from `open` up to and including its `close`, with backslash escapes; comments nest.
fn closed(text: &str, open: u8, close: u8) -> Option<usize> {
    let (mut depth, mut escaped) = (0usize, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            byte if byte == close && at > 0 => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            byte if byte == open => depth += 1,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(value: &str) -> (Vec<String>, Vec<String>) {
        let list = read(value.as_bytes());
        let one = |mailbox: Mailbox| match mailbox.name {
            Some(name) => format!("{name} <{}>", mailbox.address),
            None => mailbox.address.to_string(),
        };
        (list.mailboxes.into_iter().map(one).collect(), list.unparsed)
    }

    #[test]
    fn good_and_bad_stand_side_by_side() {
        let table: &[(&str, &[&str], &[&str])] = &[
            ("", &[], &[]),
            (" , ;,", &[], &[]),
            ("a@b.test, \"B, C\" <c@d.test>", &["a@b.test", "B, C <c@d.test>"], &[]),
            ("first@a, second@a third@a, fourth@a", &["first@a", "fourth@a"], &["second@a third@a"]),
            ("Pat Doe pat@a.test", &["Pat Doe <pat@a.test>"], &[]),
            ("pat@a.test Pat Doe", &["Pat Doe <pat@a.test>"], &[]),
            ("\"Pat Doe\" pat@a.test, x@y", &["Pat Doe <pat@a.test>", "x@y"], &[]),
            ("pat@a.test (Pat Doe)", &["Pat Doe <pat@a.test>"], &[]),
            ("pat@a.test (Pat \\(D\\) (nested))", &["Pat (D) (nested) <pat@a.test>"], &[]),
            ("Pat <pat@a.test> (at work)", &["Pat <pat@a.test>"], &[]),
            ("<pat@a.test> Pat", &["Pat <pat@a.test>"], &[]),
            ("<pat@a.test> (Pat)", &["Pat <pat@a.test>"], &[]),
            ("root", &["root"], &[]),
            ("root (Cron Daemon)", &["Cron Daemon <root>"], &[]),
            // RFC 5322, appendix A.6.1 and the old forms.
            (
                "Mary Smith <@node.test:mary@example.net>, , jdoe@test  . example",
                &["Mary Smith <mary@example.net>", "jdoe@test.example"],
                &[],
            ),
            ("mary@b , , jdoe@test . example", &["mary@b", "jdoe@test.example"], &[]),
            ("Joe Q. Public <john . q . public @ example . com>", &["Joe Q. Public <john.q.public@example.com>"], &[]),
            (
                "A Group(Some people)\r\n :Chris Jones <c@(Chris's host.)public.example>, joe@example.org;",
                &["Chris Jones <c@public.example>", "joe@example.org"],
                &[],
            ),
            ("undisclosed-recipients:;", &[], &[]),
            ("one: a@b; two: c@d;, e@f", &["a@b", "c@d", "e@f"], &[]),
            ("a@b: c@d;", &["a@b", "c@d"], &[]),
            ("a@b; c@d", &["a@b", "c@d"], &[]),
            ("\"odd local\"@b, X <\"odd local\"@b>", &["\"odd local\"@b", "X <\"odd local\"@b>"], &[]),
            ("a@[127.0.0.1], b@[IPv6:::1]", &["a@[127.0.0.1]", "b@[IPv6:::1]"], &[]),
            // Never closed.
            ("Pat <pat@a.test", &["Pat <pat@a.test>"], &[]),
            ("Pat <pat@a.test, x@y", &["Pat <pat@a.test>", "x@y"], &[]),
            ("\"Pat <pat@a.test>, x@y", &["\"Pat <pat@a.test>", "x@y"], &[]),
            ("(Pat <pat@a.test>, x@y", &["(Pat <pat@a.test>", "x@y"], &[]),
            ("O\"Brien <pat@a.test>", &["O\"Brien <pat@a.test>"], &[]),
            ("<mailto:pat@a.test>", &["pat@a.test"], &[]),
            // Encoded-words, also where commas and quotes should not be.
            ("=?utf-8?q?J=C3=B6rg=2C_X?= <a@b>", &["J\u{f6}rg, X <a@b>"], &[]),
            ("=?utf-8?q?Doe,_J=C3=B6rg?= <a@b>, c@d", &["Doe, J\u{f6}rg <a@b>", "c@d"], &[]),
            ("\"=?utf-8?q?J=C3?= =?utf-8?q?=B6rg?=\" <a@b>", &["J\u{f6}rg <a@b>"], &[]),
            ("a@b (=?utf-8?q?J=C3=B6rg?=)", &["J\u{f6}rg <a@b>"], &[]),
            // No address at all.
            ("Pat Doe", &[], &["Pat Doe"]),
            ("\"Pat\"", &[], &["\"Pat\""]),
            ("<>", &[], &["<>"]),
            ("A <a@b> <c@d>, e@f", &["A <a@b>", "c@d", "e@f"], &[]),
            ("A <a@b> C D <c@d> e@f", &["A <a@b>", "C D <c@d>", "e@f"], &[]),
            ("A <a@b> c d@e f@g, h@i", &["A <a@b>", "h@i"], &["c d@e f@g"]),
            ("John <john smith@a.test>, x@y", &["x@y"], &["John <john smith@a.test>"]),
            ("<<a@b>>, x@y", &["x@y"], &["<<a@b>>"]),
            ("'a@b', 'c@d' <c@d>", &["a@b", "'c@d' <c@d>"], &[]),
            ("a@b@c@, x@y", &["x@y"], &["a@b@c@"]),
            ("@", &[], &["@"]),
            ("a b@c d, x@y", &["x@y"], &["a b@c d"]),
            ("=?utf-8?q?G=C3=A4ste_der_Feier?= hier", &[], &["G\u{e4}ste der Feier hier"]),
        ];
        for (value, mailboxes, unparsed) in table {
            let (found, rest) = shown(value);
            assert_eq!(
                (found.as_slice(), rest.as_slice()),
                (
                    &mailboxes.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>()[..],
                    &unparsed.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>()[..]
                ),
                "{value}"
            );
        }
        assert_eq!(shown("a@b, caf\u{e9} <c@d>").0, ["a@b", "caf\u{e9} <c@d>"]);
        assert_eq!(read(b"caf\xe9 <c@d>").mailboxes[0].name.as_deref(), Some("caf\u{e9}"));
    }

    #[test]
    fn addresses_are_found_in_what_is_no_list() {
        let found: Vec<String> = guess("second@a third@a. <x@y>(z@w), @, a@@b, \"q@r\"")
            .into_iter()
            .map(|mailbox| mailbox.address.to_string())
            .collect();
        assert_eq!(found, ["second@a", "third@a", "x@y", "z@w", "q@r"]);
    }

    /// The lenient reader reads all strictly valid input in the same way.
    #[test]
    fn what_a_user_may_write_is_read_the_same() {
        for text in [
            "a@b.c",
            "Alice <a@b.c>, bob@d",
            "\"Example, Alice\" <a@b.c>",
            "friends: a@b, C <c@d>; e@f",
            "<@r1,@r2:a@b>",
            "J. Doe <a@b>",
            "\u{7528}\u{6237}@\u{4f8b}\u{5b50}.\u{6d4b}\u{8bd5}",
            "a..b.@c",
        ] {
            assert_eq!(read(text.as_bytes()).mailboxes, crate::mail::address::parse_list(text).unwrap(), "{text}");
        }
    }

    proptest::proptest! {
        /// Any parsed input gives a list that reads back the same.
        #[test]
        fn anything_reads_back(pieces in proptest::collection::vec("a@b|[a-z]{1,3}|[ \t]|[\"(),.:;<>@\\[\\]\\\\'\0]|=\\?utf-8\\?q\\?=C3=BC,\\?=|=\\?|\\?=|ü|\\PC", 0..20)) {
            let list = read(pieces.concat().as_bytes());
            let field = crate::mail::header::addresses("To", &list.mailboxes).unwrap();
            let again = read(field.strip_prefix("To:").unwrap().as_bytes());
            proptest::prop_assert_eq!((again.mailboxes, again.unparsed), (list.mailboxes, Vec::<String>::new()), "{}", field);
        }
    }

    #[test]
    fn hostile_lists_end() {
        for piece in [
            "(", "\"", "<", "<@", ",", ":", "a@b,", "=?a?q?", "=?a?q?x", "=?", "[", "\\\"", "a ", "@ ", "(\"",
            "a b@c d ",
        ] {
            for end in ["", "?=", " ?=", ">", ")", "\""] {
                let _ = read((piece.repeat(50_000) + end).as_bytes());
            }
        }
    }
}
