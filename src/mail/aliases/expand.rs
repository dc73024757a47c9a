//! The expansion of one address through aliases to its final destinations.

use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;

use super::{AliasEntry, AliasTable, AliasTarget, plain_domain, plain_name};
use crate::fault::{Fault, Kind};
use crate::smtp::address::Address;

/// The most destinations of one address.
const MAX_ENDS: usize = 50_000;
/// The most aliases that lead to each other in one chain.
const MAX_DEPTH: usize = 50;

/// The knowledge of the server that expansion needs.
pub trait MailboxFinder {
    /// A mailbox, or another end of a local address.
    type Found;

    /// True for a domain of this server, in the form of [`plain_domain`].
    fn is_ours(&self, domain: &str) -> bool;

    /// The mailbox of a name, with its `+detail`, in a domain of this server. `None` if there is none.
    ///
    /// # Errors
    /// The fault that prevents an answer.
    fn find(&mut self, local: &str, domain: &str) -> Result<Option<Self::Found>, Fault>;
}

/// A final destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AliasEnd<M> {
    /// A mailbox of this server, and the domain in which it was found.
    Mailbox(M, String),
    /// An address in a domain of others.
    Remote(Address),
    /// A program with its arguments.
    Command(Vec<String>),
    /// An mbox, or a Maildir if the path ends with `/`.
    File(PathBuf),
}

/// The destinations of an address, each once.
#[derive(Debug)]
pub struct Expansion<M> {
    /// The destinations.
    pub ends: Vec<AliasEnd<M>>,
    /// The local addresses without a mailbox or an alias, each with file and line of the alias that names it, if one does.
    pub unknown: Vec<(Option<String>, String)>,
    /// True if an alias applied.
    pub by_alias: bool,
}

/// A local address: the name as it was written, and the domain.
#[derive(Debug, Clone)]
struct AliasSpot {
    local: String,
    domain: String,
}

impl AliasSpot {
    fn key(&self) -> (String, String) {
        (plain_name(&self.local), self.domain.clone())
    }
}

/// An alias that is being expanded, and the address for which it applies.
type OpenAlias = (usize, (String, String));

struct AliasWalk<'a, F: MailboxFinder> {
    table: &'a AliasTable,
    finder: &'a mut F,
    open: Vec<OpenAlias>,
    done: HashSet<OpenAlias>,
    seen: HashSet<(String, String)>,
    found: Expansion<F::Found>,
}

impl AliasTable {
    /// Expands an address of this server. An alias for the complete address precedes one for the name, one with the `+detail` one
    /// without; a name without alias and mailbox has the alias of its whole domain. An alias that names its own address means the
    /// mailbox.
    ///
    /// # Errors
    /// [`Kind::Config`] with file and line if aliases form a loop, or lead to too many destinations; those of the finder.
    pub fn expand<F: MailboxFinder>(
        &self,
        local: &str,
        domain: &str,
        finder: &mut F,
    ) -> Result<Expansion<F::Found>, Fault> {
        let mut walk = self.walk(finder);
        walk.address(AliasSpot { local: local.to_owned(), domain: domain.to_owned() })?;
        Ok(walk.found)
    }

    fn walk<'a, F: MailboxFinder>(&'a self, finder: &'a mut F) -> AliasWalk<'a, F> {
        let found = Expansion { ends: Vec::new(), unknown: Vec::new(), by_alias: false };
        AliasWalk { table: self, finder, open: Vec::new(), done: HashSet::new(), seen: HashSet::new(), found }
    }

    /// Checks every alias: it is for a domain of this server, forms no loop, and each of its targets exists. An alias for a name
    /// alone must be complete in one of the `domains`.
    ///
    /// # Errors
    /// [`Kind::Config`] with file and line of the first alias that is wrong; those of the finder.
    pub fn check<F: MailboxFinder>(&self, domains: &[String], finder: &mut F) -> Result<(), Fault> {
        let named: BTreeSet<&str> = self.by_key.keys().filter_map(|key| Some(key.rsplit_once('@')?.1)).collect();
        // In a domain without aliases of its own an alias for a name leads where it does in any other such domain.
        let (special, usual): (Vec<&String>, Vec<&String>) =
            domains.iter().partition(|domain| named.contains(&***domain));
        for (at, entry) in self.entries.iter().enumerate() {
            let wrong = |why: String| Fault::new(Kind::Config, format!("{}: {why}", entry.origin));
            let (local, domain) = entry.key.rsplit_once('@').unwrap_or((&entry.key, ""));
            let (needed, mut places) = match domain {
                "" => (special.len() + 1, special.iter().chain(&usual).map(|domain| domain.as_str()).collect()),
                domain if !finder.is_ours(domain) => {
                    let why = format!("{}: {domain} is not a domain of this server", entry.key);
                    return Err(wrong(why).with_hint("--domain, --domains or --route names the domains"));
                }
                domain => (1, vec![domain]),
            };
            let mut unknown = Some(None);
            places.dedup();
            for (number, domain) in places.into_iter().enumerate() {
                if number >= needed && unknown.is_none() {
                    break;
                }
                let spot = AliasSpot { local: local.to_owned(), domain: domain.to_owned() };
                // There another alias precedes it.
                if !local.is_empty() && self.candidates(&spot).first() != Some(&at) {
                    continue;
                }
                let mut walk = self.walk(finder);
                walk.entry(at, &spot)?;
                let missing = walk.found.unknown.into_iter().find(|(_, address)| !address.starts_with('@'));
                unknown = unknown.zip(missing).map(|(first, missing)| first.or(Some(missing)));
            }
            if let Some(Some((origin, address))) = unknown {
                let origin = origin.unwrap_or_else(|| entry.origin.clone());
                return Err(Fault::new(Kind::Config, format!("{origin}: {address}: no such mailbox or alias")));
            }
        }
        Ok(())
    }

    /// The aliases for an address, the most specific first.
    fn candidates(&self, spot: &AliasSpot) -> Vec<usize> {
        let (local, domain) = spot.key();
        let plain = without_detail(&local);
        let keys = [format!("{local}@{domain}"), format!("{plain}@{domain}"), local.clone(), plain.to_owned()];
        // A quoted name with an @ in it is no address of another domain.
        let keys = keys.iter().take(if local.contains('@') { 2 } else { 4 });
        let mut found: Vec<usize> = keys.filter_map(|key| self.by_key.get(key).copied()).collect();
        found.dedup();
        found
    }
}

fn without_detail(local: &str) -> &str {
    local.split('+').next().filter(|plain| !plain.is_empty()).unwrap_or(local)
}

/// True for the same name and domain, whatever the detail.
fn is_same((local, domain): &(String, String), other: &(String, String)) -> bool {
    without_detail(local) == without_detail(&other.0) && *domain == other.1
}

impl<F: MailboxFinder> AliasWalk<'_, F> {
    fn address(&mut self, spot: AliasSpot) -> Result<(), Fault> {
        let key = spot.key();
        for at in self.table.candidates(&spot) {
            match self.open.iter().position(|(open, _)| *open == at) {
                None => return self.entry(at, &spot),
                // The alias, or a more general one for the same address, names that address again.
                Some(first) if self.open.iter().skip(first).all(|(_, open)| is_same(open, &key)) => {}
                Some(_) => return Err(self.looping(at)),
            }
        }
        self.mailbox(spot, false)
    }

    fn mailbox(&mut self, spot: AliasSpot, alone: bool) -> Result<(), Fault> {
        if self.seen.contains(&spot.key()) {
            return Ok(());
        }
        if !spot.local.is_empty()
            && let Some(found) = self.finder.find(&spot.local, &spot.domain)?
        {
            self.seen.insert(spot.key());
            return self.end(AliasEnd::Mailbox(found, spot.domain));
        }
        let whole = self.table.by_key.get(&format!("@{}", spot.domain)).copied().filter(|_| !alone);
        match whole {
            Some(at) if !self.open.iter().any(|(open, _)| *open == at) => self.entry(at, &spot),
            Some(at) if self.entry_at(at).is_some_and(AliasEntry::keeps_name) => Err(self.looping(at)),
            _ => {
                let origin = self.open.last().and_then(|(at, _)| self.entry_at(*at)).map(|entry| entry.origin.clone());
                self.found.unknown.push((origin, format!("{}@{}", spot.local, spot.domain)));
                Ok(())
            }
        }
    }

    fn entry_at(&self, at: usize) -> Option<&AliasEntry> {
        self.table.entries.get(at)
    }

    /// Expands an alias that applies to an address.
    fn entry(&mut self, at: usize, spot: &AliasSpot) -> Result<(), Fault> {
        self.found.by_alias = true;
        let open = (at, spot.key());
        let Some(entry) = self.table.entries.get(at).filter(|_| self.done.insert(open.clone())) else {
            return Ok(());
        };
        self.open.push(open);
        if self.open.len() > MAX_DEPTH {
            return Err(self.looping(at));
        }
        for target in &entry.targets {
            match target {
                AliasTarget::Name(name) => {
                    self.address(AliasSpot { local: name.clone(), domain: spot.domain.clone() })?
                }
                AliasTarget::Mailbox(name) => {
                    self.mailbox(AliasSpot { local: name.clone(), domain: spot.domain.clone() }, true)?;
                }
                AliasTarget::SameNameAt(domain) => self.at_domain(spot.local.clone(), domain, None)?,
                AliasTarget::Address(address) => {
                    let domain = address.domain().unwrap_or_default();
                    let domain = plain_domain(domain).unwrap_or_else(|| domain.to_owned());
                    self.at_domain(address.local().into_owned(), &domain, Some(address))?;
                }
                AliasTarget::Command(words) => self.end(AliasEnd::Command(words.clone()))?,
                AliasTarget::File(path) => self.end(AliasEnd::File(path.clone()))?,
            }
        }
        self.open.pop();
        Ok(())
    }

    /// Goes on with an address that has a domain.
    fn at_domain(&mut self, local: String, domain: &str, address: Option<&Address>) -> Result<(), Fault> {
        let spot = AliasSpot { local, domain: domain.to_owned() };
        if self.finder.is_ours(domain) {
            return self.address(spot);
        }
        // The check of a whole domain's alias has no name.
        if spot.local.is_empty() || !self.seen.insert(spot.key()) {
            return Ok(());
        }
        match address.cloned().or_else(|| Address::of(&spot.local, domain).ok()) {
            Some(address) => self.end(AliasEnd::Remote(address)),
            None => {
                self.found.unknown.push((None, format!("{}@{domain}", spot.local)));
                Ok(())
            }
        }
    }

    fn end(&mut self, end: AliasEnd<F::Found>) -> Result<(), Fault> {
        if self.found.ends.len() == MAX_ENDS {
            let origin = self.open.first().and_then(|(at, _)| self.entry_at(*at)).map(|entry| entry.origin.as_str());
            let why = format!("{}: more than {MAX_ENDS} recipients", origin.unwrap_or("aliases"));
            return Err(Fault::new(Kind::Config, why));
        }
        self.found.ends.push(end);
        Ok(())
    }

    /// The fault of a loop, with its aliases.
    fn looping(&self, at: usize) -> Fault {
        let from = self.open.iter().position(|(open, _)| *open == at).unwrap_or_default();
        let names = self.open.iter().skip(from).take(5).map(|(at, _)| *at).chain([at]);
        let names: Vec<&str> = names.filter_map(|at| Some(self.entry_at(at)?.key.as_str())).collect();
        let origin = self.entry_at(at).map_or("aliases", |entry| &entry.origin);
        Fault::new(Kind::Config, format!("{origin}: aliases form a loop: {}", names.join(" -> ")))
    }
}

impl AliasEntry {
    /// True if it leads to the same name in another domain.
    fn keeps_name(&self) -> bool {
        self.targets.iter().any(|target| matches!(target, AliasTarget::SameNameAt(_)))
    }
}
