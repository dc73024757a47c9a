//! Commands that the RFCs leave to each server, in the form of well-known servers: SITE, checksums, changes of facts.

use super::files::AwaitedAnswer;
use super::path::unquote;
use super::{DigestRange, FtpSession, Right, SessionAction, StoreOp, StoreRefusal, TreeRights};
use crate::ftp::checksum::ChecksumAlgorithm;
use crate::ftp::command::parse_time;
use crate::ftp::listing::format_mdtm;

impl FtpSession {
    /// SITE and its subcommands.
    pub(super) fn site(&mut self, argument: &[u8], rights: &TreeRights) -> Result<(), StoreRefusal> {
        let end = argument.iter().position(|byte| *byte == b' ').unwrap_or(argument.len());
        let (verb, rest) = argument.split_at(end);
        let rest = rest.get(1..).unwrap_or_default();
        match verb.to_ascii_uppercase().as_slice() {
            b"CHMOD" => self.chmod(rest, rights),
            b"UTIME" => self.utime(rest, rights),
            b"UMASK" => {
                match (rest.trim_ascii(), octal(rest.trim_ascii())) {
                    (b"", _) => self.reply(200, format!("UMASK is {:03o}.", self.umask)),
                    (_, Some(mask)) => {
                        self.umask = mask;
                        self.actions.push_back(SessionAction::Umask(mask));
                        self.reply(200, format!("UMASK set to {mask:03o}."));
                    }
                    (_, None) => self.reply(501, "SITE UMASK takes a mask such as 022."),
                }
                Ok(())
            }
            b"HELP" => {
                self.reply(214, "SITE CHMOD mode path; SITE UMASK [mask]; SITE UTIME time path");
                Ok(())
            }
            _ => {
                // Not 504: clients conclude from 500 that the command is missing, not that its argument is bad.
                self.reply(500, "Unknown SITE command.");
                Ok(())
            }
        }
    }

    fn chmod(&mut self, argument: &[u8], rights: &TreeRights) -> Result<(), StoreRefusal> {
        let space = argument.iter().position(|byte| *byte == b' ').unwrap_or(argument.len());
        let (mode, path) = argument.split_at(space);
        match (octal(mode), path.get(1..).filter(|path| !path.is_empty())) {
            (_, None) => self.reply(501, "SITE CHMOD mode path"),
            (None, _) => self.reply(501, "SITE CHMOD takes a mode such as 644."),
            (mode, Some(path)) => {
                let path = self.allowed(path, rights, Right::Overwrite)?;
                self.ask(StoreOp::SetFacts { path, modified: None, mode }, AwaitedAnswer::Done(200, "Mode set."));
            }
        }
        Ok(())
    }

    /// `SITE UTIME time path`, and the older `SITE UTIME path atime mtime ctime UTC`, of whose three times only the second is set.
    fn utime(&mut self, argument: &[u8], rights: &TreeRights) -> Result<(), StoreRefusal> {
        let Some((modified, path)) = utime_argument(argument) else {
            self.reply(501, "SITE UTIME YYYYMMDDhhmm[ss] path");
            return Ok(());
        };
        let path = self.allowed(path, rights, Right::Overwrite)?;
        let op = StoreOp::SetFacts { path, modified: Some(modified), mode: None };
        self.ask(op, AwaitedAnswer::Done(200, "Time set."));
        Ok(())
    }

    /// Commands without a variant of their own; false for an unknown command.
    pub(super) fn other_command(
        &mut self,
        verb: &str,
        argument: &[u8],
        rights: &TreeRights,
    ) -> Result<bool, StoreRefusal> {
        let algorithm = match verb {
            "XCRC" => ChecksumAlgorithm::Crc32,
            "XMD5" => ChecksumAlgorithm::Md5,
            "XSHA" | "XSHA1" => ChecksumAlgorithm::Sha1,
            "XSHA256" => ChecksumAlgorithm::Sha256,
            "XSHA512" => ChecksumAlgorithm::Sha512,
            "MD5" => {
                let name = unquote(argument).map_or_else(|| argument.to_vec(), |(name, _)| name);
                let of = DigestRange { path: self.allowed(&name, rights, Right::Read)?, from: 0, to: None };
                let op = StoreOp::Digest { of, or: None, algorithm: ChecksumAlgorithm::Md5 };
                self.ask(op, AwaitedAnswer::Md5(name));
                return Ok(true);
            }
            "AVBL" => {
                let path = self.allowed(argument, rights, Right::List)?;
                self.ask(StoreOp::Available(path), AwaitedAnswer::Available);
                return Ok(true);
            }
            "MFF" => return self.modify_facts(argument, rights).map(|()| true),
            "MFCT" => {
                self.reply(504, "Times of creation cannot be set; MFMT sets the time of the last change.");
                return Ok(true);
            }
            _ => return Ok(false),
        };
        self.checksum(algorithm, argument, rights)?;
        Ok(true)
    }

    /// HASH (draft-bryan-ftpext-hash-02, section 3).
    pub(super) fn hash(&mut self, path: &[u8], rights: &TreeRights) -> Result<(), StoreRefusal> {
        let (from, to) = std::mem::take(&mut self.range);
        let of = DigestRange { path: self.allowed(path, rights, Right::Read)?, from, to };
        let algorithm = self.algorithm;
        let asked = AwaitedAnswer::Hash { algorithm, from, path: path.to_vec() };
        self.ask(StoreOp::Digest { of, or: None, algorithm }, asked);
        Ok(())
    }

    /// XCRC and its relatives: `"name" [from [to]]` or `name [from [to]]`, `to` excluded; otherwise the range of RANG.
    fn checksum(
        &mut self,
        algorithm: ChecksumAlgorithm,
        argument: &[u8],
        rights: &TreeRights,
    ) -> Result<(), StoreRefusal> {
        let (from, to) = std::mem::take(&mut self.range);
        let range = |name: &[u8], from, to| {
            Ok::<_, StoreRefusal>(DigestRange { path: self.allowed(name, rights, Right::Read)?, from, to })
        };
        let (of, or) = match unquote(argument) {
            Some((name, b"")) => (range(&name, from, to)?, None),
            Some((name, rest)) => match numbers(rest) {
                Some((from, to)) => (range(&name, from, to)?, None),
                None => {
                    self.reply(501, "After the name: the first byte, and the byte after the last.");
                    return Ok(());
                }
            },
            None => {
                let ranged = range_at_the_end(argument);
                (range(argument, from, to)?, ranged.map(|(name, from, to)| range(name, from, to)).transpose()?)
            }
        };
        self.ask(StoreOp::Digest { of, or, algorithm }, AwaitedAnswer::Digest);
        Ok(())
    }

    /// `MFF fact=value;…; path` (draft-somers-ftp-mfxx-04, section 5).
    fn modify_facts(&mut self, argument: &[u8], rights: &TreeRights) -> Result<(), StoreRefusal> {
        let space = argument.iter().position(|byte| *byte == b' ').unwrap_or(argument.len());
        let (facts, path) = argument.split_at(space);
        let path = path.get(1..).unwrap_or_default();
        let (mut modified, mut mode, mut done) = (None, None, Vec::new());
        for fact in facts.split(|byte| *byte == b';').filter(|fact| !fact.is_empty()) {
            let equals = fact.iter().position(|byte| *byte == b'=').unwrap_or(fact.len());
            let (name, value) = fact.split_at(equals);
            let value = value.get(1..).unwrap_or_default();
            match name.to_ascii_lowercase().as_slice() {
                b"modify" => {
                    modified = parse_time(value).map(jiff::Timestamp::as_second);
                    let Some(seconds) = modified else { return self.bad_facts() };
                    done.extend_from_slice(format!("Modify={};", format_mdtm(seconds)).as_bytes());
                }
                b"unix.mode" => {
                    mode = octal(value);
                    let Some(mode) = mode else { return self.bad_facts() };
                    done.extend_from_slice(format!("UNIX.mode={mode:04o};").as_bytes());
                }
                _ => {
                    self.reply(504, "The facts Modify and UNIX.mode can be set.");
                    return Ok(());
                }
            }
        }
        if done.is_empty() || path.is_empty() {
            return self.bad_facts();
        }
        done.push(b' ');
        done.extend_from_slice(path);
        let path = self.allowed(path, rights, Right::Overwrite)?;
        self.ask(StoreOp::SetFacts { path, modified, mode }, AwaitedAnswer::FactsSet(done));
        Ok(())
    }

    fn bad_facts(&mut self) -> Result<(), StoreRefusal> {
        self.reply(501, "MFF fact=value;[fact=value;] path");
        Ok(())
    }
}

/// A mode or a mask of three or four octal digits, without setuid, setgid and sticky: remote commands cannot set them.
fn octal(digits: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(digits).ok().filter(|text| matches!(text.len(), 3..=4))?;
    text.bytes().all(|byte| byte.is_ascii_digit()).then_some(())?;
    u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777)
}

/// The new modification time and the path of SITE UTIME.
fn utime_argument(argument: &[u8]) -> Option<(i64, &[u8])> {
    let time = |text: &[u8]| {
        let seconds: &[u8] = if text.len() == 12 { b"00" } else { b"" };
        parse_time(&[text, seconds].concat()).map(jiff::Timestamp::as_second)
    };
    if let Some(rest) = argument.strip_suffix(b" UTC") {
        let mut words = rest.rsplitn(4, |byte| *byte == b' ');
        let (_ctime, mtime, _atime) = (time(words.next()?)?, time(words.next()?)?, time(words.next()?)?);
        return words.next().filter(|path| !path.is_empty()).map(|path| (mtime, path));
    }
    let space = argument.iter().position(|byte| *byte == b' ')?;
    let (text, path) = argument.split_at(space);
    path.get(1..).filter(|path| !path.is_empty()).and_then(|path| Some((time(text)?, path)))
}

/// ` from [to]`.
fn numbers(text: &[u8]) -> Option<(u64, Option<u64>)> {
    let number = |word: &[u8]| {
        let text = std::str::from_utf8(word).ok()?;
        text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
    };
    let mut words = text.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    let from = number(words.next()?)?;
    let to = words.next().map(|word| number(word).ok_or(())).transpose().ok()?;
    words.next().is_none().then_some((from, to))
}

/// The name and the range of `name from to` or `name from`.
fn range_at_the_end(argument: &[u8]) -> Option<(&[u8], u64, Option<u64>)> {
    let mut spaces = argument.iter().enumerate().rev().filter(|(_, byte)| **byte == b' ').map(|(at, _)| at);
    let (last, before) = (spaces.next(), spaces.next());
    // The most numbers that stand at the end.
    [before, last].into_iter().flatten().find_map(|at| {
        let (name, rest) = argument.split_at(at);
        numbers(rest).filter(|_| !name.is_empty()).map(|(from, to)| (name, from, to))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments() {
        assert_eq!(range_at_the_end(b"a b 0 10"), Some((&b"a b"[..], 0, Some(10))));
        assert_eq!(range_at_the_end(b"a 5"), Some((&b"a"[..], 5, None)));
        assert_eq!(range_at_the_end(b"a 1 2 3"), Some((&b"a 1"[..], 2, Some(3))));
        for none in [&b"a"[..], b"a b", b" 5", b"a 5x", b"a -1", b"a 99999999999999999999"] {
            assert_eq!(range_at_the_end(none), None, "{none:?}");
        }
        let at = 1_709_251_140;
        assert_eq!(utime_argument(b"202402292359 a b"), Some((at, &b"a b"[..])));
        assert_eq!(utime_argument(b"20240229235900 a"), Some((at, &b"a"[..])));
        assert_eq!(utime_argument(b"a b 20000101000000 20240229235900 20000101000000 UTC"), Some((at, &b"a b"[..])));
        for none in
            [&b"20240229235900"[..], b"20240229235900 ", b"2024 a", b"a 20000101000000 20240229235900 UTC", b" UTC"]
        {
            assert_eq!(utime_argument(none), None, "{none:?}");
        }
        for (digits, mode) in [(&b"644"[..], Some(0o644)), (b"0777", Some(0o777)), (b"022", Some(0o22))] {
            assert_eq!(octal(digits), mode, "{digits:?}");
        }
        for none in [&b"4755"[..], b"1777", b"64", b"06444", b"+64", b"888", b"", b"u+x"] {
            assert_eq!(octal(none), None, "{none:?}");
        }
    }
}
