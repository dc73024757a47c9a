//! The FLAGS of a line of the user file: the rights and terms of a user.

use std::net::IpAddr;
use std::num::NonZeroU64;
use std::path::PathBuf;

use crate::cli::own_addresses::OwnAddress;
use crate::cli::{clock, units};
use crate::ftp::session::{RightRule, Rights};
use crate::net::cidr::Network;

/// The terms of a user. The general setting applies for an absent term.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UserTerms {
    /// The rights of the user in a tree.
    pub rights: Option<Rights>,
    /// `root=PATH`: the user's tree, anywhere in the file system. HOME is below it.
    pub root: Option<PathBuf>,
    /// `dir=PATH:RIGHTS`, repeatable: the rights in a directory below the user's root.
    pub rules: Vec<RightRule>,
    /// `as=USER[:GROUP]`: the user of the system whose rights the login has, and to whom its files belong.
    pub system_user: Option<String>,
    /// `quota=SIZE`: the bytes that all files of the tree may take together.
    pub quota: Option<u64>,
    /// `up=RATE`: the limit of all uploads together, in bytes per second.
    pub up: Option<NonZeroU64>,
    /// `down=RATE`: the limit of all downloads together, in bytes per second.
    pub down: Option<NonZeroU64>,
    /// `address=ADDRESS`, repeatable: the sender addresses of the user's mail; empty for those that follow from the name.
    pub addresses: Vec<OwnAddress>,
    /// `net=NETWORK`, repeatable: the networks of the client addresses that the user may log in from; empty for all.
    networks: Vec<Network>,
    /// `expires=TIME`, in seconds since 1970: from then on no login succeeds.
    expires: Option<i64>,
}

impl UserTerms {
    /// Parses FLAGS. A single word may be a preset (`read`, `write`, `upload`, `drop`). Of several words, each is one right, and
    /// `write` grants all rights.
    ///
    /// # Errors
    /// A message about the first word that is unknown or invalid; no rights are granted then.
    pub fn parse(flags: &str) -> Result<UserTerms, String> {
        let words: Vec<&str> = flags.split(',').map(str::trim).filter(|word| !word.is_empty()).collect();
        let (terms, rights): (Vec<&str>, Vec<&str>) = words.into_iter().partition(|word| word.contains('='));
        let mut account = UserTerms::default();
        for term in terms {
            account.term(term)?;
        }
        account.rights = match rights.as_slice() {
            [] => None,
            ["none"] => return Err("\"none\" is a word of rules".to_owned()),
            words => Some(Rights::parse(words.iter().copied())?),
        };
        Ok(account)
    }

    fn term(&mut self, term: &str) -> Result<(), String> {
        let (name, value) = term.split_once('=').unwrap_or((term, ""));
        let rate = |text: &str| NonZeroU64::new(units::size(text)?).ok_or_else(|| "a rate is more than 0".to_owned());
        let read = |account: &mut UserTerms| {
            match name {
                "root" if value.starts_with('/') => account.root = Some(value.into()),
                "root" => return Err("a root is an absolute path".to_owned()),
                "dir" => account.rules.push(directory_rule(value, ':')?),
                "as" if value.is_empty() => return Err("no user of the system".to_owned()),
                "as" => account.system_user = Some(value.to_owned()),
                "quota" => account.quota = Some(units::size(value)?),
                "up" => account.up = Some(rate(value)?),
                "down" => account.down = Some(rate(value)?),
                "address" => account.addresses.push(value.parse()?),
                "net" => account.networks.push(value.parse()?),
                "expires" => account.expires = Some(clock::moment(value)?),
                _ => return Err("not a term (root, dir, as, quota, up, down, address, net, expires)".to_owned()),
            }
            Ok(())
        };
        read(self).map_err(|why| format!("{term:?}: {why}"))
    }

    /// The reason that this user is not served now at this address; `None` if the user is served.
    pub fn barred(&self, client: Option<IpAddr>, now: i64) -> Option<&'static str> {
        let elsewhere = || client.is_some_and(|client| !self.networks.iter().any(|network| network.contains(client)));
        if self.expires.is_some_and(|expires| now >= expires) {
            Some("the account has expired")
        } else if !self.networks.is_empty() && elsewhere() {
            Some("the account is not for this network")
        } else {
            None
        }
    }
}

/// Parses a rule: a path, `end`, and rights separated by commas or plus signs.
///
/// # Errors
/// A message about the path or the first unknown right.
pub fn directory_rule(text: &str, end: char) -> Result<RightRule, String> {
    let (path, words) = text.rsplit_once(end).ok_or_else(|| format!("a rule is PATH{end}RIGHTS"))?;
    RightRule::new(path, Rights::parse(words.split([',', '+']).map(str::trim))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_rights_and_terms() {
        let rights = |flags: &str| UserTerms::parse(flags).unwrap().rights;
        for (flags, granted) in [
            ("", None),
            ("quota=1G", None),
            ("read", Some(Rights::READ_ONLY)),
            ("write", Some(Rights::ALL)),
            ("upload", Some(Rights::UPLOAD_ONLY)),
            ("drop", Some(Rights::DROP_BOX)),
            ("read, write", Some(Rights::ALL)),
            ("list,read", Some(Rights::READ_ONLY)),
            ("list,upload,mkdir", Some(Rights { list: true, upload: true, mkdir: true, ..Rights::NONE })),
            ("read,quota=5M", Some(Rights::READ_ONLY)),
        ] {
            assert_eq!(rights(flags), granted, "{flags}");
        }
        let account =
            UserTerms::parse("root=/srv/a:b,quota=10M,up=1M,down=2M,net=10.0.0.0/8,net=2001:db8::/32").unwrap();
        assert_eq!(account.root, Some(PathBuf::from("/srv/a:b")));
        assert_eq!(
            (account.quota, account.up, account.down.map(NonZeroU64::get)),
            (Some(10 << 20), NonZeroU64::new(1 << 20), Some(2 << 20))
        );
        let rules = UserTerms::parse("read,dir=/in:drop,dir=/a:b/*:list+mkdir,dir=/c:none").unwrap().rules;
        let granted: Vec<_> = rules.iter().map(|rule| (rule.path(), rule.rights())).collect();
        let listed = Rights { list: true, mkdir: true, ..Rights::NONE };
        let paths = [Some("in".to_owned()), None, Some("c".to_owned())];
        assert_eq!(granted, paths.into_iter().zip([Rights::DROP_BOX, listed, Rights::NONE]).collect::<Vec<_>>());
        for bad in [
            "dir=",
            "dir=/in",
            "dir=in:read",
            "dir=/in:",
            "dir=/in:all",
            "dir=/in:list+none",
            "readonly",
            "read,Write",
            "none",
            "list,drop",
            "root=x",
            "quota=",
            "up=0",
            "net=10.0.0.0/33",
            "expires=never",
            "size=1",
            "address=alice",
        ] {
            assert!(UserTerms::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn networks_and_time_bar() {
        let account = UserTerms::parse("net=10.0.0.0/8,net=::1,expires=2030-01-01T00:00:00Z").unwrap();
        let end = 1_893_456_000;
        for (client, now, barred) in [
            ("10.1.2.3", end - 1, false),
            ("::ffff:10.1.2.3", end - 1, false),
            ("::1", 0, false),
            ("11.1.2.3", 0, true),
            ("10.1.2.3", end, true),
        ] {
            assert_eq!(account.barred(Some(client.parse().unwrap()), now).is_some(), barred, "{client} {now}");
        }
        assert_eq!(UserTerms::parse("read").unwrap().barred(None, i64::MAX), None);
    }
}
