//! `$GENERATE start-stop[/step] owner [ttl] [class] type data`: BIND's directive for many similar records in one line.

use crate::dns::record::words::ZoneWord;

/// The maximum width of a number.
const MAX_WIDTH: usize = 255;

/// A directive that is being expanded.
#[derive(Debug)]
pub(super) struct Generate {
    next: u64,
    stop: u64,
    step: u64,
    template: Vec<u8>,
}

impl Generate {
    pub(super) fn parse(words: &[ZoneWord<'_>]) -> Result<Generate, String> {
        let (range, rest) = words.split_first().ok_or("$GENERATE: range is missing")?;
        let text = range.str()?;
        let bad = || format!("$GENERATE: bad range {text:?}");
        let (range, step) = text.split_once('/').unwrap_or((text, "1"));
        let (start, stop) = range.split_once('-').ok_or_else(bad)?;
        let number = |text: &str| text.parse::<u32>().map(u64::from).map_err(|_| bad());
        let (next, stop, step) = (number(start)?, number(stop)?, number(step)?);
        if step == 0 || stop < next {
            return Err(bad());
        }
        let mut template = Vec::new();
        for word in rest {
            // As in BIND, quotes join the data to one word; escaped quotes inside (`\"`) belong to the record.
            let mut bytes = word.text.iter().copied().peekable();
            while let Some(byte) = bytes.next() {
                match (byte, bytes.peek()) {
                    (b'\\', Some(b'"')) if word.quoted => {}
                    (b'\\', Some(&next)) => {
                        template.extend([byte, next]);
                        bytes.next();
                    }
                    _ => template.push(byte),
                }
            }
            template.push(b' ');
        }
        Ok(Generate { next, stop, step, template })
    }

    /// The text of the next record; `None` at the end.
    pub(super) fn next(&mut self) -> Option<Result<Vec<u8>, String>> {
        if self.next > self.stop {
            return None;
        }
        let value = self.next;
        self.next += self.step;
        Some(expand(&self.template, value))
    }
}

/// Expands a template: `$` is the number, `$$` and `\$` a dollar sign, `${offset[,width[,base]]}` the number in another form.
fn expand(template: &[u8], value: u64) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(template.len() + 8);
    let mut rest = template;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match (byte, tail.first()) {
            (b'\\', Some(&next)) => {
                out.extend([b'\\', next]);
                rest = tail.get(1..).unwrap_or_default();
            }
            (b'$', Some(b'$')) => {
                out.extend(b"\\$");
                rest = tail.get(1..).unwrap_or_default();
            }
            (b'$', Some(b'{')) => {
                let end = memchr::memchr(b'}', tail).ok_or("$GENERATE: } is missing")?;
                let inside = String::from_utf8_lossy(tail.get(1..end).unwrap_or_default()).into_owned();
                out.extend(modified(&inside, value)?.bytes());
                rest = tail.get(end + 1..).unwrap_or_default();
            }
            (b'$', _) => out.extend(value.to_string().bytes()),
            _ => out.push(byte),
        }
    }
    Ok(out)
}

fn modified(inside: &str, value: u64) -> Result<String, String> {
    let bad = || format!("$GENERATE: bad modifier {{{inside}}}");
    let mut parts = inside.split(',');
    let offset: i32 = parts.next().unwrap_or_default().parse().map_err(|_| bad())?;
    let width: usize = parts.next().unwrap_or("0").parse().map_err(|_| bad())?;
    let base = parts.next().unwrap_or("d");
    if width > MAX_WIDTH || parts.next().is_some() {
        return Err(bad());
    }
    // BIND uses C's number types: int, and unsigned int in the other bases.
    let value =
        i64::try_from(value).ok().and_then(|value| i32::try_from(value + i64::from(offset)).ok()).ok_or_else(bad)?;
    match base {
        "d" => Ok(format!("{value:0width$}")),
        "o" => Ok(format!("{value:0width$o}")),
        "x" => Ok(format!("{value:0width$x}")),
        "X" => Ok(format!("{value:0width$X}")),
        "n" => Ok(nibbles(value as u32, width)),
        "N" => Ok(nibbles(value as u32, width).to_ascii_uppercase()),
        _ => Err(bad()),
    }
}

/// Hexadecimal digits, the lowest first, each followed by a dot if another digit or the rest of the width follows.
fn nibbles(mut value: u32, mut width: usize) -> String {
    let mut out = String::new();
    loop {
        out.extend(char::from_digit(value & 15, 16));
        (value, width) = (value >> 4, width.saturating_sub(1));
        if value == 0 && width == 0 {
            return out;
        }
        out.push('.');
        width = width.saturating_sub(1);
        if value == 0 && width == 0 {
            return out;
        }
    }
}
