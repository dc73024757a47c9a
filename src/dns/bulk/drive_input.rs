//! Lines from files and pipes, in large reads; a pipe that has nothing now does not hold the run up.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use super::question::MAX_LINE;
use crate::fault::Fault;

/// Bytes read at a time.
const READ: usize = 256 * 1024;

/// One source of names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Standard input.
    Stdin,
    /// A file.
    File(PathBuf),
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<'a> {
    /// A line without its end, and its number, counted through all sources.
    Line(u64, &'a [u8]),
    /// A line that is too long to be one of names: its beginning.
    TooLong(u64, &'a [u8]),
    /// Nothing now; wait for [`Input::waits_for`].
    NotNow,
    /// Nothing any more.
    End,
}

/// All sources, one after the other.
#[derive(Debug)]
pub struct Input {
    sources: VecDeque<Source>,
    current: Option<File>,
    /// The current source may have nothing to say for a while.
    is_pipe: bool,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// The rest of a line that was too long is passed over.
    skipping: bool,
    line: u64,
    taken: u64,
    total: Option<u64>,
}

impl Input {
    /// Opens nothing yet, but says now if a file is not there.
    pub fn new(sources: Vec<Source>) -> Result<Input, Fault> {
        let mut total = Some(0);
        for source in &sources {
            let size = match source {
                Source::Stdin => None,
                Source::File(path) => {
                    let data = path.metadata().map_err(|error| Fault::local(path.display(), &error))?;
                    data.is_file().then_some(data.len())
                }
            };
            total = total.zip(size).map(|(sum, size)| sum + size);
        }
        Ok(Input {
            sources: sources.into(),
            current: None,
            is_pipe: false,
            buffer: vec![0; READ],
            start: 0,
            end: 0,
            skipping: false,
            line: 0,
            taken: 0,
            total,
        })
    }

    /// Bytes of all sources, if that can be known.
    pub fn total_bytes(&self) -> Option<u64> {
        self.total
    }

    /// Bytes that became lines so far.
    pub fn taken_bytes(&self) -> u64 {
        self.taken
    }

    /// What to wait for after [`Next::NotNow`].
    pub fn waits_for(&self) -> Option<BorrowedFd<'_>> {
        self.current.as_ref().map(File::as_fd)
    }

    /// The next line.
    pub fn next_line(&mut self) -> Result<Next<'_>, Fault> {
        loop {
            let window = self.buffer.get(self.start..self.end).unwrap_or_default();
            if let Some(length) = memchr::memchr(b'\n', window) {
                let begin = self.start;
                self.start += length + 1;
                self.taken += length as u64 + 1;
                if std::mem::take(&mut self.skipping) {
                    continue;
                }
                return Ok(self.line(begin, begin + length));
            }
            if self.skipping {
                self.taken += window.len() as u64;
                self.start = self.end;
            } else if window.len() > MAX_LINE {
                let (begin, end) = (self.start, self.end);
                self.skipping = true;
                self.start = self.end;
                self.taken += (end - begin) as u64;
                return Ok(self.line(begin, end));
            }
            match self.fill()? {
                Filled::Some => {}
                Filled::NotNow => return Ok(Next::NotNow),
                Filled::End => return Ok(Next::End),
                Filled::EndOfSource => {
                    // The last line may lack its end.
                    let (begin, end) = (self.start, self.end);
                    self.start = self.end;
                    self.taken += (end - begin) as u64;
                    if !std::mem::take(&mut self.skipping) && begin < end {
                        return Ok(self.line(begin, end));
                    }
                }
            }
        }
    }

    fn line(&mut self, begin: usize, end: usize) -> Next<'_> {
        self.line += 1;
        let line = self.buffer.get(begin..end).unwrap_or_default();
        if line.len() > MAX_LINE { Next::TooLong(self.line, line) } else { Next::Line(self.line, line) }
    }

    /// Reads more behind what is left in the buffer.
    fn fill(&mut self) -> Result<Filled, Fault> {
        let Some(file) = &mut self.current else {
            let Some(source) = self.sources.pop_front() else { return Ok(Filled::End) };
            let (opened, name) = match &source {
                Source::Stdin => (std::io::stdin().as_fd().try_clone_to_owned().map(File::from), "stdin".to_owned()),
                Source::File(path) => (File::open(path), path.display().to_string()),
            };
            let file = opened.map_err(|error| Fault::local(name, &error))?;
            self.is_pipe = !file.metadata().is_ok_and(|data| data.is_file());
            self.current = Some(file);
            return Ok(Filled::Some);
        };
        if self.is_pipe && !is_readable(file) {
            return Ok(Filled::NotNow);
        }
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let place = self.buffer.get_mut(self.end..).unwrap_or_default();
        let count = file.read(place).map_err(|error| Fault::local("reading names", &error))?;
        self.end += count;
        if count == 0 {
            self.current = None;
            return Ok(Filled::EndOfSource);
        }
        Ok(Filled::Some)
    }
}

enum Filled {
    Some,
    NotNow,
    EndOfSource,
    End,
}

fn is_readable(file: &File) -> bool {
    let mut polled = [rustix::event::PollFd::new(file, rustix::event::PollFlags::IN)];
    let now = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
    // An error counts as readable: the read will tell.
    !matches!(rustix::event::poll(&mut polled, Some(&now)), Ok(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(input: &mut Input) -> Vec<(u64, usize, String)> {
        let mut found = Vec::new();
        loop {
            match input.next_line().unwrap() {
                Next::Line(number, line) => {
                    found.push((number, line.len(), String::from_utf8_lossy(line).chars().take(8).collect()));
                }
                Next::TooLong(number, line) => {
                    found.push((number, usize::MAX, String::from_utf8_lossy(line).chars().take(8).collect()));
                }
                Next::NotNow => panic!("files are always ready"),
                Next::End => return found,
            }
        }
    }

    #[test]
    fn lines_of_several_files_long_ones_included() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            Source::File(path)
        };
        let megabyte = [&b"x"[..], &vec![b'a'; 1 << 20], b"\nafter\n"].concat();
        let fits = [vec![b'b'; MAX_LINE], b"\n".to_vec(), vec![b'c'; MAX_LINE + 1]].concat();
        let mut input =
            Input::new(vec![file("1", b"one\r\n\ntwo"), file("2", &megabyte), file("3", b""), file("4", &fits)])
                .unwrap();
        let total = input.total_bytes();
        let found = lines(&mut input);
        let expected = [
            (1, 4, "one\r"),
            (2, 0, ""),
            (3, 3, "two"),
            (4, usize::MAX, "xaaaaaaa"),
            (5, 5, "after"),
            (6, MAX_LINE, "bbbbbbbb"),
            (7, usize::MAX, "cccccccc"),
        ];
        assert_eq!(found, expected.map(|(number, length, text)| (number, length, text.to_owned())));
        assert_eq!(total, Some(input.taken_bytes()));
        assert!(Input::new(vec![Source::File(folder.path().join("none"))]).is_err());
    }

    /// A thousand lines of every length around the size of the reads: none is cut, none is lost.
    #[test]
    fn lines_across_reads_are_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("names");
        let text: String = (0..2_000).map(|n| format!("{n}{}\n", "y".repeat(n % 500))).collect();
        std::fs::write(&path, &text).unwrap();
        let mut input = Input::new(vec![Source::File(path)]).unwrap();
        let mut joined = String::new();
        while let Next::Line(_, line) = input.next_line().unwrap() {
            joined.push_str(std::str::from_utf8(line).unwrap());
            joined.push('\n');
        }
        assert!(joined == text);
    }
}
