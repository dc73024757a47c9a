//! The words of an alias line: the key, the items between commas, and the words of a command.

/// The longest command line.
const MAX_COMMAND: usize = 4096;

/// The key of a line and the text of the targets. A key with a domain may end with a blank, as in
/// virtual(5); every other key ends with a colon.
pub(super) fn key(line: &str) -> Result<(&str, &str), String> {
    let end = match line.strip_prefix('"') {
        Some(rest) => 1 + closing_quote(rest).ok_or("a quote without its end")? + 1,
        None => 0,
    };
    let rest = line.get(end..).unwrap_or_default();
    // The colons of an address literal belong to the key.
    let literal = rest.find('[').filter(|at| rest.get(..*at).is_some_and(|before| before.ends_with('@')));
    let literal = literal.and_then(|at| rest.get(at..)?.find(']').map(|length| at + length)).unwrap_or(0);
    let behind = rest.get(literal..).unwrap_or_default();
    let length = end + literal + behind.find([':', ' ', '\t']).unwrap_or(behind.len());
    let (key, rest) = line.split_at_checked(length).unwrap_or((line, ""));
    let rest = rest.trim_start();
    if key.is_empty() {
        return Err("no name before the colon".to_owned());
    }
    match rest.strip_prefix(':') {
        Some(targets) => Ok((key, targets)),
        None if key.contains('@') && !rest.is_empty() => Ok((key, rest)),
        None if key.contains('@') => Err(format!("{key}: no target")),
        None => Err(format!("{key}: no colon after the name")),
    }
}

/// The items between commas, outside quotes and without surrounding blanks; quotes around a whole item are removed. Empty items are
/// skipped.
pub(super) fn items(text: &str) -> impl Iterator<Item = Result<String, &'static str>> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        loop {
            let text = rest?;
            let Some(end) = item_end(text) else {
                rest = None;
                return Some(Err("a quote without its end"));
            };
            let item = text.get(..end).unwrap_or_default().trim();
            rest = text.get(end + 1..);
            if !item.is_empty() {
                return Some(Ok(plain(item)));
            }
        }
    })
}

/// The position of the comma after the first item, or of the end. `None` if a quote has no end.
fn item_end(text: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = quoted,
            b'"' => quoted = !quoted,
            b',' if !quoted => return Some(at),
            _ => {}
        }
    }
    (!quoted).then_some(text.len())
}

/// An item without the quotes around all of it: `"|command"`, `|"command"`, `"/file"`, `":include:/file"`.
fn plain(item: &str) -> String {
    let (mark, quoted) = match item.strip_prefix('|') {
        Some(command) => ("|", command.trim()),
        None => ("", item),
    };
    let whole = quoted.strip_prefix('"').and_then(closing_quote).is_some_and(|end| end + 2 == quoted.len());
    let special = mark == "|" || quoted.get(1..).is_some_and(|inner| inner.starts_with(['|', '/', ':', '\\']));
    if whole && special { format!("{mark}{}", unescaped(quoted)) } else { item.to_owned() }
}

/// The position of the quote that ends a quoted text, whose first quote was removed.
fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let end = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        end
    })
}

/// The content of a quoted text.
fn unescaped(quoted: &str) -> String {
    let inner = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default();
    let (mut text, mut escaped) = (String::new(), false);
    for letter in inner.chars() {
        escaped = letter == '\\' && !escaped;
        if !escaped {
            text.push(letter);
        }
    }
    text
}

/// The words of a command: separated by blanks, quoted by `'…'` or `"…"`; no shell reads them. The first one is an absolute path.
///
/// # Errors
/// The reason why the text is no command.
pub fn command(text: &str) -> Result<Vec<String>, &'static str> {
    if text.len() > MAX_COMMAND {
        return Err("the command is too long");
    }
    let (mut words, mut word, mut quote, mut escaped) = (Vec::new(), None::<String>, None, false);
    for letter in text.chars() {
        match (quote, letter) {
            _ if escaped => {
                word.get_or_insert_default().push(letter);
                escaped = false;
            }
            (Some('"') | None, '\\') => escaped = true,
            (Some(open), _) if letter == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None, ' ' | '\t') => words.extend(word.take()),
            _ => word.get_or_insert_default().push(letter),
        }
    }
    if quote.is_some() || escaped {
        return Err("a quote without its end");
    }
    words.extend(word);
    match words.first() {
        Some(program) if program.starts_with('/') => Ok(words),
        Some(_) => Err("the program needs an absolute path"),
        None => Err("no command"),
    }
}
