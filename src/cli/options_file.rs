//! Options files: one long option per line, read before the command line, which overrides them.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{ErrorKind, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use clap::error::ErrorKind as ClapKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::cli::secret::only_ours;
use crate::fault::{Fault, Kind};
use crate::secret::without_url_password;

/// The tools that read default files, since a host has one configuration for each. The others read only a named file.
const WITH_DEFAULT_FILES: [&str; 7] =
    ["smtpsend", "mailq-run", "mailq-ls", "mailq-edit", "smtpserve", "ftpserve", "dnsserve"];
/// The names of all tools, which are the valid section names of a file.
const TOOLS: [&str; 13] = [
    "smtpsend",
    "mailq-run",
    "mailq-ls",
    "mailq-edit",
    "smtpserve",
    "ftpserve",
    "dnsserve",
    "dnsq",
    "ftpget",
    "ftpput",
    "ftpls",
    "ftpdo",
    "mailread",
];
/// The environment variable that names a file, like `--config`.
const VARIABLE: &str = "APPLAYER_CONFIG";
/// Environment variables that set an option and override a file.
const VARIABLES: [(&str, &[&str]); 4] = [
    ("queue-dir", &["APPLAYER_QUEUE"]),
    ("proxy", &["all_proxy", "ALL_PROXY", "ftp_proxy", "FTP_PROXY"]),
    ("netrc-file", &["NETRC"]),
    ("ca-cert", &["SSL_CERT_FILE"]),
];
/// Options that are valid only on a command line.
const NEVER: [&str; 5] = ["config", "show-config", "help", "version", "sendmail"];
/// The longest file, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// The options of a tool's files, inserted before the words of its command line.
#[derive(Debug, Default)]
pub struct FileOptions {
    options: BTreeMap<String, Vec<FileOption>>,
}

/// One option of a file.
#[derive(Debug)]
struct FileOption {
    /// The file and line.
    origin: String,
    /// The words for the command line; empty for a flag that is switched off.
    words: Vec<OsString>,
}

/// A line of an options file.
#[derive(Debug, PartialEq, Eq)]
enum Line<'a> {
    Nothing,
    /// `[TOOL …]`
    Section(Vec<&'a [u8]>),
    Option(&'a [u8], Option<Vec<u8>>),
}

/// True if the command line asks for the options in force (`--show-config`).
pub fn is_to_be_shown(arguments: &[OsString]) -> bool {
    arguments.iter().skip(1).take_while(|word| *word != "--").any(|word| word == "--show-config")
}

/// The command line with the options of the files inserted before its own words.
///
/// # Errors
/// `Config` for a file that others may write, a line that is not an option of the tool, or a value that the option does not take;
/// `NoInput` for a named file that does not exist.
pub fn extend(
    tool: &str,
    command: fn() -> Command,
    arguments: &[OsString],
) -> Result<(Vec<OsString>, FileOptions), Fault> {
    let asked = arguments.iter().skip(1).take_while(|word| *word != "--");
    if asked.into_iter().any(|word| ["-h", "--help", "-V", "--version"].iter().any(|help| word == help)) {
        return Ok((arguments.to_vec(), FileOptions::default()));
    }
    let mut texts = Vec::new();
    for (path, named) in files(tool, arguments) {
        texts.extend(read(&path, named)?.map(|text| (path, text)));
    }
    if texts.is_empty() {
        return Ok((arguments.to_vec(), FileOptions::default()));
    }
    let mut command = command();
    command.build();
    let given = command.clone().ignore_errors(true).try_get_matches_from(arguments).unwrap_or_default();
    let mut found = FileOptions::default();
    for (path, text) in texts {
        found.add(tool, &command, &path, &text)?;
    }
    found.options.retain(|name, _| !is_settled(&command, &given, name));
    let mut words: Vec<OsString> = arguments.iter().take(1).cloned().collect();
    words.extend(found.options.values().flatten().flat_map(|option| option.words.iter().cloned()));
    words.extend(arguments.iter().skip(1).cloned());
    Ok((words, found))
}

/// The value of `--config`; `None` if it is not given.
fn named(arguments: &[OsString]) -> Option<OsString> {
    let mut words = arguments.iter().skip(1).take_while(|word| *word != "--");
    while let Some(word) = words.next() {
        if word == "--config" {
            return words.next().cloned();
        }
        if let Some(value) = word.as_bytes().strip_prefix(b"--config=") {
            return Some(OsStr::from_bytes(value).to_owned());
        }
    }
    None
}

/// The files to read, each with true if it was named: the named file alone, else the default files.
fn files(tool: &str, arguments: &[OsString]) -> Vec<(PathBuf, bool)> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(name) = named(arguments).or_else(|| set(VARIABLE)) {
        return if name == "-" { Vec::new() } else { vec![(name.into(), true)] };
    }
    if !WITH_DEFAULT_FILES.contains(&tool) {
        return Vec::new();
    }
    let own =
        set("XDG_CONFIG_HOME").map(PathBuf::from).or_else(|| set("HOME").map(|home| Path::new(&home).join(".config")));
    let below = |directory: PathBuf| (directory.join("applayer").join(format!("{tool}.conf")), false);
    [Some(PathBuf::from("/etc")), own].into_iter().flatten().map(below).collect()
}

fn read(path: &Path, named: bool) -> Result<Option<Vec<u8>>, Fault> {
    let failed = |error: std::io::Error| Fault::local(path.display(), &error);
    // An unreadable HOME, left over from another user, counts as absent; /etc is for all users.
    let absent = |error: &std::io::Error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => true,
        ErrorKind::PermissionDenied => !path.starts_with("/etc"),
        _ => false,
    };
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if !named && absent(&error) => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    only_ours(path, &file.metadata().map_err(failed)?)?;
    let mut text = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut text).map_err(failed)?;
    match text.len() as u64 > MAX_FILE {
        true => Err(Fault::new(Kind::Config, format!("{}: larger than {MAX_FILE} bytes", path.display()))),
        false => Ok(Some(text)),
    }
}

impl FileOptions {
    /// Adds the lines of a file that are for this tool. An option in it replaces the same option of an earlier file.
    fn add(&mut self, tool: &str, command: &Command, path: &Path, text: &[u8]) -> Result<(), Fault> {
        let mut here: BTreeMap<String, Vec<FileOption>> = BTreeMap::new();
        let mut applies = true;
        for (number, line) in (1..).zip(text.split(|&byte| byte == b'\n')) {
            let origin = format!("{}:{number}", path.display());
            let wrong = |why: String| Fault::new(Kind::Config, format!("{origin}: {why}"));
            match parse(line).map_err(|why| wrong(why.to_owned()))? {
                Line::Nothing => {}
                Line::Section(names) => {
                    let unknown = names.iter().find(|name| !TOOLS.iter().any(|tool| tool.as_bytes() == **name));
                    if let Some(name) = unknown {
                        return Err(wrong(format!("{:?} is not a tool", String::from_utf8_lossy(name))));
                    }
                    applies = names.contains(&tool.as_bytes());
                }
                Line::Option(..) if !applies => {}
                Line::Option(name, value) => {
                    let name = String::from_utf8_lossy(name);
                    let arg = option(command, &name).ok_or_else(|| wrong(format!("{tool} has no option {name:?}")))?;
                    let long = arg.get_long().unwrap_or_default().to_owned();
                    let words = words(command, arg, value).map_err(wrong)?;
                    let same = here.entry(long).or_default();
                    if !same.is_empty() && !matches!(arg.get_action(), ArgAction::Append | ArgAction::Count) {
                        return Err(wrong(format!("{name:?} is set twice: {} has it too", same[0].origin)));
                    }
                    same.push(FileOption { origin, words });
                }
            }
        }
        self.options.extend(here);
        Ok(())
    }

    /// The options in force, each with its file and line, for `-v`.
    pub fn origins(&self) -> impl Iterator<Item = String> {
        self.options.iter().flat_map(|(name, all)| all.iter().map(move |option| format!("{name}: {}", option.origin)))
    }

    /// The options in force, in the form of an options file: each value below a comment with its origin.
    pub fn show(&self, command: Command, arguments: &[OsString]) -> String {
        let matches = command.clone().ignore_errors(true).try_get_matches_from(arguments).unwrap_or_default();
        let mut text = String::new();
        for arg in command.get_arguments() {
            let Some(long) = arg.get_long().filter(|long| !NEVER.contains(long)) else { continue };
            let variable = variable(long);
            let file = self.options.get(long);
            let origin = match (matches.value_source(arg.get_id().as_str()), file, variable) {
                (Some(ValueSource::CommandLine), None, _) => "command line".to_owned(),
                (Some(ValueSource::CommandLine), Some(options), _) => {
                    options.iter().map(|option| option.origin.as_str()).collect::<Vec<_>>().join(", ")
                }
                (_, _, Some(name)) => format!("${name}"),
                (Some(ValueSource::EnvVariable), _, None) => "environment".to_owned(),
                (Some(ValueSource::DefaultValue), _, None) => "default".to_owned(),
                _ => continue,
            };
            let mut line = |value: Option<&OsStr>| {
                let value = value.map_or(String::new(), |value| format!(" {}", quoted(&value.to_string_lossy())));
                text.push_str(&format!("# {origin}\n{long}{value}\n"));
            };
            if let (false, Some(name)) = (origin == "command line" || file.is_some(), variable) {
                line(std::env::var_os(name).as_deref());
                continue;
            }
            match arg.get_action() {
                ArgAction::SetTrue if matches.get_flag(arg.get_id().as_str()) => line(None),
                ArgAction::Count => (0..matches.get_count(arg.get_id().as_str())).for_each(|_| line(None)),
                ArgAction::Set | ArgAction::Append => {
                    matches.get_raw(arg.get_id().as_str()).into_iter().flatten().for_each(|value| line(Some(value)));
                }
                _ => {}
            }
        }
        text
    }
}

/// The first non-empty environment variable that sets an option.
fn variable(long: &str) -> Option<&'static str> {
    let names = VARIABLES.iter().find(|(option, _)| *option == long).map_or(&[][..], |(_, names)| names);
    names.iter().copied().find(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
}

/// True if the command line or the environment has the option, or the command line has one that excludes it.
fn is_settled(command: &Command, given: &ArgMatches, name: &str) -> bool {
    let Some(arg) = option(command, name) else { return false };
    let is_given = |arg: &Arg| given.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine);
    let excludes = |one: &Arg, other: &Arg| {
        command.get_arg_conflicts_with(one).iter().any(|conflict| conflict.get_id() == other.get_id())
    };
    variable(name).is_some()
        || command
            .get_arguments()
            .filter(|other| is_given(other))
            .any(|other| other.get_id() == arg.get_id() || excludes(arg, other) || excludes(other, arg))
}

/// The option with this long name or visible alias, unless it is valid only on a command line.
fn option<'a>(command: &'a Command, name: &str) -> Option<&'a Arg> {
    let is_it = |arg: &&Arg| {
        arg.get_long() == Some(name) || arg.get_visible_aliases().is_some_and(|aliases| aliases.contains(&name))
    };
    command.get_arguments().find(is_it).filter(|_| !NEVER.contains(&name))
}

/// Converts an option of a file to words of the command line.
fn words(command: &Command, arg: &Arg, value: Option<Vec<u8>>) -> Result<Vec<OsString>, String> {
    let long = format!("--{}", arg.get_long().unwrap_or_default());
    if !arg.get_action().takes_values() {
        return match value.as_deref() {
            None | Some(b"true" | b"yes" | b"on") => Ok(vec![long.into()]),
            Some(b"false" | b"no" | b"off") => Ok(Vec::new()),
            Some(_) => Err(format!("{long} takes only the values yes and no")),
        };
    }
    let value = match value {
        Some(value) => OsString::from_vec(value),
        None if arg.get_num_args().is_some_and(|count| count.min_values() == 0) => return Ok(vec![long.into()]),
        None => return Err(format!("{long} needs a value")),
    };
    let shown = value.to_string_lossy();
    if shown.contains("://") && without_url_password(&shown) != shown {
        return Err(format!(
            "{long}: a password does not belong here; --password-file and --password-command read one"
        ));
    }
    let mut word = OsString::from(long + "=");
    word.push(value);
    // Only the value is checked: other arguments that the option needs may be on the command line.
    let checked = command.clone().try_get_matches_from([OsStr::new(command.get_name()), &word]);
    match checked {
        Err(error)
            if matches!(error.kind(), ClapKind::ValueValidation | ClapKind::InvalidValue | ClapKind::InvalidUtf8) =>
        {
            let text = error.render().to_string();
            let first = text.lines().next().unwrap_or_default();
            Err(first.trim_start_matches("error: ").to_owned())
        }
        _ => Ok(vec![word]),
    }
}

/// Parses one line: `name`, `name value`, `name = value` or `name: value`, with or without leading dashes. A value in double quotes
/// has the escapes of curl's files (`\\ \" \t \n \r \v`); any other value extends to the end of the line.
fn parse(line: &[u8]) -> Result<Line<'_>, &'static str> {
    let line = line.trim_ascii();
    if line.is_empty() || line.starts_with(b"#") {
        return Ok(Line::Nothing);
    }
    if line.contains(&0) {
        return Err("a NUL byte");
    }
    if let Some(inner) = line.strip_prefix(b"[") {
        let inner = inner.strip_suffix(b"]").ok_or("the section is not closed")?;
        return Ok(Line::Section(inner.split(u8::is_ascii_whitespace).filter(|name| !name.is_empty()).collect()));
    }
    let line = line.strip_prefix(b"--").unwrap_or(line);
    let end = line.iter().position(|byte| byte.is_ascii_whitespace() || b"=:".contains(byte)).unwrap_or(line.len());
    let (name, rest) = line.split_at(end);
    if name.is_empty() || name.starts_with(b"-") {
        return Err("not a long option");
    }
    let rest = rest.trim_ascii_start();
    let rest = rest.strip_prefix(b"=").or_else(|| rest.strip_prefix(b":")).unwrap_or(rest).trim_ascii_start();
    let value = match rest.strip_prefix(b"\"") {
        _ if rest.is_empty() => None,
        Some(inner) => Some(unquoted(inner)?),
        None => Some(rest.to_vec()),
    };
    Ok(Line::Option(name, value))
}

fn unquoted(text: &[u8]) -> Result<Vec<u8>, &'static str> {
    let mut value = Vec::new();
    let mut bytes = text.iter();
    loop {
        match *bytes.next().ok_or("the quotation mark is not closed")? {
            b'"' => break,
            b'\\' => value.push(match *bytes.next().ok_or("the quotation mark is not closed")? {
                b't' => b'\t',
                b'n' => b'\n',
                b'r' => b'\r',
                b'v' => 0x0b,
                byte => byte,
            }),
            byte => value.push(byte),
        }
    }
    match bytes.as_slice().trim_ascii() {
        [] => Ok(value),
        rest if rest.starts_with(b"#") => Ok(value),
        _ => Err("more after the quotation mark"),
    }
}

/// A value in the syntax of [`parse`], quoted if necessary.
fn quoted(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"\\#".contains(&byte);
    if !value.is_empty() && value.bytes().all(plain) && !value.starts_with(['=', ':']) {
        return value.to_owned();
    }
    let escaped = value.chars().fold(String::new(), |text, letter| match letter {
        '"' | '\\' => text + "\\" + letter.encode_utf8(&mut [0; 4]),
        '\t' => text + "\\t",
        '\n' => text + "\\n",
        '\r' => text + "\\r",
        '\u{b}' => text + "\\v",
        letter => text + letter.encode_utf8(&mut [0; 4]),
    });
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines() {
        let option =
            |name: &'static str, value: Option<&str>| Ok(Line::Option(name.as_bytes(), value.map(|it| it.into())));
        for (line, expected) in [
            ("", Ok(Line::Nothing)),
            ("  # server x", Ok(Line::Nothing)),
            ("[mailq-run  smtpsend]", Ok(Line::Section(vec![b"mailq-run", b"smtpsend"]))),
            ("[mailq-run", Err("the section is not closed")),
            ("server smtp://relay:587\r", option("server", Some("smtp://relay:587"))),
            ("server=smtp://relay:587", option("server", Some("smtp://relay:587"))),
            ("--server: smtp://relay:587", option("server", Some("smtp://relay:587"))),
            ("\tserver = \"a \\\"b\\\\ \\t#\"  # why", option("server", Some("a \"b\\ \t#"))),
            ("header Subject: issue #5", option("header", Some("Subject: issue #5"))),
            ("queue", option("queue", None)),
            ("header \"\"", option("header", Some(""))),
            ("header \"x", Err("the quotation mark is not closed")),
            ("header \"x\" y", Err("more after the quotation mark")),
            ("-s x", Err("not a long option")),
            ("= x", Err("not a long option")),
            ("server a\0b", Err("a NUL byte")),
        ] {
            assert_eq!(parse(line.as_bytes()), expected, "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(value in "[^\\x00\\p{Zs}\u{85}]{0,20}|[ -~\\t\\n]{0,20}") {
            let line = format!("name {}", quoted(&value));
            prop_assert_eq!(parse(line.as_bytes()), Ok(Line::Option(b"name", Some(value.into_bytes()))), "{}", line);
        }
    }
}
