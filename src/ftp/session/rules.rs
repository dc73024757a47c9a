//! The rights of a login by directory.

use std::sync::Arc;

use super::pattern::matches;
use super::rights::{Right, Rights};

/// The rights in one directory and in everything below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RightRule {
    /// The names of the path from the root on. `*` and `?` are wildcards within a name.
    names: Vec<String>,
    rights: Rights,
}

impl RightRule {
    /// The rule for the directory at an absolute path, as the client sees it.
    ///
    /// # Errors
    /// A message if the path is not absolute, or has `..`.
    pub fn new(path: &str, rights: Rights) -> Result<RightRule, String> {
        if !path.starts_with('/') {
            return Err("the path of a rule is absolute, from the root that the client sees".to_owned());
        }
        let names: Vec<String> = path.split('/').filter(|name| !matches!(*name, "" | ".")).map(str::to_owned).collect();
        match names.iter().any(|name| name == "..") {
            true => Err("the path of a rule has no \"..\"".to_owned()),
            false => Ok(RightRule { names, rights }),
        }
    }

    /// The path of the directory below the root; `None` if it has wildcards.
    pub fn path(&self) -> Option<String> {
        let plain = self.names.iter().all(|name| !name.contains(['*', '?']));
        plain.then(|| self.names.join("/"))
    }

    /// This rule without the rights to change anything.
    #[must_use]
    pub fn read_only(self) -> RightRule {
        let Rights { list, read, .. } = self.rights;
        RightRule { rights: Rights { list, read, ..Rights::NONE }, ..self }
    }

    /// The rights in the directory.
    pub fn rights(&self) -> Rights {
        self.rights
    }

    /// True if the first names of both paths are the same, as many as the shorter one has.
    fn agrees(&self, names: &[&[u8]]) -> bool {
        self.names.iter().zip(names).all(|(pattern, name)| matches(pattern.as_bytes(), name))
    }
}

/// The rights of a login in each directory. The rule with the longest path applies; of two with the same length, the later one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TreeRights {
    base: Rights,
    rules: Arc<[RightRule]>,
}

impl From<Rights> for TreeRights {
    fn from(base: Rights) -> TreeRights {
        TreeRights { base, rules: Arc::default() }
    }
}

impl TreeRights {
    /// These rights, except where a rule applies.
    pub fn new(base: Rights, rules: impl IntoIterator<Item = RightRule>) -> TreeRights {
        TreeRights { base, rules: rules.into_iter().collect() }
    }

    /// The rights where no rule applies.
    pub fn base(&self) -> Rights {
        self.base
    }

    /// True if there are rules.
    pub fn has_rules(&self) -> bool {
        !self.rules.is_empty()
    }

    /// True if some directory may be changed.
    pub fn changes(&self) -> bool {
        self.base.changes() || self.rules.iter().any(|rule| rule.rights.changes())
    }

    /// The rights at a normalized path. A directory has the rights of its own rule.
    pub fn at(&self, path: &[u8]) -> Rights {
        self.rule_of(path).and_then(|rule| self.rules.get(rule)).map_or(self.base, |rule| rule.rights)
    }

    /// The rights at a path that can be used there, for the `perm` fact (RFC 3659, section 7.5.5).
    pub fn usable_at(&self, path: &[u8]) -> Rights {
        let rights = self.at(path);
        if self.pins(path) { Rights { delete: false, rename: false, ..rights } } else { rights }
    }

    /// The number of the rule that applies at a path.
    pub fn rule_of(&self, path: &[u8]) -> Option<usize> {
        if self.rules.is_empty() {
            return None;
        }
        let names = names(path);
        let applies = |rule: &RightRule| rule.names.len() <= names.len() && rule.agrees(&names);
        let found = self.rules.iter().enumerate().filter(|(_, rule)| applies(rule));
        found.max_by_key(|(number, rule)| (rule.names.len(), *number)).map(|(number, _)| number)
    }

    /// True if a rule names this path, or a directory below it. Such a directory is neither removed nor renamed: its content
    /// would come under another rule.
    pub fn pins(&self, path: &[u8]) -> bool {
        let names = names(path);
        self.rules.iter().any(|rule| names.len() <= rule.names.len() && rule.agrees(&names))
    }

    /// Whether a rename is allowed; `Some(true)` if it may replace a file. `own`: the session has just stored the file.
    ///
    /// A rename from one rule to another is a removal there and a new file here, and makes nothing readable that was not.
    pub fn rename(&self, from: &[u8], to: &[u8], own: bool) -> Option<bool> {
        let (old, new) = (self.at(from), self.at(to));
        let moves = self.rule_of(from) != self.rule_of(to);
        let allowed = match (moves, own) {
            (false, own) => old.rename || own && old.upload,
            (true, true) => new.upload,
            (true, false) => old.rename && old.delete && new.upload && (old.read || !new.read),
        };
        (allowed && !self.pins(from) && !self.pins(to)).then_some(old.rename && new.overwrite)
    }

    /// True if a path that leads elsewhere through links has the right: at the place where it leads.
    pub fn grants_behind(&self, path: &[u8], place: &[u8], right: Right) -> bool {
        let removes = matches!(right, Right::Delete | Right::Rename);
        let same = path == place || self.rule_of(path) == self.rule_of(place);
        (same || self.at(place).has(right)) && !(removes && self.pins(place))
    }
}

fn names(path: &[u8]) -> Vec<&[u8]> {
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(path: &str, words: &str) -> RightRule {
        RightRule::new(path, Rights::parse(words.split(',')).unwrap()).unwrap()
    }

    #[test]
    fn the_longest_path_applies() {
        let tree = TreeRights::new(
            Rights::READ_ONLY,
            [
                rule("/in", "upload,upload"),
                rule("/in/deep/er", "none"),
                rule("/home/*/private", "list"),
                rule("/home/joe", "write"),
                rule("//in/./", "drop"),
            ],
        );
        for (path, rights) in [
            ("/", Rights::READ_ONLY),
            ("/x", Rights::READ_ONLY),
            ("/inn", Rights::READ_ONLY),
            ("/in", Rights::DROP_BOX),
            ("/in/x/y", Rights::DROP_BOX),
            ("/in/deep", Rights::DROP_BOX),
            ("/in/deep/er", Rights::NONE),
            ("/in/deep/er/x", Rights::NONE),
            ("/home/joe", Rights::ALL),
            ("/home/joe/private/x", Rights { list: true, ..Rights::NONE }),
            ("/home/ann/private", Rights { list: true, ..Rights::NONE }),
            ("/home/ann", Rights::READ_ONLY),
        ] {
            assert_eq!(tree.at(path.as_bytes()), rights, "{path}");
        }
        for (path, pinned) in
            [("/", true), ("/in", true), ("/in/deep", true), ("/in/x", false), ("/home/x", true), ("/home/x/y", false)]
        {
            assert_eq!(tree.pins(path.as_bytes()), pinned, "{path}");
        }
        assert!(!TreeRights::from(Rights::ALL).pins(b"/"));
        assert_eq!(rule("/a/b", "none").path().as_deref(), Some("a/b"));
        assert_eq!(rule("/a/*", "none").path(), None);
        assert!(RightRule::new("a", Rights::ALL).is_err() && RightRule::new("/a/../b", Rights::ALL).is_err());
    }

    #[test]
    fn renames_between_rules() {
        let tree = |in_words: &str, out_words: &str| {
            TreeRights::new(Rights::ALL, [rule("/in", in_words), rule("/out", out_words), rule("/a/b", "list")])
        };
        for (old, new, own, allowed) in [
            ("rename,delete,read", "upload,read", false, Some(false)),
            ("rename,delete,read", "upload,overwrite", false, Some(true)),
            ("rename,delete", "upload,read", false, None),
            ("rename,delete", "upload,list", false, Some(false)),
            ("rename,read", "upload,list", false, None),
            ("delete,read", "upload,list", false, None),
            ("rename,delete,read", "rename,overwrite", false, None),
            ("drop", "drop", true, Some(false)),
            ("drop", "read", true, None),
        ] {
            assert_eq!(tree(old, new).rename(b"/in/x", b"/out/x", own), allowed, "{old} to {new}");
        }
        let tree = tree("rename,rename", "drop");
        assert_eq!(tree.rename(b"/in/x", b"/in/y", false), Some(false));
        assert_eq!(tree.rename(b"/out/x", b"/out/y", false), None);
        assert_eq!(tree.rename(b"/out/x", b"/out/y", true), Some(false));
        for (from, to) in [("/a", "/c"), ("/c", "/a"), ("/a/b", "/a/c"), ("/c", "/in")] {
            assert_eq!(tree.rename(from.as_bytes(), to.as_bytes(), false), None, "{from} {to}");
        }
    }
}
