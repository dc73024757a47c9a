//! Writes header fields: folding (RFC 5322, section 2.2.3), encoded-words (RFC 2047), parameters (RFC 2231). The output
//! is ASCII unless an address itself needs UTF-8 (RFC 6532).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::address::Mailbox;
use super::transfer::MAX_LINE_BYTES;
use crate::fault::{Fault, Kind};
use crate::smtp::address::is_atext;

/// The column for folding, where possible: the limit is 78 (RFC 5322, section 2.1.1), or 76 with an encoded-word (RFC 2047, section 2).
pub const FOLD_COLUMN: usize = 76;
/// The maximum length of an encoded-word (RFC 2047, section 2).
pub const MAX_ENCODED_WORD: usize = 75;
/// The maximum length of a user's value for one field, in bytes.
pub const MAX_VALUE_BYTES: usize = 1024 * 1024;
/// The maximum length of a parameter value that is not split.
const PARAMETER_PIECE: usize = 60;

/// Refuses CR, LF and NUL: a value with one of them could start another header field.
///
/// # Errors
/// [`Kind::Usage`] for such a value and for one that is too long.
pub fn check_value(what: &str, value: &str) -> Result<(), Fault> {
    if let Some(bad) = value.chars().find(|letter| matches!(letter, '\r' | '\n' | '\0')) {
        return Err(Fault::new(Kind::Usage, format!("{what}: {bad:?} is not allowed in a value")));
    }
    if value.len() > MAX_VALUE_BYTES {
        return Err(Fault::new(Kind::Usage, format!("{what}: longer than {MAX_VALUE_BYTES} bytes")));
    }
    Ok(())
}

/// True for a header field name (RFC 5322, section 3.6.8) of a sensible length.
pub fn is_field_name(name: &str) -> bool {
    (1..=76).contains(&name.len()) && name.bytes().all(|byte| (b'!'..=b'~').contains(&byte) && byte != b':')
}

/// Writes a field of free text, such as Subject.
///
/// # Errors
/// [`Kind::Usage`] from [`check_value`].
pub fn unstructured(name: &str, value: &str) -> Result<String, Fault> {
    check_value(name, value)?;
    let mut line = LineFolder::new(name);
    let words = split_words(value);
    let last = words.len().saturating_sub(1);
    let ends_with_space = words.last().is_some_and(|(_, word)| word.is_empty());
    // White space at the ends would be lost: it is encoded together with the word beside it.
    let needs = |index: usize, (space, word): &(&str, &str)| {
        needs_encoding(word)
            || (index == 0 && !space.is_empty())
            || (ends_with_space && index + 1 >= last)
            || space.len() + word.len() > MAX_LINE_BYTES - 100
    };
    let needing = || words.iter().enumerate().filter(|(index, word)| needs(*index, word)).map(|(index, _)| index);
    let (first_encoded, last_encoded) = (needing().next(), needing().next_back());
    let mut index = 0;
    while let Some((space, word)) = words.get(index) {
        match (first_encoded, last_encoded) {
            (Some(first), Some(last)) if index == first => {
                // From the first to the last word that needs it: white space between two encoded-words does not show.
                let mut text = String::new();
                for (position, (space, word)) in words.iter().enumerate().take(last + 1).skip(first) {
                    if position > first || first == 0 {
                        text.push_str(space);
                    }
                    text.push_str(word);
                }
                line.encoded(if first == 0 { " " } else { space }, &text);
                index = last + 1;
            }
            _ => {
                line.word(if index == 0 { " " } else { space }, word);
                index += 1;
            }
        }
    }
    Ok(line.finish())
}

/// Writes a field of addresses, such as To.
///
/// # Errors
/// [`Kind::Usage`] from [`check_value`].
pub fn addresses(name: &str, mailboxes: &[Mailbox]) -> Result<String, Fault> {
    let mut line = LineFolder::new(name);
    for (index, mailbox) in mailboxes.iter().enumerate() {
        let comma = if index + 1 < mailboxes.len() { "," } else { "" };
        match &mailbox.name {
            None => line.word(" ", &format!("{}{comma}", mailbox.address)),
            Some(display) => {
                check_value(name, display)?;
                phrase(&mut line, display);
                line.word(" ", &format!("<{}>{comma}", mailbox.address));
            }
        }
    }
    Ok(line.finish())
}

/// Writes an address field with an empty group, such as `To: undisclosed recipients:;` (RFC 5322, section 3.4).
///
/// # Errors
/// [`Kind::Usage`] from [`check_value`].
pub fn empty_group(name: &str, display: &str) -> Result<String, Fault> {
    check_value(name, display)?;
    let mut line = LineFolder::new(name);
    phrase(&mut line, display);
    line.word(" ", ":;");
    Ok(line.finish())
}

/// Writes a field of message identifiers, such as References.
///
/// # Errors
/// [`Kind::Usage`] for a text that is not a message identifier.
pub fn identifiers(name: &str, ids: &[String]) -> Result<String, Fault> {
    let mut line = LineFolder::new(name);
    for id in ids {
        if !is_message_id(id) {
            return Err(Fault::new(Kind::Usage, format!("{name}: {id}: not a message identifier, <left@right>")));
        }
        line.word(" ", id);
    }
    Ok(line.finish())
}

/// True for `<left@right>` of visible ASCII (RFC 5322, section 3.6.4, and looser forms found in mail).
pub fn is_message_id(id: &str) -> bool {
    let inner = id.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')).unwrap_or_default();
    inner.contains('@')
        && id.len() <= MAX_LINE_BYTES - 20
        && inner.bytes().all(|byte| (b'!'..=b'~').contains(&byte) && byte != b'<' && byte != b'>')
}

/// Writes a field with parameters, such as Content-Type; `value` is written unchanged (RFC 2045, section 5.1; RFC 2231).
///
/// # Errors
/// [`Kind::Usage`] from [`check_value`].
pub fn with_parameters(name: &str, value: &str, parameters: &[(&str, &str)]) -> Result<String, Fault> {
    check_value(name, value)?;
    let mut pieces = Vec::new();
    for (key, text) in parameters {
        check_value(key, text)?;
        parameter(key, text, &mut pieces);
    }
    let mut line = LineFolder::new(name);
    let last = pieces.len();
    line.word(" ", &format!("{value}{}", if last > 0 { ";" } else { "" }));
    for (index, piece) in pieces.iter().enumerate() {
        line.word(" ", &format!("{piece}{}", if index + 1 < last { ";" } else { "" }));
    }
    Ok(line.finish())
}

/// Encodes a text as encoded-words, without a field around them (a name in a template, a downgrade).
pub fn encode_words(text: &str) -> String {
    let mut line = LineFolder { out: String::new(), column: 0, fresh: true };
    line.encoded("", text);
    line.out
}

fn parameter(key: &str, text: &str, pieces: &mut Vec<String>) {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&+-.^_`{|}~".contains(&byte);
    let printable = text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) && !text.contains("=?");
    let plain = if !text.is_empty() && text.bytes().all(token) { text.to_owned() } else { quote(text) };
    // A quoted string grows by its escapes, and cannot be folded.
    if printable && plain.len() <= PARAMETER_PIECE + "\"\"".len() {
        pieces.push(format!("{key}={plain}"));
        return;
    }
    // Extended values: percent-encoded UTF-8, cut between characters (RFC 2231, sections 3 and 4).
    let mut runs = vec![String::new()];
    for letter in text.chars() {
        let mut encoded = String::new();
        let mut bytes = [0; 4];
        for byte in letter.encode_utf8(&mut bytes).bytes() {
            if token(byte) {
                encoded.push(char::from(byte));
            } else {
                encoded.push_str(&format!("%{byte:02X}"));
            }
        }
        match runs.last_mut() {
            Some(run) if run.len() + encoded.len() <= PARAMETER_PIECE - 10 => run.push_str(&encoded),
            _ => runs.push(encoded),
        }
    }
    if let [only] = runs.as_slice() {
        pieces.push(format!("{key}*=UTF-8''{only}"));
        return;
    }
    for (index, run) in runs.iter().enumerate() {
        let charset = if index == 0 { "UTF-8''" } else { "" };
        pieces.push(format!("{key}*{index}*={charset}{run}"));
    }
}

/// Writes a display name: atoms, a quoted string, or encoded-words (RFC 5322, section 3.2.5; RFC 2047, section 5).
fn phrase(line: &mut LineFolder, name: &str) {
    let printable = name.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    let quoted = quote(name);
    if !printable || name.contains("=?") || quoted.len() > FOLD_COLUMN - 8 || name.trim() != name {
        line.encoded(" ", name);
    } else if name.split(' ').all(|word| !word.is_empty() && word.chars().all(is_atext)) {
        for word in name.split(' ') {
            line.word(" ", word);
        }
    } else {
        line.word(" ", &quoted);
    }
}

/// A quoted string (RFC 5322, section 3.2.4).
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for letter in text.chars() {
        if matches!(letter, '"' | '\\') {
            out.push('\\');
        }
        out.push(letter);
    }
    out.push('"');
    out
}

fn needs_encoding(word: &str) -> bool {
    word.contains("=?") || !word.bytes().all(|byte| (b'!'..=b'~').contains(&byte))
}

/// Splits a value into words, each with the white space before it; trailing white space comes with an empty word.
fn split_words(value: &str) -> Vec<(&str, &str)> {
    let is_space = |letter: char| letter == ' ' || letter == '\t';
    let mut words = Vec::new();
    let mut rest = value;
    while !rest.is_empty() {
        let (space, tail) = rest.split_at(rest.find(|letter| !is_space(letter)).unwrap_or(rest.len()));
        let (word, tail) = tail.split_at(tail.find(is_space).unwrap_or(tail.len()));
        words.push((space, word));
        rest = tail;
    }
    words
}

/// Folds words into lines.
struct LineFolder {
    out: String,
    column: usize,
    /// The line contains only the field's name so far.
    fresh: bool,
}

impl LineFolder {
    fn new(name: &str) -> LineFolder {
        LineFolder { out: format!("{name}:"), column: name.len() + 1, fresh: true }
    }

    fn word(&mut self, space: &str, word: &str) {
        if !self.fresh && self.column + space.len() + word.len() > FOLD_COLUMN {
            self.out.push_str("\r\n");
            self.column = 0;
        }
        self.put(space);
        self.put(word);
        self.fresh = false;
    }

    /// Writes `text` as encoded-words, each within the space left on its line.
    fn encoded(&mut self, mut space: &str, text: &str) {
        // Blanks that leave no room for a word beside them go into the words, all but the first.
        let whole;
        let mut text = text;
        if space.len() > FOLD_COLUMN / 2 {
            let (first, more) = space.split_at(1);
            whole = format!("{more}{text}");
            (space, text) = (first, &whole);
        }
        // Q stays readable; B is for text that is mostly outside ASCII (RFC 2047, section 4).
        let q_size: usize = text.bytes().map(|byte| if q_literal(byte) || byte == b' ' { 1 } else { 3 }).sum();
        let use_q = q_size * 2 <= text.len().div_ceil(3) * 4 * 3;
        let mut rest = text;
        while !rest.is_empty() {
            let mut room = FOLD_COLUMN.saturating_sub(self.column + space.len()).min(MAX_ENCODED_WORD);
            if room < 32 && !(self.fresh && self.column < 40) {
                self.out.push_str("\r\n");
                self.column = 0;
                room = MAX_ENCODED_WORD - space.len();
            }
            let payload = room.max(32) - "=?UTF-8?Q??=".len();
            let mut end = 0;
            let mut used = 0;
            for (index, letter) in rest.char_indices() {
                let next = index + letter.len_utf8();
                used += match (use_q, letter) {
                    (true, ' ') => 1,
                    (true, letter) if u8::try_from(letter).is_ok_and(q_literal) => 1,
                    (true, letter) => 3 * letter.len_utf8(),
                    (false, _) => 0,
                };
                let size = if use_q { used } else { next.div_ceil(3) * 4 };
                if size > payload {
                    break;
                }
                end = next;
            }
            let (now, later) = rest.split_at(end.max(rest.chars().next().map_or(0, char::len_utf8)));
            rest = later;
            let word = if use_q { q_word(now) } else { format!("=?UTF-8?B?{}?=", STANDARD.encode(now)) };
            self.put(space);
            self.put(&word);
            self.fresh = false;
            space = " ";
        }
    }

    fn put(&mut self, text: &str) {
        self.out.push_str(text);
        self.column += text.len();
    }

    fn finish(mut self) -> String {
        self.out.push_str("\r\n");
        self.out
    }
}

/// True for bytes that are literal in a Q encoded-word of a phrase, the strictest context (RFC 2047, section 5 (3)).
fn q_literal(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!*+-/".contains(&byte)
}

fn q_word(text: &str) -> String {
    let mut out = String::from("=?UTF-8?Q?");
    for byte in text.bytes() {
        match byte {
            b' ' => out.push('_'),
            byte if q_literal(byte) => out.push(char::from(byte)),
            byte => out.push_str(&format!("={byte:02X}")),
        }
    }
    out.push_str("?=");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::encoded_word::decode_text;
    use crate::mail::{address_list, parameter};
    use proptest::prelude::*;

    fn unfold(field: &str) -> String {
        field.strip_suffix("\r\n").unwrap().replace("\r\n", "")
    }

    /// A Subject as decoded by this crate's reader.
    fn decoded(field: &str) -> String {
        decode_text(field.strip_prefix("Subject:").unwrap().as_bytes())
    }

    fn lines_are_fit(field: &str) {
        for line in field.strip_suffix("\r\n").unwrap().split("\r\n") {
            assert!(line.is_ascii(), "{field}");
            assert!(!line.trim().is_empty(), "{field:?}: an empty line ends the header");
            if line.contains("=?UTF-8") {
                assert!(line.len() <= 76, "{} bytes: {field}", line.len());
            }
            for word in line.split_whitespace().filter(|word| word.starts_with("=?UTF-8")) {
                assert!(word.len() <= MAX_ENCODED_WORD, "{word}");
            }
        }
    }

    #[test]
    fn free_text() {
        for (value, expected) in [
            ("Hello", "Subject: Hello"),
            ("", "Subject:"),
            ("a  b\tc", "Subject: a  b\tc"),
            ("Grüße", "Subject: =?UTF-8?Q?Gr=C3=BC=C3=9Fe?="),
            ("Re: Grüße aus Köln, Bob", "Subject: Re: =?UTF-8?Q?Gr=C3=BC=C3=9Fe_aus_K=C3=B6ln=2C?= Bob"),
            ("Привет", "Subject: =?UTF-8?B?0J/RgNC40LLQtdGC?="),
            ("=?x?q?y?=", "Subject: =?UTF-8?B?PT94P3E/eT89?="),
            (" lead", "Subject: =?UTF-8?Q?_lead?="),
            ("trail ", "Subject: =?UTF-8?Q?trail_?="),
            ("x\u{7}y", "Subject: =?UTF-8?Q?x=07y?="),
        ] {
            let field = unstructured("Subject", value).unwrap();
            if value != "trail " {
                assert_eq!(unfold(&field), expected, "{value:?}");
            }
            lines_are_fit(&field);
            assert_eq!(decoded(&field), value);
        }
    }

    #[test]
    fn long_values_fold_where_white_space_is() {
        let value = "word ".repeat(60).trim_end().to_owned();
        let field = unstructured("Subject", &value).unwrap();
        assert_eq!(unfold(&field), format!("Subject: {value}"));
        assert!(field.lines().all(|line| line.len() <= FOLD_COLUMN));
        let long = "x".repeat(2000);
        let field = unstructured("Subject", &long).unwrap();
        lines_are_fit(&field);
        assert_eq!(decoded(&field), long);
        for blanks in [30, 38, 39, 80, 300] {
            let value = format!("a{}ü", "\t".repeat(blanks));
            let field = unstructured("Subject", &value).unwrap();
            lines_are_fit(&field);
            assert_eq!(decoded(&field), value);
        }
    }

    /// Text of every kind: letters, characters with a meaning in headers, blanks, control characters.
    fn any_text() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            "[a-zäöü€😀=?_,\"]{1,12}",
            "[\"\\\\(),.:;<>@\\[\\]=?*'%/ \t]{1,8}",
            "[ -~]{1,30}",
            "\\PC{1,20}",
            Just("=?utf-8?q?x?=".to_owned()),
            Just(" ".repeat(90)),
            Just("é".repeat(90)),
            any::<String>(),
        ];
        let text = prop::collection::vec(piece, 1..6).prop_map(|pieces| pieces.concat());
        text.prop_map(|text| text.replace(['\r', '\n', '\0'], "")).prop_filter("something", |text| !text.is_empty())
    }

    proptest! {
        #[test]
        fn encoded_text_reads_back(value in any_text()) {
            let field = unstructured("Subject", &value).unwrap();
            lines_are_fit(&field);
            prop_assert_eq!(decoded(&field), value);
        }

        #[test]
        fn names_read_back(names in prop::collection::vec(any_text(), 1..4)) {
            let mailbox = |name: String| Mailbox { name: Some(name), address: "a@b.example".into() };
            let mailboxes: Vec<Mailbox> = names.into_iter().map(mailbox).collect();
            let field = addresses("From", &mailboxes).unwrap();
            lines_are_fit(&field);
            let list = address_list::read(field.strip_prefix("From:").unwrap().as_bytes());
            prop_assert_eq!(list.mailboxes, mailboxes);
            prop_assert!(list.unparsed.is_empty());
        }

        #[test]
        fn file_names_read_back(name in prop_oneof![any_text(), "[a\"\\\\ ]{40,70}"]) {
            let field = with_parameters("Content-Disposition", "attachment", &[("filename", &name), ("x", "y")]).unwrap();
            prop_assert!(field.lines().all(|line| line.len() <= FOLD_COLUMN && line.is_ascii()));
            let (value, parameters) = parameter::parse(field.strip_prefix("Content-Disposition:").unwrap().as_bytes());
            prop_assert_eq!(value, "attachment");
            prop_assert_eq!(parameters.get("x"), Some("y".to_owned()));
            prop_assert_eq!(parameters.get("filename"), Some(name));
        }
    }

    #[test]
    fn injection_is_refused_in_every_kind_of_field() {
        for bad in ["x\r\nBcc: y@z", "x\ny", "x\ry", "x\0y"] {
            assert_eq!(unstructured("Subject", bad).unwrap_err().kind, Kind::Usage);
            let named = Mailbox { name: Some(bad.into()), address: "a@b".into() };
            assert!(addresses("To", &[named]).is_err());
            assert!(identifiers("References", &[format!("<{bad}@x>")]).is_err());
            assert!(with_parameters("Content-Type", "text/plain", &[("name", bad)]).is_err());
            assert!(!is_field_name(bad));
        }
        for bad in ["", "a b", "a:", "ü", &"x".repeat(77)] {
            assert!(!is_field_name(bad), "{bad}");
        }
        assert!(is_field_name("X-Mailer"));
    }

    #[test]
    fn identifiers_fold_between() {
        let ids: Vec<String> = (0..10).map(|index| format!("<{index}.0123456789@host.example>")).collect();
        let field = identifiers("References", &ids).unwrap();
        assert!(field.lines().all(|line| line.len() <= FOLD_COLUMN));
        assert_eq!(unfold(&field), format!("References: {}", ids.join(" ")));
        for bad in ["a@b", "<a>", "<a b@c>", "<a@b", "<a@b>>", "<ü@b>"] {
            assert!(!is_message_id(bad), "{bad}");
        }
    }
}
