//! The rows that messages are made from: CSV with a header line (RFC 4180), or one JSON object per line. They are read one by
//! one, as they are needed.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::rc::Rc;

use crate::cli::input;
use crate::fault::{Fault, Kind};

/// The largest row, in bytes.
pub(super) const MAX_ROW_BYTES: u64 = 16 * 1024 * 1024;
/// The most columns of a CSV file.
const MAX_COLUMNS: usize = 10_000;

/// One row: a value for each of its fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct MergeRow(BTreeMap<String, String>);

impl MergeRow {
    pub(super) fn get(&self, field: &str) -> Option<&str> {
        self.0.get(field).map(String::as_str)
    }

    /// A hash of the row's fields and values, as sixteen hexadecimal digits, which differs between rows.
    pub(super) fn digest(&self) -> String {
        let mut context = ring::digest::Context::new(&ring::digest::SHA256);
        for (name, value) in &self.0 {
            for text in [name, value] {
                context.update(&(text.len() as u64).to_be_bytes());
                context.update(text.as_bytes());
            }
        }
        let digest = context.finish();
        crate::hex::lower(digest.as_ref().get(..8).unwrap_or_default())
    }
}

/// The remaining rows.
pub(super) struct Rows {
    form: RowsForm,
    number: u64,
    ended: bool,
}

enum RowsForm {
    /// One message without a row.
    One,
    Json(Box<dyn BufRead>),
    Csv {
        reader: Box<csv::Reader<Bounded>>,
        left: Rc<Cell<u64>>,
        columns: Vec<String>,
    },
}

impl Rows {
    /// A single row without fields.
    pub(super) fn one() -> Rows {
        Rows { form: RowsForm::One, number: 0, ended: false }
    }

    /// Opens the rows of a file, or of stdin for `-`. The extension of the name determines the format. Without a known extension,
    /// rows are JSON if the first character is `{`, else CSV.
    pub(super) fn open(path: &Path) -> Result<Rows, Fault> {
        let stream: Box<dyn Read> = if path == Path::new("-") {
            Box::new(input::stdin()?)
        } else {
            Box::new(std::fs::File::open(path).map_err(|error| Fault::local(path.display(), &error))?)
        };
        let ending = path.extension().map(|ending| ending.to_ascii_lowercase());
        Rows::read(stream, ending.as_deref().and_then(std::ffi::OsStr::to_str).unwrap_or_default())
            .map_err(|fault| fault.context(path.display()))
    }

    fn read(stream: impl Read + 'static, ending: &str) -> Result<Rows, Fault> {
        let mut stream = BufReader::with_capacity(64 * 1024, stream);
        let start = stream.fill_buf().map_err(|error| Fault::local("rows", &error))?;
        if start.starts_with(b"\xef\xbb\xbf") {
            stream.consume(3);
        }
        let start = stream.fill_buf().map_err(|error| Fault::local("rows", &error))?;
        let object = start.trim_ascii_start().first() == Some(&b'{');
        let form = match ending {
            "csv" => RowsForm::csv(stream, b',')?,
            "tsv" => RowsForm::csv(stream, b'\t')?,
            "json" | "jsonl" | "ndjson" => RowsForm::Json(Box::new(stream)),
            _ if object => RowsForm::Json(Box::new(stream)),
            _ => RowsForm::csv(stream, b',')?,
        };
        Ok(Rows { form, number: 0, ended: false })
    }

    /// The columns, if they are known before the first row.
    pub(super) fn columns(&self) -> Option<&[String]> {
        match &self.form {
            RowsForm::One => Some(&[]),
            RowsForm::Csv { columns, .. } => Some(columns),
            RowsForm::Json(_) => None,
        }
    }

    /// The next row and its number, from 1. A malformed row does not stop the others.
    pub(super) fn next(&mut self) -> Option<(u64, Result<MergeRow, Fault>)> {
        if self.ended {
            return None;
        }
        let (row, ended) = match &mut self.form {
            RowsForm::One => (Some(Ok(MergeRow::default())), true),
            RowsForm::Json(reader) => json(reader),
            RowsForm::Csv { reader, left, columns } => {
                left.set(MAX_ROW_BYTES);
                let mut record = csv::StringRecord::new();
                match reader.read_record(&mut record) {
                    Ok(false) => (None, true),
                    Ok(true) => {
                        let pairs = columns.iter().cloned().zip(record.iter().map(str::to_owned));
                        (Some(Ok(MergeRow(pairs.collect()))), false)
                    }
                    Err(error) => {
                        let over = error.is_io_error();
                        (Some(Err(Fault::new(Kind::BadData, error.to_string()))), over)
                    }
                }
            }
        };
        self.ended = ended;
        self.number += 1;
        row.map(|row| (self.number, row))
    }
}

impl RowsForm {
    fn csv(stream: impl Read + 'static, delimiter: u8) -> Result<RowsForm, Fault> {
        let left = Rc::new(Cell::new(MAX_ROW_BYTES));
        let stream = Bounded { stream: Box::new(stream), left: left.clone() };
        let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).from_reader(stream);
        let bad = |detail: String| Fault::new(Kind::BadData, detail);
        let header = reader.headers().map_err(|error| bad(error.to_string()))?;
        let columns: Vec<String> = header.iter().map(|name| name.trim().to_owned()).collect();
        if columns.len() > MAX_COLUMNS {
            return Err(bad(format!("more than {MAX_COLUMNS} columns")));
        }
        for (index, name) in columns.iter().enumerate() {
            if columns.iter().take(index).any(|other| other == name) {
                return Err(bad(format!("two columns are called {name}")));
            }
        }
        Ok(RowsForm::Csv { reader: Box::new(reader), left, columns })
    }
}

/// The next JSON object, and whether the rows have ended. Empty lines are ignored.
fn json(reader: &mut dyn BufRead) -> (Option<Result<MergeRow, Fault>>, bool) {
    let mut line = Vec::new();
    let bad = |detail: String| Some(Err(Fault::new(Kind::BadData, detail)));
    loop {
        line.clear();
        match reader.take(MAX_ROW_BYTES + 1).read_until(b'\n', &mut line) {
            Ok(0) => return (None, true),
            Err(error) => return (Some(Err(Fault::local("rows", &error))), true),
            Ok(_) if line.len() as u64 > MAX_ROW_BYTES => {
                return (bad(format!("a row larger than {MAX_ROW_BYTES} bytes")), true);
            }
            Ok(_) if line.trim_ascii().is_empty() => {}
            Ok(_) => break,
        }
    }
    let object: serde_json::Map<String, serde_json::Value> = match serde_json::from_slice(&line) {
        Ok(object) => object,
        Err(error) => return (bad(format!("not a JSON object: {error}")), false),
    };
    let mut row = BTreeMap::new();
    for (name, value) in object {
        let text = match value {
            serde_json::Value::Null => String::new(),
            serde_json::Value::Bool(value) => value.to_string(),
            serde_json::Value::Number(value) => value.to_string(),
            serde_json::Value::String(value) => value,
            _ => return (bad(format!("{name}: a list or an object cannot be the value of a field")), false),
        };
        row.insert(name, text);
    }
    (Some(Ok(MergeRow(row))), false)
}

/// A stream that returns an error if a row is too long.
struct Bounded {
    stream: Box<dyn Read>,
    left: Rc<Cell<u64>>,
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.left.get() == 0 {
            return Err(std::io::Error::other(format!("a row larger than {MAX_ROW_BYTES} bytes")));
        }
        let count = self.stream.read(buffer)?;
        self.left.set(self.left.get().saturating_sub(count as u64));
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &'static str, ending: &str) -> Vec<String> {
        let mut rows = Rows::read(text.as_bytes(), ending).unwrap();
        let mut found = Vec::new();
        while let Some((number, row)) = rows.next() {
            found.push(match row {
                Ok(MergeRow(row)) => {
                    let pairs: Vec<String> = row.iter().map(|(name, value)| format!("{name}={value}")).collect();
                    format!("{number}:{}", pairs.join(","))
                }
                Err(fault) => format!("{number}:{}", fault.kind.as_str()),
            });
        }
        found
    }

    #[test]
    fn rows_of_both_forms() {
        for (text, ending, expected) in [
            ("a,b\n1,2\n3,4\n", "csv", &["1:a=1,b=2", "2:a=3,b=4"][..]),
            ("a;b\n", "csv", &[]),
            ("\u{feff}a,b\r\n\"x, \"\"y\"\"\",\"line\nbreak\"\r\n", "", &["1:a=x, \"y\",b=line\nbreak"]),
            ("a\tb\n1,2\t3\n", "tsv", &["1:a=1,2,b=3"]),
            ("a,b\n1\n2,3\n", "csv", &["1:bad_data", "2:a=2,b=3"]),
            ("{\"a\":1,\"b\":null}\n\n{\"a\":true,\"b\":\"x\\ny\"}", "", &["1:a=1,b=", "2:a=true,b=x\ny"]),
            ("\u{feff}{\"a\":1.50}\n", "jsonl", &["1:a=1.5"]),
            ("{\"a\":[1]}\n{\"a\":2}\n", "", &["1:bad_data", "2:a=2"]),
            ("nonsense\n{\"a\":2}\n[]\n", "jsonl", &["1:bad_data", "2:a=2", "3:bad_data"]),
            ("", "", &[]),
            ("", "jsonl", &[]),
        ] {
            assert_eq!(all(text, ending), expected, "{text:?}");
        }
        assert!(Rows::read("a,a\n".as_bytes(), "csv").is_err());
    }

    #[test]
    fn a_row_that_never_ends_is_an_error() {
        for (start, ending) in [("a\n\"", "csv"), ("{\"a\":\"", "jsonl")] {
            let stream = start.as_bytes().chain(std::io::repeat(b'x'));
            let mut rows = Rows::read(stream, ending).unwrap();
            assert!(rows.next().unwrap().1.is_err());
            assert!(rows.next().is_none());
        }
    }

    #[test]
    fn rows_differ_by_digest() {
        let row = |pairs: &[(&str, &str)]| {
            MergeRow(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()).digest()
        };
        assert_eq!(row(&[("a", "b"), ("c", "d")]), row(&[("c", "d"), ("a", "b")]));
        assert_ne!(row(&[("a", "bc")]), row(&[("ab", "c")]));
        assert_eq!(row(&[]).len(), 16);
    }
}
