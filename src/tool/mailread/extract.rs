//! Writes attachments to files: exact bytes, safe names, no overwriting, complete files only.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::boxes::OpenMailbox;
use super::{Args, flag};
use crate::cli::exit::{Exit, Tally};
use crate::cli::output::{Output, OutputRecord, TextLine};
use crate::fault::{Fault, Kind};
use crate::ftp::glob::Glob;
use crate::mail::read::{ReadPart, Reading, safe_file_name};
use crate::mail::scan;
use crate::mail::transfer::Decoded;

/// The most names that are tried if one is taken.
const MAX_TRIES: usize = 10_000;

/// One extracted part.
#[derive(Debug, Serialize)]
struct Extracted {
    number: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_id: Option<String>,
    part: String,
    content_type: String,
    /// The file name in the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// The path of the written file.
    path: String,
    size_bytes: u64,
    /// True if its encoding is malformed or cut off. The decodable part was written.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    damaged: bool,
    dry_run: bool,
}

impl OutputRecord for Extracted {
    const TYPE: &'static str = "attachment";

    fn text(&self, line: &mut TextLine) {
        line.field(&self.path);
    }
}

pub(super) fn run(folder: &OpenMailbox, chosen: &[usize], args: &Args, out: &Output) -> anyhow::Result<Exit> {
    let add = flag::letters(&args.flag)?;
    if !add.is_empty() {
        flag::maildir(folder)?;
    }
    let mut tally = Tally::default();
    let mut found = 0;
    for &number in chosen {
        let extracted = message(folder, number, args, out).and_then(|count| {
            if count > 0 && !add.is_empty() && !args.dry_run {
                let item = folder.item(number)?;
                flag::maildir(folder)?.set_flags(item, &flag::together(&item.flags(), &add, ""))?;
            }
            Ok(count)
        });
        match extracted {
            Ok(count) => found += count,
            Err(fault) => {
                out.error(&format!("message {number}"), &fault);
                tally.fault(&fault);
            }
        }
    }
    Ok(if found == 0 && tally.failed() == 0 { Exit::NEGATIVE } else { tally.exit() })
}

/// Parses a pattern of `--type` and `--name`.
pub(super) fn pattern(text: &str) -> Result<Glob, String> {
    Glob::new(&text.to_lowercase()).map_err(|fault| fault.detail)
}

/// True if the part matches --type and --name.
fn is_wanted(part: &ReadPart, args: &Args) -> bool {
    let fits = |patterns: &[Glob], text: &str| {
        patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(text.to_lowercase().as_bytes()))
    };
    fits(&args.content_type, &part.content_type) && fits(&args.name, part.name.as_deref().unwrap_or_default())
}

fn message(folder: &OpenMailbox, number: usize, args: &Args, out: &Output) -> Result<usize, Fault> {
    let raw = folder.message(number)?;
    let [id] = scan::pick(scan::header_of(&raw)?, ["message-id"]);
    let message_id = id.and_then(|id| scan::identifiers(id).into_iter().next());
    let reading = Reading::parse(raw)?;
    let wanted: Vec<&ReadPart> = if args.part.is_empty() {
        reading.parts.iter().filter(|part| part.is_attachment && is_wanted(part, args)).collect()
    } else {
        let find = |path: &String| {
            let found = reading.parts.iter().find(|part| part.path == *path);
            found.ok_or_else(|| Fault::new(Kind::NoInput, format!("no part {path}")))
        };
        args.part.iter().map(find).collect::<Result<_, _>>()?
    };
    if args.output_dir.as_deref() == Some(Path::new("-")) {
        let [one] = wanted.as_slice() else {
            let fault = Fault::new(Kind::Usage, format!("{} parts cannot go to stdout", wanted.len()));
            return Err(fault.with_hint("--part N chooses one"));
        };
        let written = out.payload()?.write_all(&content(&reading, number, one, out).bytes);
        written.map_err(|error| Fault::local("stdout", &error))?;
        return Ok(1);
    }
    let folder = args.output_dir.as_deref().unwrap_or(Path::new("."));
    if !wanted.is_empty() && !args.dry_run {
        std::fs::create_dir_all(folder).map_err(|error| Fault::creating(folder.display(), &error))?;
    }
    for part in &wanted {
        let name = part.name.as_deref().and_then(safe_file_name).unwrap_or_else(|| unnamed(number, part));
        let content = content(&reading, number, part, out);
        let path = if args.dry_run { folder.join(&name) } else { write(folder, &name, &content.bytes)? };
        out.emit(&Extracted {
            number,
            message_id: message_id.clone(),
            part: part.path.clone(),
            content_type: part.content_type.clone(),
            name: part.name.clone(),
            path: path.to_string_lossy().into_owned(),
            size_bytes: content.bytes.len() as u64,
            damaged: content.damaged,
            dry_run: args.dry_run,
        })?;
    }
    Ok(wanted.len())
}

/// The content of a part; warns on stderr if it is damaged.
fn content(reading: &Reading, number: usize, part: &ReadPart, out: &Output) -> Decoded {
    let content = reading.content(part);
    if content.damaged {
        warn_of_damage(number, &part.path, out);
    }
    content
}

/// Prints the warning about a damaged part.
pub(super) fn warn_of_damage(number: usize, part: &str, out: &Output) {
    out.warn(&format!("message {number}: part {part} is damaged; only its decodable content is included"));
}

fn unnamed(number: usize, part: &ReadPart) -> String {
    let ending = match part.content_type.as_str() {
        "text/html" => ".html",
        "text/calendar" => ".ics",
        "text/csv" => ".csv",
        "message/rfc822" => ".eml",
        "image/png" => ".png",
        "image/jpeg" => ".jpg",
        "image/gif" => ".gif",
        "image/tiff" => ".tif",
        "application/pdf" => ".pdf",
        "application/zip" => ".zip",
        kind if kind.starts_with("text/") || kind.starts_with("message/") => ".txt",
        _ => ".bin",
    };
    format!("message{number}-part{}{ending}", part.path)
}

/// Writes a temporary file, syncs it, and renames it to its final name. If the name is taken, it tries `name-2.ext`, and so on.
fn write(folder: &Path, name: &str, content: &[u8]) -> Result<PathBuf, Fault> {
    let problem = |error: std::io::Error| {
        let fault = Fault::local(folder.join(name).display(), &error);
        if fault.kind == Kind::Io { fault } else { Fault::creating(folder.join(name).display(), &error) }
    };
    std::fs::create_dir_all(folder).map_err(problem)?;
    let mut file = tempfile::Builder::new()
        .prefix(".mailread-")
        .suffix(".part")
        .permissions(std::fs::Permissions::from_mode(0o666))
        .tempfile_in(folder)
        .map_err(problem)?;
    file.write_all(content).and_then(|()| file.as_file().sync_all()).map_err(problem)?;
    let (stem, ending) = match name.rsplit_once('.') {
        Some((stem, ending)) if !stem.is_empty() => (stem, format!(".{ending}")),
        _ => (name, String::new()),
    };
    for attempt in 1..=MAX_TRIES {
        let path = match attempt {
            1 => folder.join(name),
            _ => folder.join(format!("{stem}-{attempt}{ending}")),
        };
        match file.persist_noclobber(&path) {
            Ok(_) => return Ok(path),
            Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => file = error.file,
            Err(error) => return Err(problem(error.error)),
        }
    }
    Err(Fault::new(Kind::CannotCreate, format!("{name}: {MAX_TRIES} files of this name exist")))
}
