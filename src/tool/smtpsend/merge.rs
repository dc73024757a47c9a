//! `--template` and `--merge`: one message per row.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::job::{self, Sendable};
use super::results::{Noted, Results, RowId, Turn};
use super::rows::{MergeRow, Rows};
use super::{Args, ComposeArgs, send, with_a_way};
use crate::blob::Blob;
use crate::cli::exit::{Exit, Tally};
use crate::cli::output::Output;
use crate::fault::{Fault, Kind};
use crate::mail::complete::Complete;
use crate::mail::compose::{Attachment, Draft};
use crate::mail::header_line;
use crate::mail::template::{Fields, Values};
use crate::tool::smtp_account::Accounts;

/// Sends a message for each row, or one message if there are no rows.
pub(super) fn run(args: &Args, accounts: Option<&Accounts>, out: &Output) -> anyhow::Result<Exit> {
    let results = match &args.merge.results {
        Some(path) if !args.dry_run => Some(Arc::new(Mutex::new(Results::open(path, args.retry_unknown)?))),
        _ => None,
    };
    let mut merge = Merge::new(args, accounts, out, results.clone())?;
    if args.dry_run {
        let mut tally = Tally::default();
        while let Some((job, _)) = merge.next(&mut tally) {
            if args.merge.merge.is_some() { job.print_mbox(out)? } else { job.print(out)? }
        }
        return Ok(tally.exit());
    }
    send(args, out, results, &mut |tally| merge.next(tally))
}

/// A template and the remaining rows.
struct Merge<'a> {
    args: &'a Args,
    accounts: Option<&'a Accounts>,
    out: &'a Output,
    fields: Fields,
    draft: Draft,
    /// Attached and inline files whose names contain fields.
    attach: Vec<String>,
    inline: Vec<String>,
    /// Values for fields that a row does not have.
    set: BTreeMap<&'a str, &'a str>,
    rows: Rows,
    results: Option<Noted>,
}

impl<'a> Merge<'a> {
    fn new(
        args: &'a Args,
        accounts: Option<&'a Accounts>,
        out: &'a Output,
        results: Option<Noted>,
    ) -> Result<Merge<'a>, Fault> {
        let mut fields = Fields::new(&job::unique()?);
        let mut given = args.compose.clone();
        given.bcc.extend(args.recipient.iter().cloned());
        let template = given.template.as_deref().map(read).transpose()?;
        let mut text = None;
        if let Some((header, body)) = template {
            header.into_iter().for_each(|(name, value)| take_over(&mut given, &args.compose, name, value));
            text = Some(body).filter(|body| !body.is_empty() || given.html.is_none());
        }
        let (attach, inline) = mark(&mut given, &mut fields)?;
        let mut draft = job::draft(args, &given)?;
        draft.text = text.or(draft.text.take());
        for body in [&mut draft.text, &mut draft.html].into_iter().flatten() {
            if let Ok(text) = str::from_utf8(body) {
                *body = fields.mark(text).map_err(|fault| fault.context("the text"))?.into_bytes();
            }
        }
        for file in draft.attachments.iter_mut().chain(&mut draft.inline) {
            file.name = file.name.take().map(|name| fields.mark(&name)).transpose()?;
        }
        let mut set = BTreeMap::new();
        for text in &args.merge.set {
            let (name, value) = text
                .split_once('=')
                .ok_or_else(|| Fault::new(Kind::Usage, format!("--set {text}: no =")).with_hint("--set FIELD=VALUE"))?;
            set.insert(name.trim(), value);
        }
        let rows = match &args.merge.merge {
            Some(path) => Rows::open(path)?,
            None => Rows::one(),
        };
        if let Some(columns) = rows.columns() {
            let known = |name: &&String| !columns.contains(name) && !set.contains_key(name.as_str());
            if let Some(missing) = fields.names().iter().find(known) {
                let fault = Fault::new(Kind::BadData, format!("no column is called {missing}"));
                return Err(fault.with_hint("--set FIELD=VALUE gives a value for all rows"));
            }
        }
        Ok(Merge { args, accounts, out, fields, draft, attach, inline, set, rows, results })
    }

    /// The next message to send. Reports the rows that cannot be made into a message.
    fn next(&mut self, tally: &mut Tally) -> Option<Sendable> {
        loop {
            let (number, row) = self.rows.next()?;
            let file = self.args.merge.merge.as_deref().map(|path| path.display().to_string());
            let label = file.as_ref().map_or_else(|| "message".to_owned(), |file| format!("{file}[{number}]"));
            match row.and_then(|row| self.make(number, &row, &label)) {
                Ok(Some((mut job, account))) => {
                    job.source = file.map(|_| label);
                    return Some((job, account));
                }
                Ok(None) => {}
                Err(fault) => {
                    self.out.error(&label, &fault);
                    tally.fault(&fault);
                }
            }
        }
    }

    /// The message of one row; `None` if an earlier run settled it.
    fn make(&self, number: u64, row: &MergeRow, label: &str) -> Result<Option<Sendable>, Fault> {
        let id = RowId { number, digest: row.digest(), noted: self.results.is_some() };
        let turn = match &self.results {
            Some(results) => results.lock().unwrap_or_else(PoisonError::into_inner).turn(&id)?,
            None => Turn::Send { settled: Vec::new(), in_flight: false },
        };
        let Turn::Send { settled, in_flight } = turn else { return Ok(None) };
        let value = |name: &String| -> Result<String, Fault> {
            let found = row.get(name).or_else(|| self.set.get(name.as_str()).copied());
            found.map(str::to_owned).ok_or_else(|| Fault::new(Kind::BadData, format!("no field {name}")))
        };
        let values = self.fields.names().iter().map(value).collect::<Result<Vec<_>, _>>()?;
        let values = Values(&values);
        let mut draft = self.fields.fill_draft(&self.draft, values)?;
        for (texts, files) in [(&self.attach, &mut draft.attachments), (&self.inline, &mut draft.inline)] {
            for text in texts {
                files.push(self.file(text, values)?);
            }
        }
        // A fault that a row causes is bad data, not a wrong command line.
        let of_row =
            |fault: Fault| if fault.kind == Kind::Usage { Fault { kind: Kind::BadData, ..fault } } else { fault };
        let made = job::finish(self.args, self.accounts, draft, self.out).map_err(of_row)?;
        let (mut job, account) = with_a_way(made, self.args)?;
        job.envelope.recipients.retain(|recipient| !settled.iter().any(|known| recipient.address == known.as_str()));
        if job.envelope.recipients.is_empty() {
            return Ok(None);
        }
        if in_flight {
            let detail = "was being sent when an earlier run ended: sent again, it may arrive twice";
            self.out.warn(&format!("{label}: {detail}"));
        }
        job.row = self.args.merge.merge.is_some().then_some(id);
        Ok(Some((job, account)))
    }

    /// A file whose name contains fields. A value is at most one component of the path: rows select files, and the command line
    /// determines their directory.
    fn file(&self, text: &str, values: Values<'_>) -> Result<Attachment, Fault> {
        for index in self.fields.used_in(text) {
            let (name, value) = (self.fields.names().get(index), values.0.get(index));
            let (name, value) = (name.map_or("", String::as_str), value.map_or("", String::as_str));
            let step = !matches!(value, "" | "." | "..") && !value.contains(['/', ';']);
            if !step || value.contains(char::is_control) {
                return Err(Fault::new(Kind::BadData, format!("{name}: {value:?} cannot be part of a file name")));
            }
        }
        job::attachment(&self.fields.fill(text, values))
    }
}

/// The fields of a header, and the text after it.
type Parts = (Vec<(String, String)>, Vec<u8>);

/// Reads a template: header fields, an empty line, the text. A template without fields is text only.
fn read(path: &Path) -> Result<Parts, Fault> {
    let text = job::read_body("--template", path)?;
    if str::from_utf8(&text).is_err() {
        return Err(Fault::new(Kind::BadData, format!("{}: not UTF-8", path.display())));
    }
    let complete = Complete::read(&Blob::memory(text.clone()), false).map_err(|fault| fault.context(path.display()))?;
    let fields: Vec<_> = complete.fields().iter().map(|field| (field.name.clone(), field.value())).collect();
    let body = header_line::end_of(&text).body;
    Ok((fields, text.get(body..).unwrap_or_default().to_vec()))
}

/// Adopts a field of the template's header, unless a flag sets the same field.
fn take_over(given: &mut ComposeArgs, flags: &ComposeArgs, name: String, value: String) {
    let list = |list: &mut Vec<String>, flag: &[String]| {
        if flag.is_empty() {
            list.push(value.clone());
        }
    };
    match name.to_ascii_lowercase().as_str() {
        "from" => drop(given.from.get_or_insert(value)),
        "subject" => drop(given.subject.get_or_insert(value)),
        "to" => list(&mut given.to, &flags.to),
        "cc" => list(&mut given.cc, &flags.cc),
        "bcc" => list(&mut given.bcc, &flags.bcc),
        "reply-to" => list(&mut given.reply_to, &flags.reply_to),
        "in-reply-to" => list(&mut given.in_reply_to, &flags.in_reply_to),
        _ => given.header.push(format!("{name}: {value}")),
    }
}

/// Marks the fields in all flags and in the template's header. Removes the files whose names contain fields, and returns
/// them.
fn mark(given: &mut ComposeArgs, fields: &mut Fields) -> Result<(Vec<String>, Vec<String>), Fault> {
    let lists = [&mut given.to, &mut given.cc, &mut given.bcc, &mut given.reply_to, &mut given.in_reply_to];
    for text in lists.into_iter().flatten() {
        *text = fields.mark(text)?;
    }
    for text in [&mut given.from, &mut given.subject].into_iter().flatten() {
        *text = fields.mark(text)?;
    }
    for field in &mut given.header {
        let (name, value) = field.split_once(':').unwrap_or((field.as_str(), ""));
        // The name is the template's own: no row makes a field.
        *field = format!("{name}:{}", fields.mark(value)?);
    }
    let mut variable = |list: &mut Vec<String>| -> Result<Vec<String>, Fault> {
        let taken: Vec<String> = list.extract_if(.., |text| text.contains("{{")).collect();
        taken.iter().map(|text| fields.mark(text)).collect()
    };
    Ok((variable(&mut given.attach)?, variable(&mut given.inline)?))
}
