//! The text of a progress bar: one line, shorter than the width of the terminal.

use std::time::Duration;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::cli::escape;

/// The columns that a label of at least this length keeps when other parts need space.
const LEAST_LABEL: usize = 10;
/// The least and the greatest width of the bar with its brackets, in columns.
const BAR: (usize, usize) = (12, 32);
/// Only a shorter remaining time is shown, in seconds.
const MAX_SHOWN: u64 = 100 * 3600;

/// The unit of progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// Bytes of files.
    Bytes,
    /// Items of equal weight.
    Items,
    /// A share of a whole that the label describes.
    Share,
}

/// The progress of a run.
#[derive(Debug, Clone)]
pub struct Figures {
    /// The current activity, which may contain bytes of a peer.
    pub label: String,
    /// The amount done, including that of earlier runs.
    pub done: u64,
    /// The amount done by this run, from which alone the rate is computed.
    pub fresh: u64,
    /// The total amount as far as it is known; 0 if it is unknown.
    pub total: u64,
    /// The number of files of unknown size. While it is not 0, the total is unknown.
    pub without_size: u64,
    /// The number of finished files.
    pub files_done: u64,
    /// The number of known files.
    pub files: u64,
    pub(super) over: bool,
    measure: Measure,
}

impl Figures {
    pub(super) fn new(label: &str, measure: Measure) -> Figures {
        Figures {
            label: label.to_owned(),
            done: 0,
            fresh: 0,
            total: 0,
            without_size: 0,
            files_done: 0,
            files: 0,
            over: false,
            measure,
        }
    }

    fn known_total(&self) -> Option<u64> {
        // A file may have grown since it was listed.
        (self.total > 0 && self.without_size == 0).then_some(self.total.max(self.done))
    }

    /// The line for a terminal of this width, at this rate (units per second) and time since the start.
    pub(super) fn line(&self, rate: f64, elapsed: Duration, width: usize) -> String {
        // The last column stays free: writing there makes many terminals wrap.
        let room = width.saturating_sub(1);
        let files = if self.files > 1 { format!("{}/{} ", self.files_done, self.files) } else { String::new() };
        let label = format!("{files}{}", escape::terminal(&self.label));
        let mut parts = self.parts(rate, elapsed);
        let least = label.width().min(files.width() + LEAST_LABEL);
        // The least important part is dropped first.
        while least + taken(&parts) > room && parts.iter().any(|part| part.rank > 0) {
            let last = parts.iter().map(|part| part.rank).max();
            parts.retain(|part| Some(part.rank) != last);
        }
        let label = cut(&label, room.saturating_sub(taken(&parts)));
        let left = room.saturating_sub(label.width() + taken(&parts));
        let mut line = label;
        if let (Some(total), true) = (self.known_total(), left > BAR.0) {
            let inner = left.saturating_sub(1).min(BAR.1) - 2;
            let full = usize::try_from(u128::from(self.done) * inner as u128 / u128::from(total)).unwrap_or(inner);
            line.push_str(&format!(" [{:<inner$}]", "#".repeat(full.min(inner))));
        }
        for part in parts {
            line.push(' ');
            line.push_str(&part.text);
        }
        cut(&line, room)
    }

    /// The parts after the label, in their order on the line.
    fn parts(&self, rate: f64, elapsed: Duration) -> Vec<LinePart> {
        let part = |rank, text| LinePart { rank, text };
        let mut parts = Vec::new();
        let total = self.known_total();
        if let Some(total) = total {
            let percent = u128::from(self.done) * 100 / u128::from(total);
            parts.push(part(0, format!("{percent:3}%")));
        }
        match (self.measure, total) {
            (Measure::Bytes, Some(total)) => parts.push(part(1, amounts(self.done, total))),
            (Measure::Bytes, None) => parts.push(part(1, bytes(self.done as f64))),
            (Measure::Items, Some(total)) => parts.push(part(1, format!("{}/{total}", self.done))),
            (Measure::Items, None) => parts.push(part(1, self.done.to_string())),
            (Measure::Share, _) => {}
        }
        match self.measure {
            Measure::Bytes => parts.push(part(3, format!("{}/s", bytes(rate)))),
            Measure::Items => parts.push(part(3, format!("{rate:.0}/s"))),
            Measure::Share => {}
        }
        let left = total.map(|total| total.saturating_sub(self.done) as f64 / rate);
        parts.push(part(
            2,
            match left {
                None => clock(elapsed.as_secs()),
                Some(left) if left.is_finite() && left < MAX_SHOWN as f64 => clock(left.ceil() as u64),
                Some(_) => "-:--".to_owned(),
            },
        ));
        parts
    }
}

/// A part of the line. If space is short, parts of the highest rank are dropped first.
struct LinePart {
    rank: u8,
    text: String,
}

/// The width of all parts in columns, with the blank before each.
fn taken(parts: &[LinePart]) -> usize {
    parts.iter().map(|part| part.text.width() + 1).sum()
}

/// The text, cut to `room` columns, with dots in place of the missing end.
fn cut(text: &str, room: usize) -> String {
    if text.width() <= room {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut columns = 0;
    for character in text.chars() {
        columns += character.width().unwrap_or(0);
        if columns + 3 > room {
            break;
        }
        kept.push(character);
    }
    if room >= 3 { kept + "..." } else { kept }
}

const UNITS: [&str; 6] = ["B", "K", "M", "G", "T", "P"];

/// The unit (a power of 1024) in which a number has at most three digits before the point.
fn unit(number: f64) -> (f64, &'static str) {
    let mut scale = 1.0;
    for name in UNITS {
        if number / scale < 999.5 {
            return (scale, name);
        }
        scale *= 1024.0;
    }
    (scale, "E")
}

fn scaled(number: f64, scale: f64) -> String {
    if scale > 1.0 && number / scale < 99.95 {
        format!("{:.1}", number / scale)
    } else {
        format!("{:.0}", number / scale)
    }
}

fn bytes(number: f64) -> String {
    let (scale, name) = unit(number);
    format!("{}{name}", scaled(number, scale))
}

/// Both amounts, in the unit of the total.
fn amounts(done: u64, total: u64) -> String {
    let (scale, name) = unit(total as f64);
    format!("{}/{}{name}", scaled(done as f64, scale), scaled(total as f64, scale))
}

/// `m:ss`, or `h:mm:ss`.
fn clock(seconds: u64) -> String {
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn file(label: &str) -> Figures {
        Figures { done: 40 * MIB, fresh: 10 * MIB, total: 60 * MIB, files: 1, ..Figures::new(label, Measure::Bytes) }
    }

    fn line(figures: &Figures, width: usize) -> String {
        figures.line(5.0 * MIB as f64, Duration::from_secs(2), width)
    }

    #[test]
    fn lines_of_usual_terminals() {
        let tree = Figures { files_done: 12, files: 340, ..file("pictures/holiday at the sea.jpg") };
        let unknown = Figures { total: 0, ..file("huge.bin") };
        let items = Figures { done: 3, total: 12, ..Figures::new("mail", Measure::Items) };
        let share = Figures { done: 1, total: 2, ..Figures::new("7 names, 35/s", Measure::Share) };
        let stalled = Figures { total: u64::MAX, done: 1, ..Figures::new("x", Measure::Bytes) };
        for (figures, width, expected) in [
            (&file("huge.bin"), 80, "huge.bin [####################          ]  66% 40.0/60.0M 5.0M/s 0:04"),
            (&file("huge.bin"), 40, "huge.bin  66% 40.0/60.0M 5.0M/s 0:04"),
            (&file("a very long name of a file.bin"), 40, "a very l...  66% 40.0/60.0M 5.0M/s 0:04"),
            (
                &tree,
                132,
                "12/340 pictures/holiday at the sea.jpg [####################          ]  66% 40.0/60.0M 5.0M/s 0:04",
            ),
            (&tree, 80, "12/340 pictures/holiday at the sea.jpg [######    ]  66% 40.0/60.0M 5.0M/s 0:04"),
            (&tree, 40, "12/340 pictures...  66% 40.0/60.0M 0:04"),
            (&unknown, 80, "huge.bin 40.0M 5.0M/s 0:02"),
            (&items, 40, "mail  25% 3/12 5242880/s 0:01"),
            (&share, 40, "7 names, 35/s [######       ]  50% 0:01"),
            (&stalled, 60, "x [                            ]   0% 0.0/16.0E 5.0M/s -:--"),
            (
                &file("\u{1b}[31m\u{202e}red\n"),
                80,
                "\\x1b[31m\\u{202e}red\\n [##################         ]  66% 40.0/60.0M 5.0M/s 0:04",
            ),
            (&file("huge.bin"), 12, "hug...  66%"),
            (&file("huge.bin"), 3, ""),
        ] {
            let found = line(figures, width);
            assert_eq!(found, expected, "{width}");
        }
    }

    #[test]
    fn sizes_and_times() {
        for (number, text) in [(0.0, "0B"), (999.0, "999B"), (1000.0, "1.0K"), (102_400.0, "100K"), (1e15, "909T")] {
            assert_eq!(bytes(number), text);
        }
        assert_eq!([0, 59, 61, 3600, 359_999].map(clock), ["0:00", "0:59", "1:01", "1:00:00", "99:59:59"]);
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_the_terminal(
            label in ".*", done: u64, total: u64, files: u32, rate in 0.0..1e18, width in 0usize..200,
        ) {
            for measure in [Measure::Bytes, Measure::Items, Measure::Share] {
                let figures = Figures { done, total, files: files.into(), ..Figures::new(&label, measure) };
                let line = figures.line(rate, Duration::from_secs(5), width);
                prop_assert!(line.width() < width.max(1), "{line:?}");
                prop_assert!(!line.chars().any(char::is_control));
            }
        }
    }
}
