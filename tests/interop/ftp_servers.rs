//! FTP servers of others, each with one user `bench` (password `secret`) or anonymous, on a loopback port.

use std::path::Path;

use crate::harness::temp_dir;
use crate::peers::{Peer, free_address};
use crate::servers::{Served, certificate};

/// crypt(3) of `secret`, made once with `openssl passwd -1 -salt salt`.
const HASH: &str = "$1$salt$ez2vlPGdaLYkJam5pWs/Y1";

/// pure-ftpd with a virtual user below `root`; with `tls` AUTH TLS too.
pub(crate) fn pure_ftpd(peer: &Peer, root: &Path, tls: bool) -> Served {
    let (dir, addr) = (temp_dir(), free_address());
    let (passwd, pdb) = (dir.path().join("passwd"), dir.path().join("pdb"));
    // pure-pw's own hashes are made to take seconds; this one it takes too.
    std::fs::write(&passwd, format!("bench:{HASH}:1000:1000::{}/./::::::::::::\n", root.display())).expect("passwd");
    let mut create = peer.command("pure-pw", dir.path());
    create.arg("mkdb").arg(&pdb).arg("-f").arg(&passwd);
    let line = format!("{create:?}");
    let made = crate::harness::finish(create, line, None, crate::peers::LIMIT);
    assert_eq!(made.status, 0, "{made}");
    own(root, 1000);
    let mut command = peer.command("pure-ftpd", dir.path());
    command.args(["-S", &format!("{},{}", addr.ip(), addr.port()), "-E", "-H", "-A", "-C", "40", "-c", "60"]);
    command.args(["-l", &format!("puredb:{}", pdb.display()), "-u", "1000", "-g"]).arg(dir.path().join("pid"));
    if tls {
        certificate(dir.path());
        command.args(["-Y", "1", "-2", &format!("{0}/cert.pem,{0}/key.pem", dir.path().display())]);
    }
    Served { daemon: peer.start(command, addr), dir }
}

/// proftpd with one user below `root`; with `tls` AUTH TLS too, data connections only with the control session (its
/// default).
pub(crate) fn proftpd(peer: &Peer, root: &Path, tls: bool) -> Served {
    let (dir, addr) = (temp_dir(), free_address());
    let at = dir.path().display();
    let uid = rustix::process::geteuid().as_raw();
    let users = dir.path().join("users");
    std::fs::write(&users, format!("bench:{HASH}:{uid}:{uid}::{}:/bin/sh\n", root.display())).expect("users");
    std::fs::set_permissions(&users, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("permissions");
    let modules = modules_of(&peer.root());
    let mut conf = format!(
        "ModulePath {modules}\nServerName peer\nServerType standalone\nPort {}\nDefaultAddress {}\nUser root\nGroup root\n\
         RootLogin on\nRequireValidShell off\nAuthOrder mod_auth_file.c\nAuthUserFile {at}/users\nDefaultRoot ~\nUseIPv6 off\n\
         PidFile {at}/pid\nScoreboardFile {at}/scoreboard\nDelayTable {at}/delay\nSystemLog {at}/log\nWtmpLog off\n\
         AllowOverwrite on\nAllowStoreRestart on\nUmask 022\nMaxInstances 60\nTimesGMT on\nUseReverseDNS off\nDelayEngine off\n\
         <Directory /*>\n AllowOverwrite on\n AllowStoreRestart on\n</Directory>\n",
        addr.port(),
        addr.ip(),
    );
    if tls {
        certificate(dir.path());
        conf.push_str(&format!(
            "LoadModule mod_tls.c\nTLSEngine on\nTLSRequired on\nTLSRSACertificateFile {at}/cert.pem\n\
             TLSRSACertificateKeyFile {at}/key.pem\nTLSVerifyClient off\nTLSLog {at}/tls.log\n"
        ));
    }
    let path = dir.path().join("proftpd.conf");
    std::fs::write(&path, conf).expect("proftpd.conf");
    let mut command = peer.command("proftpd", dir.path());
    command.arg("-n").arg("-q").arg("-c").arg(&path);
    Served { daemon: peer.start(command, addr), dir }
}

/// pyftpdlib in the peer's Python; `None` where that library is not installed.
pub(crate) fn pyftpdlib(peer: &Peer, root: &Path, tls: bool) -> Option<Served> {
    let wanted = if tls { "import pyftpdlib, OpenSSL" } else { "import pyftpdlib" };
    if peer.run("python3", ["-c", wanted]).status != 0 {
        return None;
    }
    let (dir, addr) = (temp_dir(), free_address());
    certificate(dir.path());
    let handler = if tls { "TLS_FTPHandler" } else { "FTPHandler" };
    let script = format!(
        "from pyftpdlib.authorizers import DummyAuthorizer\nfrom pyftpdlib.handlers import {handler} as H\n\
         from pyftpdlib.servers import FTPServer\na = DummyAuthorizer()\n\
         a.add_user('bench', 'secret', {root:?}, perm='elradfmwMT')\nH.authorizer = a\n\
         H.certfile = {:?}\nH.tls_control_required = H.tls_data_required = {}\n\
         FTPServer(({:?}, {}), H).serve_forever()\n",
        dir.path().join("both.pem"),
        if tls { "True" } else { "False" },
        addr.ip().to_string(),
        addr.port(),
    );
    let mut command = peer.command("python3", dir.path());
    command.arg("-c").arg(script);
    Some(Served { daemon: peer.start(command, addr), dir })
}

/// Where proftpd's modules were unpacked.
fn modules_of(root: &Path) -> String {
    let mut open = vec![root.join("usr/lib")];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.file_name() == "mod_tls.so" {
                return folder.display().to_string();
            }
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push(entry.path());
            }
        }
    }
    root.join("usr/lib/proftpd").display().to_string()
}

/// Gives a tree to the user that the peer runs as; only root can.
fn own(root: &Path, uid: u32) {
    for entry in std::fs::read_dir(root).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            own(&entry.path(), uid);
        }
        drop(std::os::unix::fs::lchown(entry.path(), Some(uid), Some(uid)));
    }
    drop(std::os::unix::fs::lchown(root, Some(uid), Some(uid)));
}
