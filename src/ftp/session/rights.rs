//! The rights of a login, and the word for each.

/// One right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// See names, sizes and times.
    List,
    /// Download.
    Read,
    /// Store files under unused names.
    Upload,
    /// Replace existing files, set times and modes.
    Overwrite,
    /// Write into existing files.
    Append,
    /// Remove files and directories.
    Delete,
    /// Rename files and directories.
    Rename,
    /// Make directories.
    Mkdir,
}

/// The rights of a login in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rights {
    /// `list`: see names, sizes and times.
    pub list: bool,
    /// `read`: download.
    pub read: bool,
    /// `upload`: store files under unused names.
    pub upload: bool,
    /// `overwrite`: replace existing files, set times and modes.
    pub overwrite: bool,
    /// `append`: write into existing files (APPE; REST with STOR).
    pub append: bool,
    /// `delete`: remove files and directories.
    pub delete: bool,
    /// `rename`: rename files and directories.
    pub rename: bool,
    /// `mkdir`: make directories.
    pub mkdir: bool,
}

impl Rights {
    /// No rights.
    pub const NONE: Rights = Rights {
        list: false,
        read: false,
        upload: false,
        overwrite: false,
        append: false,
        delete: false,
        rename: false,
        mkdir: false,
    };
    /// List and download.
    pub const READ_ONLY: Rights = Rights { list: true, read: true, ..Rights::NONE };
    /// All rights.
    pub const ALL: Rights = Rights { read: true, ..Rights::UPLOAD_ONLY };
    /// All rights but download.
    pub const UPLOAD_ONLY: Rights = Rights {
        list: true,
        read: false,
        upload: true,
        overwrite: true,
        append: true,
        delete: true,
        rename: true,
        mkdir: true,
    };
    /// New files can be uploaded; nothing can be listed or downloaded. A session may rename the file that it stored
    /// last to another new name, or delete it, since clients upload under a temporary name.
    pub const DROP_BOX: Rights = Rights { upload: true, ..Rights::NONE };

    /// The words for the single rights, for messages.
    pub const WORDS: &'static str = "list, read, upload, overwrite, append, delete, rename, mkdir";

    /// Parses rights in words. A single word may be a preset (`read`, `write`, `upload`, `drop`) or `none`. Of several words, each
    /// is one right, and `write` grants all rights.
    ///
    /// # Errors
    /// A message about the first unknown word.
    pub fn parse<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Rights, String> {
        let words: Vec<&str> = words.into_iter().collect();
        match words.as_slice() {
            ["none"] => return Ok(Rights::NONE),
            ["read"] => return Ok(Rights::READ_ONLY),
            ["upload"] => return Ok(Rights::UPLOAD_ONLY),
            ["drop"] => return Ok(Rights::DROP_BOX),
            _ => {}
        }
        let mut granted = Rights::NONE;
        for word in words {
            match word {
                "write" => granted = Rights::ALL,
                word if granted.grant(word) => {}
                word => {
                    let known = Rights::WORDS;
                    return Err(format!("{word:?} is not a right ({known}; alone: read, write, upload, drop)"));
                }
            }
        }
        Ok(granted)
    }

    /// True if this right is granted.
    pub fn has(&self, right: Right) -> bool {
        match right {
            Right::List => self.list,
            Right::Read => self.read,
            Right::Upload => self.upload,
            Right::Overwrite => self.overwrite,
            Right::Append => self.append,
            Right::Delete => self.delete,
            Right::Rename => self.rename,
            Right::Mkdir => self.mkdir,
        }
    }

    /// Grants the right with this word; false for an unknown word.
    fn grant(&mut self, word: &str) -> bool {
        let right = match word {
            "list" => &mut self.list,
            "read" => &mut self.read,
            "upload" => &mut self.upload,
            "overwrite" => &mut self.overwrite,
            "append" => &mut self.append,
            "delete" => &mut self.delete,
            "rename" => &mut self.rename,
            "mkdir" => &mut self.mkdir,
            _ => return false,
        };
        *right = true;
        true
    }

    /// True if the tree may be changed.
    pub fn changes(&self) -> bool {
        self.upload || self.overwrite || self.append || self.delete || self.rename || self.mkdir
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_a_right_and_all_are_everything() {
        let mut all = Rights::NONE;
        for word in Rights::WORDS.split(", ") {
            let before = all;
            assert!(all.grant(word) && all != before, "{word}");
            assert_eq!(Rights { ..before }.changes() || !matches!(word, "list" | "read"), all.changes(), "{word}");
        }
        assert_eq!(all, Rights::ALL);
        assert!(!all.grant("write") && !all.grant("List") && !all.grant(""));
    }
}
