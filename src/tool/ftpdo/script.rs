//! The commands of a command line or script: verbs, their options and paths, and the quoting rules of scripts.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use clap::error::ErrorKind;

use crate::cli::clock;
use crate::cli::foreign::meant;
use crate::fault::{Fault, Kind};
use crate::ftp::checksum::ChecksumAlgorithm;
use crate::ftp::glob::Glob;
use crate::tool::ftp_pick::{Pick, PickArgs};
use crate::tool::ftp_words;

/// The mark before an unquoted glob character in a word. No path can contain it.
const UNQUOTED: u8 = 0;

/// One command.
#[derive(Debug, Clone)]
pub(super) struct ScriptCommand {
    /// Its line number in the script; 0 for the command line.
    pub(super) line: u64,
    pub(super) act: Act,
}

/// A verb with its arguments. Paths are words as the user wrote them ([`literal`], [`glob_of`]).
#[derive(Debug, Clone)]
pub(super) enum Act {
    Mkdir { parents: bool, paths: Vec<Vec<u8>> },
    Rm { recursive: bool, force: bool, pick: Pick, paths: Vec<Vec<u8>> },
    Ls { long: bool, paths: Vec<Vec<u8>> },
    Get { to: Option<Vec<u8>>, paths: Vec<Vec<u8>> },
    Put { to: Option<Vec<u8>>, files: Vec<Vec<u8>> },
    Cat { paths: Vec<Vec<u8>> },
    Pwd,
    Rmdir { paths: Vec<Vec<u8>> },
    Mv { from: Vec<Vec<u8>>, to: Vec<u8> },
    Chmod { mode: u32, paths: Vec<Vec<u8>> },
    Touch { time: Option<i64>, create: bool, paths: Vec<Vec<u8>> },
    Stat { paths: Vec<Vec<u8>> },
    Hash { algorithm: Option<ChecksumAlgorithm>, paths: Vec<Vec<u8>> },
    Du { paths: Vec<Vec<u8>> },
    Raw { line: Vec<u8> },
}

impl Act {
    /// The verb.
    pub(super) const fn verb(&self) -> &'static str {
        match self {
            Act::Mkdir { .. } => "mkdir",
            Act::Rm { .. } => "rm",
            Act::Rmdir { .. } => "rmdir",
            Act::Ls { .. } => "ls",
            Act::Get { .. } => "get",
            Act::Put { .. } => "put",
            Act::Cat { .. } => "cat",
            Act::Pwd => "pwd",
            Act::Mv { .. } => "mv",
            Act::Chmod { .. } => "chmod",
            Act::Touch { .. } => "touch",
            Act::Stat { .. } => "stat",
            Act::Hash { .. } => "hash",
            Act::Du { .. } => "du",
            Act::Raw { .. } => "raw",
        }
    }

    /// True if the command writes to stdout on success.
    pub(super) const fn prints(&self) -> bool {
        use Act::{Cat, Du, Hash, Ls, Pwd, Raw, Stat};
        matches!(self, Ls { .. } | Cat { .. } | Pwd | Stat { .. } | Hash { .. } | Du { .. } | Raw { .. })
    }
}

/// The grammar of one command, without the program's name.
#[derive(clap::Parser)]
#[command(name = "", no_binary_name = true, disable_help_flag = true, disable_help_subcommand = true)]
struct CommandGrammar {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand)]
enum Verb {
    Mkdir {
        #[arg(short = 'p', long)]
        parents: bool,
        paths: Vec<OsString>,
    },
    #[command(aliases = ["delete", "mdelete", "mrm"])]
    Rm {
        #[arg(short = 'r', short_alias = 'R', long)]
        recursive: bool,
        #[arg(short = 'f', long)]
        force: bool,
        #[command(flatten)]
        pick: Box<PickArgs>,
        paths: Vec<OsString>,
    },
    #[command(visible_aliases = ["dir", "cls"])]
    Ls {
        #[arg(short = 'l', long)]
        long: bool,
        paths: Vec<OsString>,
    },
    #[command(aliases = ["mget", "recv"])]
    Get {
        #[arg(short = 'o', long = "to")]
        to: Option<OsString>,
        paths: Vec<OsString>,
    },
    #[command(aliases = ["mput", "send"])]
    Put {
        #[arg(short = 'o', long = "to")]
        to: Option<OsString>,
        #[arg(required = true)]
        files: Vec<OsString>,
    },
    Cat {
        paths: Vec<OsString>,
    },
    Pwd,
    Rmdir {
        paths: Vec<OsString>,
    },
    #[command(alias = "rename")]
    Mv {
        #[arg(num_args = 2.., required = true)]
        paths: Vec<OsString>,
    },
    Chmod {
        #[arg(value_parser = parse_mode)]
        mode: u32,
        paths: Vec<OsString>,
    },
    Touch {
        #[arg(short = 'd', long = "date", value_parser = clock::moment)]
        time: Option<i64>,
        #[arg(short = 'c', long)]
        no_create: bool,
        paths: Vec<OsString>,
    },
    Stat {
        paths: Vec<OsString>,
    },
    Hash {
        #[arg(short = 'a', long, value_parser = parse_algorithm)]
        algorithm: Option<ChecksumAlgorithm>,
        paths: Vec<OsString>,
    },
    Du {
        paths: Vec<OsString>,
    },
    Raw {
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<OsString>,
    },
}

fn parse_mode(text: &str) -> Result<u32, String> {
    let octal = (3..=4).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|_| octal)
        .ok_or_else(|| format!("{text:?} is not a mode; use 644 or 0755"))
}

fn parse_algorithm(text: &str) -> Result<ChecksumAlgorithm, String> {
    ChecksumAlgorithm::parse(text).ok_or_else(|| "SHA-512, SHA-256, SHA-1, MD5 or CRC32".to_owned())
}

/// The names of the verbs.
pub(super) const VERBS: [&str; 15] =
    ["mkdir", "rm", "rmdir", "mv", "chmod", "touch", "stat", "ls", "get", "put", "cat", "hash", "du", "pwd", "raw"];

const VERBS_HINT: &str = "verbs: mkdir, rm, rmdir, mv, chmod, touch, stat, ls, get, put, cat, hash, du, pwd, raw";

/// Parses one command from its words. `here`: the URL has a path that replaces a missing PATH.
pub(super) fn parse(words: &[Vec<u8>], line: u64, here: bool) -> Result<ScriptCommand, Fault> {
    let usage = |detail: String| match line {
        0 => Fault::new(Kind::Usage, detail),
        _ => Fault::new(Kind::Usage, format!("line {line}: {detail}")),
    };
    let parsed =
        <CommandGrammar as clap::Parser>::try_parse_from(words.iter().map(|word| OsString::from_vec(word.clone())));
    let verb = parsed.map(|words| words.verb).map_err(|error| {
        let name = words.first().map(|word| String::from_utf8_lossy(word).into_owned()).unwrap_or_default();
        match error.kind() {
            ErrorKind::InvalidSubcommand | ErrorKind::MissingSubcommand => {
                let fault = usage(format!("unknown verb {name:?}{}", meant(&name, &[ftp_words::VERBS], VERBS)));
                fault.with_hint(VERBS_HINT)
            }
            ErrorKind::MissingRequiredArgument | ErrorKind::TooFewValues => {
                usage(format!("{name} needs more arguments"))
            }
            // The first line is sufficient: clap's usage line describes a program.
            _ => usage(format!("{name}: {}", first_line(&error.to_string()))),
        }
    })?;
    let bytes = |paths: Vec<OsString>| paths.into_iter().map(OsStringExt::into_vec).collect::<Vec<Vec<u8>>>();
    let act = match verb {
        Verb::Mkdir { parents, paths } => Act::Mkdir { parents, paths: bytes(paths) },
        Verb::Rm { recursive, force, pick, paths } => {
            let pick = pick.pick().map_err(|fault| usage(fault.detail))?;
            Act::Rm { recursive, force, pick, paths: bytes(paths) }
        }
        Verb::Ls { long, paths } => Act::Ls { long, paths: bytes(paths) },
        Verb::Get { to, paths } => {
            let (to, paths) = (to.map(|to| literal(&to.into_vec())), bytes(paths));
            check_target(to.as_deref(), paths.len()).map_err(usage)?;
            Act::Get { to, paths }
        }
        Verb::Put { to, files } => {
            let (to, files) = (to.map(|to| literal(&to.into_vec())), bytes(files));
            check_target(to.as_deref(), files.len()).map_err(usage)?;
            Act::Put { to, files }
        }
        Verb::Cat { paths } => Act::Cat { paths: bytes(paths) },
        Verb::Pwd => Act::Pwd,
        Verb::Rmdir { paths } => Act::Rmdir { paths: bytes(paths) },
        Verb::Mv { paths } => {
            let mut from = bytes(paths);
            let to = from.pop().unwrap_or_default();
            let to = literal(&to);
            check_target(Some(&to), from.len()).map_err(usage)?;
            Act::Mv { from, to }
        }
        Verb::Chmod { mode, paths } => Act::Chmod { mode, paths: bytes(paths) },
        Verb::Touch { time, no_create, paths } => Act::Touch { time, create: !no_create, paths: bytes(paths) },
        Verb::Stat { paths } => Act::Stat { paths: bytes(paths) },
        Verb::Hash { algorithm, paths } => Act::Hash { algorithm, paths: bytes(paths) },
        Verb::Du { paths } => Act::Du { paths: bytes(paths) },
        Verb::Raw { words } => Act::Raw { line: literal(&bytes(words).join(&b' ')) },
    };
    let command = ScriptCommand { line, act };
    match command.paths() {
        // In a script, a command that changes something needs a path; on the command line, the URL may have it.
        Some([])
            if !matches!(command.act, Act::Stat { .. } | Act::Du { .. } | Act::Ls { .. }) && (line > 0 || !here) =>
        {
            Err(usage(format!("{} needs a path", command.act.verb())))
        }
        _ if command.paths().is_some_and(|paths| paths.iter().any(Vec::is_empty)) => {
            Err(usage("an empty path".to_owned()))
        }
        _ => Ok(command),
    }
}

/// Checks that the target of several files is a directory.
///
/// # Errors
/// The message for the user.
pub(super) fn check_target(to: Option<&[u8]>, files: usize) -> Result<(), String> {
    match files > 1 && to.is_some_and(|to| !to.ends_with(b"/")) {
        true => Err("several files go into a directory: write its name with a / at the end".to_owned()),
        false => Ok(()),
    }
}

fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

impl ScriptCommand {
    /// The paths of a verb that takes any number of them.
    pub(super) fn paths(&self) -> Option<&[Vec<u8>]> {
        match &self.act {
            Act::Mkdir { paths, .. }
            | Act::Rm { paths, .. }
            | Act::Rmdir { paths }
            | Act::Chmod { paths, .. }
            | Act::Touch { paths, .. }
            | Act::Stat { paths }
            | Act::Ls { paths, .. }
            | Act::Get { paths, .. }
            | Act::Cat { paths }
            | Act::Hash { paths, .. }
            | Act::Du { paths } => Some(paths),
            Act::Mv { .. } | Act::Put { .. } | Act::Pwd | Act::Raw { .. } => None,
        }
    }
}

/// Parses a script: one command per line, `#` begins a comment at the start of a word, empty lines are ignored.
pub(super) fn read(script: &[u8]) -> Result<Vec<ScriptCommand>, Fault> {
    let mut commands = Vec::new();
    for (at, line) in script.split(|byte| *byte == b'\n').enumerate() {
        let number = u64::try_from(at).unwrap_or(u64::MAX).saturating_add(1);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let words = split(line).map_err(|why| Fault::new(Kind::Usage, format!("line {number}: {why}")))?;
        if !words.is_empty() {
            commands.push(parse(&words, number, false)?);
        }
    }
    Ok(commands)
}

/// Splits a line into words, quoted as in sh(1): `'…'` is literal; in `"…"` and outside of quotes, `\` makes the next character
/// literal; in `"…"` also `\n`, `\t`, and `\xHH` for any byte.
fn split(line: &[u8]) -> Result<Vec<Vec<u8>>, &'static str> {
    let (mut words, mut word): (Vec<Vec<u8>>, Option<Vec<u8>>) = (Vec::new(), None);
    let mut bytes = line.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            UNQUOTED => return Err("NUL cannot be sent"),
            b' ' | b'\t' => words.extend(word.take()),
            b'#' if word.is_none() => break,
            b'\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match bytes.next().ok_or("a quote is not closed")? {
                        b'\'' => break,
                        byte => word.push(byte),
                    }
                }
            }
            b'"' => {
                let word = word.get_or_insert_default();
                loop {
                    match bytes.next().ok_or("a quote is not closed")? {
                        b'"' => break,
                        b'\\' => word.push(escaped(&mut bytes)?),
                        byte => word.push(byte),
                    }
                }
            }
            b'\\' => word.get_or_insert_default().push(bytes.next().ok_or("nothing follows the backslash")?),
            byte => push_unquoted(word.get_or_insert_default(), byte),
        }
    }
    words.extend(word);
    match words.iter().any(|word| word.ends_with(&[UNQUOTED])) {
        true => Err("NUL cannot be sent"),
        false => Ok(words),
    }
}

fn push_unquoted(word: &mut Vec<u8>, byte: u8) {
    if Glob::escape(&[byte]).len() > 1 && byte != b'\\' {
        word.push(UNQUOTED);
    }
    word.push(byte);
}

/// A word of the command line, whose quotes the shell has removed: a backslash makes the glob character after it
/// literal.
pub(super) fn from_command_line(word: &[u8]) -> Vec<u8> {
    let (mut marked, mut rest) = (Vec::with_capacity(word.len()), word);
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match after.split_first() {
            Some((&next, after)) if byte == b'\\' && Glob::is_special(&[next]) => {
                marked.push(next);
                rest = after;
            }
            _ => push_unquoted(&mut marked, byte),
        }
    }
    marked
}

/// A word without marks.
pub(super) fn literal(word: &[u8]) -> Vec<u8> {
    word.iter().copied().filter(|byte| *byte != UNQUOTED).collect()
}

fn is_glob(word: &[u8]) -> bool {
    word.windows(2).any(|pair| matches!(pair, [UNQUOTED, byte] if Glob::is_special(&[*byte])))
}

/// The glob in the last part of a word.
///
/// # Errors
/// `Usage` for a glob in another part, and the errors of [`Glob::new`].
pub(super) fn glob_of(word: &[u8]) -> Result<Option<Glob>, Fault> {
    if !is_glob(word) {
        return Ok(None);
    }
    let start = word.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    let (parent, mut rest) = word.split_at_checked(start).unwrap_or_default();
    if is_glob(parent) || rest.is_empty() {
        return Err(Fault::new(Kind::Usage, "a glob is only possible in the last part of a path"));
    }
    let mut glob = Vec::with_capacity(rest.len());
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match after.split_first() {
            Some((&next, after)) if byte == UNQUOTED => {
                glob.push(next);
                rest = after;
            }
            _ => glob.extend(Glob::escape(&[byte])),
        }
    }
    Glob::from_bytes(&glob).map(Some)
}

/// The byte for an escape sequence in double quotes, after the backslash.
fn escaped(bytes: &mut impl Iterator<Item = u8>) -> Result<u8, &'static str> {
    match bytes.next().ok_or("a quote is not closed")? {
        b'n' => Ok(b'\n'),
        b't' => Ok(b'\t'),
        b'x' => {
            let mut digit = || bytes.next().and_then(|byte| char::from(byte).to_digit(16));
            let (high, low) = (digit(), digit());
            let value = high.zip(low).and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
            value.filter(|byte| *byte != UNQUOTED).ok_or("two hexadecimal digits, not 00, must follow \\x")
        }
        byte => Ok(byte),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting() {
        for (line, words) in [
            ("", vec![]),
            ("  # all of it", vec![]),
            ("rm a#b # end", vec!["rm", "a#b"]),
            ("rm 'a b' \"c d\"", vec!["rm", "a b", "c d"]),
            ("rm a\\ b '' x\"y\"z", vec!["rm", "a b", "", "xyz"]),
            ("rm \"a\\\"b\\\\c\\x41\\t\" 'it'\\''s'", vec!["rm", "a\"b\\cA\t", "it's"]),
            ("\trm\t-r  x", vec!["rm", "-r", "x"]),
        ] {
            let found = split(line.as_bytes()).unwrap();
            assert_eq!(found, words.iter().map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>(), "{line}");
        }
        assert_eq!(split(b"\"\\xff\"").unwrap(), [vec![0xff]]);
        for bad in ["'a", "\"a", "a\\", "\"\\x4\"", "\"\\xZZ\""] {
            assert!(split(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn globs_are_what_is_not_quoted() {
        // (a line, what it matches, what it does not, whether it is a glob)
        for (line, yes, no, glob) in [
            ("a*[12],{x,y}", "ab1,x", "a*1,x", true),
            ("'a*'*", "a*b", "ab", true),
            ("a\\*\"?\"", "a*?", "", false),
            ("sub/*.csv", "a.csv", ".csv", true),
        ] {
            let words = split(line.as_bytes()).unwrap();
            let [word] = words.as_slice() else { panic!("{line}") };
            let found = glob_of(word).unwrap();
            assert_eq!(found.is_some(), glob, "{line}");
            match found {
                None => assert_eq!(literal(word), yes.as_bytes()),
                Some(glob) => {
                    assert!(glob.step(&glob.walk(), yes.as_bytes()).0, "{line}");
                    assert_eq!(glob.step(&glob.walk(), no.as_bytes()).0, line.starts_with("a*"), "{line}");
                }
            }
        }
        assert_eq!(glob_of(&from_command_line(b"a\\*b")).unwrap(), None);
        assert!(
            glob_of(&from_command_line(b"*/b")).is_err() && glob_of(&from_command_line(b"*.tar")).unwrap().is_some()
        );
    }

    #[test]
    fn scripts() {
        let script = b"mkdir -p a/b\r\n\n# nothing\nmv 'a b' c\nchmod 644 x y\ntouch -d @5 t\nrm -rf z -- -dash\nraw SITE  HELP\nhash -a md5 f";
        let commands = read(script).unwrap();
        let path = |text: &str| text.as_bytes().to_vec();
        let expected = [
            (1, Act::Mkdir { parents: true, paths: vec![path("a/b")] }),
            (4, Act::Mv { from: vec![path("a b")], to: path("c") }),
            (5, Act::Chmod { mode: 0o644, paths: vec![path("x"), path("y")] }),
            (6, Act::Touch { time: Some(5), create: true, paths: vec![path("t")] }),
            (7, Act::Rm { recursive: true, force: true, pick: Pick::default(), paths: vec![path("z"), path("-dash")] }),
            (8, Act::Raw { line: path("SITE HELP") }),
            (9, Act::Hash { algorithm: Some(ChecksumAlgorithm::Md5), paths: vec![path("f")] }),
        ];
        let expected = expected.map(|(line, act)| ScriptCommand { line, act });
        assert_eq!(format!("{commands:?}"), format!("{expected:?}"));
    }

    #[test]
    fn what_is_no_script() {
        for (script, says) in [
            ("mkdir a\nexplode", "line 2: unknown verb \"explode\""),
            ("mv a", "line 1: mv needs more"),
            ("rm", "line 1: rm needs a path"),
            ("chmod 9 x", "not a mode"),
            ("chmod 644", "chmod needs a path"),
            ("rm ''", "empty path"),
            ("rm --what x", "line 1: rm: unexpected argument"),
            ("hash -a x y", "SHA-512"),
            ("raw", "raw needs"),
            ("rm 'x", "line 1: a quote is not closed"),
            ("mv a b c", "write its name with a /"),
            ("rm --older-than never x", "line 1: rm: invalid value"),
            ("rm a\0*", "NUL"),
        ] {
            let fault = read(script.as_bytes()).unwrap_err();
            assert_eq!(fault.kind, Kind::Usage);
            assert!(fault.detail.contains(says), "{script}: {fault}");
        }
        assert!(parse(&[b"rm".to_vec()], 0, true).is_ok(), "the URL names it");
        assert!(parse(&[b"stat".to_vec()], 3, false).is_ok());
    }
}
