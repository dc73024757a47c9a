//! Converts HTML to readable text, for a mail reader without HTML. No layout, no scripts, nothing is fetched.

/// The column at which the text is wrapped.
const COLUMNS: usize = 76;
/// The maximum length of a tag or entity in bytes; the `<` or `&` of a longer one is text.
const MAX_TAG_BYTES: usize = 16 * 1024;
/// The maximum depth of nested quotations in the output.
const MAX_QUOTE_DEPTH: usize = 20;

/// Converts HTML to plain text.
pub fn to_text(html: &str) -> String {
    let mut page = Page::default();
    let mut rest = html;
    // Behind a tag that never ends, tags are not looked for again at once: that would be quadratic.
    let mut tags_from = html.len();
    while !rest.is_empty() {
        let special = rest.find(['<', '&']).unwrap_or(rest.len());
        let (text, tail) = rest.split_at(special);
        page.text(text);
        rest = tail;
        if let Some(tail) = rest.strip_prefix("<!--") {
            rest = tail.split_once("-->").map_or("", |(_, after)| after);
            continue;
        }
        if rest.len() <= tags_from && looks_like_tag(rest) {
            if let Some((tag, after)) = tag(rest) {
                rest = after;
                let name = tag.name();
                if matches!(name.as_str(), "script" | "style" | "head" | "title" | "template") && !tag.closing() {
                    rest = skip_element(rest, &name);
                } else {
                    page.tag(&tag, &name);
                }
                continue;
            }
            tags_from = rest.len().saturating_sub(MAX_TAG_BYTES);
        }
        if let Some((letter, after)) = entity(rest) {
            page.text(&letter);
            rest = after;
        } else if let Some(first) = rest.chars().next() {
            // A lone "<" or "&" is text.
            page.text(rest.get(..first.len_utf8()).unwrap_or_default());
            rest = rest.get(first.len_utf8()..).unwrap_or_default();
        }
    }
    page.finish()
}

/// The targets of the links in HTML, in their order: `href` of `a` and `area`.
pub fn links(html: &str) -> Vec<String> {
    let mut links = Vec::new();
    let mut rest = html;
    // As in `to_text`: a tag that never ends must not be looked at again and again.
    let mut tags_from = html.len();
    while let Some(at) = rest.find('<') {
        rest = rest.get(at..).unwrap_or_default();
        if let Some(tail) = rest.strip_prefix("<!--") {
            rest = tail.split_once("-->").map_or("", |(_, after)| after);
            continue;
        }
        let found = if rest.len() <= tags_from && looks_like_tag(rest) { tag(rest) } else { None };
        if let Some((tag, after)) = found {
            let name = tag.name();
            rest = match name.as_str() {
                "script" | "style" if !tag.closing() => skip_element(after, &name),
                _ => after,
            };
            if matches!(name.as_str(), "a" | "area") && !tag.closing() {
                links.extend(tag.attribute("href"));
            }
        } else {
            if rest.len() <= tags_from && looks_like_tag(rest) {
                tags_from = rest.len().saturating_sub(MAX_TAG_BYTES);
            }
            rest = rest.get(1..).unwrap_or_default();
        }
    }
    links
}

/// The text inside `<…>`.
struct Tag<'a>(&'a str);

impl Tag<'_> {
    fn closing(&self) -> bool {
        self.0.starts_with('/')
    }

    fn name(&self) -> String {
        let name = self.0.trim_start_matches('/');
        name.split(|letter: char| !letter.is_ascii_alphanumeric()).next().unwrap_or_default().to_ascii_lowercase()
    }

    fn attribute(&self, wanted: &str) -> Option<String> {
        let mut rest = self.0.split_once(char::is_whitespace)?.1;
        loop {
            rest = rest.trim_start_matches(|letter: char| letter.is_whitespace() || letter == '/');
            if rest.is_empty() {
                return None;
            }
            let end = rest.find(|letter: char| letter.is_whitespace() || letter == '=').unwrap_or(rest.len());
            let (key, tail) = rest.split_at(end);
            let tail = tail.trim_start();
            let Some(tail) = tail.strip_prefix('=') else {
                // An attribute without a value; at least one character goes, so this ends.
                rest = if end == 0 { tail.get(1..).unwrap_or_default() } else { tail };
                continue;
            };
            let tail = tail.trim_start();
            let quote = tail.chars().next().filter(|letter| matches!(letter, '"' | '\''));
            let (value, tail) = match quote {
                Some(quote) => tail.get(1..).unwrap_or_default().split_once(quote).unwrap_or((tail, "")),
                None => tail.split_at(tail.find(char::is_whitespace).unwrap_or(tail.len())),
            };
            if key.eq_ignore_ascii_case(wanted) {
                return Some(unescape(value));
            }
            rest = tail;
        }
    }
}

fn looks_like_tag(text: &str) -> bool {
    let inner = text.strip_prefix('<').unwrap_or_default();
    inner.starts_with(|letter: char| letter.is_ascii_alphabetic() || matches!(letter, '/' | '!' | '?'))
}

fn tag(text: &str) -> Option<(Tag<'_>, &str)> {
    let inner = text.strip_prefix('<')?;
    let mut quote = None;
    for (index, byte) in inner.bytes().enumerate().take(MAX_TAG_BYTES) {
        match (quote, byte) {
            (None, b'>') => return Some((Tag(inner.get(..index)?), inner.get(index + 1..)?)),
            (None, b'"' | b'\'') => quote = Some(byte),
            (Some(open), byte) if open == byte => quote = None,
            _ => {}
        }
    }
    None
}

/// The rest of the text after the end tag of an element whose content is not text.
fn skip_element<'a>(text: &'a str, name: &str) -> &'a str {
    let mut rest = text;
    while let Some(at) = rest.find("</") {
        let tail = rest.get(at + 2..).unwrap_or_default();
        if tail.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)) {
            return tail.split_once('>').map_or("", |(_, after)| after);
        }
        rest = tail;
    }
    ""
}

fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        let (before, tail) = rest.split_at(at);
        out.push_str(before);
        match entity(tail) {
            Some((letter, after)) => {
                out.push_str(&letter);
                rest = after;
            }
            None => {
                out.push('&');
                rest = tail.get(1..).unwrap_or_default();
            }
        }
    }
    out.push_str(rest);
    out
}

fn entity(text: &str) -> Option<(String, &str)> {
    let inner = text.strip_prefix('&')?;
    let end = inner.bytes().take(32).position(|byte| byte == b';')?;
    let (name, after) = (inner.get(..end)?, inner.get(end + 1..)?);
    let letter = match name.strip_prefix('#') {
        Some(number) => {
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code).filter(|letter| !letter.is_control() || *letter == '\n').unwrap_or('\u{fffd}')
        }
        None => NAMED.iter().find(|(known, _)| *known == name)?.1,
    };
    Some((letter.to_string(), after))
}

/// The entities common in mail; others stay unchanged.
const NAMED: &[(&str, char)] = &[
    ("amp", '&'),
    ("lt", '<'),
    ("gt", '>'),
    ("quot", '"'),
    ("apos", '\''),
    ("nbsp", '\u{a0}'),
    ("auml", 'ä'),
    ("ouml", 'ö'),
    ("uuml", 'ü'),
    ("Auml", 'Ä'),
    ("Ouml", 'Ö'),
    ("Uuml", 'Ü'),
    ("szlig", 'ß'),
    ("eacute", 'é'),
    ("egrave", 'è'),
    ("agrave", 'à'),
    ("aacute", 'á'),
    ("ccedil", 'ç'),
    ("ntilde", 'ñ'),
    ("oacute", 'ó'),
    ("iacute", 'í'),
    ("uacute", 'ú'),
    ("euro", '€'),
    ("pound", '£'),
    ("yen", '¥'),
    ("sect", '§'),
    ("copy", '©'),
    ("reg", '®'),
    ("trade", '™'),
    ("deg", '°'),
    ("middot", '·'),
    ("bull", '•'),
    ("hellip", '…'),
    ("ndash", '–'),
    ("mdash", '—'),
    ("lsquo", '‘'),
    ("rsquo", '’'),
    ("ldquo", '“'),
    ("rdquo", '”'),
    ("laquo", '«'),
    ("raquo", '»'),
    ("times", '×'),
    ("rarr", '→'),
    ("larr", '←'),
    ("shy", '\u{ad}'),
    ("zwnj", '\u{200c}'),
];

/// The text output so far.
#[derive(Default)]
struct Page {
    out: String,
    line: String,
    word: String,
    /// White space must precede the next word.
    space: bool,
    /// The number of empty lines before the next line.
    gap: usize,
    quote: usize,
    preformatted: usize,
    /// One entry per open list: the number of the next item, 0 for lists without numbers.
    lists: Vec<u32>,
    /// One entry per open link: its address, and the start of its text.
    links: Vec<(String, usize)>,
    /// The prefix of the next line: a list's mark.
    mark: String,
}

impl Page {
    fn text(&mut self, text: &str) {
        for letter in text.chars() {
            match letter {
                '\u{ad}' | '\u{200c}' => {}
                '\n' if self.preformatted > 0 => self.end_line(),
                '\u{a0}' => self.word.push(' '),
                ' ' | '\t' if self.preformatted > 0 => self.word.push(letter),
                letter if letter.is_ascii_whitespace() => {
                    self.end_word();
                    self.space = true;
                }
                letter => self.word.push(letter),
            }
        }
    }

    fn tag(&mut self, tag: &Tag<'_>, name: &str) {
        let open = !tag.closing();
        match name {
            "br" => {
                self.end_word();
                self.end_line();
            }
            "p" | "h1" | "h2" | "h3" | "h4" | "h5" | "h6" | "table" | "dl" => self.block(1),
            "div" | "tr" | "section" | "article" | "header" | "footer" | "dt" | "dd" | "form" | "center" => {
                self.block(0);
            }
            "td" | "th" => {
                self.end_word();
                self.space = true;
            }
            "ul" | "ol" => {
                self.block(usize::from(self.lists.is_empty() || (!open && self.lists.len() == 1)));
                if !open {
                    self.lists.pop();
                } else if self.lists.len() < MAX_QUOTE_DEPTH {
                    self.lists.push(u32::from(name == "ol"));
                }
            }
            "li" if open => {
                self.block(0);
                let indent = "  ".repeat(self.lists.len().saturating_sub(1));
                self.mark = match self.lists.last_mut() {
                    Some(number) if *number > 0 => {
                        *number += 1;
                        format!("{indent}{}. ", *number - 1)
                    }
                    _ => format!("{indent}* "),
                };
            }
            "blockquote" => {
                self.block(1);
                self.quote = if open { (self.quote + 1).min(MAX_QUOTE_DEPTH) } else { self.quote.saturating_sub(1) };
            }
            "pre" => {
                self.block(1);
                self.preformatted = if open { self.preformatted + 1 } else { self.preformatted.saturating_sub(1) };
            }
            "hr" if open => {
                self.block(0);
                self.word.push_str(&"-".repeat(20));
                self.block(0);
            }
            "img" if open => {
                if let Some(text) = tag.attribute("alt").filter(|text| !text.trim().is_empty()) {
                    self.text(&format!("[{}]", text.trim()));
                }
            }
            "a" if open => {
                let address = tag.attribute("href").unwrap_or_default();
                if self.links.len() < MAX_QUOTE_DEPTH {
                    self.links.push((address, self.written()));
                }
            }
            "a" => {
                if let Some((address, start)) = self.links.pop() {
                    let shown = self.since(start);
                    let plain = address.strip_prefix("mailto:").unwrap_or(&address);
                    let wanted = ["http:", "https:", "mailto:", "ftp:"].iter().any(|kind| address.starts_with(kind));
                    if wanted && shown.trim().trim_end_matches('/') != plain.trim_end_matches('/') {
                        self.end_word();
                        self.space = true;
                        self.text(&format!("<{}>", plain.replace(char::is_whitespace, "")));
                    }
                }
            }
            _ => {}
        }
    }

    fn written(&self) -> usize {
        self.out.len() + self.line.len() + self.word.len()
    }

    /// The text since that position, exact enough to compare a link's text with its address.
    fn since(&self, start: usize) -> String {
        let all = format!("{}{}", self.line, self.word);
        all.get(start.saturating_sub(self.out.len()).min(all.len())..).unwrap_or_default().to_owned()
    }

    /// Ends the paragraph, with `gap` empty lines before the next one.
    fn block(&mut self, gap: usize) {
        self.end_word();
        if !self.line.is_empty() {
            self.end_line();
        }
        self.space = false;
        self.gap = self.gap.max(gap);
    }

    fn end_word(&mut self) {
        if self.word.is_empty() {
            return;
        }
        let word = std::mem::take(&mut self.word);
        let width = self.line.chars().count() + word.chars().count() + 1 + 2 * self.quote;
        if self.space && !self.line.is_empty() {
            if width > COLUMNS && self.preformatted == 0 {
                self.end_line();
            } else {
                self.line.push(' ');
            }
        }
        if self.line.is_empty() {
            self.line.push_str(&std::mem::take(&mut self.mark));
        }
        self.line.push_str(&word);
        self.space = false;
    }

    fn end_line(&mut self) {
        if self.preformatted > 0 {
            let word = std::mem::take(&mut self.word);
            self.line.push_str(&word);
        }
        if self.out.is_empty() && self.line.trim().is_empty() {
            self.line.clear();
            return;
        }
        let prefix = "> ".repeat(self.quote);
        for _ in 0..if self.out.is_empty() { 0 } else { self.gap } {
            self.out.push_str(prefix.trim_end());
            self.out.push('\n');
        }
        self.gap = 0;
        self.out.push_str(format!("{prefix}{}", self.line).trim_end());
        self.out.push('\n');
        self.line.clear();
        self.space = false;
    }

    fn finish(mut self) -> String {
        self.end_word();
        if !self.line.is_empty() {
            self.end_line();
        }
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_reader_sees() {
        for (html, expected) in [
            ("", ""),
            ("plain", "plain\n"),
            ("<p>One</p><p>Two</p>", "One\n\nTwo\n"),
            ("a<br>b<br/>c", "a\nb\nc\n"),
            ("<h1>Grüße</h1>\n<p>a  \n b</p>", "Grüße\n\na b\n"),
            ("x &amp; y &lt;z&gt; &#8364; &#x20AC; &uuml; &unknown; & co", "x & y <z> € € ü &unknown; & co\n"),
            ("<ul><li>one<li>two</ul>after", "* one\n* two\n\nafter\n"),
            ("<ol><li>a</li><li>b</li></ol>", "1. a\n2. b\n"),
            ("see <a href=\"https://x.example/\">our page</a>.", "see our page <https://x.example/>.\n"),
            ("<a href='https://x.example'>https://x.example</a>", "https://x.example\n"),
            ("<a href=\"mailto:a@b\">a@b</a>", "a@b\n"),
            ("<script>alert('<p>')</script><style>p{}</style>t<!-- c -->u", "tu\n"),
            ("<head><title>no</title></head><body>yes", "yes\n"),
            ("<blockquote>quoted<br>twice</blockquote>back", "> quoted\n> twice\n\nback\n"),
            ("<pre>a  b\n c</pre>", "a  b\n c\n"),
            ("<table><tr><td>1</td><td>2</td></tr><tr><td>3</td></tr></table>", "1 2\n3\n"),
            ("<img src=x alt=\"Logo\"> text", "[Logo] text\n"),
            ("1 < 2 and <3", "1 < 2 and <3\n"),
            ("<b>bo</b>ld", "bold\n"),
            ("open <a href=\"x", "open <a href=\"x\n"),
        ] {
            assert_eq!(to_text(html), expected, "{html}");
        }
    }

    #[test]
    fn long_paragraphs_are_wrapped() {
        let text = to_text(&format!("<p>{}</p>", "word ".repeat(100)));
        assert!(text.lines().count() > 5 && text.lines().all(|line| line.len() <= COLUMNS));
    }

    #[test]
    fn deep_nesting_ends() {
        for piece in ["<a \"", "<blockquote>", "<ul><li>", "<a href=x>", "<", "&", "<a ", "<!--", "<pre>\n", "</"] {
            let text = to_text(&piece.repeat(20_000));
            assert!(text.len() <= 20_000 * 50, "{piece}");
        }
    }
}
