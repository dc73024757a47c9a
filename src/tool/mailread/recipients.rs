//! The recipients of a reply: each once, none lost without a warning, and without the user's own addresses.

use std::collections::HashSet;

use crate::mail::address::Mailbox;
use crate::mail::{address_list, scan};
use crate::smtp::address::Address;
use crate::tool::smtp_account::matches;

/// The recipients of a reply.
#[derive(Debug, Default)]
pub(super) struct Recipients {
    pub(super) to: Vec<Mailbox>,
    pub(super) cc: Vec<Mailbox>,
    /// The malformed addresses, and the interpretation of each.
    pub(super) doubts: Vec<String>,
}

impl Recipients {
    /// Reads them from a header: the author, or the addresses of Reply-To (RFC 5322, section 3.6.2); with `all` also the other
    /// recipients, or the addresses of Mail-Followup-To instead. `own` addresses and patterns are left out.
    pub(super) fn of(head: &[u8], all: bool, own: &[String]) -> Recipients {
        let mut found = Recipients::default();
        let is_own = |mailbox: &Mailbox| own.iter().any(|pattern| matches(pattern, mailbox.address.as_str()));
        let mut to = if all { found.field(head, "mail-followup-to") } else { Vec::new() };
        let followed = !to.is_empty();
        for name in ["reply-to", "from", "sender", "return-path"] {
            if to.is_empty() {
                to = found.field(head, name);
                if !to.is_empty() && matches!(name, "sender" | "return-path") {
                    found.doubts.push(format!("From has no address; the reply goes to {name}"));
                }
            }
        }
        // A reply to the user's own message goes to its recipients.
        let to_myself = !to.is_empty() && to.iter().all(is_own);
        let mut others = Vec::new();
        if all && !followed || to_myself {
            others = found.field(head, "to");
        }
        if to_myself && others.iter().any(|mailbox| !is_own(mailbox)) {
            to = std::mem::take(&mut others);
        }
        if all && !followed {
            others.extend(found.field(head, "cc"));
        } else {
            others.clear();
        }
        // If all addresses are the user's own, they are kept.
        let keeps_own = to.iter().chain(&others).all(is_own);
        let mut seen = HashSet::new();
        let mut once = |mailbox: &Mailbox| seen.insert(key(&mailbox.address));
        to.retain(|mailbox| (keeps_own || !is_own(mailbox)) && once(mailbox));
        others.retain(|mailbox| !is_own(mailbox) && once(mailbox));
        if to.is_empty() {
            to = std::mem::take(&mut others);
        }
        (found.to, found.cc) = (to, others);
        found
    }

    /// The addresses of all fields with this name, including those found in malformed address lists.
    fn field(&mut self, head: &[u8], name: &str) -> Vec<Mailbox> {
        let list = scan::addresses(head, name);
        let mut mailboxes = list.mailboxes;
        // The null reverse-path is no address.
        for text in list.unparsed.iter().filter(|text| *text != "<>") {
            let guessed = address_list::guess(text);
            let names: Vec<&str> = guessed.iter().map(|mailbox| mailbox.address.as_str()).collect();
            let made = if names.is_empty() { "left out".to_owned() } else { format!("taken for {}", names.join(", ")) };
            self.doubts.push(format!("{name}: {text}: not an address; {made}"));
            mailboxes.extend(guessed);
        }
        mailboxes
    }
}

/// The same key for all spellings of an address: case, unnecessary quotes, a final dot and the form of the domain do not matter.
fn key(address: &Address) -> String {
    address.to_ascii_domain().unwrap_or_else(|_| address.clone()).comparison_key().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(header: &str, all: bool, own: &[&str]) -> (String, String, usize) {
        let own: Vec<String> = own.iter().map(|address| (*address).to_owned()).collect();
        let found = Recipients::of(header.as_bytes(), all, &own);
        let list = |mailboxes: &[Mailbox]| {
            mailboxes.iter().map(|mailbox| mailbox.address.as_str()).collect::<Vec<_>>().join(" ")
        };
        (list(&found.to), list(&found.cc), found.doubts.len())
    }

    #[test]
    fn nobody_is_lost_or_asked_twice() {
        let table: &[(&str, &[&str], &str, &str, usize)] = &[
            ("From: a@b\nTo: me@x, Me <ME@X>, c@d\nCc: C@D., e@f\n", &["me@x"], "a@b", "c@d e@f", 0),
            ("From: a@b\nTo: me@x, Me <me@x>\n", &[], "a@b", "me@x", 0),
            ("From: a@b\nTo: \"c\"@d, c@d\n", &[], "a@b", "\"c\"@d", 0),
            ("From: a@b\nTo: x@müller.test, x@xn--mller-kva.test\n", &[], "a@b", "x@müller.test", 0),
            ("From: a@b\nTo: c@d\nTo: e@f\nCc: g@h\nCc: i@j\n", &[], "a@b", "c@d e@f g@h i@j", 0),
            (
                "From: a@b\nTo: first@a, second@a third@a, fourth@a\n",
                &[],
                "a@b",
                "first@a fourth@a second@a third@a",
                1,
            ),
            ("From: a@b\nTo: Pat Doe, c@d\n", &[], "a@b", "c@d", 1),
            ("From: a@b\nReply-To: l@b\nTo: l@b, c@d\n", &[], "l@b", "c@d", 0),
            (
                "From: a@b\nMail-Followup-To: l@b, A <a@b>\nReply-To: z@b\nTo: l@b, c@d\nCc: e@f\n",
                &[],
                "l@b a@b",
                "",
                0,
            ),
            ("From: a@b\nMail-Followup-To: l@b, me@x\nTo: l@b\n", &["*@x"], "l@b", "", 0),
            // The user's own messages.
            ("From: me@x\nTo: c@d, e@f\nCc: g@h, me@x\n", &["me@x"], "c@d e@f", "g@h", 0),
            ("From: me@x\nTo: me@x\n", &["me@x"], "me@x", "", 0),
            // The author is not readable.
            ("From: Pat Doe\nTo: c@d\n", &[], "c@d", "", 1),
            ("From: Pat Doe\nSender: s@b\nTo: c@d\n", &[], "s@b", "c@d", 2),
            ("From: Pat pat@a.test, (mobile\nTo: c@d\n", &[], "pat@a.test", "c@d", 1),
            ("From: <>\nReturn-Path: <r@b>\n", &[], "r@b", "", 1),
            ("From: a@b c@d\nTo: e@f\n", &[], "a@b c@d", "e@f", 1),
            ("Subject: x\n", &[], "", "", 0),
        ];
        for (header, own, to, cc, doubts) in table {
            let expected = ((*to).to_owned(), (*cc).to_owned(), *doubts);
            assert_eq!(of(header, true, own), expected, "{header}");
        }
        let table: &[(&str, &[&str], &str)] = &[
            ("From: a@b\nTo: c@d\nCc: e@f\nMail-Followup-To: l@b\n", &[], "a@b"),
            ("From: me@x\nTo: c@d\nCc: e@f\n", &["me@x"], "c@d"),
            ("From: Pat Doe\nTo: c@d\n", &[], ""),
        ];
        for (header, own, to) in table {
            let (found, cc, _) = of(header, false, own);
            assert_eq!((found.as_str(), cc.as_str()), (*to, ""), "{header}");
        }
    }
}
