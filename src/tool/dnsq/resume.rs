//! `dnsq -f --resume`: the progress of a run, from which another run can continue.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::fault::{Fault, Kind};

/// The interval between two writes of the resume file.
const SAVE_EVERY: Duration = Duration::from_millis(250);

/// The content of the resume file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct ResumeState {
    v: u8,
    /// The number of questions, counted from the first, whose records are written.
    questions: u64,
    files: Vec<String>,
    types: Vec<String>,
}

/// The resume file. It is replaced as a whole and never counts a record that is not yet written.
#[derive(Debug)]
pub(super) struct Resume {
    path: PathBuf,
    state: ResumeState,
    saved: Instant,
    /// True if an earlier run began the file.
    continues: bool,
}

impl Resume {
    /// The number of questions, counted from the first, whose records are written.
    pub(super) fn questions(&self) -> u64 {
        self.state.questions
    }

    /// True if an earlier run began the file.
    pub(super) fn continues(&self) -> bool {
        self.continues
    }

    /// Reads the resume file, or creates it.
    pub(super) fn open(path: PathBuf, files: &[PathBuf], types: &[String]) -> Result<Resume, Fault> {
        let mut continues = true;
        let fresh = ResumeState {
            v: 1,
            questions: 0,
            files: files.iter().map(|file| file.to_string_lossy().into_owned()).collect(),
            types: types.to_vec(),
        };
        let state = match fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                continues = false;
                fresh
            }
            Err(error) => return Err(Fault::local(path.display(), &error)),
            Ok(bytes) => {
                let found: ResumeState = serde_json::from_slice(&bytes)
                    .map_err(|_| Fault::new(Kind::BadData, format!("{}: no resume file of ours", path.display())))?;
                if (&found.files, &found.types, found.v) != (&fresh.files, &fresh.types, 1) {
                    let what = format!("{}: belongs to another run ({})", path.display(), found.files.join(" "));
                    return Err(Fault::new(Kind::Usage, what)
                        .with_hint("the same -f and types continue it; without the file the run starts over"));
                }
                found
            }
        };
        let resume = Resume { path, state, saved: Instant::now(), continues };
        // Before the first question, so that a path that cannot be written is reported at once.
        resume.save(resume.state.questions)?;
        Ok(resume)
    }

    /// Counts the questions whose records are written; saves the file from time to time.
    pub(super) fn flushed(&mut self, questions: u64) -> Result<(), Fault> {
        self.state.questions = questions;
        if self.saved.elapsed() < SAVE_EVERY {
            return Ok(());
        }
        self.saved = Instant::now();
        self.save(questions)
    }

    /// Replaces the file atomically.
    pub(super) fn save(&self, questions: u64) -> Result<(), Fault> {
        let failed = |error: &std::io::Error| Fault::creating(format!("resume file {}", self.path.display()), error);
        let state = ResumeState { questions, ..self.state.clone() };
        let text = serde_json::to_vec(&state).map_err(|error| Fault::new(Kind::Internal, format!("JSON: {error}")))?;
        // Always the same name, so that runs killed at this point leave at most one such file; never through a link.
        let mut name = self.path.clone().into_os_string();
        name.push(".new");
        let write = || {
            let _ = fs::remove_file(&name);
            File::options().write(true).create_new(true).open(&name)?.write_all(&text)?;
            fs::rename(&name, &self.path)
        };
        write().map_err(|error| failed(&error))
    }

    /// Removes the file: the run is complete.
    pub(super) fn remove(self) -> Result<(), Fault> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Fault::local(self.path.display(), &error))
            }
            _ => Ok(()),
        }
    }
}

/// Removes an incomplete record from the end of the output file. A killed run leaves one if it appended to the file. Its question
/// is asked again, and the next record must begin on a line of its own.
pub(super) fn drop_fragment(output: BorrowedFd<'_>, end: u8) -> std::io::Result<()> {
    let file = File::from(output.try_clone_to_owned()?);
    let data = file.metadata()?;
    let appends = rustix::fs::fcntl_getfl(&file)?.contains(rustix::fs::OFlags::APPEND);
    if !data.is_file() || !appends {
        return Ok(());
    }
    // The descriptor is for writing; the file may be read by another one.
    let reader = File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    let (mut at, mut block) = (data.len(), vec![0; 64 * 1024]);
    while at > 0 {
        let begin = at.saturating_sub(block.len() as u64);
        let part = block.get_mut(..(at - begin) as usize).unwrap_or_default();
        reader.read_exact_at(part, begin)?;
        if let Some(place) = memchr::memrchr(end, part) {
            at = begin + place as u64 + 1;
            break;
        }
        at = begin;
    }
    if at < data.len() { file.set_len(at) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn half_a_record_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let long = "x".repeat(150_000);
        for (before, after) in
            [("", ""), ("a\nb\n", "a\nb\n"), ("a\nb", "a\n"), ("b", ""), (&*format!("a\n{long}"), "a\n"), (&*long, "")]
        {
            fs::write(&path, before).unwrap();
            let file = File::options().append(true).open(&path).unwrap();
            drop_fragment(file.as_fd(), b'\n').unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), after);
        }
        fs::write(&path, "a\nb").unwrap();
        drop_fragment(File::options().write(true).open(&path).unwrap().as_fd(), b'\n').unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "a\nb", "what is not appended to is left alone");
        drop_fragment(std::io::pipe().unwrap().1.as_fd(), b'\n').unwrap();
    }

    #[test]
    fn a_resume_file_belongs_to_its_run() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let (files, types) = ([PathBuf::from("names")], ["A".to_owned()]);
        let open = |files: &[PathBuf]| Resume::open(path.clone(), files, &types);
        assert_eq!(open(&files).unwrap().state.questions, 0);
        open(&files).unwrap().save(70).unwrap();
        assert_eq!(open(&files).unwrap().state.questions, 70);
        assert_eq!(open(&["other".into()]).unwrap_err().kind, Kind::Usage);
        fs::write(&path, "garbage").unwrap();
        assert_eq!(open(&files).unwrap_err().kind, Kind::BadData);
        assert!(fs::read_dir(folder.path()).unwrap().count() == 1, "no temporary file stays");
        let nowhere = Resume::open(folder.path().join("no/such/folder"), &files, &types);
        assert_eq!(nowhere.unwrap_err().kind, Kind::CannotCreate);
    }
}
