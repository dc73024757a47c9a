//! Files and pipes in blocks of whole lines, one block per loop at a time; a pipe without data does not block the run.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use crate::dns::bulk::question::MAX_LINE;
use crate::fault::Fault;

/// The number of bytes per read; a block is at most this size plus one line.
const READ: usize = 32 * 1024;

/// One source of names.
#[derive(Debug)]
pub enum NameSource {
    /// An open file, such as standard input.
    Open(File),
    /// The path of a file.
    File(PathBuf),
}

/// The result of a request for a block.
#[derive(Debug)]
pub enum NextBlock {
    /// The block was filled.
    Filled,
    /// The input has no data now; wait until this file is readable.
    NotNow(Arc<File>),
    /// The input has ended.
    End,
}

/// Some lines of the input. A line that is too long to hold a question is only there in part, but still longer than
/// [`MAX_LINE`].
#[derive(Debug, Default)]
pub struct LineBlock {
    /// Its number, which the distributor of blocks assigns.
    pub index: u64,
    bytes: Vec<u8>,
    at: usize,
    /// The number of the line at `at`.
    line: u64,
    /// The number of questions of the first line to skip.
    passed: u64,
}

impl LineBlock {
    /// The next line without its line end, and its number, counted through all sources.
    pub fn next_line(&mut self) -> Option<(u64, &[u8])> {
        let rest = self.bytes.get(self.at..).filter(|rest| !rest.is_empty())?;
        let length = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        self.at += length + 1;
        self.line += 1;
        Some((self.line - 1, rest.get(..length).unwrap_or_default()))
    }

    /// True if no line is left.
    pub fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// The position of the next line, and its number.
    pub fn position(&self) -> (usize, u64) {
        (self.at, self.line)
    }

    /// Goes back to a line; `passed` of its questions are to be skipped.
    pub fn go_back(&mut self, position: (usize, u64), passed: u64) {
        (self.at, self.line) = position;
        self.passed = passed;
    }

    /// The number of questions of the next line to skip; only the first call returns it, later ones return 0.
    pub fn take_passed(&mut self) -> u64 {
        std::mem::take(&mut self.passed)
    }
}

/// All sources, in sequence.
#[derive(Debug)]
pub struct Input {
    sources: VecDeque<NameSource>,
    current: Option<Arc<File>>,
    /// The current source may have no data for a while.
    is_pipe: bool,
    /// The beginning of a line whose end was not yet read.
    rest: Vec<u8>,
    /// The rest of a line that is too long is being skipped.
    skipping: bool,
    /// The number of lines handed out.
    lines: u64,
    taken: u64,
    total: Option<u64>,
}

impl Input {
    /// Opens no source yet, but reads the size of each file.
    ///
    /// # Errors
    ///
    /// [`crate::fault::Kind::NoInput`] and similar kinds: the metadata of a file cannot be read.
    pub fn new(sources: Vec<NameSource>) -> Result<Input, Fault> {
        let mut total = Some(0);
        for source in &sources {
            let size = match source {
                NameSource::Open(_) => None,
                NameSource::File(path) => {
                    let data = path.metadata().map_err(|error| Fault::local(path.display(), &error))?;
                    data.is_file().then_some(data.len())
                }
            };
            total = total.zip(size).map(|(sum, size)| sum + size);
        }
        let sources = sources.into();
        let rest = Vec::new();
        Ok(Input { sources, current: None, is_pipe: false, rest, skipping: false, lines: 0, taken: 0, total })
    }

    /// The number of bytes of all sources, if it is known.
    pub fn total_bytes(&self) -> Option<u64> {
        self.total
    }

    /// The number of bytes handed out or skipped.
    pub fn taken_bytes(&self) -> u64 {
        self.taken
    }

    /// Fills the block with the next lines.
    ///
    /// # Errors
    ///
    /// The local fault of opening or reading a source.
    pub fn next_block(&mut self, block: &mut LineBlock) -> Result<NextBlock, Fault> {
        block.bytes.clear();
        block.bytes.append(&mut self.rest);
        loop {
            let Some(file) = self.source()? else { return Ok(NextBlock::End) };
            if self.is_pipe && !is_readable(&file) {
                self.rest.append(&mut block.bytes);
                return Ok(NextBlock::NotNow(file));
            }
            let before = block.bytes.len();
            block.bytes.resize(before + READ, 0);
            let fresh = block.bytes.get_mut(before..).unwrap_or_default();
            let count = (&*file).read(fresh).map_err(|error| Fault::local("reading names", &error))?;
            block.bytes.truncate(before + count);
            if count == 0 {
                self.current = None;
                // The last line may lack its end.
                if !std::mem::take(&mut self.skipping) && before > 0 {
                    return Ok(self.hand_out(block));
                }
                continue;
            }
            if self.skipping {
                let end = memchr::memchr(b'\n', &block.bytes);
                self.skipping = end.is_none();
                let passed = end.map_or(count, |end| end + 1);
                self.taken += passed as u64;
                block.bytes.drain(..passed);
            }
            match memchr::memrchr(b'\n', &block.bytes) {
                Some(last) => {
                    self.rest.extend_from_slice(block.bytes.get(last + 1..).unwrap_or_default());
                    block.bytes.truncate(last + 1);
                    return Ok(self.hand_out(block));
                }
                None if block.bytes.len() > MAX_LINE => {
                    self.skipping = true;
                    return Ok(self.hand_out(block));
                }
                None => {}
            }
        }
    }

    fn hand_out(&mut self, block: &mut LineBlock) -> NextBlock {
        *block =
            LineBlock { index: 0, bytes: std::mem::take(&mut block.bytes), at: 0, line: self.lines + 1, passed: 0 };
        let cut = !block.bytes.ends_with(b"\n");
        self.lines += memchr::memchr_iter(b'\n', &block.bytes).count() as u64 + u64::from(cut);
        self.taken += block.bytes.len() as u64;
        NextBlock::Filled
    }

    /// The current source, opened if necessary; `None` after the last one.
    fn source(&mut self) -> Result<Option<Arc<File>>, Fault> {
        if let Some(file) = &self.current {
            return Ok(Some(file.clone()));
        }
        let Some(source) = self.sources.pop_front() else { return Ok(None) };
        let file = Arc::new(match source {
            NameSource::Open(file) => file,
            NameSource::File(path) => File::open(&path).map_err(|error| Fault::local(path.display(), &error))?,
        });
        self.is_pipe = !file.metadata().is_ok_and(|data| data.is_file());
        self.current = Some(file.clone());
        Ok(Some(file))
    }
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
        let mut block = LineBlock::default();
        loop {
            match input.next_block(&mut block).unwrap() {
                NextBlock::Filled => {
                    while let Some((number, line)) = block.next_line() {
                        let length = if line.len() > MAX_LINE { usize::MAX } else { line.len() };
                        found.push((number, length, String::from_utf8_lossy(line).chars().take(8).collect()));
                    }
                }
                NextBlock::NotNow(_) => panic!("files are always ready"),
                NextBlock::End => return found,
            }
        }
    }

    #[test]
    fn lines_of_several_files_long_ones_included() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            NameSource::File(path)
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
        assert!(Input::new(vec![NameSource::File(folder.path().join("none"))]).is_err());
    }

    /// Lines of every length around the read size: none is cut, none is lost.
    #[test]
    fn lines_across_reads_are_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("names");
        let text: String = (0..2_000).map(|n| format!("{n}{}\n", "y".repeat(n % 500))).collect();
        std::fs::write(&path, &text).unwrap();
        let mut input = Input::new(vec![NameSource::File(path)]).unwrap();
        let (mut joined, mut block) = (String::new(), LineBlock::default());
        while let NextBlock::Filled = input.next_block(&mut block).unwrap() {
            while let Some((_, line)) = block.next_line() {
                joined.push_str(std::str::from_utf8(line).unwrap());
                joined.push('\n');
            }
        }
        assert!(joined == text);
    }

    #[test]
    fn a_pipe_is_waited_for_and_may_cut_lines() {
        use std::io::Write;
        let (reader, mut writer) = std::io::pipe().unwrap();
        let mut input = Input::new(Vec::new()).unwrap();
        input.current = Some(Arc::new(File::from(std::os::fd::OwnedFd::from(reader))));
        input.is_pipe = true;
        let mut block = LineBlock::default();
        assert!(matches!(input.next_block(&mut block), Ok(NextBlock::NotNow(_))));
        writer.write_all(b"a\nb").unwrap();
        assert!(matches!(input.next_block(&mut block), Ok(NextBlock::Filled)));
        assert_eq!(block.next_line(), Some((1, &b"a"[..])));
        assert_eq!(block.next_line(), None);
        assert!(matches!(input.next_block(&mut block), Ok(NextBlock::NotNow(_))));
        writer.write_all(b"c\n").unwrap();
        drop(writer);
        assert!(matches!(input.next_block(&mut block), Ok(NextBlock::Filled)));
        assert_eq!(block.next_line(), Some((2, &b"bc"[..])));
        assert!(matches!(input.next_block(&mut block), Ok(NextBlock::End)));
    }
}
