//! Colours of text on stdout (ECMA-48, SELECT GRAPHIC RENDITION). Bytes of a peer are escaped before they are coloured, so they
//! contain no control sequences of their own.

use std::ffi::{OsStr, OsString};
use std::sync::OnceLock;

/// A success.
pub const GOOD: &str = "32";
/// A failure or a loss.
pub const BAD: &str = "31";
/// A result that needs attention: a change, a deferral.
pub const CAUTION: &str = "33";
/// A heading, or a new item.
pub const HEADING: &str = "1";
/// The name of a field.
pub const FIELD: &str = "36";
/// A less important detail.
pub const FAINT: &str = "2";

/// The control sequences before and after a text of this colour.
pub fn around(colour: &str) -> (String, &'static str) {
    (format!("\x1b[{colour}m"), "\x1b[0m")
}

/// Colours of dircolors(1), used if `LS_COLORS` is unset or empty.
const USUAL: &str = "di=01;34:ln=01;36:ex=01;32";

/// Colours of file names by file type and name ending, in the syntax of `LS_COLORS` (dircolors(1)).
#[derive(Debug, Default)]
pub struct NameColours {
    /// Two letters or `*ENDING`, and the colour. The last matching rule applies.
    rules: Vec<(String, String)>,
}

/// The file type that decides the colour of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameType {
    /// `di`
    Directory,
    /// `ln`
    Link,
    /// `ex`, else the ending, else `fi`
    Executable,
    /// The ending, else `fi`
    File,
}

impl NameColours {
    /// The colours of the environment, read once per process.
    pub fn of_env() -> &'static NameColours {
        static COLOURS: OnceLock<NameColours> = OnceLock::new();
        let set = || std::env::var_os("LS_COLORS").filter(|set| !set.is_empty());
        COLOURS.get_or_init(|| NameColours::parse(&set().unwrap_or_else(|| OsString::from(USUAL))))
    }

    fn parse(text: &OsStr) -> NameColours {
        let text = text.to_string_lossy();
        let rules = text.split(':').filter_map(|rule| rule.split_once('='));
        // Any other text than numbers could control the terminal.
        let is_colour = |colour: &str| !colour.is_empty() && colour.bytes().all(|b| b.is_ascii_digit() || b == b';');
        let rules = rules.filter(|(_, colour)| is_colour(colour));
        NameColours { rules: rules.map(|(what, colour)| (what.to_owned(), colour.to_owned())).collect() }
    }

    /// The colour of a name; `None` for the default colour of the terminal.
    pub fn of(&self, name: &[u8], kind: NameType) -> Option<&str> {
        let letters = |letters: &str| self.last(|what| what == letters);
        let by_ending = || {
            let name = String::from_utf8_lossy(name).to_ascii_lowercase();
            self.last(|what| what.strip_prefix('*').is_some_and(|end| name.ends_with(&end.to_ascii_lowercase())))
        };
        match kind {
            NameType::Directory => letters("di"),
            NameType::Link => letters("ln"),
            NameType::Executable => letters("ex").or_else(by_ending).or_else(|| letters("fi")),
            NameType::File => by_ending().or_else(|| letters("fi")),
        }
    }

    fn last(&self, is: impl Fn(&str) -> bool) -> Option<&str> {
        self.rules.iter().rev().find(|(what, _)| is(what)).map(|(_, colour)| colour.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_colours_of_ls() {
        let usual = NameColours::parse(OsStr::new(USUAL));
        let own = NameColours::parse(OsStr::new("di=34:*.gz=31:*.tar.gz=35:fi=0:ln=target:ex=\x1b[1m:*.GZ2=36::x:=1"));
        for (name, kind, of_usual, of_own) in [
            ("a", NameType::Directory, Some("01;34"), Some("34")),
            ("a.gz", NameType::File, None, Some("31")),
            ("a.TAR.GZ", NameType::File, None, Some("35")),
            ("a.gz2", NameType::File, None, Some("36")),
            ("a", NameType::File, None, Some("0")),
            ("a.gz", NameType::Executable, Some("01;32"), Some("31")),
            ("a", NameType::Link, Some("01;36"), None),
        ] {
            let found = |colours: &NameColours| colours.of(name.as_bytes(), kind).map(str::to_owned);
            assert_eq!((found(&usual).as_deref(), found(&own).as_deref()), (of_usual, of_own), "{name} {kind:?}");
        }
    }
}
