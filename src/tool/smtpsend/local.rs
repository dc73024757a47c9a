//! Local addresses: names without a domain, aliases, another domain for senders, and an administrator who gets all other mail.

use super::LocalArgs;
use super::job::host_name;
use crate::fault::{Fault, Kind};
use crate::mail::address::{self, Mailbox};
use crate::mail::complete::Complete;
use crate::smtp::address::{Address, canonical_domain};
use crate::tool::smtp_account::{Account, Aliases};

/// The rules of one run.
#[derive(Debug)]
pub(super) struct LocalRules<'a> {
    args: &'a LocalArgs,
    aliases: Aliases,
    admin: Option<Mailbox>,
}

impl LocalArgs {
    /// The rules, with the aliases file of the command line, else that of the account.
    ///
    /// # Errors
    /// [`Kind::Usage`] for a malformed flag, [`Kind::Config`] for a malformed file.
    pub(super) fn rules(&self, account: Option<&Account>) -> Result<LocalRules<'_>, Fault> {
        let file = self.aliases.as_deref().or_else(|| account.and_then(|account| account.aliases.as_deref()));
        let aliases = file.map(Aliases::read).transpose()?.unwrap_or_default();
        let usage = |what: &str, fault: Fault| Fault { kind: Kind::Usage, ..fault.context(what) };
        let admin = self.admin_address.as_deref().map(Mailbox::parse).transpose();
        let admin = admin.map_err(|fault| usage("--admin-address", fault))?;
        if let Some(domain) = &self.masquerade {
            let wrong = |error| usage("--masquerade", address::no_address(domain, error));
            Address::parse_lenient(&format!("x@{domain}")).map_err(wrong)?;
        }
        Ok(LocalRules { args: self, aliases, admin })
    }

    /// Completes an address that has no domain, if `--local-domain` names one.
    ///
    /// # Errors
    /// [`Kind::Usage`] if the domain is not valid in an address.
    pub(super) fn qualify(&self, mailbox: &mut Mailbox) -> Result<(), Fault> {
        match (mailbox.address.domain(), &self.local_domain) {
            (None, Some(domain)) => with_domain(mailbox, domain, "--local-domain"),
            _ => Ok(()),
        }
    }

    /// Completes the address of a sender, and replaces a domain of this host by that of `--masquerade`.
    ///
    /// # Errors
    /// [`Kind::Usage`] if the domain is not valid in an address.
    pub(super) fn sender(&self, mailbox: &mut Mailbox) -> Result<(), Fault> {
        self.qualify(mailbox)?;
        match (mailbox.address.domain(), &self.masquerade) {
            (Some(domain), Some(other)) if self.is_ours(domain) => with_domain(mailbox, other, "--masquerade"),
            _ => Ok(()),
        }
    }

    /// True if this host has the domain.
    pub(super) fn is_ours(&self, domain: &str) -> bool {
        let domain = canonical_domain(domain);
        self.hosts().any(|host| canonical_domain(host) == domain)
    }

    /// Does the same in the header of a complete message.
    pub(super) fn rewrite(&self, complete: &mut Complete) {
        if let Some(domain) = &self.local_domain {
            complete.qualify(domain);
        }
        if let Some(domain) = &self.masquerade {
            complete.masquerade(&self.hosts().map(str::to_owned).collect::<Vec<_>>(), domain);
        }
    }

    /// The domains of this host.
    fn hosts(&self) -> impl Iterator<Item = &str> {
        self.local_domain.as_deref().into_iter().chain([host_name(), "localhost"])
    }
}

impl LocalRules<'_> {
    /// The mailboxes that a recipient expands to.
    ///
    /// # Errors
    /// [`Kind::Config`] for aliases that do not end at an address, [`Kind::Usage`] if the domain is not valid in an address.
    pub(super) fn recipients(&self, mailbox: Mailbox) -> Result<Vec<Mailbox>, Fault> {
        let is_ours = mailbox.address.domain().is_some_and(|domain| self.args.is_ours(domain));
        let name = is_ours.then(|| Address::parse_lenient(mailbox.address.local_wire()).ok()).flatten();
        let mut found = match name.filter(|name| self.aliases.knows(name)) {
            Some(address) => self.aliases.resolve(Mailbox { address, ..mailbox })?,
            None => self.aliases.resolve(mailbox)?,
        };
        for mailbox in &mut found {
            let is_local = mailbox.address.domain().is_none_or(|domain| self.args.is_ours(domain));
            match self.admin.as_ref().filter(|_| is_local) {
                Some(admin) => *mailbox = admin.clone(),
                None => self.args.qualify(mailbox)?,
            }
        }
        Ok(found)
    }
}

fn with_domain(mailbox: &mut Mailbox, domain: &str, flag: &str) -> Result<(), Fault> {
    let wrong = |error| Fault { kind: Kind::Usage, ..address::no_address(domain, error).context(flag) };
    mailbox.address = mailbox.address.with_domain(domain).map_err(wrong)?;
    Ok(())
}
