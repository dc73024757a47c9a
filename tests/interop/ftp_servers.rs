//! FTP servers of others, each with one user `bench` (password `secret`) or anonymous, on a loopback port.

use std::path::Path;

use crate::harness::temp_dir;
use crate::peers::Peer;
use crate::servers::{How, Served, certificate, vsftpd};

/// crypt(3) of `secret`, made once with `openssl passwd -1 -salt salt`.
const HASH: &str = "$1$salt$ez2vlPGdaLYkJam5pWs/Y1";

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Vsftpd,
    Pure,
    Pro,
    Python,
    Inetutils,
}

/// Starts a server over `root`, or says why it cannot be started so.
pub(crate) fn start(peer: &Peer, kind: Kind, root: &Path, how: How) -> Result<Served, &'static str> {
    match kind {
        Kind::Vsftpd => Ok(vsftpd(peer, root, how)),
        Kind::Pure if how == How::Implicit => Err("implicit TLS is not built into it"),
        Kind::Pure => Ok(pure_ftpd(peer, root, how)),
        Kind::Pro => Ok(proftpd(peer, root, how)),
        Kind::Python if how == How::Implicit => Err("it offers AUTH TLS only"),
        Kind::Python => Ok(pyftpdlib(peer, root, how)),
        Kind::Inetutils => inetutils(peer, root, how),
    }
}

/// pure-ftpd with a virtual user below `root`.
pub(crate) fn pure_ftpd(peer: &Peer, root: &Path, how: How) -> Served {
    let (dir, addr) = (temp_dir(), how.address());
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
    command.args([
        "-S",
        &format!("{},{}", addr.ip(), addr.port()),
        "-E",
        "-H",
        "-A",
        "-C",
        "40",
        "-c",
        "60",
        "-L",
        "200:8",
    ]);
    command.args(["-l", &format!("puredb:{}", pdb.display()), "-u", "1000", "-g"]).arg(dir.path().join("pid"));
    if how.tls() {
        certificate(dir.path());
        command.args(["-Y", "1", "-2", &format!("{0}/cert.pem,{0}/key.pem", dir.path().display())]);
    }
    Served { daemon: peer.start(command, addr), dir }
}

/// proftpd with one user below `root`; with TLS, data connections only with the control session (its default).
pub(crate) fn proftpd(peer: &Peer, root: &Path, how: How) -> Served {
    let (dir, addr) = (temp_dir(), how.address());
    let at = dir.path().display();
    let uid = rustix::process::geteuid().as_raw();
    let users = dir.path().join("users");
    std::fs::write(&users, format!("bench:{HASH}:{uid}:{uid}::{}:/bin/sh\n", root.display())).expect("users");
    std::fs::set_permissions(&users, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("permissions");
    let modules = modules_of(&peer.root());
    let mut conf = format!(
        "ModulePath {modules}\nServerName peer\nServerType standalone\nPort {}\nDefaultAddress {}\nUser root\nGroup root\n\
         RootLogin on\nRequireValidShell off\nAuthOrder mod_auth_file.c\nAuthUserFile {at}/users\nDefaultRoot ~\nUseIPv6 on\n\
         PidFile {at}/pid\nScoreboardFile {at}/scoreboard\nDelayTable {at}/delay\nSystemLog {at}/log\nWtmpLog off\n\
         AllowOverwrite on\nAllowStoreRestart on\nUmask 022\nMaxInstances 60\nTimesGMT on\nUseReverseDNS off\nDelayEngine off\n\
         <Directory /*>\n AllowOverwrite on\n AllowStoreRestart on\n</Directory>\n",
        addr.port(),
        addr.ip(),
    );
    if Path::new(&modules).join("mod_digest.so").exists() {
        conf.push_str("LoadModule mod_digest.c\n");
    }
    if how.tls() {
        certificate(dir.path());
        let options = match how {
            How::Implicit => "TLSOptions UseImplicitSSL\n",
            How::Tls12 => "TLSProtocol TLSv1.2\n",
            _ => "",
        };
        conf.push_str(&format!(
            "LoadModule mod_tls.c\nTLSEngine on\nTLSRequired auth+data\n{options}TLSRSACertificateFile {at}/cert.pem\n\
             TLSRSACertificateKeyFile {at}/key.pem\nTLSVerifyClient off\nTLSLog {at}/tls.log\n"
        ));
    }
    let path = dir.path().join("proftpd.conf");
    std::fs::write(&path, conf).expect("proftpd.conf");
    let mut command = peer.command("proftpd", dir.path());
    command.arg("-n").arg("-q").arg("-c").arg(&path);
    Served { daemon: peer.start(command, addr), dir }
}

/// pyftpdlib in Debian's Python, whose library it is.
pub(crate) fn pyftpdlib(peer: &Peer, root: &Path, how: How) -> Served {
    let (dir, addr) = (temp_dir(), how.address());
    certificate(dir.path());
    let handler = if how.tls() { "TLS_FTPHandler" } else { "FTPHandler" };
    let script = format!(
        "from pyftpdlib.authorizers import DummyAuthorizer\nfrom pyftpdlib.handlers import {handler} as H\n\
         from pyftpdlib.servers import FTPServer\na = DummyAuthorizer()\n\
         a.add_user('bench', 'secret', {root:?}, perm='elradfmwMT')\nH.authorizer = a\n\
         H.certfile = {:?}\nH.tls_control_required = H.tls_data_required = {}\n\
         FTPServer(({:?}, {}), H).serve_forever()\n",
        dir.path().join("both.pem"),
        if how.tls() { "True" } else { "False" },
        addr.ip().to_string(),
        addr.port(),
    );
    let mut command = peer.command("/usr/bin/python3", dir.path());
    command.env("PYTHONPATH", peer.root().join("usr/lib/python3/dist-packages")).arg("-c").arg(script);
    Served { daemon: peer.start(command, addr), dir }
}

/// ftpd of GNU inetutils, one process a connection as inetd starts them. Its users are those of the system: it gets a view of
/// its own of the user database, with one user whose home is `root`.
fn inetutils(peer: &Peer, root: &Path, how: How) -> Result<Served, &'static str> {
    if !rustix::process::geteuid().is_root() {
        return Err("only root can give it a user");
    }
    let (dir, addr) = (temp_dir(), how.address());
    let at = dir.path();
    let user = format!("bench:x:1000:1000::{}:/bin/sh\n", root.display());
    let password = format!("bench:{HASH}:19000:0:99999:7:::\n");
    for (file, line) in [("passwd", user), ("shadow", password)] {
        let known = std::fs::read_to_string(format!("/etc/{file}")).expect("the user database");
        std::fs::write(at.join(file), known + &line).expect("a user");
    }
    std::fs::create_dir(at.join("pam.d")).expect("pam.d");
    let rules = "auth required pam_unix.so\naccount required pam_permit.so\nsession required pam_permit.so\n";
    std::fs::write(at.join("pam.d/ftp"), rules).expect("pam.d/ftp");
    std::fs::write(at.join("pam.d/other"), rules).expect("pam.d/other");
    let inetd = "import socket, subprocess, sys\n\
         host, port, program = sys.argv[1], int(sys.argv[2]), sys.argv[3:]\n\
         family = socket.AF_INET6 if ':' in host else socket.AF_INET\n\
         listener = socket.create_server((host, port), family=family)\n\
         while True:\n    conn, _ = listener.accept()\n    subprocess.Popen(program, stdin=conn, stdout=conn)\n    conn.close()\n";
    std::fs::write(at.join("inetd.py"), inetd).expect("inetd.py");
    let script = "mount --bind passwd /etc/passwd && mount --bind shadow /etc/shadow && mount --bind pam.d /etc/pam.d && \
         exec python3 inetd.py \"$@\"";
    own(root, 1000);
    let mut command = peer.command("unshare", at);
    command.args(["-m", "sh", "-c", script, "sh", &addr.ip().to_string(), &addr.port().to_string()]);
    command.arg(peer.program("ftpd")).args(["-u", "022"]);
    Ok(Served { daemon: peer.start(command, addr), dir })
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
pub(crate) fn own(root: &Path, uid: u32) {
    for entry in std::fs::read_dir(root).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            own(&entry.path(), uid);
        }
        drop(std::os::unix::fs::lchown(entry.path(), Some(uid), Some(uid)));
    }
    drop(std::os::unix::fs::lchown(root, Some(uid), Some(uid)));
}
