//! Peers that serve: each started on a loopback port with a private configuration in a folder of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::harness::temp_dir;
use crate::peers::{Daemon, Peer, free_address};

/// How an FTP server is to be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// Clear text.
    Plain,
    /// AUTH TLS, and nothing else.
    Tls,
    /// The same, no later version than TLS 1.2.
    Tls12,
    /// TLS before the first byte.
    Implicit,
    /// Clear text over IPv6.
    Ipv6,
}

impl How {
    /// True with TLS of either kind.
    pub(crate) fn tls(self) -> bool {
        matches!(self, How::Tls | How::Tls12 | How::Implicit)
    }

    /// Where to listen.
    pub(crate) fn address(self) -> SocketAddr {
        let v4 = free_address();
        if self == How::Ipv6 { SocketAddr::new(std::net::Ipv6Addr::LOCALHOST.into(), v4.port()) } else { v4 }
    }

    /// The scheme of URLs.
    pub(crate) fn scheme(self) -> &'static str {
        match self {
            How::Plain | How::Ipv6 => "ftp",
            How::Tls | How::Tls12 => "ftpes",
            How::Implicit => "ftps",
        }
    }
}

/// A running peer and the folder that holds its configuration.
pub(crate) struct Served {
    /// The process; its output is in it.
    pub(crate) daemon: Daemon,
    /// Configuration and state.
    pub(crate) dir: TempDir,
}

impl Served {
    /// Where it listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.daemon.addr
    }
}

/// A key and a certificate for `localhost`, as `key.pem` and `cert.pem` in `dir` (and both in `both.pem`).
pub(crate) fn certificate(dir: &Path) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let (key, cert) = (made.signing_key.serialize_pem(), made.cert.pem());
    std::fs::write(dir.join("both.pem"), format!("{key}{cert}")).expect("both.pem");
    std::fs::write(dir.join("key.pem"), key).expect("key.pem");
    std::fs::write(dir.join("cert.pem"), cert).expect("cert.pem");
}

/// vsftpd serving `root` to anybody, for reading and writing; TLS with [`certificate`]'s certificate, data connections only
/// with the control connection's session (its default).
pub(crate) fn vsftpd(peer: &Peer, root: &Path, how: How) -> Served {
    let (dir, addr) = (temp_dir(), how.address());
    let empty = dir.path().join("empty");
    std::fs::create_dir(&empty).expect("an empty folder");
    let mut conf = format!(
        "{}={}\nlisten_port={}\nbackground=NO\nrun_as_launching_user=YES\nseccomp_sandbox=NO\n\
         anonymous_enable=YES\nno_anon_password=YES\nanon_root={}\nanon_world_readable_only=NO\nwrite_enable=YES\n\
         anon_upload_enable=YES\nanon_mkdir_write_enable=YES\nanon_other_write_enable=YES\nanon_umask=022\n\
         allow_writeable_chroot=YES\nsecure_chroot_dir={}\nmdtm_write=YES\nxferlog_enable=NO\nport_enable=YES\n\
         connect_from_port_20=NO\nport_promiscuous=YES\npasv_promiscuous=YES\nftp_username={}\n",
        if addr.is_ipv6() { "listen=NO\nlisten_ipv6=YES\nlisten_address6" } else { "listen=YES\nlisten_address" },
        addr.ip(),
        addr.port(),
        root.display(),
        empty.display(),
        user_name(),
    );
    if how.tls() {
        certificate(dir.path());
        if how == How::Tls12 {
            // Its own choice knows only RSA there, and our certificate is not of that kind.
            conf.push_str("ssl_ciphers=HIGH\n");
        }
        conf.push_str(&format!(
            "ssl_enable=YES\nallow_anon_ssl=YES\nstrict_ssl_write_shutdown=YES\nrsa_cert_file={0}/cert.pem\n\
             rsa_private_key_file={0}/key.pem\nimplicit_ssl={1}\n",
            dir.path().display(),
            if how == How::Implicit { "YES" } else { "NO" },
        ));
    }
    let path = dir.path().join("vsftpd.conf");
    std::fs::write(&path, conf).expect("vsftpd.conf");
    let mut command = peer.command("vsftpd", dir.path());
    command.arg(&path);
    if how == How::Tls12 {
        command.env("OPENSSL_CONF", only_tls12(dir.path()));
    }
    Served { daemon: peer.start(command, addr), dir }
}

/// A configuration of OpenSSL's that ends at TLS 1.2, for servers that cannot say so themselves.
fn only_tls12(dir: &Path) -> std::path::PathBuf {
    let path = dir.join("openssl.cnf");
    let conf =
        "openssl_conf = all\n[all]\nssl_conf = tls\n[tls]\nsystem_default = most\n[most]\nMaxProtocol = TLSv1.2\n";
    std::fs::write(&path, conf).expect("openssl.cnf");
    path
}

/// Who runs the tests: the user that a peer is to be, where it insists on one.
fn user_name() -> String {
    let passwd = std::fs::read_to_string("/etc/passwd").expect("/etc/passwd");
    let uid = rustix::process::geteuid().as_raw().to_string();
    let row = passwd.lines().find(|row| row.split(':').nth(2) == Some(&uid)).expect("our user");
    row.split(':').next().expect("its name").to_owned()
}

/// NSD serving zone files, each `(origin, text)`.
pub(crate) fn nsd(peer: &Peer, zones: &[(&str, &str)]) -> Served {
    let (dir, addr) = (temp_dir(), free_address());
    let at = dir.path().display();
    let mut conf = format!(
        "server:\n ip-address: {}@{}\n server-count: 1\n username: \"\"\n chroot: \"\"\n database: \"\"\n zonesdir: {at}\n \
         pidfile: {at}/nsd.pid\n xfrdfile: {at}/xfrd.state\n xfrdir: {at}\n zonelistfile: {at}/zone.list\n \
         hide-version: yes\nremote-control:\n control-enable: no\n",
        addr.ip(),
        addr.port(),
    );
    for (number, (origin, text)) in zones.iter().enumerate() {
        let file = format!("{number}.zone");
        std::fs::write(dir.path().join(&file), text).expect("a zone file");
        conf.push_str(&format!("zone:\n name: {origin}\n zonefile: {file}\n provide-xfr: 127.0.0.1 NOKEY\n"));
    }
    let path = dir.path().join("nsd.conf");
    std::fs::write(&path, conf).expect("nsd.conf");
    let mut command = peer.command("nsd", dir.path());
    command.arg("-d").arg("-c").arg(&path);
    Served { daemon: peer.start(command, addr), dir }
}

/// Postfix's smtp-sink with these further arguments; each message it takes is a file in `messages/` of its folder.
pub(crate) fn smtp_sink(peer: &Peer, args: &[&str]) -> Served {
    let (dir, addr) = (temp_dir(), free_address());
    let messages = dir.path().join("messages");
    std::fs::create_dir(&messages).expect("a folder for messages");
    let mut command = peer.command("smtp-sink", dir.path());
    if rustix::process::geteuid().is_root() {
        // It insists on leaving root, so somebody else must be able to write there.
        open_to_all(dir.path());
        open_to_all(&messages);
        command.args(["-u", "nobody"]);
    }
    command.args(["-d", "messages/%M."]).args(args).arg(addr.to_string()).arg("100");
    Served { daemon: peer.start(command, addr), dir }
}

/// The messages that a [`smtp_sink`] has taken so far.
pub(crate) fn sunk(sink: &Served) -> Vec<String> {
    let folder = std::fs::read_dir(sink.dir.path().join("messages")).expect("the messages");
    let mut files: Vec<_> = folder.map(|file| file.expect("a message").path()).collect();
    files.sort();
    files.iter().map(|path| String::from_utf8_lossy(&std::fs::read(path).expect("a message")).into_owned()).collect()
}

/// Postfix delivering everything for b.test into one Maildir, which is returned too.
pub(crate) fn postfix(peer: &Peer) -> (Served, PathBuf) {
    postfix_with(peer, &[])
}

/// As [`postfix`], with more settings.
pub(crate) fn postfix_with(peer: &Peer, settings: &[&str]) -> (Served, PathBuf) {
    let (dir, addr) = (temp_dir(), free_address());
    open_to_all(dir.path());
    let (base, mail) = (dir.path().join("postfix"), dir.path().join("mail"));
    std::fs::create_dir(&mail).expect("a folder for mail");
    open_to_all(&mail);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/postfix.sh");
    let mut command = peer.command("sh", dir.path());
    command.arg(script).arg(peer.root()).arg(&base).arg(addr.port().to_string());
    command.arg(format!("virtual_mailbox_base={}", mail.display()));
    command.args(["virtual_mailbox_domains=b.test", "virtual_mailbox_maps=static:box/", "virtual_minimum_uid=1"]);
    command.args(["virtual_uid_maps=static:65534", "virtual_gid_maps=static:65534"]).args(settings);
    (Served { daemon: peer.start(command, addr), dir }, mail.join("box"))
}

/// OpenSMTPD delivering everything for b.test into one Maildir.
pub(crate) fn opensmtpd(peer: &Peer) -> (Served, PathBuf) {
    let addr = free_address();
    let conf = format!(
        "listen on 127.0.0.1 port {} hostname opensmtpd.test\ntable users {{ \"@\" = \"vmail\" }}\n\
         action \"box\" maildir \"/mail/box\" virtual <users>\nmatch from any for domain \"b.test\" action \"box\"\n",
        addr.port()
    );
    caged(peer, addr, &[("etc/smtpd.conf", &conf)], &["smtpd", "-d"])
}

/// Exim delivering everything for b.test into one Maildir, with every extension it has.
pub(crate) fn exim(peer: &Peer) -> (Served, PathBuf) {
    let addr = free_address();
    let conf = "primary_hostname = exim.test\nsmtp_accept_queue_per_connection = 0\ndomainlist local_domains = b.test\nnever_users =\nkeep_environment =\n\
                acl_smtp_rcpt = accept\nacl_smtp_data = accept\ntls_advertise_hosts =\nchunking_advertise_hosts = *\n\
                pipelining_advertise_hosts = *\nsmtputf8_advertise_hosts = *\ndsn_advertise_hosts = *\n\
                begin routers\nlocal:\n  driver = accept\n  domains = +local_domains\n  transport = maildir\n\
                begin transports\nmaildir:\n  driver = appendfile\n  directory = /mail/box\n  maildir_format\n\
                  create_directory\n  user = Debian-exim\n  group = Debian-exim\n  return_path_add\n";
    let listen = format!("127.0.0.1.{}", addr.port());
    caged(peer, addr, &[("etc/exim4/exim4.conf", conf)], &["exim4", "-bdf", "-oX", &listen])
}

/// Dovecot's LMTP delivering for everybody into one Maildir.
pub(crate) fn dovecot(peer: &Peer) -> (Served, PathBuf) {
    let addr = free_address();
    let conf = format!(
        "protocols = lmtp\nlisten = 127.0.0.1\nlog_path = /dev/stderr\nssl = no\nmail_location = maildir:/mail/box\n\
         userdb {{\n  driver = static\n  args = uid=vmail gid=vmail home=/mail allow_all_users=yes\n}}\n\
         passdb {{\n  driver = static\n  args = nopassword=y\n}}\n\
         service lmtp {{\n  inet_listener lmtp {{\n    address = 127.0.0.1\n    port = {}\n  }}\n}}\n",
        addr.port()
    );
    caged(peer, addr, &[("etc/private.conf", &conf)], &["dovecot", "-F", "-c", "/etc/private.conf"])
}

/// aiosmtpd keeping everything in one Maildir.
pub(crate) fn aiosmtpd(peer: &Peer) -> (Served, PathBuf) {
    let (dir, addr) = (temp_dir(), free_address());
    let mailbox = dir.path().join("box");
    let mut command = peer.command("python3", dir.path());
    command.env("PYTHONPATH", peer.root().join("usr/lib/python3/dist-packages"));
    command.args(["-m", "aiosmtpd", "-n", "-l", &addr.to_string(), "-c", "aiosmtpd.handlers.Mailbox"]).arg(&mailbox);
    (Served { daemon: peer.start(command, addr), dir }, mailbox)
}

/// A server with paths and users compiled in, in a root of its own (see cage.sh), which delivers into `/mail/box` there.
fn caged(peer: &Peer, addr: SocketAddr, files: &[(&str, &str)], argv: &[&str]) -> (Served, PathBuf) {
    // The top layer of the new root cannot lie in the old one.
    let dir = tempfile::tempdir_in("/dev/shm").expect("a folder on a tmpfs");
    let up = dir.path().join("up");
    for (name, text) in files {
        let path = up.join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder for configuration");
        std::fs::write(path, text).expect("configuration");
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/cage.sh");
    let mut command = peer.command("sh", dir.path());
    command.env_remove("LD_LIBRARY_PATH").env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.arg(script).arg(peer.root()).arg(dir.path()).args(argv);
    (Served { daemon: peer.start(command, addr), dir }, up.join("mail/box"))
}

fn open_to_all(path: &Path) {
    let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(path, everybody).expect("permissions");
}
