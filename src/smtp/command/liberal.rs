//! Envelope commands as found in practice: addresses without brackets or with phrases and comments, local parts and
//! domains of older grammars (RFC 822, RFC 5322, section 4.4). Each is converted to the form of RFC 5321, so that the
//! code after the parser sees no other form.

use crate::smtp::address::{self, Address};

/// The strictness of the grammar of RFC 5321 for clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandSyntax {
    /// Exactly the grammar.
    Strict,
    /// Any form with a certain meaning.
    Liberal {
        /// The domain for an address without one.
        origin: String,
    },
}

/// Characters of a client's name that could be taken for syntax in a trace field or log.
const SYNTAX: &str = "<>()\"\\;,@";

/// The client's name from EHLO, made safe for a trace field. A name that breaks the grammar proves nothing (RFC 5321,
/// section 4.1.4) and is accepted, but a `?` replaces each character that is not printable ASCII or could be syntax.
pub(super) fn client_name(text: &str) -> String {
    let plain = |c: char| if c.is_ascii_graphic() && !SYNTAX.contains(c) { c } else { '?' };
    text.chars().take(address::MAX_DOMAIN).map(plain).collect()
}

/// Splits the text after `FROM:` or `TO:` into the path, in the form of RFC 5321, and the parameters. `None` without a
/// path. An address that cannot be interpreted stays unchanged, so that the address parser refuses it.
pub(super) fn path<'a>(text: &'a str, origin: &str) -> Option<(String, &'a str)> {
    let text = behind_comments(text);
    let open = find(text, &['<']);
    // `Bob <bob@bob.test>` has a phrase before the bracket, `bob@bob.test AUTH=<>` has not.
    let open = open.filter(|at| text.get(..*at).is_some_and(|before| find(before, &['@', '=']).is_none()));
    let (inner, parameters) = match open {
        Some(open) => {
            let inside = text.get(open + 1..)?;
            let close = find(inside, &['>'])?;
            (inside.get(..close)?, inside.get(close + 1..)?)
        }
        None => text.split_at_checked(find(text, &[' ', '\t']).unwrap_or(text.len()))?,
    };
    let path = canonical(inner, origin).unwrap_or_else(|| inner.to_owned());
    let separate = parameters.is_empty() || parameters.starts_with([' ', '\t', '(']);
    (separate && (open.is_some() || !inner.is_empty())).then_some((path, behind_comments(parameters)))
}

/// The text after any leading space and comments.
fn behind_comments(mut text: &str) -> &str {
    loop {
        text = text.trim_start_matches([' ', '\t']);
        match unit(text).filter(|_| text.starts_with('(')).and_then(|length| text.get(length..)) {
            Some(behind) => text = behind,
            None => return text,
        }
    }
}

/// The address in the form of RFC 5321, without source route, comments and space; empty for the null path.
fn canonical(text: &str, origin: &str) -> Option<String> {
    let text = text.trim_matches([' ', '\t']);
    let text = if text.starts_with('@') { text.get(find(text, &[':'])? + 1..)? } else { text };
    if text.is_empty() {
        return Some(String::new());
    }
    let (local, domain) = match find(text, &['@']) {
        Some(at) => (words(text.get(..at)?, AddressSide::Local)?, words(text.get(at + 1..)?, AddressSide::Domain)?),
        None => (words(text, AddressSide::Local)?, origin.to_owned()),
    };
    if !text.contains('@') && local.eq_ignore_ascii_case("postmaster") {
        return Some(local);
    }
    // The root's dot is no part of a domain in mail.
    let domain = domain.strip_suffix('.').unwrap_or(&domain);
    let address = Address::of(&local, domain).ok()?;
    // Dots alone are no local part of any grammar.
    (!local.chars().all(|character| character == '.')).then(|| address.to_string())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AddressSide {
    Local,
    Domain,
}

/// The words and dots of one side of an address, joined and unquoted. `None` for any other text.
fn words(text: &str, side: AddressSide) -> Option<String> {
    let mut found = String::new();
    // Behind a word that has ended only a dot may follow.
    let (mut in_word, mut ended) = (false, false);
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (piece, behind) = rest.split_at_checked(unit(rest)?)?;
        rest = behind;
        match first {
            ' ' | '\t' | '(' => ended = in_word,
            '.' => {
                found.push('.');
                (in_word, ended) = (false, false);
            }
            _ if ended => return None,
            '"' | '[' if in_word => return None,
            '"' if side == AddressSide::Local => {
                found.push_str(&address::unquote(piece));
                (in_word, ended) = (true, true);
            }
            '[' if side == AddressSide::Domain => {
                found.push_str(piece);
                (in_word, ended) = (true, true);
            }
            _ if "\"[]()<>@,;:\\".contains(first) => return None,
            _ => {
                found.push(first);
                in_word = true;
            }
        }
    }
    Some(found)
}

/// The position of the first of these characters outside quotes, comments and literals.
fn find(text: &str, wanted: &[char]) -> Option<usize> {
    let mut at = 0;
    loop {
        let rest = text.get(at..)?;
        if rest.starts_with(wanted) {
            return Some(at);
        }
        at += unit(rest)?;
    }
}

/// The length of the quoted string, comment or literal at the start of the text, or else of one character. `None` for
/// an empty text, and for an unclosed one of these.
fn unit(text: &str) -> Option<usize> {
    let mut characters = text.char_indices();
    let (_, first) = characters.next()?;
    let close = match first {
        '"' => '"',
        '(' => ')',
        '[' => ']',
        _ => return Some(first.len_utf8()),
    };
    let mut depth = 1usize;
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => drop(characters.next()?),
            _ if character == close => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            '(' if first == '(' => depth += 1,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::command::SmtpCommand;
    use crate::smtp::envelope::Recipient;

    fn liberal() -> CommandSyntax {
        CommandSyntax::Liberal { origin: "here.test".into() }
    }

    /// The interpretation of the text by RCPT, with the number of its NOTIFY parameters.
    fn recipient(text: &str, syntax: &CommandSyntax) -> Result<(String, usize), u16> {
        match SmtpCommand::parse_as(format!("RCPT TO:{text}").as_bytes(), syntax) {
            Ok(SmtpCommand::Rcpt(Recipient { address, notify, .. })) => {
                Ok((address.to_string(), usize::from(notify.is_some())))
            }
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.code),
        }
    }

    #[test]
    fn forms_of_the_wild() {
        let table = [
            ("bob@x.test", "bob@x.test"),
            (" bob@x.test", "bob@x.test"),
            ("<bob@x.test>", "bob@x.test"),
            ("\t< bob@x.test >", "bob@x.test"),
            ("bob@x.test.", "bob@x.test"),
            ("<bob@x.test.>", "bob@x.test"),
            ("Bob<bob@x.test>", "bob@x.test"),
            ("Bob Jones <bob@x.test>", "bob@x.test"),
            ("\"Jones, Bob <b@c>\" <bob@x.test>", "bob@x.test"),
            ("(who) <bob@x.test>", "bob@x.test"),
            ("<bob(a (nested\\) one))@x.test>", "bob@x.test"),
            ("(who) bob@x.test", "bob@x.test"),
            ("bob@x.test (my (nested) name)", "bob@x.test"),
            ("<bob@x.test> (name) (again)", "bob@x.test"),
            ("<bob@x.test>(name)", "bob@x.test"),
            ("<bob @ x . test>", "bob@x.test"),
            ("bob@x.test(home)", "bob@x.test"),
            ("<@a.test,@b.test:bob@x.test>", "bob@x.test"),
            ("a..b.@x.test", "\"a..b.\"@x.test"),
            ("<.bob@x.test>", "\".bob\"@x.test"),
            ("<\"john\".doe@x.test>", "john.doe@x.test"),
            ("<\"a b\".\"c\\\"\"@x.test>", "\"a b.c\\\"\"@x.test"),
            ("<\"\\\"bob\\\"\"@x.test>", "\"\\\"bob\\\"\"@x.test"),
            ("<\"a@b\"@x.test>", "\"a@b\"@x.test"),
            ("<u@[192.0.2.1]>", "u@[192.0.2.1]"),
            ("u@[IPv6:::1]", "u@[IPv6:::1]"),
            ("j\u{f6}rg@x.test", "j\u{f6}rg@x.test"),
            ("bob", "bob@here.test"),
            ("<bob>", "bob@here.test"),
            ("Postmaster", "Postmaster"),
            ("<postmaster>", "postmaster"),
        ];
        for (text, address) in table {
            assert_eq!(recipient(text, &liberal()), Ok((address.to_owned(), 0)), "{text}");
            let with = format!("{text} NOTIFY=NEVER");
            assert_eq!(recipient(&with, &liberal()), Ok((address.to_owned(), 1)), "{with}");
            // What comes out is what RFC 5321 allows.
            assert_eq!(recipient(&format!("<{address}>"), &CommandSyntax::Strict), Ok((address.to_owned(), 0)));
        }
    }

    #[test]
    fn what_has_no_certain_meaning_is_refused() {
        for text in [
            "",
            " ",
            "<>",
            "<@>",
            "<bob@>",
            "<@x.test>",
            "<bob@x..test>",
            "<bob@x.test..>",
            "<a@b@c>",
            "<a b@x.test>",
            "<a,b@x.test>",
            "<bob@x.test",
            "bob@x.test>",
            "<<bob@x.test>>",
            "<bob@x.test>NOTIFY=NEVER",
            "<\"bob@x.test>",
            "<bob(@x.test>",
            "<a\"b\"@x.test>",
            "<\"a\"b@x.test>",
            "<[a]@x.test>",
            "<bob@\"x\".test>",
            "<bob@x test>",
            "<a@b.test,c@d.test>",
            "a@b.test,c@d.test",
            "<bob@x.test;>",
            "..@x.test",
            "<.@x.test>",
            "<\"\"@>",
            "<bob\\@x.test>",
            "..@x.test",
            "<.@x.test>",
        ] {
            let refused = recipient(text, &liberal());
            assert!(matches!(refused, Err(501 | 553)), "{text}: {refused:?}");
        }
        assert_eq!(recipient("a@b.test <c@d.test>", &liberal()), Err(555), "a parameter, not an address");
    }

    #[test]
    fn strict_is_strict() {
        for text in ["bob@x.test", "<bob@x.test.>", "Bob <bob@x.test>", "<a..b@x.test>", "<bob (x)@x.test>", "<bob>"] {
            assert!(recipient(text, &CommandSyntax::Strict).is_err(), "{text}");
        }
        assert_eq!(recipient("Postmaster", &CommandSyntax::Strict), Err(501));
    }

    #[test]
    fn senders_and_parameters() {
        for (line, sender, size) in [
            ("MAIL FROM:<>", "", None),
            ("MAIL FROM:< > SIZE=1", "", Some(1)),
            ("MAIL FROM:a@b.test SIZE=2", "a@b.test", Some(2)),
            ("mail from: a@b.test AUTH=<> size=3", "a@b.test", Some(3)),
            ("MAIL FROM:root SIZE=4", "root@here.test", Some(4)),
        ] {
            let Ok(SmtpCommand::Mail(mail)) = SmtpCommand::parse_as(line.as_bytes(), &liberal()) else {
                panic!("{line}")
            };
            assert_eq!((mail.sender.as_str(), mail.size), (sender, size), "{line}");
        }
        for line in ["MAIL FROM:", "MAIL FROM :<a@b.test>", "MAIL <a@b.test>"] {
            let error = SmtpCommand::parse_as(line.as_bytes(), &liberal()).unwrap_err();
            assert!(matches!(error.code, 501 | 553 | 555), "{line}: {error:?}");
        }
    }

    #[test]
    fn names_of_clients() {
        let name = |line: &str, syntax: &CommandSyntax| match SmtpCommand::parse_as(line.as_bytes(), syntax) {
            Ok(SmtpCommand::Ehlo(name)) => Some(name),
            _ => None,
        };
        for (given, shown, strict) in [
            ("a.test", "a.test", true),
            ("[192.0.2.1]", "[192.0.2.1]", true),
            ("[IPv6:::1]", "[IPv6:::1]", true),
            ("my_pc", "my_pc", true),
            ("(none)", "?none?", false),
            ("my pc", "my?pc", false),
            ("a.test;", "a.test?", false),
            ("a.test.", "a.test.", false),
            ("192.0.2.1:25", "192.0.2.1:25", false),
            ("<a>\"b\\@c", "?a??b??c", false),
            ("m\u{fc}ller.test", "m?ller.test", false),
            ("a\u{9b}31m\u{202e}\u{2028}\u{85}x", "a?31m???x", false),
        ] {
            assert_eq!(name(&format!("EHLO {given}"), &liberal()).as_deref(), Some(shown), "{given:?}");
            assert_eq!(name(&format!("EHLO {given}"), &CommandSyntax::Strict).is_some(), strict, "{given:?}");
        }
        let long = name(&format!("EHLO {}", "x".repeat(5000)), &liberal()).unwrap();
        assert_eq!(long.len(), address::MAX_DOMAIN);
        assert_eq!(name("EHLO ", &liberal()), None);
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_taken_is_strictly_right(text in "[<>()\"\\\\@.,:\\[\\]ab \t\u{f6}]{0,16}") {
            for line in [format!("MAIL FROM:{text} SMTPUTF8"), format!("RCPT TO:{text}"), format!("EHLO {text}")] {
                if let Ok(command) = SmtpCommand::parse_as(line.as_bytes(), &liberal())
                    && !matches!(command, SmtpCommand::Ehlo(_))
                {
                    let (mut wire, once) = (Vec::new(), command.clone());
                    command.wire(&mut wire).unwrap();
                    let line = wire.strip_suffix(b"\r\n").unwrap();
                    for syntax in [CommandSyntax::Strict, liberal()] {
                        proptest::prop_assert_eq!(SmtpCommand::parse_as(line, &syntax), Ok(once.clone()));
                    }
                }
            }
        }
    }
}
