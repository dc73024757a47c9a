//! `address=` in the user file: the sender addresses of a user.

use std::str::FromStr;

use crate::smtp::address::{Address, canonical_domain, check_domain};

/// The addresses that a user may send from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OwnAddress {
    /// One mailbox, with every `+detail`: local part and domain in the form for comparisons.
    Mailbox(String, String),
    /// Every address of a domain, `*@DOMAIN`.
    Domain(String),
    /// Every address, `*`.
    Any,
}

impl FromStr for OwnAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<OwnAddress, String> {
        if text == "*" {
            return Ok(OwnAddress::Any);
        }
        if let Some(domain) = text.strip_prefix("*@") {
            return match check_domain(domain) {
                Ok(()) => Ok(OwnAddress::Domain(compared(domain))),
                Err(_) => Err("not a domain name".to_owned()),
            };
        }
        let address = Address::parse(text, true).ok().filter(|address| address.domain().is_some());
        address.map(|address| OwnAddress::of(&address)).ok_or_else(|| "not USER@DOMAIN, *@DOMAIN or *".to_owned())
    }
}

impl OwnAddress {
    /// The mailbox of an address.
    pub fn of(address: &Address) -> OwnAddress {
        OwnAddress::Mailbox(address.local().to_lowercase(), compared(address.domain().unwrap_or_default()))
    }

    /// True if this address is covered. The case of letters makes no difference.
    pub fn covers(&self, address: &Address) -> bool {
        let Some(found) = address.domain().map(compared) else { return matches!(self, OwnAddress::Any) };
        match self {
            OwnAddress::Any => true,
            OwnAddress::Domain(domain) => *domain == found,
            OwnAddress::Mailbox(local, domain) => {
                let written = address.local().to_lowercase();
                let mailbox = written.split_once('+').map_or(written.as_str(), |(mailbox, _)| mailbox);
                *domain == found && (*local == written || local == mailbox)
            }
        }
    }
}

/// A domain in the form for comparisons, with A-labels.
fn compared(domain: &str) -> String {
    let domain = canonical_domain(domain);
    idna::domain_to_ascii(&domain).unwrap_or(domain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_addresses() {
        for (own, address, covered) in [
            ("alice@a.test", "Alice@A.test", true),
            ("Alice@a.test", "alice+lists@a.test", true),
            ("alice+lists@a.test", "alice+lists@a.test", true),
            ("alice+lists@a.test", "alice@a.test", false),
            ("alice+lists@a.test", "alice+other@a.test", false),
            ("alice@a.test", "alice@b.test", false),
            ("alice@a.test", "alice@sub.a.test", false),
            ("alice@a.test", "\"alice\"@a.test", true),
            ("alice@a.test", "\"alice@a.test\"@b.test", false),
            ("alice@b\u{fc}cher.test", "alice@xn--bcher-kva.test", true),
            ("*@a.test", "anyone@a.test", true),
            ("*@a.test", "anyone@b.test", false),
            ("*@a.test", "a.test@b.test", false),
            ("*", "x@y.test", true),
        ] {
            let own: OwnAddress = own.parse().unwrap();
            assert_eq!(own.covers(&Address::parse(address, true).unwrap()), covered, "{own:?} {address}");
        }
        for bad in ["", "alice", "@a.test", "a b@a.test", "*@", "*@a b", "*@*", "a*"] {
            assert!(bad.parse::<OwnAddress>().is_err(), "{bad}");
        }
    }
}
