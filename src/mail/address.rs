//! Addresses in header fields and on command lines: lists, groups, display names, comments (RFC 5322, section 3.4, with
//! the old forms of 4.4). Linear in the input, and bounded.

use crate::fault::{Fault, Kind};
use crate::smtp::address::{Address, AddressError, unquote};

/// The maximum number of addresses in one list.
pub const MAX_ADDRESSES: usize = 100_000;
/// The maximum nesting of comments.
pub const MAX_COMMENT_DEPTH: usize = 20;

/// One mailbox: an address with an optional display name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Mailbox {
    /// The display name, unquoted; encoded-words stay encoded.
    pub name: Option<String>,
    /// The address, by the lenient grammar; possibly a local part alone.
    pub address: Address,
}

impl Mailbox {
    /// Parses exactly one mailbox.
    ///
    /// # Errors
    /// [`Kind::BadData`] for no mailbox, for several, and for any error of [`parse_list`].
    pub fn parse(text: &str) -> Result<Mailbox, Fault> {
        let mut all = parse_list(text)?;
        match (all.pop(), all.pop()) {
            (Some(one), None) => Ok(one),
            (None, _) => Err(bad(text, "no address")),
            _ => Err(bad(text, "more than one address")),
        }
    }

    /// The mailbox with its domain in A-labels (RFC 5891), the form for header fields and envelopes.
    ///
    /// # Errors
    /// [`Kind::BadData`] for a domain that is not a valid internationalised name.
    pub fn to_ascii_domain(self) -> Result<Mailbox, Fault> {
        let address = self.address.to_ascii_domain().map_err(|error| no_address(self.address.as_str(), error))?;
        Ok(Mailbox { address, ..self })
    }
}

/// Parses all mailboxes of an address list; groups are flattened, empty elements skipped.
///
/// # Errors
/// [`Kind::BadData`], with the list and its error.
pub fn parse_list(text: &str) -> Result<Vec<Mailbox>, Fault> {
    if let Some(control) = text.chars().find(|letter| matches!(letter, '\r' | '\n' | '\0')) {
        return Err(bad(text, &format!("{control:?} in an address")));
    }
    let mut reader = AddressReader { rest: text, text };
    let mut found = Vec::new();
    let mut in_group = false;
    loop {
        let mut words = Vec::new();
        let mut bracketed = None;
        let end = loop {
            match reader.next()? {
                Some(AddressToken::Special('<')) if bracketed.is_none() => bracketed = Some(reader.bracketed()?),
                Some(AddressToken::Special(':')) if bracketed.is_none() && !in_group => {
                    in_group = true;
                    words.clear();
                }
                Some(AddressToken::Special(end @ (',' | ';'))) => break Some(end),
                Some(AddressToken::Special(other)) => return Err(bad(text, &format!("unexpected {other:?}"))),
                Some(word) if bracketed.is_none() => words.push(word),
                Some(_) => return Err(bad(text, "text after the address")),
                None => break None,
            }
        };
        if let Some(mailbox) = mailbox(text, words, bracketed)? {
            if found.len() >= MAX_ADDRESSES {
                return Err(bad("address list", &format!("more than {MAX_ADDRESSES} addresses")));
            }
            found.push(mailbox);
        }
        match end {
            Some(';') => in_group = false,
            Some(_) => {}
            None => return Ok(found),
        }
    }
}

fn one(text: &str) -> Result<Address, Fault> {
    Address::parse_lenient(text).map_err(|error| no_address(text, error))
}

/// The fault for a text that is not an address.
pub fn no_address(text: &str, error: AddressError) -> Fault {
    bad(text, &error.to_string())
}

fn mailbox(text: &str, words: Vec<AddressToken<'_>>, bracketed: Option<String>) -> Result<Option<Mailbox>, Fault> {
    let address = match bracketed {
        Some(address) => {
            let address = one(&address)?;
            let mut name = String::new();
            for word in &words {
                if !name.is_empty() {
                    name.push(' ');
                }
                match word {
                    AddressToken::Atom(atom) => name.push_str(atom),
                    AddressToken::Quoted(raw) => name.push_str(&unquote(raw)),
                    AddressToken::Special(other) => return Err(bad(text, &format!("unexpected {other:?}"))),
                }
            }
            return Ok(Some(Mailbox { name: (!name.is_empty()).then_some(name), address }));
        }
        None if words.is_empty() => return Ok(None),
        None => words,
    };
    // Without brackets there is one address and nothing else: "a b@c" would be a guess.
    let mut joined = String::new();
    let count = address.len();
    for (index, word) in address.into_iter().enumerate() {
        match word {
            // A quoted local part, and the atom that follows it: "a b"@c.
            AddressToken::Quoted(raw) if index == 0 => joined.push_str(raw),
            AddressToken::Atom(atom)
                if index == 0 || (index == 1 && atom.starts_with('@') && joined.starts_with('"')) =>
            {
                joined.push_str(atom);
            }
            _ => return Err(bad(text, "not an address; a display name needs <address> behind it")),
        }
    }
    if count == 1 && joined.starts_with('"') {
        return Err(bad(text, "a quoted name without an address"));
    }
    Ok(Some(Mailbox { name: None, address: one(&joined)? }))
}

#[derive(Debug)]
enum AddressToken<'a> {
    /// A run of characters that are neither white space nor special: atoms, dots, `@`, domain literals.
    Atom(&'a str),
    /// A quoted string with its quotes.
    Quoted(&'a str),
    Special(char),
}

struct AddressReader<'a> {
    rest: &'a str,
    text: &'a str,
}

impl<'a> AddressReader<'a> {
    fn next(&mut self) -> Result<Option<AddressToken<'a>>, Fault> {
        self.skip_space_and_comments()?;
        let Some(first) = self.rest.chars().next() else { return Ok(None) };
        Ok(Some(match first {
            '"' => AddressToken::Quoted(self.take(self.quoted_end()?)),
            '<' | '>' | ',' | ';' | ':' | ')' => {
                self.take(1);
                AddressToken::Special(first)
            }
            _ => {
                let end = self.atom_end();
                AddressToken::Atom(self.take(end))
            }
        }))
    }

    /// The text between `<` and `>`, without the obsolete route.
    fn bracketed(&mut self) -> Result<String, Fault> {
        let mut address = String::new();
        loop {
            match self.next()? {
                Some(AddressToken::Special('>')) => break,
                // "<@relay1,@relay2:user@domain>": the route of RFC 5322, section 4.4, is dropped.
                Some(AddressToken::Special(':')) if address.starts_with('@') => address.clear(),
                Some(AddressToken::Special(',')) if address.is_empty() || address.starts_with('@') => {}
                Some(AddressToken::Atom(part) | AddressToken::Quoted(part)) => address.push_str(part),
                Some(AddressToken::Special(other)) => return Err(bad(self.text, &format!("unexpected {other:?}"))),
                None => return Err(bad(self.text, "no > behind the <")),
            }
        }
        if address.is_empty() {
            return Err(bad(self.text, "empty address"));
        }
        Ok(address)
    }

    fn skip_space_and_comments(&mut self) -> Result<(), Fault> {
        let mut depth = 0usize;
        loop {
            let Some(first) = self.rest.chars().next() else {
                return if depth == 0 { Ok(()) } else { Err(bad(self.text, "a comment that is not closed")) };
            };
            match first {
                '(' => {
                    depth += 1;
                    if depth > MAX_COMMENT_DEPTH {
                        return Err(bad(self.text, "comments nested too deeply"));
                    }
                }
                ')' if depth > 0 => depth -= 1,
                '\\' if depth > 0 => {
                    self.take(1);
                    if let Some(escaped) = self.rest.chars().next() {
                        self.take(escaped.len_utf8());
                    }
                    continue;
                }
                ' ' | '\t' => {}
                _ if depth > 0 => {}
                _ => return Ok(()),
            }
            self.take(first.len_utf8());
        }
    }

    fn quoted_end(&self) -> Result<usize, Fault> {
        let mut escaped = false;
        for (index, byte) in self.rest.bytes().enumerate().skip(1) {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => return Ok(index + 1),
                _ => {}
            }
        }
        Err(bad(self.text, "a quote that is not closed"))
    }

    fn atom_end(&self) -> usize {
        let mut literal = false;
        for (index, letter) in self.rest.char_indices() {
            match letter {
                '[' => literal = true,
                ']' => literal = false,
                ':' if literal => {}
                ' ' | '\t' | '"' | '<' | '>' | ',' | ';' | ':' | '(' | ')' if index > 0 => return index,
                _ => {}
            }
        }
        self.rest.len()
    }

    fn take(&mut self, count: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at_checked(count).unwrap_or((self.rest, ""));
        self.rest = rest;
        taken
    }
}

fn bad(text: &str, why: &str) -> Fault {
    let shown: String = text.chars().take(100).collect();
    Fault::new(Kind::BadData, format!("{shown}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Vec<(String, String)> {
        let found = parse_list(text).unwrap_or_else(|fault| panic!("{text}: {fault}"));
        found.into_iter().map(|mailbox| (mailbox.name.unwrap_or_default(), mailbox.address.to_string())).collect()
    }

    #[test]
    fn lists_of_every_form() {
        let table: &[(&str, &[(&str, &str)])] = &[
            ("", &[]),
            (" , ,", &[]),
            ("a@b.c", &[("", "a@b.c")]),
            ("root", &[("", "root")]),
            ("<a@b.c>", &[("", "a@b.c")]),
            ("Alice <a@b.c>", &[("Alice", "a@b.c")]),
            ("Alice Example<a@b.c>", &[("Alice Example", "a@b.c")]),
            ("\"Example, Alice\" <a@b.c>, bob@d", &[("Example, Alice", "a@b.c"), ("", "bob@d")]),
            ("\"a \\\"q\\\" \\\\\" <a@b>", &[("a \"q\" \\", "a@b")]),
            ("Grüße <a@b>", &[("Grüße", "a@b")]),
            ("a@b (comment (nested \\) here)) , c@d", &[("", "a@b"), ("", "c@d")]),
            ("friends: a@b, C <c@d>; e@f", &[("", "a@b"), ("C", "c@d"), ("", "e@f")]),
            ("undisclosed-recipients:;", &[]),
            ("<@r1,@r2:a@b>", &[("", "a@b")]),
            ("\"odd local\"@b", &[("", "\"odd local\"@b")]),
            ("X <\"odd local\"@b>", &[("X", "\"odd local\"@b")]),
            ("a@[127.0.0.1], b@[IPv6:::1]", &[("", "a@[127.0.0.1]"), ("", "b@[IPv6:::1]")]),
            ("J. Doe <a@b>", &[("J. Doe", "a@b")]),
            ("=?utf-8?q?J=C3=B6rg?= <a@b>", &[("=?utf-8?q?J=C3=B6rg?=", "a@b")]),
            ("用户@例子.测试", &[("", "用户@例子.测试")]),
            ("a..b.@c", &[("", "a..b.@c")]),
        ];
        for (text, expected) in table {
            let expected: Vec<(String, String)> =
                expected.iter().map(|(name, address)| ((*name).into(), (*address).into())).collect();
            assert_eq!(list(text), expected, "{text}");
        }
    }

    #[test]
    fn refuses_what_is_not_an_address() {
        // What is no address by itself is tested beside its grammar.
        for text in [
            "a b@c",
            "Alice a@b",
            "<a@b",
            "<>",
            "a@b>",
            "\"open <a@b>",
            "a@b (open",
            "a@b\r\nBcc: x@y",
            "a\0@b",
            "@b",
            "a@b c",
            "<a b@c> x",
            "<a@b> x",
            "\"name\"",
            "a@b@c d",
            "<a@b><c@d>",
        ] {
            assert!(parse_list(text).is_err(), "{text:?} gave {:?}", parse_list(text));
        }
        assert!(Mailbox::parse("a@b, c@d").is_err());
        assert!(Mailbox::parse("").is_err());
        let deep = |depth: usize| format!("{}{}a@b", "(".repeat(depth), ")".repeat(depth));
        assert!(parse_list(&deep(MAX_COMMENT_DEPTH)).is_ok());
        assert!(parse_list(&deep(MAX_COMMENT_DEPTH + 1)).is_err());
    }
}
