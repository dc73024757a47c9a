//! Alias files: the form of `/etc/aliases` (aliases(5) of Postfix and sendmail) and the lines of virtual domains (virtual(5)
//! of Postfix). Pure: the caller reads files, and tells which mailboxes exist.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use unicode_normalization::UnicodeNormalization as _;

use crate::fault::{Fault, Kind};
use crate::smtp::address::{self, Address};

mod expand;
mod word;

pub use expand::{AliasEnd, Expansion, MailboxFinder};
pub use word::command;

/// The most aliases in a table.
pub const MAX_ALIASES: usize = 1_000_000;
/// The most targets of one alias, those from included files among them.
pub const MAX_TARGETS: usize = 50_000;

/// The aliases of a server.
#[derive(Debug, Clone, Default)]
pub struct AliasTable {
    entries: Vec<AliasEntry>,
    /// The index of each entry by its key: `name`, `name@domain` or `@domain`, in lower case.
    by_key: HashMap<String, usize>,
}

/// One alias.
#[derive(Debug, Clone)]
struct AliasEntry {
    key: String,
    /// File and line, for messages.
    origin: String,
    targets: Vec<AliasTarget>,
}

/// One target of an alias.
#[derive(Debug, Clone, PartialEq, Eq)]
enum AliasTarget {
    /// A name of the domain in which the alias was found.
    Name(String),
    /// The mailbox of this name, whatever aliases have the name (`\name`).
    Mailbox(String),
    /// A complete address.
    Address(Address),
    /// The same name in another domain (`@domain`).
    SameNameAt(String),
    /// A program with its arguments.
    Command(Vec<String>),
    /// An mbox, or a Maildir if the path ends with `/`.
    File(PathBuf),
}

/// The domain in the form for comparisons: lower case, with A-labels. `None` if the text is not a domain.
pub fn plain_domain(text: &str) -> Option<String> {
    address::check_domain(text).ok()?;
    idna::domain_to_ascii(&address::canonical_domain(text)).ok()
}

/// The name in the form for comparisons.
fn plain_name(name: &str) -> String {
    name.to_lowercase().nfc().collect()
}

impl AliasTable {
    /// Adds the aliases of a file. `commands` permits `|command` and `/file`; `include` reads the file of an `:include:`.
    ///
    /// # Errors
    /// [`Kind::Config`] with the number of the first line that is malformed, has the key of another line, or is not permitted; the
    /// fault of `include`.
    pub fn add(
        &mut self,
        file: &str,
        text: &str,
        commands: bool,
        include: &mut dyn FnMut(&Path) -> Result<String, Fault>,
    ) -> Result<(), Fault> {
        for (number, line) in logical_lines(text) {
            let number =
                number.map_err(|number| wrong(file, number, "a continuation line without a line to continue"))?;
            let bad = |why: String| wrong(file, number, &why);
            let (key, rest) =
                word::key(&line).and_then(|(key, rest)| Ok((AliasTable::key(key)?, rest))).map_err(bad)?;
            let mut targets = Vec::new();
            for item in word::items(rest) {
                let item = item.map_err(|why| bad(why.to_owned()))?;
                if let Some(path) = item.strip_prefix(":include:") {
                    let path = Path::new(path.trim());
                    if !path.is_absolute() {
                        return Err(bad(format!("{item}: no absolute path")));
                    }
                    let members = include(path).map_err(|fault| Fault { kind: Kind::Config, ..fault })?;
                    included(&path.to_string_lossy(), &members, &mut targets)?;
                } else {
                    let target = AliasTarget::parse(&item, key.starts_with('@')).map_err(bad)?;
                    if matches!(target, AliasTarget::Command(_) | AliasTarget::File(_)) && !commands {
                        return Err(bad(format!("{item}: commands and files are not permitted"))
                            .with_hint("--alias-commands permits them"));
                    }
                    targets.push(target);
                }
                if targets.len() > MAX_TARGETS {
                    return Err(bad(format!("more than {MAX_TARGETS} targets")));
                }
            }
            if targets.is_empty() {
                return Err(bad(format!("{key}: no target")));
            }
            if let Some(first) = self.by_key.get(&key).and_then(|at| self.entries.get(*at)) {
                return Err(bad(format!("{key} is already defined: {}", first.origin)));
            }
            if self.entries.len() == MAX_ALIASES {
                return Err(bad(format!("more than {MAX_ALIASES} aliases")));
            }
            self.by_key.insert(key.clone(), self.entries.len());
            self.entries.push(AliasEntry { key, origin: format!("{file}: line {number}"), targets });
        }
        Ok(())
    }

    /// The key in the form for comparisons.
    fn key(key: &str) -> Result<String, String> {
        let bad = |why: &dyn std::fmt::Display| format!("{key}: {why}");
        if let Some(domain) = key.strip_prefix('@') {
            return plain_domain(domain).map(|domain| format!("@{domain}")).ok_or_else(|| bad(&"not a domain"));
        }
        let address = Address::parse_lenient(key).map_err(|why| bad(&why))?;
        let local = plain_name(&address.local());
        match address.domain() {
            None => Ok(local),
            Some(domain) => {
                plain_domain(domain).map(|domain| format!("{local}@{domain}")).ok_or_else(|| bad(&"not a domain"))
            }
        }
    }

    /// True if an alias has this command as a target.
    pub fn has_command(&self, words: &[String]) -> bool {
        self.has(|target| matches!(target, AliasTarget::Command(command) if command == words))
    }

    /// True if an alias has this file as a target.
    pub fn has_file(&self, path: &Path) -> bool {
        self.has(|target| matches!(target, AliasTarget::File(file) if file == path))
    }

    fn has(&self, wanted: impl Fn(&AliasTarget) -> bool) -> bool {
        self.entries.iter().any(|entry| entry.targets.iter().any(&wanted))
    }

    /// The number of aliases.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True if there are no aliases.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// The members of an included file: addresses, separated by commas and line ends.
fn included(file: &str, text: &str, targets: &mut Vec<AliasTarget>) -> Result<(), Fault> {
    for (at, line) in text.lines().enumerate() {
        let bad = |why: &str| wrong(file, at + 1, why);
        if line.trim_start().starts_with('#') {
            continue;
        }
        for item in word::items(line) {
            let item = item.map_err(bad)?;
            match AliasTarget::parse(&item, false).map_err(|why| bad(&why))? {
                AliasTarget::Command(_) | AliasTarget::File(_) => {
                    return Err(bad(&format!("{item}: an included file has addresses only")));
                }
                target => targets.push(target),
            }
            if targets.len() > MAX_TARGETS {
                return Err(bad(&format!("more than {MAX_TARGETS} targets")));
            }
        }
    }
    Ok(())
}

fn wrong(file: &str, line: usize, why: &str) -> Fault {
    Fault::new(Kind::Config, format!("{file}: line {line}: {why}"))
}

impl AliasTarget {
    /// Parses one item. `for_domain` permits `@domain`, which needs the name of the address.
    fn parse(item: &str, for_domain: bool) -> Result<AliasTarget, String> {
        let bad = |why: &dyn std::fmt::Display| format!("{item}: {why}");
        if item.contains(char::is_control) {
            return Err("a control character".to_owned());
        }
        if let Some(command) = item.strip_prefix('|') {
            return word::command(command).map(AliasTarget::Command).map_err(|why| bad(&why));
        }
        if item.starts_with('/') {
            return Ok(AliasTarget::File(item.into()));
        }
        if item.starts_with(':') {
            return Err(bad(&":include:/FILE is the only word of this kind"));
        }
        if let Some(name) = item.strip_prefix('\\') {
            let address = Address::parse_lenient(name).map_err(|why| bad(&why))?;
            let name = address.domain().is_none().then(|| AliasTarget::Mailbox(address.local().into_owned()));
            return name.ok_or_else(|| bad(&"\\ is followed by a name without a domain"));
        }
        if let Some(domain) = item.strip_prefix('@') {
            return match plain_domain(domain) {
                Some(domain) if for_domain => Ok(AliasTarget::SameNameAt(domain)),
                Some(_) => Err(bad(&"only a line for a whole domain leads to one")),
                None => Err(bad(&"not a domain")),
            };
        }
        let address = Address::parse_lenient(item).map_err(|why| bad(&why))?;
        match address.domain() {
            None => Ok(AliasTarget::Name(address.local().into_owned())),
            Some(_) => Address::parse(item, true).map(AliasTarget::Address).map_err(|why| bad(&why)),
        }
    }
}

/// The lines with their continuations, without comments, each with its number; an error for a continuation of nothing.
fn logical_lines(text: &str) -> Vec<(Result<usize, usize>, String)> {
    let mut lines: Vec<(Result<usize, usize>, String)> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let content = line.trim();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        match lines.last_mut().filter(|_| line.starts_with([' ', '\t'])) {
            Some((_, begun)) => {
                begun.push(' ');
                begun.push_str(content);
            }
            None if line.starts_with([' ', '\t']) => lines.push((Err(at + 1), String::new())),
            None => lines.push((Ok(at + 1), content.to_owned())),
        }
    }
    lines
}

#[cfg(test)]
mod tests;
