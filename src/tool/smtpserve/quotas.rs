//! The limits of mailboxes (`--quota`).

use std::collections::HashMap;

use crate::cli::units;
use crate::mail::aliases::plain_domain;
use crate::mail::maildir::quota::MailboxLimit;

/// One `--quota`: an address, `@domain`, or an empty text for all others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct QuotaRule {
    key: String,
    limit: MailboxLimit,
}

impl QuotaRule {
    pub(super) fn parse(text: &str) -> Result<QuotaRule, String> {
        let (address, limits) = text.rsplit_once('=').unwrap_or(("", text));
        let (bytes, messages) = limits.split_once(',').unwrap_or((limits, "0"));
        let messages = messages.parse().map_err(|_| format!("{messages}: not a number of messages"))?;
        let bytes = units::size(bytes).map_err(|why| why.to_string())?;
        let key = match address.rsplit_once('@') {
            None if address.is_empty() => String::new(),
            None => return Err(format!("{address}: neither name@domain nor @domain")),
            Some((local, domain)) => {
                let domain = plain_domain(domain).ok_or_else(|| format!("{domain}: not a domain"))?;
                format!("{}@{domain}", local.to_lowercase())
            }
        };
        Ok(QuotaRule { key, limit: MailboxLimit { bytes, messages } })
    }
}

/// The limits of mailboxes.
#[derive(Debug, Clone, Default)]
pub(super) struct QuotaTable(HashMap<String, MailboxLimit>);

impl QuotaTable {
    pub(super) fn new(rules: &[QuotaRule]) -> QuotaTable {
        QuotaTable(rules.iter().map(|rule| (rule.key.clone(), rule.limit)).collect())
    }

    /// The limit of a mailbox: that of its address, of its domain, or of all.
    pub(super) fn of(&self, local: &str, domain: &str) -> Option<MailboxLimit> {
        if self.0.is_empty() {
            return None;
        }
        let name = local.split('+').next().unwrap_or_default().to_lowercase();
        let keys = [format!("{name}@{domain}"), format!("@{domain}"), String::new()];
        let limit = keys.iter().find_map(|key| self.0.get(key)).copied();
        limit.filter(|limit| *limit != MailboxLimit::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_limit_holds() {
        let rules: Vec<QuotaRule> = ["1M", "@X.test=2K,7", "Bob@x.test=0,3", "eve@x.test=0"]
            .iter()
            .map(|text| QuotaRule::parse(text).unwrap())
            .collect();
        let table = QuotaTable::new(&rules);
        let limit = |local, domain| table.of(local, domain).map(|limit| (limit.bytes, limit.messages));
        assert_eq!(limit("bob+a", "x.test"), Some((0, 3)));
        assert_eq!(limit("joe", "x.test"), Some((2048, 7)));
        assert_eq!(limit("bob", "y.test"), Some((1 << 20, 0)));
        assert_eq!(limit("eve", "x.test"), None);
        assert_eq!(QuotaTable::default().of("bob", "x.test"), None);
        for text in ["", "bob=1M", "bob@=1M", "1M,", "1M,x", "x"] {
            assert!(QuotaRule::parse(text).is_err(), "{text}");
        }
    }
}
