//! Tools on a terminal: a pseudo-terminal of a given width, and a model of what its screen shows.

use std::fs::File;
use std::io::Write;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use tempfile::TempDir;

use crate::harness::{Captured, LIMIT, Run, signal, temp_dir, wait};

/// A tool that runs on a terminal of its own: stdin, stdout and stderr, and /dev/tty.
pub(crate) struct Terminal {
    columns: usize,
    keyboard: File,
    /// Every byte that came.
    pub(crate) shown: Captured,
    child: Option<Child>,
    _home: TempDir,
}

impl Run {
    /// Starts the tool on a terminal of so many columns.
    pub(crate) fn on_terminal(self, columns: u16) -> Terminal {
        let home = temp_dir();
        on_terminal(self.command(home.path()), home, columns)
    }
}

/// Starts a command on a terminal of so many columns; its home lasts as long as the terminal.
pub(crate) fn on_terminal(command: Command, home: TempDir, columns: u16) -> Terminal {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&master, size).unwrap();
    let slave = ptsname(&master, Vec::new()).unwrap();
    let slave = File::from(rustix::fs::open(slave, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap());
    // A session of its own, whose terminal this is: Ctrl-C reaches it, and /dev/tty is there.
    let mut session = Command::new("setsid");
    session.args(["--ctty", "--wait"]).arg(command.get_program()).args(command.get_args());
    session.env_clear().env("TERM", "xterm");
    session.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    session.current_dir(command.get_current_dir().unwrap());
    let stdio = || Stdio::from(slave.try_clone().unwrap());
    let child = session.stdin(stdio()).stdout(stdio()).stderr(stdio()).spawn().unwrap();
    drop((session, slave));
    let keyboard = File::from(master);
    let shown = Captured::of(keyboard.try_clone().unwrap());
    Terminal { columns: usize::from(columns), keyboard, shown, child: Some(child), _home: home }
}

impl Terminal {
    /// Presses keys.
    pub(crate) fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// True if the terminal shows what is typed.
    pub(crate) fn echoes(&self) -> bool {
        tcgetattr(&self.keyboard).unwrap().local_modes.contains(LocalModes::ECHO)
    }

    /// Waits until the tool has ended.
    pub(crate) fn wait(&mut self) {
        self.child.as_mut().unwrap().wait().unwrap();
    }

    /// Waits for the end: the status, and the screen.
    #[track_caller]
    pub(crate) fn end(self) -> (i32, Screen) {
        let columns = self.columns;
        let (status, text) = self.whole();
        (status, Screen::of(&text, columns))
    }

    /// Waits for the end: the status, and all that was shown.
    #[track_caller]
    pub(crate) fn whole(mut self) -> (i32, String) {
        let (status, hung): (ExitStatus, bool) = wait(self.child.take().unwrap(), LIMIT);
        assert!(!hung, "did not end:\n{}", self.shown);
        // The reader is behind the end of the process by what the terminal still holds.
        (status.code().unwrap_or(-1), self.shown.to_its_end())
    }

    /// What the screen shows now.
    pub(crate) fn screen(&self) -> Screen {
        Screen::of(&self.shown.text(), self.columns)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(child) = self.child.take() {
            signal(child.id(), rustix::process::Signal::KILL);
            wait(child, LIMIT);
        }
    }
}

/// What bytes make of a terminal that knows CR, LF, `ESC [ K`, `ESC [ n A` and colours.
#[derive(Debug, Default)]
pub(crate) struct Screen {
    lines: Vec<Vec<char>>,
    row: usize,
    column: usize,
    /// Lines as they were when they had been drawn to their end.
    pub(crate) drawn: Vec<String>,
    /// Something was written beyond the last column.
    pub(crate) overflowed: bool,
}

impl Screen {
    pub(crate) fn of(text: &str, columns: usize) -> Screen {
        let mut screen = Screen { lines: vec![Vec::new()], ..Screen::default() };
        let mut rest = text.chars();
        while let Some(letter) = rest.next() {
            match letter {
                '\r' => screen.column = 0,
                '\n' => {
                    screen.row += 1;
                    if screen.row == screen.lines.len() {
                        screen.lines.push(Vec::new());
                    }
                }
                '\x1b' => {
                    assert_eq!(rest.next(), Some('['), "only control sequences are known: {text:?}");
                    let mut number = String::new();
                    let end = rest.by_ref().find(|letter| {
                        number.push(*letter);
                        letter.is_ascii_alphabetic()
                    });
                    screen.control(end, &number);
                }
                letter => {
                    let (row, column) = (screen.row, screen.column);
                    screen.overflowed |= column >= columns;
                    let line = &mut screen.lines[row];
                    if line.len() <= column {
                        line.resize(column + 1, ' ');
                    }
                    line[column] = letter;
                    screen.column += 1;
                }
            }
        }
        screen
    }

    fn control(&mut self, end: Option<char>, number: &str) {
        match end {
            Some('K') => {
                self.lines[self.row].truncate(self.column);
                let line: String = self.lines[self.row].iter().collect();
                self.drawn.extend((!line.is_empty()).then_some(line));
            }
            Some('A') => self.row -= number.trim_end_matches('A').parse::<usize>().unwrap_or(1).min(self.row),
            Some('m') => {}
            other => panic!("an unknown control sequence: {number:?} {other:?}"),
        }
    }

    /// The lines that hold something.
    pub(crate) fn lines(&self) -> Vec<String> {
        let lines = self.lines.iter().map(|line| line.iter().collect::<String>().trim_end().to_owned());
        lines.filter(|line| !line.is_empty()).collect()
    }
}

#[test]
fn the_model_of_a_screen() {
    let screen = Screen::of("one\r\ntwo 1\x1b[K\rtwo 22\x1b[K\r\x1b[Kthree\r\nfour\x1b[31m!\x1b[0m\x1b[1A\r3", 6);
    assert_eq!(screen.lines(), ["one", "3hree", "four!"]);
    assert_eq!(screen.drawn, ["two 1", "two 22"]);
    assert!(!screen.overflowed && Screen::of("1234567", 6).overflowed);
}
