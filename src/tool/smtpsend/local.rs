//! Addresses of this host: names without a domain, aliases, another domain for senders, an administrator who gets the rest.

use super::LocalArgs;
use super::job::host_name;
use crate::fault::{Fault, Kind};
use crate::mail::address::Mailbox;
use crate::mail::complete::Complete;
use crate::tool::smtp_account::{Account, Aliases};

/// The rules of one run.
#[derive(Debug)]
pub(super) struct LocalRules<'a> {
    args: &'a LocalArgs,
    aliases: Aliases,
    admin: Option<Mailbox>,
}

impl LocalArgs {
    /// The rules, with the aliases that were named here, else those of the account.
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
            crate::mail::address::check(&format!("x@{domain}")).map_err(|fault| usage("--masquerade", fault))?;
        }
        Ok(LocalRules { args: self, aliases, admin })
    }

    /// Completes an address without a domain, if there is one to complete it by.
    pub(super) fn qualify(&self, mailbox: &mut Mailbox) {
        if let (None, Some(domain)) = (mailbox.domain(), &self.local_domain) {
            mailbox.address = format!("{}@{domain}", mailbox.address);
        }
    }

    /// A sender: completed, and with the domain that senders of this host have.
    pub(super) fn sender(&self, mailbox: &mut Mailbox) {
        self.qualify(mailbox);
        if let (Some((local, domain)), Some(other)) = (mailbox.address.rsplit_once('@'), &self.masquerade)
            && self.hosts().iter().any(|host| host.eq_ignore_ascii_case(domain))
        {
            mailbox.address = format!("{local}@{other}");
        }
    }

    /// The same in the header of a complete message.
    pub(super) fn rewrite(&self, complete: &mut Complete) {
        if let Some(domain) = &self.local_domain {
            complete.qualify(domain);
        }
        if let Some(domain) = &self.masquerade {
            complete.masquerade(&self.hosts(), domain);
        }
    }

    /// The domains that mean this host.
    fn hosts(&self) -> Vec<String> {
        self.local_domain.iter().cloned().chain([host_name(), "localhost".to_owned()]).collect()
    }
}

impl LocalRules<'_> {
    /// Whom a recipient stands for.
    ///
    /// # Errors
    /// [`Kind::Config`] for aliases that lead nowhere.
    pub(super) fn recipients(&self, mailbox: Mailbox) -> Result<Vec<Mailbox>, Fault> {
        let mut found = self.aliases.resolve(mailbox)?;
        for mailbox in &mut found {
            let is_local = match mailbox.domain() {
                None => true,
                Some(domain) => self.args.hosts().iter().any(|host| host.eq_ignore_ascii_case(domain)),
            };
            match self.admin.as_ref().filter(|_| is_local) {
                Some(admin) => *mailbox = admin.clone(),
                None => self.args.qualify(mailbox),
            }
        }
        Ok(found)
    }
}
