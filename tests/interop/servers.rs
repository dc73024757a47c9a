//! Peers that serve: each started on a loopback port with a private configuration in a folder of its own.

use std::net::SocketAddr;
use std::path::Path;

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
    /// TLS before the first byte.
    Implicit,
    /// Clear text over IPv6.
    Ipv6,
}

impl How {
    /// True with TLS of either kind.
    pub(crate) fn tls(self) -> bool {
        matches!(self, How::Tls | How::Implicit)
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
            How::Tls => "ftpes",
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
        conf.push_str(&format!(
            "ssl_enable=YES\nallow_anon_ssl=YES\nrsa_cert_file={0}/cert.pem\n\
             rsa_private_key_file={0}/key.pem\nimplicit_ssl={1}\n",
            dir.path().display(),
            if how == How::Implicit { "YES" } else { "NO" },
        ));
    }
    let path = dir.path().join("vsftpd.conf");
    std::fs::write(&path, conf).expect("vsftpd.conf");
    let mut command = peer.command("vsftpd", dir.path());
    command.arg(&path);
    Served { daemon: peer.start(command, addr), dir }
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
        let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        for path in [dir.path(), &messages] {
            std::fs::set_permissions(path, std::fs::Permissions::clone(&everybody)).expect("permissions");
        }
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
