//! Many messages: files, folders of files, mboxes and Maildirs. The messages are sent one by one, each read when it is its turn.

use std::collections::VecDeque;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::blob::{Blob, file};
use crate::cli::input;
use crate::fault::{Fault, Kind};
use crate::mail::gzip;
use crate::mail::maildir::reader::ReadableMaildir;
use crate::mail::mbox::spans::{self, Span};
use crate::mail::read::MAX_MESSAGE_BYTES;

/// The most messages of one run.
const MAX_MESSAGES: usize = 10_000_000;

/// The remaining messages.
#[derive(Debug, Default)]
pub(super) struct EachInput {
    waiting: VecDeque<InputMessage>,
}

#[derive(Debug)]
enum InputMessage {
    File(PathBuf),
    Whole(PathBuf, Blob),
    Mbox { path: PathBuf, number: usize, blob: Blob, span: Span },
}

impl EachInput {
    /// Examines the paths: a Maildir, a folder whose files are messages, an mbox, or a file with one message.
    pub(super) fn new(paths: &[PathBuf]) -> Result<EachInput, Fault> {
        let mut each = EachInput::default();
        for path in paths {
            each.add(path)?;
            if each.waiting.len() > MAX_MESSAGES {
                return Err(Fault::new(Kind::BadData, format!("more than {MAX_MESSAGES} messages")));
            }
        }
        Ok(each)
    }

    fn add(&mut self, path: &Path) -> Result<(), Fault> {
        if path.is_dir() {
            if path.join("cur").is_dir() || path.join("new").is_dir() {
                let maildir = ReadableMaildir::open(path)?;
                self.waiting.extend(maildir.list()?.iter().map(|item| InputMessage::File(maildir.item_path(item))));
                return Ok(());
            }
            let problem = |error: std::io::Error| Fault::local(path.display(), &error);
            let mut files = Vec::new();
            for entry in std::fs::read_dir(path).map_err(problem)? {
                let file = entry.map_err(problem)?.path();
                let hidden = file.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
                if file.is_file() && !hidden {
                    files.push(file);
                }
            }
            files.sort();
            self.waiting.extend(files.into_iter().map(InputMessage::File));
            return Ok(());
        }
        let mut start = Vec::new();
        let regular = path.is_file();
        if regular {
            let file = std::fs::File::open(path).map_err(|error| Fault::local(path.display(), &error))?;
            file.take(1024).read_to_end(&mut start).map_err(|error| Fault::local(path.display(), &error))?;
        } else if path != Path::new("-") && !path.exists() {
            return Err(Fault::new(Kind::NoInput, format!("{}: No such file or directory", path.display())));
        }
        let one_message = regular && !spans::looks_like_mbox(&start) && !gzip::is_gzip(&start);
        if one_message {
            self.waiting.push_back(InputMessage::File(path.to_owned()));
            return Ok(());
        }
        let blob = gzip::unpacked(&path.to_string_lossy(), input::open(path)?)?;
        let Some(spans) = spans::find(&blob)? else {
            self.waiting.extend((blob.size_bytes() > 0).then(|| InputMessage::Whole(path.to_owned(), blob)));
            return Ok(());
        };
        let entry =
            |(index, span)| InputMessage::Mbox { path: path.to_owned(), number: index + 1, blob: blob.clone(), span };
        self.waiting.extend(spans.into_iter().enumerate().map(entry));
        Ok(())
    }

    /// The number of remaining messages.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// The next message: its label and its bytes.
    pub(super) fn next(&mut self) -> Option<(String, Result<Blob, Fault>)> {
        Some(match self.waiting.pop_front()? {
            InputMessage::File(path) => (path.display().to_string(), file::open(&path)),
            InputMessage::Whole(path, blob) => (path.display().to_string(), Ok(blob)),
            InputMessage::Mbox { path, number, blob, span } => {
                let bytes = spans::read(&blob, span, MAX_MESSAGE_BYTES);
                (format!("{}[{number}]", path.display()), bytes.map(Blob::memory))
            }
        })
    }
}
