//! Message templates: `{{field}}` stands for a value from the row for one message. The text is parsed before any value
//! is known, and values are inserted into the parsed parts. So a value is never read as syntax: not as an address list,
//! not as a header, not as HTML, not as another field.

use super::address::{self, Mailbox};
use super::compose::{Attachment, Draft, MAX_BODY_BYTES};
use super::header;
use crate::fault::{Fault, Kind};
use crate::smtp::address::Address;

/// The maximum number of different fields in a template.
pub const MAX_FIELDS: usize = 10_000;
/// The maximum length of a field name in bytes.
pub const MAX_NAME_BYTES: usize = 256;

/// The fields of a template. In the parsed text, a mark replaces each field: letters and digits that occur nowhere
/// else, and that an address parser takes for a name.
#[derive(Debug, Clone)]
pub struct Fields {
    mark: String,
    names: Vec<String>,
}

/// The context in which a value is inserted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TemplatePart {
    Text,
    Html,
}

/// The values of one row, in the order of [`Fields::names`].
#[derive(Debug, Clone, Copy)]
pub struct Values<'a>(pub &'a [String]);

impl Fields {
    /// Starts without fields. `unique` must be letters and digits that nobody can guess.
    pub fn new(unique: &str) -> Fields {
        Fields { mark: format!("field{unique}n"), names: Vec::new() }
    }

    /// The names, each once, in the order of their first use.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Replaces each `{{name}}` in a text with a mark; `\{{` stands for two braces.
    ///
    /// # Errors
    /// [`Kind::BadData`] for braces without a valid field name.
    pub fn mark(&mut self, text: &str) -> Result<String, Fault> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = memchr::memmem::find(rest.as_bytes(), b"{{") {
            let (before, braces) = rest.split_at(at);
            rest = braces.get(2..).unwrap_or_default();
            if let Some(before) = before.strip_suffix('\\') {
                out.push_str(before);
                out.push_str("{{");
                continue;
            }
            out.push_str(before);
            let (name, behind) = rest.split_once("}}").ok_or_else(|| bad(format!("{{{{{}: no }}}}", excerpt(rest))))?;
            let name = name.trim();
            if name.is_empty() || name.len() > MAX_NAME_BYTES || name.contains(['{', '}', '\r', '\n', '\0']) {
                return Err(bad(format!("{{{{{}}}}}: not the name of a field", excerpt(name))));
            }
            out.push_str(&self.mark_of(name)?);
            rest = behind;
        }
        out.push_str(rest);
        Ok(out)
    }

    fn mark_of(&mut self, name: &str) -> Result<String, Fault> {
        let known = self.names.iter().position(|known| known == name);
        let index = known.unwrap_or(self.names.len());
        if known.is_none() {
            if index >= MAX_FIELDS {
                return Err(bad(format!("more than {MAX_FIELDS} fields")));
            }
            self.names.push(name.to_owned());
        }
        Ok(format!("{}{index}x", self.mark))
    }

    /// The fields in this text, as indices into the names.
    pub fn used_in(&self, text: &str) -> Vec<usize> {
        let marked = text.split(self.mark.as_str()).skip(1);
        marked.filter_map(|rest| rest.split_once('x')?.0.parse().ok()).collect()
    }

    /// True if this text contains a field.
    pub fn is_in(&self, text: &str) -> bool {
        text.contains(&self.mark)
    }

    /// The text with its values inserted.
    pub fn fill(&self, text: &str, values: Values<'_>) -> String {
        self.put(text, values, TemplatePart::Text)
    }

    fn put(&self, text: &str, values: Values<'_>, place: TemplatePart) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, marked)) = rest.split_once(self.mark.as_str()) {
            out.push_str(before);
            let (index, behind) = marked.split_once('x').unwrap_or((marked, ""));
            let value = index.parse().ok().and_then(|index: usize| values.0.get(index)).map_or("", String::as_str);
            match place {
                TemplatePart::Text => out.push_str(value),
                TemplatePart::Html => escape(value, &mut out),
            }
            rest = behind;
        }
        out.push_str(rest);
        out
    }

    /// The text with its values inserted, where a line end in a value would break the syntax.
    fn line(&self, what: &str, text: &str, values: Values<'_>) -> Result<String, Fault> {
        let filled = self.fill(text, values);
        header::check_value(what, &filled).map_err(row_fault)?;
        Ok(filled)
    }

    fn mailbox(&self, what: &str, mailbox: &Mailbox, values: Values<'_>) -> Result<Option<Mailbox>, Fault> {
        let name = match &mailbox.name {
            Some(name) => Some(self.line(what, name, values)?.trim().to_owned()).filter(|name| !name.is_empty()),
            None => None,
        };
        if !self.is_in(mailbox.address.as_str()) {
            return Ok(Some(Mailbox { name, address: mailbox.address.clone() }));
        }
        let address = self.line(what, mailbox.address.as_str(), values)?.trim().to_owned();
        if address.is_empty() {
            return Ok(None);
        }
        // Exactly one address, whatever the row contains.
        let parsed = Address::parse_lenient(&address);
        let address = parsed.map_err(|error| row_fault(address::no_address(&address, error).context(what)))?;
        Ok(Some(Mailbox { name, address }))
    }

    fn mailboxes(&self, what: &str, list: &[Mailbox], values: Values<'_>) -> Result<Vec<Mailbox>, Fault> {
        let filled = list.iter().map(|mailbox| self.mailbox(what, mailbox, values));
        Ok(filled.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
    }

    /// Fills a draft with the values of one row in place of its marks. Attachments keep their bytes.
    ///
    /// # Errors
    /// [`Kind::BadData`] for a value that is not allowed in its position.
    pub fn fill_draft(&self, draft: &Draft, values: Values<'_>) -> Result<Draft, Fault> {
        let one = |what: &str, mailbox: &Option<Mailbox>| -> Result<Option<Mailbox>, Fault> {
            match mailbox {
                Some(mailbox) => self.mailbox(what, mailbox, values),
                None => Ok(None),
            }
        };
        let lines = |what: &str, texts: &[String]| -> Result<Vec<String>, Fault> {
            texts.iter().map(|text| self.line(what, text, values)).collect()
        };
        let body = |text: &Option<Vec<u8>>, place: TemplatePart| -> Result<Option<Vec<u8>>, Fault> {
            let Some(bytes) = text else { return Ok(None) };
            // Without fields it may be in any charset.
            let Ok(text) = str::from_utf8(bytes) else { return Ok(Some(bytes.clone())) };
            let filled = self.put(text, values, place);
            if filled.len() > MAX_BODY_BYTES {
                return Err(bad(format!("body: larger than {MAX_BODY_BYTES} bytes with its values")));
            }
            Ok(Some(filled.into_bytes()))
        };
        let files = |files: &[Attachment]| -> Result<Vec<Attachment>, Fault> {
            let one = |file: &Attachment| -> Result<Attachment, Fault> {
                let name = file.name.as_deref().map(|name| self.line("name", name, values)).transpose()?;
                Ok(Attachment { name, ..file.clone() })
            };
            files.iter().map(one).collect()
        };
        let mut headers = Vec::with_capacity(draft.headers.len());
        for (name, value) in &draft.headers {
            headers.push((name.clone(), self.line(name, value, values)?));
        }
        Ok(Draft {
            from: one("From", &draft.from)?,
            sender: one("Sender", &draft.sender)?,
            to: self.mailboxes("To", &draft.to, values)?,
            cc: self.mailboxes("Cc", &draft.cc, values)?,
            bcc: self.mailboxes("Bcc", &draft.bcc, values)?,
            reply_to: self.mailboxes("Reply-To", &draft.reply_to, values)?,
            subject: draft.subject.as_deref().map(|text| self.line("Subject", text, values)).transpose()?,
            headers,
            text: body(&draft.text, TemplatePart::Text)?,
            html: body(&draft.html, TemplatePart::Html)?,
            attachments: files(&draft.attachments)?,
            inline: files(&draft.inline)?,
            in_reply_to: lines("In-Reply-To", &draft.in_reply_to)?,
            references: lines("References", &draft.references)?,
            date: draft.date.clone(),
            message_id: draft.message_id.clone(),
            unique: draft.unique.clone(),
        })
    }
}

fn escape(value: &str, out: &mut String) {
    for letter in value.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            letter => out.push(letter),
        }
    }
}

fn excerpt(text: &str) -> String {
    text.chars().take(40).collect()
}

fn bad(detail: String) -> Fault {
    Fault::new(Kind::BadData, detail)
}

/// An invalid value in a row is bad data, not a bad command line.
fn row_fault(fault: Fault) -> Fault {
    Fault { kind: Kind::BadData, ..fault }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> Fields {
        Fields::new("0123456789abcdef")
    }

    fn values(values: &[&str]) -> Vec<String> {
        values.iter().map(|value| (*value).to_owned()).collect()
    }

    #[test]
    fn fields_are_found_and_filled() {
        for (text, names, filled) in [
            ("", "", Ok("")),
            ("no fields", "", Ok("no fields")),
            ("{{a}}", "a", Ok("1")),
            ("Hello {{ a }} and {{b c}}, {{a}}!", "a,b c", Ok("Hello 1 and 2, 1!")),
            ("\\{{a}} {{b}}", "b", Ok("{{a}} 1")),
            ("{ {a} }", "", Ok("{ {a} }")),
            ("{{{a}}}", "", Err(())),
            ("{{a", "", Err(())),
            ("{{}}", "", Err(())),
            ("{{ \n }}", "", Err(())),
            ("{{a\nb}}", "", Err(())),
            ("ü{{ß}}ü", "ß", Ok("ü1ü")),
            ("a}}b", "", Ok("a}}b")),
        ] {
            let mut fields = fields();
            let marked = fields.mark(text);
            assert_eq!(marked.is_ok(), filled.is_ok(), "{text}");
            let (Ok(marked), Ok(filled)) = (marked, filled) else { continue };
            assert_eq!(fields.names().join(","), names, "{text}");
            assert!(fields.used_in(&marked).iter().all(|index| *index < fields.names().len()));
            assert_eq!(fields.used_in(&marked).is_empty(), names.is_empty(), "{text}");
            assert_eq!(fields.fill(&marked, Values(&values(&["1", "2"]))), filled, "{text}");
        }
    }

    #[test]
    fn a_value_is_never_read_again() {
        let mut fields = fields();
        let marked = fields.mark("{{a}}{{b}}").unwrap();
        assert_eq!(fields.fill(&marked, Values(&values(&["{{b}}", "\\{{a}}"]))), "{{b}}\\{{a}}");
        let twelve: Vec<String> = (0..12).map(|number| format!("<{number}>")).collect();
        let text: String = (0..12).map(|number| format!("{{{{f{number}}}}}")).collect();
        let mut fields = self::fields();
        let marked = fields.mark(&text).unwrap();
        assert_eq!(fields.fill(&marked, Values(&twelve)), twelve.concat());
    }

    /// A draft with a field in every part, filled with one value everywhere.
    fn everywhere(value: &str) -> Result<Draft, Fault> {
        let mut fields = fields();
        let mut mark = |text: &str| fields.mark(text).unwrap();
        let list = address::parse_list(&mark("{{v}} <fixed@a.test>, {{v}}@a.test")).unwrap();
        let draft = Draft {
            from: Some(Mailbox::parse(&mark("\"{{v}} x\" <from@a.test>")).unwrap()),
            to: list.clone(),
            cc: list,
            subject: Some(mark("s {{v}}")),
            headers: vec![("X-A".into(), mark("h {{v}}"))],
            text: Some(mark("t {{v}}").into_bytes()),
            html: Some(mark("<p>{{v}}</p>").into_bytes()),
            date: "Mon, 23 Nov 2026 05:00:00 +0000".into(),
            message_id: "<x@a.test>".into(),
            unique: "u".into(),
            ..Draft::default()
        };
        fields.fill_draft(&draft, Values(&values(&[value])))
    }

    #[test]
    fn values_come_to_their_places() {
        let draft = everywhere("Ann").unwrap();
        let shown: Vec<String> =
            draft.to.iter().map(|it| format!("{}|{}", it.name.as_deref().unwrap_or("-"), it.address)).collect();
        assert_eq!(shown, ["Ann|fixed@a.test", "-|Ann@a.test"]);
        assert_eq!(draft.from.unwrap().name.as_deref(), Some("Ann x"));
        assert_eq!(draft.subject.as_deref(), Some("s Ann"));
        assert_eq!((draft.text.unwrap(), draft.html.unwrap()), (b"t Ann".to_vec(), b"<p>Ann</p>".to_vec()));
    }

    #[test]
    fn nothing_is_injected() {
        // A value that an address cannot hold spoils the row; nothing of it becomes an address, a header or HTML.
        for value in [
            "x\r\nBcc: eve@evil.test",
            "x\nRCPT TO:<eve@evil.test>",
            "x\r",
            "x\0",
            "eve@evil.test,x",
            "eve@evil.test>, <x",
            "x, eve@evil.test",
            "x;y",
            "\"x",
            "a b",
            "(comment)",
            "group: x",
            "<x",
        ] {
            let fault = everywhere(value).unwrap_err();
            assert_eq!(fault.kind, Kind::BadData, "{value:?}: {fault}");
        }
        let mut fields = fields();
        let to = address::parse_list(&fields.mark("{{name}} <{{to}}>").unwrap()).unwrap();
        let html = Some(fields.mark("<a title=\"{{name}}\">{{name}}</a>").unwrap().into_bytes());
        let draft = Draft { to, html, ..Draft::default() };
        let name = "\"Eve\" <eve@evil.test>, '&";
        let filled = fields.fill_draft(&draft, Values(&values(&[name, "x@a.test"]))).unwrap();
        assert_eq!(filled.to, [Mailbox { name: Some(name.into()), address: "x@a.test".into() }]);
        let header = header::addresses("To", &filled.to).unwrap();
        assert_eq!(address::parse_list(header.trim_start_matches("To:").trim()).unwrap().len(), 1, "{header}");
        let escaped = "&quot;Eve&quot; &lt;eve@evil.test&gt;, &#39;&amp;";
        assert_eq!(filled.html.unwrap(), format!("<a title=\"{escaped}\">{escaped}</a>").into_bytes());
        // An empty address is no recipient.
        assert!(fields.fill_draft(&draft, Values(&values(&["n", " "]))).unwrap().to.is_empty());
    }
}
