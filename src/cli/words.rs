//! Words of closed lists: completions offer them, and the message about a mistyped word names the nearest one.

use std::ffi::OsStr;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command};

/// The mechanisms of SMTP AUTH, by their names in options.
pub const MECHANISMS: [&str; 9] = [
    "scram-sha-256-plus",
    "scram-sha-256",
    "scram-sha-1",
    "plain",
    "login",
    "cram-md5",
    "external",
    "oauthbearer",
    "xoauth2",
];

/// The end of a message about an unknown word: a question with the nearest word of the list, or nothing.
pub fn meant(given: &str, words: impl IntoIterator<Item = &'static str>) -> String {
    nearest(given, words).map_or_else(String::new, |word| format!("; did you mean {word}?"))
}

/// The word of the list that was probably meant, by the similarity measure of clap: it parses a command line of one word.
fn nearest(given: &str, words: impl IntoIterator<Item = &'static str>) -> Option<String> {
    let word = Arg::new("word").value_parser(PossibleValuesParser::new(words));
    let parsed = Command::new("").no_binary_name(true).arg(word).try_get_matches_from(["--", given]);
    match parsed.err()?.get(ContextKind::SuggestedValue)? {
        ContextValue::String(word) => Some(word.clone()),
        _ => None,
    }
}

/// The parser of a value with a list of its usual spellings; `parse` may accept others.
#[derive(Debug, Clone)]
pub struct ListedParser<T, E> {
    words: Vec<&'static str>,
    parse: fn(&str) -> Result<T, E>,
}

/// The parser of a value of a closed list.
pub fn listed<T, E>(
    words: impl IntoIterator<Item = &'static str>,
    parse: fn(&str) -> Result<T, E>,
) -> ListedParser<T, E> {
    ListedParser { words: words.into_iter().collect(), parse }
}

/// The parser of a word of a list, which also holds the value of each word.
pub fn one_of<T: Copy + Send + Sync + 'static>(
    words: &'static [(&'static str, T)],
) -> impl TypedValueParser<Value = T> {
    let names = PossibleValuesParser::new(words.iter().map(|(word, _)| *word));
    names.try_map(|name| words.iter().find(|(word, _)| *word == name).map(|(_, value)| *value).ok_or("not listed"))
}

/// The parser of any text; the list only suggests values.
pub fn offered(words: impl IntoIterator<Item = &'static str>) -> ListedParser<String, ()> {
    listed(words, |text| Ok(text.to_owned()))
}

impl<T, E> TypedValueParser for ListedParser<T, E>
where
    T: Clone + Send + Sync + 'static,
    E: Clone + Send + Sync + 'static,
{
    type Value = T;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<T, clap::Error> {
        if let Some(Ok(parsed)) = value.to_str().map(self.parse) {
            return Ok(parsed);
        }
        let words = PossibleValuesParser::new(self.words.iter().copied());
        // clap's own message about an unlisted word, with the nearest one.
        let listed = words.parse_ref(command, arg, value)?;
        Err(clap::Error::raw(ErrorKind::InvalidValue, format!("{listed:?} is not a value\n")))
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.words.iter().map(|word| PossibleValue::new(*word))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_found_and_nothing_far_away() {
        for (given, expected) in [
            ("strttls", Some("starttls")),
            ("implict", Some("implicit")),
            ("-none", Some("none")),
            ("zebra", None),
            ("", None),
        ] {
            let found = nearest(given, ["none", "try", "starttls", "implicit"]);
            assert_eq!(found.as_deref(), expected, "{given:?}");
        }
    }

    #[test]
    fn the_mechanisms_are_those_of_smtp() {
        let known = crate::smtp::auth::Mechanism::ALL;
        assert_eq!(MECHANISMS.map(|name| crate::smtp::auth::Mechanism::parse(name).unwrap()), known);
    }

    #[test]
    fn more_spellings_than_the_list_has_are_taken() {
        let parser = listed(["f", "d"], |text: &str| match text {
            "f" | "file" => Ok('f'),
            "d" => Ok('d'),
            _ => Err(()),
        });
        let command = Command::new("x").arg(Arg::new("type").long("type").value_parser(parser));
        let parse = |value: &str| command.clone().try_get_matches_from(["x", "--type", value]);
        assert_eq!(parse("file").unwrap().get_one::<char>("type"), Some(&'f'));
        assert_eq!(parse("z").unwrap_err().kind(), ErrorKind::InvalidValue);
    }
}
