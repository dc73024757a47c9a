//! The roles of listeners: which addresses, with which protocol, and what is offered there.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cli::args::{ListenArgs, ServedUrl};
use crate::cli::output::Output;
use crate::cli::users::Users;
use crate::fault::{Fault, Kind};
use crate::net::activation::ActivatedSockets;
use crate::net::listen::Listeners;
use crate::net::privilege::UnixIdentity;
use crate::net::sandbox::Sandbox;
use crate::net::tls::ServerTls;
use crate::net::unix_socket::UnixSocket;
use crate::secret::without_password;
use crate::smtp::role::ServerRole;
use crate::smtp::server::{SmtpServerOptions, SmtpServerTls};

use super::submission::{UserPolicy, own_addresses};
use super::{ServedRole, SmtpTlsStart};

/// The address without `--listen`.
const DEFAULT_ADDRESS: &str = "127.0.0.1:2525";

/// Roles, and the rules for users.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct RoleArgs {
    /// Speak LMTP (RFC 2033): one reply per recipient
    #[arg(long, conflicts_with = "submission")]
    lmtp: bool,
    /// Accept mail only from users who have logged in inside TLS, from their own addresses, and complete it (RFC 6409)
    #[arg(long, requires = "user_file", conflicts_with = "auth_in_clear")]
    submission: bool,
    /// Let users send from any address, not only from their own
    #[arg(long, requires = "user_file")]
    any_sender: bool,
    /// Accept at most N messages per hour from one user; 0: no limit
    #[arg(long, value_name = "N", default_value_t = 0, requires = "user_file")]
    max_messages_per_user: u32,
    /// Accept at most N recipients per hour from one user; 0: no limit
    #[arg(long, value_name = "N", default_value_t = 0, requires = "user_file")]
    max_recipients_per_user: u32,
    /// Mode of UNIX sockets
    #[arg(long, value_name = "MODE", default_value = "0660", value_parser = socket_mode)]
    socket_mode: u32,
    /// Owner of UNIX sockets
    #[arg(long, value_name = "USER[:GROUP]")]
    socket_owner: Option<String>,
}

fn socket_mode(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777 && !text.starts_with('+'));
    mode.ok_or_else(|| "not an octal mode up to 0777".to_owned())
}

/// Where one listener is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum ListenPlace {
    /// Text for [`Listeners::bind`].
    Tcp(String),
    Unix(PathBuf),
}

/// What was named for `--listen`, checked.
pub(super) struct RolePlan {
    places: Vec<(ListenPlace, ServerRole)>,
    /// The role of sockets without one.
    role: ServerRole,
    /// When TLS starts in roles that leave it open.
    tls: SmtpTlsStart,
    /// The owner and mode of UNIX sockets.
    owner: Option<UnixIdentity>,
    mode: u32,
}

/// A bound listener with its role.
pub(super) struct RoleListeners {
    pub(super) role: ServerRole,
    pub(super) listeners: Listeners,
    /// The file of a UNIX socket.
    socket: Option<PathBuf>,
}

/// `ADDR[=ROLE]`; an address alone has the role of the command line, a UNIX socket alone is for LMTP.
fn parse_place(text: &str, role: ServerRole) -> Result<(ListenPlace, ServerRole), Fault> {
    let shown = without_password(text);
    let (address, named) = match text.rsplit_once('=') {
        None => (text, None),
        Some((address, word)) => {
            let words = || ServerRole::ALL.map(ServerRole::as_str).join(", ");
            let known = ServerRole::from_name(word).ok_or_else(|| {
                Fault::new(Kind::Usage, format!("--listen {shown}: unknown role; the roles are {}", words()))
            })?;
            (address, Some(known))
        }
    };
    let path = ["lmtp+unix:", "unix:"].into_iter().find_map(|scheme| address.strip_prefix(scheme));
    match path.or(address.starts_with('/').then_some(address)) {
        None => Ok((ListenPlace::Tcp(address.to_owned()), named.unwrap_or(role))),
        Some(path) if !path.starts_with('/') => {
            Err(Fault::new(Kind::Usage, format!("--listen {shown}: a UNIX socket has an absolute path")))
        }
        Some(_) if named.is_some_and(|named| named != ServerRole::Lmtp) => {
            Err(Fault::new(Kind::Usage, format!("--listen {shown}: the role of a UNIX socket is lmtp")))
        }
        // "///run/x" comes from a URL without a host.
        Some(path) => {
            let path = PathBuf::from(format!("/{}", path.trim_start_matches('/')));
            Ok((ListenPlace::Unix(path), ServerRole::Lmtp))
        }
    }
}

impl RoleArgs {
    /// The rules for users.
    pub(super) fn policy(&self) -> UserPolicy {
        UserPolicy::new(self.any_sender, self.max_messages_per_user, self.max_recipients_per_user)
    }

    /// Warns of a user who cannot send anything.
    pub(super) fn look_at_users(&self, out: &Output, users: &Users, domains: &[String]) {
        let lost = users.all().filter(|user| own_addresses(user, domains).is_empty()).map(|user| &user.name).min();
        if let Some(name) = lost.filter(|_| !self.any_sender) {
            out.warn(&format!("user {name} has no sender address"));
            out.hint("--domain, or address= in the user file, gives one");
        }
    }

    /// Reads `--listen`, and checks that every role can work with the other options.
    ///
    /// # Errors
    /// [`Kind::Usage`] with the first contradiction.
    pub(super) fn plan(&self, listen: &ListenArgs, tls: SmtpTlsStart) -> Result<RolePlan, Fault> {
        let role = match (self.lmtp, self.submission, tls) {
            (true, ..) => ServerRole::Lmtp,
            (_, true, SmtpTlsStart::Implicit) => ServerRole::Submissions,
            (_, true, _) => ServerRole::Submission,
            _ => ServerRole::Smtp,
        };
        let owner = self.socket_owner.as_deref().map(UnixIdentity::parse).transpose();
        let owner = owner.map_err(|fault| fault.context("--socket-owner"))?;
        let places: Vec<_> = listen.listen.iter().map(|text| parse_place(text, role)).collect::<Result<_, Fault>>()?;
        Ok(RolePlan { places, role, tls, owner, mode: self.socket_mode })
    }
}

impl RolePlan {
    /// The roles that are served; those of passed sockets are known by their names.
    fn roles(&self) -> impl Iterator<Item = ServerRole> {
        let default = self.places.is_empty().then_some(self.role);
        self.places.iter().map(|(_, role)| *role).chain(default)
    }

    /// True if a role has this property.
    pub(super) fn any(&self, is: impl Fn(ServerRole) -> bool) -> bool {
        self.roles().any(is)
    }

    /// Checks the roles against the rest of the command line.
    ///
    /// # Errors
    /// [`Kind::Usage`] with the first contradiction.
    pub(super) fn check(&self, given: &RoleNeeds) -> Result<(), Fault> {
        let usage = |why: &str| Err(Fault::new(Kind::Usage, why.to_owned()));
        let is_unix = |(place, _): &(ListenPlace, ServerRole)| matches!(place, ListenPlace::Unix(_));
        if self.any(ServerRole::is_submission) && !given.users {
            return usage("the roles submission and submissions need --user-file");
        }
        if self.any(ServerRole::is_submission) && !given.tls {
            return usage("the roles submission and submissions need --cert or --self-signed");
        }
        if given.users && !self.any(ServerRole::has_logins) {
            return usage("--user-file has no effect: in the role mx nobody logs in");
        }
        if given.relay_from && !self.any(ServerRole::trusts_networks) {
            return usage("--relay-from has no effect: only the roles smtp and lmtp relay for networks");
        }
        if !given.domains && self.any(|role| role == ServerRole::Mx) {
            return usage("the role mx needs --domain");
        }
        if self.places.iter().any(is_unix) && (given.client_ca || self.tls != SmtpTlsStart::Starttls) {
            return usage("a UNIX socket has no TLS: --tls required, --tls implicit and --client-ca exclude it");
        }
        Ok(())
    }

    /// The TCP addresses as [`ListenArgs`] reads them.
    pub(super) fn tcp_only(&self, listen: &ListenArgs) -> ListenArgs {
        let tcp = self.places.iter().filter_map(|(place, _)| match place {
            ListenPlace::Tcp(address) => Some(address.clone()),
            ListenPlace::Unix(_) => None,
        });
        ListenArgs { listen: tcp.collect(), ..listen.clone() }
    }

    /// Binds every listener, or takes the sockets that the service manager passed.
    ///
    /// # Errors
    /// Those of [`ListenArgs::bind`] and [`UnixSocket::bind`].
    pub(super) fn bind(&self, listen: &ListenArgs, activated: ActivatedSockets) -> Result<Vec<RoleListeners>, Fault> {
        let passed = activated.tcp_named()?;
        let of_tcp = |role, listeners| RoleListeners { role, listeners, socket: None };
        if !passed.is_empty() {
            let one = |(name, socket): (String, _)| {
                let role = ServerRole::from_name(&name).unwrap_or(self.role);
                let fits = role == self.role || (role.is_submission() && self.role.is_submission());
                let wrong =
                    || format!("LISTEN_FDS: a socket of the role {name}, and the role here is {}", self.role.as_str());
                match fits {
                    true => Ok(of_tcp(role, Listeners::activated(vec![socket]))),
                    false => Err(Fault::new(Kind::Config, wrong())),
                }
            };
            return passed.into_iter().map(one).collect();
        }
        let tcp = self.tcp_only(listen).listen;
        let roles = self.places.iter().filter(|(place, _)| matches!(place, ListenPlace::Tcp(_))).map(|(_, role)| *role);
        let mut bound: Vec<RoleListeners> = match (tcp.is_empty(), self.places.is_empty()) {
            (true, false) => Vec::new(),
            (true, true) => vec![of_tcp(self.role, Listeners::bind(&tcp, DEFAULT_ADDRESS)?)],
            _ => roles
                .zip(Listeners::bind(&tcp, DEFAULT_ADDRESS)?.one_by_one())
                .map(|(role, one)| of_tcp(role, one))
                .collect(),
        };
        for (place, role) in &self.places {
            if let ListenPlace::Unix(path) = place {
                let socket = UnixSocket::bind(path, self.mode, self.owner.as_ref())?;
                let (socket, listeners) = (Some(path.clone()), Listeners::unix(socket));
                bound.push(RoleListeners { role: *role, listeners, socket });
            }
        }
        Ok(bound)
    }

    /// The listeners with the options of their roles.
    pub(super) fn served(
        &self,
        listeners: Vec<RoleListeners>,
        common: &SmtpServerOptions,
        tls: Option<&ServerTls>,
    ) -> Vec<ServedRole> {
        let served =
            |one: RoleListeners| (Arc::new(one.options(self, common, tls)), one.is_implicit(self), one.listeners);
        listeners.into_iter().map(served).map(|(options, implicit, listeners)| (options, listeners, implicit)).collect()
    }
}

/// What the rest of the command line has for the roles.
pub(super) struct RoleNeeds {
    pub(super) users: bool,
    pub(super) tls: bool,
    pub(super) client_ca: bool,
    pub(super) relay_from: bool,
    pub(super) domains: bool,
}

impl RoleListeners {
    /// When TLS starts here; `None` for never.
    fn tls_start(&self, plan: &RolePlan) -> Option<SmtpTlsStart> {
        match self.role {
            _ if self.socket.is_some() => None,
            ServerRole::Submission => Some(SmtpTlsStart::Required),
            ServerRole::Submissions => Some(SmtpTlsStart::Implicit),
            ServerRole::Smtp | ServerRole::Mx | ServerRole::Lmtp => Some(plan.tls),
        }
    }

    /// True if TLS begins before the first byte.
    pub(super) fn is_implicit(&self, plan: &RolePlan) -> bool {
        self.tls_start(plan) == Some(SmtpTlsStart::Implicit)
    }

    /// The URLs by which clients reach it.
    pub(super) fn urls(&self, plan: &RolePlan) -> Vec<ServedUrl> {
        if let Some(path) = &self.socket {
            return vec![ServedUrl::Unix("lmtp+unix".to_owned(), path.clone())];
        }
        let scheme = match self.role {
            ServerRole::Smtp | ServerRole::Mx if self.is_implicit(plan) => "smtps",
            ServerRole::Smtp | ServerRole::Mx => "smtp",
            role => role.as_str(),
        };
        let addresses: Vec<SocketAddr> = self.listeners.addresses();
        addresses.into_iter().map(|address| ServedUrl::Tcp(scheme.to_owned(), address)).collect()
    }

    /// Allows the removal of its file.
    pub(super) fn name_file(&self, sandbox: &mut Sandbox) {
        if let Some(path) = &self.socket {
            sandbox.remove(Path::new(path));
        }
    }

    /// The options of the server for this role.
    pub(super) fn options(
        &self,
        plan: &RolePlan,
        common: &SmtpServerOptions,
        tls: Option<&ServerTls>,
    ) -> SmtpServerOptions {
        let mut options = common.clone();
        let start = self.tls_start(plan);
        options.role = self.role;
        options.tls = match (start, tls.cloned()) {
            (None, _) | (_, None) => SmtpServerTls::Off,
            (Some(SmtpTlsStart::Implicit), Some(tls)) => SmtpServerTls::Implicit(tls),
            (Some(_), Some(tls)) => SmtpServerTls::Starttls(tls),
        };
        let config = &mut options.config;
        config.lmtp = self.role == ServerRole::Lmtp;
        config.auth = config.auth && self.role.has_logins();
        config.auth_in_clear = config.auth_in_clear && !self.role.is_submission();
        config.auth_required = self.role.is_submission();
        config.tls_required = start == Some(SmtpTlsStart::Required) || config.tls_required || self.role.is_submission();
        options
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_roles() {
        use ServerRole as R;
        let tcp = |text: &str, role| Some((ListenPlace::Tcp(text.to_owned()), role));
        let unix = |path: &str| Some((ListenPlace::Unix(path.into()), R::Lmtp));
        for (text, expected) in [
            ("127.0.0.1:25", tcp("127.0.0.1:25", R::Submission)),
            ("[::]:25=mx", tcp("[::]:25", R::Mx)),
            ("25=smtp", tcp("25", R::Smtp)),
            ("465=submissions", tcp("465", R::Submissions)),
            ("24=lmtp", tcp("24", R::Lmtp)),
            ("/run/x=lmtp", unix("/run/x")),
            ("/run/x", unix("/run/x")),
            ("unix:/run/x", unix("/run/x")),
            ("lmtp+unix:///run/x=lmtp", unix("/run/x")),
            ("/run/x=mx", None),
            ("unix:run/x", None),
            ("25=MX", None),
            ("25=", None),
            ("25=imap", None),
        ] {
            assert_eq!(parse_place(text, R::Submission).ok(), expected, "{text}");
        }
    }

    #[test]
    fn modes_are_octal() {
        assert_eq!(socket_mode("0660"), Ok(0o660));
        assert!(["", "+660", "888", "1777", "rw"].into_iter().all(|text| socket_mode(text).is_err()));
    }
}
