//! Completes header addresses without a domain, and changes the domain of local senders, as RFC 6409, section 8.4
//! allows a submission server. Only the address changes: names, comments and folding stay.

use std::ops::Range;

use super::Complete;
use crate::smtp::address::{Address, canonical_domain};

/// The address fields, without their Resent- forms.
const FIELDS: &[&str] = &[
    "from",
    "sender",
    "reply-to",
    "to",
    "cc",
    "bcc",
    "errors-to",
    "return-receipt-to",
    "disposition-notification-to",
    "mail-followup-to",
    "mail-reply-to",
];

impl Complete {
    /// Appends this domain to every address in the header that has none.
    pub fn qualify(&mut self, domain: &str) {
        self.rewrite_addresses(FIELDS, |word| {
            let word = Address::parse_lenient(word).ok().filter(|word| word.domain().is_none())?;
            Some(format!("{word}@{domain}"))
        });
    }

    /// Replaces the domain of senders in the header that have one of these domains.
    pub fn masquerade(&mut self, hosts: &[String], domain: &str) {
        self.rewrite_addresses(&["from", "sender", "reply-to"], |word| {
            let (local, found) = word.rsplit_once('@')?;
            let found = canonical_domain(found);
            hosts.iter().any(|host| canonical_domain(host) == found).then(|| format!("{local}@{domain}"))
        });
    }

    /// Replaces each address for which the function returns another one.
    fn rewrite_addresses(&mut self, names: &[&str], other: impl Fn(&str) -> Option<String>) {
        for field in &mut self.fields {
            let lower = field.name.to_ascii_lowercase();
            if !names.contains(&lower.strip_prefix("resent-").unwrap_or(&lower)) {
                continue;
            }
            let Some(colon) = memchr::memchr(b':', &field.raw) else { continue };
            for place in places(field.raw.get(colon + 1..).unwrap_or_default()).into_iter().rev() {
                let place = place.start + colon + 1..place.end + colon + 1;
                let word = field.raw.get(place.clone()).and_then(|word| str::from_utf8(word).ok());
                if let Some(address) = word.and_then(&other) {
                    field.raw.splice(place, address.into_bytes());
                }
            }
        }
    }
}

/// One mailbox during parsing.
#[derive(Debug, Default)]
struct MailboxScan {
    /// The number of words outside comments and brackets, and the position of the last one.
    words: usize,
    last: Range<usize>,
    /// The content of the brackets.
    bracketed: Option<Box<MailboxScan>>,
}

impl MailboxScan {
    fn word(&mut self, place: Range<usize>) {
        self.words += 1;
        self.last = place;
    }

    /// The position of the mailbox's address, if the address is one word.
    fn place(&self, value: &[u8]) -> Option<Range<usize>> {
        let inner = self.bracketed.as_deref().unwrap_or(self);
        // A quoted string without brackets is a name.
        let is_name = value.get(inner.last.start) == Some(&b'"') && self.bracketed.is_none();
        (inner.words == 1 && !is_name).then(|| inner.last.clone())
    }
}

/// The positions of the one-word addresses in a list, in their order; empty for a malformed list.
fn places(value: &[u8]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut mailbox = MailboxScan::default();
    let mut in_brackets = false;
    let mut at = 0;
    while let Some(&byte) = value.get(at) {
        let start = at;
        at += 1;
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => {}
            b'(' => match comment_end(value, start) {
                Some(end) => at = end,
                None => return Vec::new(),
            },
            b'<' => {
                in_brackets = true;
                mailbox.bracketed = Some(Box::default());
            }
            b'>' => in_brackets = false,
            // A route within brackets holds commas and a colon; its address has a domain.
            b',' | b';' | b':' if !in_brackets => {
                let whole = std::mem::take(&mut mailbox);
                // What stands before a colon is the name of a group.
                found.extend(whole.place(value).filter(|_| byte != b':'));
            }
            b',' | b';' | b':' => {}
            _ => {
                let end = if byte == b'"' { quoted_end(value, start) } else { Some(word_end(value, at)) };
                let Some(end) = end else { return Vec::new() };
                at = end;
                match mailbox.bracketed.as_deref_mut().filter(|_| in_brackets) {
                    Some(inner) => inner.word(start..end),
                    None => mailbox.word(start..end),
                }
            }
        }
    }
    if in_brackets {
        return Vec::new();
    }
    found.extend(mailbox.place(value));
    found
}

/// The offset after the comment that begins here.
fn comment_end(value: &[u8], start: usize) -> Option<usize> {
    let mut depth = 0usize;
    let mut at = start;
    loop {
        match value.get(at)? {
            b'(' => depth += 1,
            b')' => depth -= 1,
            b'\\' => at += 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return Some(at);
        }
    }
}

/// The offset after the quoted string that begins here.
fn quoted_end(value: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        match value.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// The offset after the atom or domain literal that continues here.
fn word_end(value: &[u8], from: usize) -> usize {
    let mut literal = value.get(from - 1) == Some(&b'[');
    let rest = value.get(from..).unwrap_or_default();
    let end = rest.iter().position(|byte| {
        match byte {
            b'[' => literal = true,
            b']' => literal = false,
            _ => {}
        }
        b" \t\r\n\"<>(,;".contains(byte) || (*byte == b':' && !literal)
    });
    from + end.unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::Blob;

    fn qualified(field: &str) -> String {
        let text = format!("{}\n\n", field.replace("\r\n", "\n"));
        let mut complete = Complete::read(&Blob::memory(text.into_bytes()), false).unwrap();
        complete.qualify("h.test");
        String::from_utf8(complete.fields[0].raw.clone()).unwrap().trim_end().to_owned()
    }

    #[test]
    fn what_programs_write_gets_a_domain() {
        for (field, expected) in [
            ("From: root (Cron Daemon)", "From: root@h.test (Cron Daemon)"),
            ("From: \"(Cron Daemon)\" <root>", "From: \"(Cron Daemon)\" <root@h.test>"),
            ("From: mdadm monitoring <root>", "From: mdadm monitoring <root@h.test>"),
            ("From: \"www-data\" <www-data>", "From: \"www-data\" <www-data@h.test>"),
            ("Sender: root", "Sender: root@h.test"),
            ("To: root, a@b,\r\n\tpostmaster", "To: root@h.test, a@b,\r\n\tpostmaster@h.test"),
            ("Cc: ops: root, \"x, y\" <z>;, w", "Cc: ops: root@h.test, \"x, y\" <z@h.test>;, w@h.test"),
            ("Reply-To: < root (x) >", "Reply-To: < root@h.test (x) >"),
            ("Resent-To: \"odd, name\" <\"a b\">", "Resent-To: \"odd, name\" <\"a b\"@h.test>"),
            ("to:root", "to:root@h.test"),
        ] {
            assert_eq!(qualified(field), expected);
        }
    }

    #[test]
    fn senders_of_this_host_get_another_domain() {
        let text =
            "From: Root <root@H.test> (x)\nSender: cron@sub.h.test\nReply-To: a@h.test, b@x.test\nTo: c@h.test\n\n";
        let mut complete = Complete::read(&Blob::memory(text.as_bytes()), false).unwrap();
        complete.masquerade(&["h.test".to_owned()], "example.org");
        let header: String =
            complete.fields.iter().map(|field| String::from_utf8_lossy(&field.raw).into_owned()).collect();
        assert_eq!(
            header,
            "From: Root <root@example.org> (x)\r\nSender: cron@sub.h.test\r\nReply-To: a@example.org, b@x.test\r\n\
             To: c@h.test\r\n"
        );
    }

    #[test]
    fn what_is_complete_or_no_address_stays() {
        for field in [
            "From: a@b (c, d)",
            "From: \"x@y\" <a@b>",
            "To: undisclosed-recipients:;",
            "To: <@x,@y:a@b>",
            "To: a@[IPv6:::1], b @ c, d@ e",
            "To: Bob Smith",
            "To: \"only a name\"",
            "To: <>",
            "To: (only a comment)",
            "To: broken (comment, root",
            "To: broken <root",
            "To: \"broken, root",
            "To: a..[b",
            "Subject: root",
            "X-To: root",
        ] {
            assert_eq!(qualified(field), field);
        }
    }
}
