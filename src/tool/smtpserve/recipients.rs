//! The domains of the server and the aliases of their recipients: arguments, and the tables that are read again on HUP.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::cli::args::ConfineArgs;
use crate::cli::output::Output;
use crate::cli::reload::{Prepared, Reloader};
use crate::cli::{input, units};
use crate::fault::{Fault, Kind};
use crate::mail::aliases::{AliasEnd, AliasTable, Expansion, MailboxFinder, plain_domain};
use crate::net::reload::Reloaded;
use crate::relay::route::{RouteOverride, RouteRule, RouteTarget};
use crate::smtp::address::Address;

use super::agent::{AgentTarget, DeliveryAgent};
use super::mailbox::{FoundMailbox, Mailboxes};
use super::quotas::{QuotaRule, QuotaTable};

/// The largest file of aliases or domains, in bytes.
const MAX_FILE: u64 = 64 * 1024 * 1024;

#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Recipients")]
pub(super) struct RecipientArgs {
    /// Accept mail for the domains in FILE too, one per line; HUP reads it again
    #[arg(long, value_name = "FILE")]
    domains: Vec<PathBuf>,
    /// Expand recipients by the aliases in FILE, in the form of /etc/aliases; `user@domain: …` and `@domain: …` are for one
    /// domain; HUP reads it again
    #[arg(long, value_name = "FILE")]
    aliases: Vec<PathBuf>,
    /// Permit aliases that lead to a |command or a /file
    #[arg(long, requires = "aliases")]
    alias_commands: bool,
    /// Accept mail for DOMAIN or .DOMAIN (those below it) and pass it through the queue to smtp://, smtps://, submission://, lmtp:,
    /// lmtp+unix:, maildir: or mx:
    #[arg(long, value_name = "DOMAIN=URL", value_parser = DomainRoute::parse)]
    route: Vec<DomainRoute>,
    /// Give mail for the domains to this program, without a shell: the message is its input, sysexits(3) are the answer
    #[arg(long, value_name = "CMD", value_parser = program, conflicts_with_all = ["mailboxes", "quota"])]
    exec: Option<ProgramWords>,
    /// Time that a program of --exec or --aliases may take for a message
    #[arg(long, value_name = "TIME", value_parser = units::duration, default_value = "2m")]
    exec_timeout: Duration,
    /// Run at most N programs at once
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=64))]
    exec_jobs: u16,
    /// Limit of a mailbox in bytes, and in messages; ADDRESS= sets that of one mailbox, `@DOMAIN=` those of a domain; may be repeated
    #[arg(long, value_name = "[ADDRESS=]SIZE[,COUNT]", value_parser = QuotaRule::parse, requires = "mailboxes")]
    quota: Vec<QuotaRule>,
}

/// A program with its arguments.
type ProgramWords = Arc<[String]>;

fn program(text: &str) -> Result<ProgramWords, Fault> {
    let words = crate::mail::aliases::command(text);
    words.map(ProgramWords::from).map_err(|why| Fault::new(Kind::Usage, format!("{text}: {why}")))
}

/// One `--route`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct DomainRoute {
    rule: RouteRule,
    hop: RouteOverride,
}

impl DomainRoute {
    fn parse(text: &str) -> Result<DomainRoute, Fault> {
        let rule = RouteRule::parse(text)?;
        let wrong = |why: &str| Err(Fault::new(Kind::Usage, format!("{}: {why}", rule.pattern)));
        if rule.pattern == "*" {
            return wrong("a route for all domains would accept mail for anybody").map_err(|fault: Fault| {
                fault.with_hint("mailq-run --route '*=URL' sends what is in the queue to one server")
            });
        }
        let dot = if rule.pattern.starts_with('.') { "." } else { "" };
        let Some(domain) = plain_domain(rule.pattern.trim_start_matches('.')) else { return wrong("not a domain") };
        let hop: RouteOverride = text.split_once('=').map_or("", |(_, hop)| hop).parse()?;
        if matches!(hop.target(), RouteTarget::Server { login: Some(_), .. }) {
            return wrong("the queue keeps no passwords: account:NAME names an account of mailq-run");
        }
        Ok(DomainRoute { rule: RouteRule { pattern: format!("{dot}{domain}"), ..rule }, hop })
    }
}

/// The tables that a reload replaces as a whole.
#[derive(Debug, Default)]
pub(super) struct RecipientTables {
    /// The local domains, in the form of [`plain_domain`], the first one first.
    pub(super) domains: Vec<String>,
    known: HashSet<String>,
    routes: Vec<DomainRoute>,
    pub(super) aliases: AliasTable,
    exec: Option<ProgramWords>,
    /// The files that were read.
    files: Vec<PathBuf>,
}

/// The end of a local address that is no alias.
#[derive(Debug, Clone)]
pub(super) enum LocalEnd {
    Mailbox(FoundMailbox),
    /// `--exec`: the name.
    Program(String),
    /// `--route`: the address, and the next hop.
    Route(Address, RouteOverride),
}

impl RecipientArgs {
    /// True if mail may go into the queue without a login: to others, and back to its sender.
    pub(super) fn needs_queue(&self) -> bool {
        !self.aliases.is_empty() || !self.route.is_empty() || self.exec.is_some()
    }

    /// True if mail for the domains has a destination without mailboxes.
    pub(super) fn is_destination(&self) -> bool {
        !self.aliases.is_empty() || self.exec.is_some()
    }

    pub(super) fn quotas(&self) -> QuotaTable {
        QuotaTable::new(&self.quota)
    }

    /// Reads the files, and checks everything that does not depend on mailboxes.
    ///
    /// # Errors
    /// [`Kind::Config`] for a file that cannot be read or is malformed, [`Kind::Usage`] for a wrong option.
    pub(super) fn load(&self, named: &[String]) -> Result<RecipientTables, Fault> {
        let mut tables =
            RecipientTables { routes: self.route.clone(), exec: self.exec.clone(), ..RecipientTables::default() };
        for domain in named {
            let usage = || Fault::new(Kind::Usage, format!("{domain}: not a domain name"));
            tables.add_domain(plain_domain(domain).ok_or_else(usage)?);
        }
        for file in &self.domains {
            for (at, line) in tables.text(file)?.lines().enumerate() {
                let line = line.trim();
                if line.is_empty() || line.starts_with('#') {
                    continue;
                }
                let wrong =
                    |why: &str| Fault::new(Kind::Config, format!("{}: line {}: {line}: {why}", file.display(), at + 1));
                let domain = plain_domain(line).ok_or_else(|| wrong("not a domain"))?;
                if !tables.add_domain(domain) {
                    return Err(wrong("the domain was named before"));
                }
            }
        }
        for (at, route) in tables.routes.iter().enumerate() {
            let usage = |why: &str| Err(Fault::new(Kind::Usage, format!("--route {}: {why}", route.rule.pattern)));
            if tables.routes.iter().take(at).any(|other| other.rule.pattern == route.rule.pattern) {
                return usage("one domain has one route here");
            }
        }
        for file in &self.aliases {
            let text = tables.text(file)?;
            let mut aliases = std::mem::take(&mut tables.aliases);
            aliases.add(&file.display().to_string(), &text, self.alias_commands, &mut |path| tables.text(path))?;
            tables.aliases = aliases;
        }
        Ok(tables)
    }

    /// Starts the helper for programs and files, if the arguments allow any. Must be called before keys are read.
    ///
    /// # Errors
    /// Those of [`DeliveryAgent::start`].
    pub(super) fn agent(
        &self,
        confine: &ConfineArgs,
        served: &[PathBuf],
        named: &[String],
        out: &Output,
    ) -> Result<Option<DeliveryAgent>, Fault> {
        if self.exec.is_none() && !self.alias_commands {
            return Ok(None);
        }
        let user = confine.successor(served)?;
        let (at_start, args, named) = (self.load(named)?, self.clone(), named.to_vec());
        // The aliases of a later reload are read by the worker itself: the server's word is not enough.
        let permits = move |target: &AgentTarget| {
            at_start.permits(target) || args.load(&named).is_ok_and(|now| now.permits(target))
        };
        let agent = DeliveryAgent::start(user.as_ref(), self.exec_timeout, self.exec_jobs.into(), permits)?;
        out.note("programs: a helper process outside the sandbox runs them as the server's user");
        Ok(Some(agent))
    }

    /// Checks the aliases against the mailboxes.
    ///
    /// # Errors
    /// [`Kind::Config`] with file and line for an alias that is wrong.
    pub(super) fn check(tables: &RecipientTables, mailboxes: Option<&Mailboxes>) -> Result<(), Fault> {
        let mut finder = CheckFinder { tables, mailboxes, known: HashMap::new() };
        let mut domains = tables.domains.clone();
        domains.extend(tables.routes.iter().map(|route| route.rule.pattern.trim_start_matches('.').to_owned()));
        tables.aliases.check(&domains, &mut finder)
    }

    /// Adds the tables to those that are read again; their files are watched as those of the certificate are.
    pub(super) fn reload(
        &self,
        reloader: &mut Reloader,
        named: &[String],
        tables: &Reloaded<RecipientTables>,
        mailboxes: Option<Arc<Mailboxes>>,
    ) {
        if self.domains.is_empty() && self.aliases.is_empty() {
            return;
        }
        let (args, named, tables) = (self.clone(), named.to_vec(), tables.clone());
        reloader.add("recipients", move || {
            let new = args.load(&named)?;
            let serving = mailboxes.clone();
            if let Some(mailboxes) = &serving {
                mailboxes.may_serve(&new.domains)?;
            }
            RecipientArgs::check(&new, serving.as_deref())?;
            let tables = tables.clone();
            Ok(Prepared::whole(move || {
                if let Some(mailboxes) = serving {
                    mailboxes.serve(&new.domains);
                }
                tables.replace(new);
            }))
        });
    }
}

impl RecipientTables {
    /// The files that were read.
    pub(super) fn files(&self) -> &[PathBuf] {
        &self.files
    }

    fn add_domain(&mut self, domain: String) -> bool {
        let new = self.known.insert(domain.clone());
        if new {
            self.domains.push(domain);
        }
        new
    }

    fn text(&mut self, file: &Path) -> Result<String, Fault> {
        let config = |fault: Fault| Fault { kind: Kind::Config, ..fault };
        let bytes = input::read_regular(file, MAX_FILE).map_err(config)?;
        self.files.push(file.to_owned());
        String::from_utf8(bytes).map_err(|_| Fault::new(Kind::Config, format!("{}: not UTF-8", file.display())))
    }

    fn permits(&self, target: &AgentTarget) -> bool {
        match target {
            AgentTarget::Command(words) => self.exec.as_deref() == Some(words) || self.aliases.has_command(words),
            AgentTarget::File(path) => self.aliases.has_file(path),
        }
    }

    /// True for a domain of this server.
    pub(super) fn is_ours(&self, domain: &str) -> bool {
        self.known.contains(domain) || self.route(domain).is_some()
    }

    /// True if there is a route.
    pub(super) fn has_routes(&self) -> bool {
        !self.routes.is_empty()
    }

    fn route(&self, domain: &str) -> Option<&RouteOverride> {
        self.routes.iter().find(|route| route.rule.matches(domain)).map(|route| &route.hop)
    }

    /// Expands a local address. Blocks: mailboxes are looked up.
    ///
    /// # Errors
    /// Those of [`Mailboxes::find`] and [`AliasTable::expand`].
    pub(super) fn expand(
        &self,
        local: &str,
        domain: &str,
        mailboxes: Option<&Mailboxes>,
    ) -> Result<Expansion<LocalEnd>, Fault> {
        self.aliases.expand(local, domain, &mut TableFinder { tables: self, mailboxes })
    }

    fn find(&self, local: &str, domain: &str, mailboxes: Option<&Mailboxes>) -> Result<Option<LocalEnd>, Fault> {
        if let Some(route) = self.route(domain) {
            return Ok(Address::of(local, domain).ok().map(|address| LocalEnd::Route(address, route.clone())));
        }
        match (&self.exec, mailboxes) {
            (Some(_), _) => Ok(Some(LocalEnd::Program(local.to_owned()))),
            (None, Some(mailboxes)) => Ok(mailboxes.find(local, domain)?.map(LocalEnd::Mailbox)),
            (None, None) => Ok(None),
        }
    }

    /// The program of `--exec`.
    pub(super) fn program(&self) -> AgentTarget {
        AgentTarget::Command(self.exec.as_deref().unwrap_or_default().to_vec())
    }
}

struct TableFinder<'a> {
    tables: &'a RecipientTables,
    mailboxes: Option<&'a Mailboxes>,
}

impl MailboxFinder for TableFinder<'_> {
    type Found = LocalEnd;

    fn is_ours(&self, domain: &str) -> bool {
        self.tables.is_ours(domain)
    }

    fn find(&mut self, local: &str, domain: &str) -> Result<Option<LocalEnd>, Fault> {
        self.tables.find(local, domain, self.mailboxes)
    }
}

/// A finder that remembers, for the check of all aliases. A mailbox that cannot be looked up now may exist.
struct CheckFinder<'a> {
    tables: &'a RecipientTables,
    mailboxes: Option<&'a Mailboxes>,
    known: HashMap<(String, String), bool>,
}

impl MailboxFinder for CheckFinder<'_> {
    type Found = ();

    fn is_ours(&self, domain: &str) -> bool {
        self.tables.is_ours(domain)
    }

    fn find(&mut self, local: &str, domain: &str) -> Result<Option<()>, Fault> {
        let (tables, mailboxes) = (self.tables, self.mailboxes);
        let known = self.known.entry((local.to_owned(), domain.to_owned()));
        let exists = *known.or_insert_with(|| !matches!(tables.find(local, domain, mailboxes), Ok(None)));
        Ok(exists.then_some(()))
    }
}

/// A destination of an expansion.
pub(super) type ExpandedEnd = AliasEnd<LocalEnd>;
