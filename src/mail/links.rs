//! The links of a message: what its reader can follow, in the plain text and in the HTML.

use std::collections::HashSet;

use super::html;
use super::read::Reading;

/// The starts of links in plain text.
const SCHEMES: [&str; 4] = ["https://", "http://", "ftp://", "mailto:"];

/// The links of a message, each once, in the order of text and HTML.
pub fn of(reading: &Reading) -> Vec<String> {
    // Text that was made from HTML is wrapped, also within its links.
    let plain = reading
        .parts
        .iter()
        .any(|part| part.content_type.starts_with("text/") && part.content_type != "text/html" && !part.is_listed);
    let mut links = if plain { in_text(&reading.text) } else { Vec::new() };
    links.extend(reading.html.as_deref().map(html::links).unwrap_or_default());
    let mut seen = HashSet::new();
    links.retain(|link| !link.trim().is_empty() && seen.insert(link.clone()));
    links
}

/// The links in plain text, in their order. Punctuation behind a link, and a bracket that it does not open, are no part of it.
pub fn in_text(text: &str) -> Vec<String> {
    let ends = |letter: char| letter.is_whitespace() || letter.is_control() || matches!(letter, '<' | '>' | '"' | '`');
    let mut links = Vec::new();
    let mut from = 0;
    while let Some(colon) = text.get(from..).and_then(|rest| rest.find(':')).map(|at| from + at) {
        from = colon + 1;
        let starts = |scheme: &&str| -> Option<usize> {
            let before = scheme.find(':')?;
            let start = colon.checked_sub(before)?;
            let found = text.get(start..start + scheme.len())?;
            let alone = !text.get(..start)?.ends_with(|letter: char| letter.is_alphanumeric());
            (found.eq_ignore_ascii_case(scheme) && alone).then_some(start)
        };
        let Some((start, scheme)) = SCHEMES.iter().find_map(|scheme| Some((starts(scheme)?, scheme))) else { continue };
        let rest = text.get(start..).unwrap_or_default();
        let link = trimmed(rest.split(ends).next().unwrap_or_default());
        if link.len() > scheme.len() {
            links.push(link.to_owned());
            from = from.max(start + link.len());
        }
    }
    links
}

fn trimmed(mut link: &str) -> &str {
    let count = |link: &str, bracket| link.bytes().filter(|byte| *byte == bracket).count();
    // Each kind of bracket is counted once, so the time is linear.
    let mut open =
        [(b'(', b')'), (b'[', b']'), (b'{', b'}')].map(|(left, right)| (right, count(link, left), count(link, right)));
    while let Some(last) = link.bytes().last() {
        let bracket = open.iter_mut().find(|(right, ..)| *right == last);
        match (last, bracket) {
            (b'.' | b',' | b';' | b':' | b'!' | b'?' | b'\'' | b'*' | b'_', _) => {}
            (_, Some((_, left, right))) if *right > *left => *right -= 1,
            _ => break,
        }
        link = link.get(..link.len() - 1).unwrap_or_default();
    }
    link
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_of_text_end_where_people_end_them() {
        for (text, links) in [
            ("see https://a.test/x?y=1&z=2#f.", &["https://a.test/x?y=1&z=2#f"][..]),
            (
                "(https://a.test/x_(y)), <http://b.test>; HTTPS://C.test!",
                &["https://a.test/x_(y)", "http://b.test", "HTTPS://C.test"],
            ),
            ("[https://a.test/[1]] 'mailto:a@b.test'", &["https://a.test/[1]", "mailto:a@b.test"]),
            ("https:// http: xhttp://no.test mailto:", &[]),
            ("https://\u{e4}.test/\u{fc}\u{a0}x ftp://f.test/a:b", &["https://\u{e4}.test/\u{fc}", "ftp://f.test/a:b"]),
            ("https://a.test/?u=https://b.test/", &["https://a.test/?u=https://b.test/"]),
        ] {
            assert_eq!(in_text(text), links, "{text}");
        }
    }

    #[test]
    fn a_message_names_each_link_once() {
        let raw = b"MIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\n\r\n\
            confirm: https://a.test/?c=1\r\n--b\r\nContent-Type: text/html\r\n\r\n\
            <!-- <a href=no> --><style><a href=no></style><a class=x href='https://a.test/?c=1'>one</a>\
            <A HREF=\"https://b.test/?x=1&amp;y=2\">two</A><area href=/rel><a name=x></a>\r\n--b--\r\n";
        let reading = Reading::parse(raw.to_vec()).unwrap();
        assert_eq!(of(&reading), ["https://a.test/?c=1", "https://b.test/?x=1&y=2", "/rel"]);
        let html = b"Content-Type: text/html\r\n\r\n<p>https://shown.test/ <a href=https://a.test/>x</a>";
        assert_eq!(of(&Reading::parse(html.to_vec()).unwrap()), ["https://a.test/"]);
    }
}
