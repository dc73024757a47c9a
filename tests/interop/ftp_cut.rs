//! ftpserve and uploads that are cut off: clients are killed or give up at any moment, and nothing short gets a name; what is
//! kept is continued by those that can, and an older file of the name is not.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::ftp_server::{FORCE_TLS, Site, pattern};
use crate::harness::{finish, rounds, temp_dir};
use crate::peers::{LIMIT, Peer, Trial, Verdict, trial};

/// One row a peer × feature.
pub(crate) const TRIALS: &[Trial] = &[
    trial("curl", "ftpserve: killed during uploads", |peer| killed(peer, Client::Curl, false)),
    trial("curl", "ftpserve: killed during uploads, TLS", |peer| killed(peer, Client::Curl, true)),
    trial("curl", "ftpserve: gives up during uploads", |peer| killed(peer, Client::CurlGivesUp, false)),
    trial("curl", "ftpserve: gives up during uploads, TLS", |peer| killed(peer, Client::CurlGivesUp, true)),
    trial("lftp", "ftpserve: killed during uploads", |peer| killed(peer, Client::Lftp, false)),
    trial("lftp", "ftpserve: killed during uploads, TLS", |peer| killed(peer, Client::Lftp, true)),
    trial("ncftp", "ftpserve: killed during uploads", |peer| killed(peer, Client::Ncftp, false)),
    trial("wput", "ftpserve: killed during uploads", |peer| killed(peer, Client::Wput, false)),
    trial("python3", "ftpserve: ftplib killed during uploads", |peer| killed(peer, Client::Python, false)),
    trial("python3", "ftpserve: ftplib killed during uploads, TLS", |peer| killed(peer, Client::Python, true)),
    trial("curl", "ftpserve: continues what was cut", |peer| continued(peer, Client::Curl)),
    trial("lftp", "ftpserve: continues what was cut", |peer| continued(peer, Client::Lftp)),
    trial("ncftp", "ftpserve: continues what was cut", |_| {
        Verdict::NotApplicable("ncftpput -z sends the whole file behind the part, to every server")
    }),
];

/// A client that uploads `whole` in its directory, in a second or so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Client {
    Curl,
    CurlGivesUp,
    Lftp,
    /// It has no limit of its own, and is fed slowly.
    Ncftp,
    Wput,
    Python,
}

/// What is uploaded.
const WHOLE_BYTES: usize = 3_000_000;

impl Client {
    /// Uploads `whole` as `name`, from where the server's file ends if it is to `resume`; given up after `patience` seconds.
    fn upload(self, peer: &Peer, site: &Site, dir: &Path, name: &str, resume: bool, patience: f64) -> Command {
        let (url, port) = (site.url(name), site.server.port().to_string());
        let cert = site.cert.display();
        let program = match self {
            Client::Curl | Client::CurlGivesUp => "curl",
            Client::Lftp => "lftp",
            Client::Ncftp => "ncftpput",
            Client::Wput => "wput",
            Client::Python => "python3",
        };
        let mut command = peer.command(program, dir);
        match self {
            Client::Curl | Client::CurlGivesUp => {
                command.args(["-sS", "--limit-rate", "2M", "-T", "whole", "--cacert"]).arg(&site.cert).arg(url);
                if site.tls {
                    command.arg("--ssl-reqd");
                }
                if resume {
                    command.args(["-C", "-"]);
                }
                if self == Client::CurlGivesUp {
                    command.arg("--max-time").arg(format!("{patience:.3}"));
                }
            }
            Client::Lftp => {
                let tls = if site.tls { FORCE_TLS } else { "" };
                let way = if resume { "put -c" } else { "put" };
                command.args(["--norc", "-c"]).arg(format!(
                    "set net:max-retries 1; set net:limit-rate 0:2000000; set ssl:ca-file {cert}; {tls} open {}; \
                     {way} whole -o {name}",
                    site.url(""),
                ));
            }
            Client::Ncftp => {
                command.args(["-c", "-P", &port, "localhost", name]).stdin(Stdio::piped());
            }
            Client::Wput => {
                // Its TLS takes the tickets of TLS 1.3 for an error.
                command.args(["-q", "--disable-tls", "--limit-rate=2M", "--reupload", "whole"]);
                command.arg(format!("ftp://anonymous:me@localhost:{port}/{name}"));
            }
            Client::Python => {
                let class = if site.tls { "FTP_TLS(context=context)" } else { "FTP()" };
                command.arg("-c").arg(format!(
                    r#"
import ftplib, ssl, time
context = ssl.create_default_context(cafile="{cert}")
class Slow:
    file = open("whole", "rb")
    def read(self, size):
        time.sleep(0.002)
        return self.file.read(8192)
ftp = ftplib.{class}
ftp.connect("localhost", {port})
ftp.login()
if isinstance(ftp, ftplib.FTP_TLS): ftp.prot_p()
ftp.storbinary("STOR {name}", Slow())
"#
                ));
            }
        }
        command
    }

    /// Uploads a while, counted from the login, and is killed or gives up.
    fn cut(self, peer: &Peer, site: &Site, dir: &Path, name: &str, after: Duration) {
        let mut command = self.upload(peer, site, dir, name, false, after.as_secs_f64());
        let logins = || site.server.stdout.text().matches("login\t").count();
        let before = logins();
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let feeding = child.stdin.take().map(|mut stdin| {
            std::thread::spawn(move || {
                for piece in pattern(WHOLE_BYTES).chunks(20_000) {
                    if stdin.write_all(piece).is_err() {
                        return;
                    }
                    std::thread::sleep(Duration::from_millis(10));
                }
            })
        });
        if self != Client::CurlGivesUp {
            let deadline = Instant::now() + LIMIT;
            while logins() == before && child.try_wait().unwrap().is_none() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(2));
            }
            std::thread::sleep(after);
            child.kill().unwrap();
        }
        child.wait().unwrap();
        if let Some(feeding) = feeding {
            feeding.join().unwrap();
        }
    }
}

/// Nothing short is stored, whenever and however the client ends.
fn killed(peer: &Peer, client: Client, tls: bool) -> Verdict {
    let site = if tls { Site::start("ftp", &["--tls", "starttls"]) } else { Site::start("ftp", &[]) };
    let work = temp_dir();
    std::fs::write(work.path().join("whole"), pattern(WHOLE_BYTES)).unwrap();
    let cut = || {
        let text = site.server.stdout.text();
        text.lines().filter(|line| line.contains("\tupload\t") && !line.ends_with("\t226")).count()
    };
    let mut round = 0;
    for _ in rounds(25, 100) {
        let after = Duration::from_millis(20 + round * 37 % 300);
        client.cut(peer, &site, work.path(), &format!("f{round}"), after);
        round += 1;
    }
    // On a busy machine most may have given up before they began: then more of them, and later.
    while cut() <= 5 && round < 100 {
        client.cut(peer, &site, work.path(), &format!("f{round}"), Duration::from_millis(round * 20));
        round += 1;
    }
    assert!(cut() > 5, "{} were cut while they ran\n{}", cut(), site.server);
    let (output, root) = (site.server.stdout.clone(), site.root.clone());
    // It ends when all sessions have.
    assert_eq!(site.server.stop(), 0);
    for entry in std::fs::read_dir(&root).unwrap().map(Result::unwrap) {
        if entry.file_name().to_string_lossy().starts_with('f') {
            assert_eq!(entry.metadata().unwrap().len(), WHOLE_BYTES as u64, "{entry:?}\n{}", output.text());
        }
    }
    Verdict::Ok
}

/// The client's own way to continue: with what its upload left, and with an older file that was there before.
fn continued(peer: &Peer, client: Client) -> Verdict {
    let site = Site::strict("ftp", &["--keep-partial"]);
    let work = temp_dir();
    let whole = pattern(WHOLE_BYTES);
    std::fs::write(work.path().join("whole"), &whole).unwrap();
    let there = |name: &str| std::fs::metadata(site.root.join(name)).map_or(0, |data| data.len());
    for round in 0..40 {
        client.cut(peer, &site, work.path(), "part", Duration::from_millis(60 + 10 * round));
        // The server looks for its client a while.
        let deadline = Instant::now() + Duration::from_millis(500);
        while there("part") == 0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        if (1..WHOLE_BYTES as u64).contains(&there("part")) {
            break;
        }
        // It was too early or too late. Over a file that is there nothing is kept.
        let _ = std::fs::remove_file(site.root.join("part"));
    }
    let came = there("part");
    assert!(0 < came && came < WHOLE_BYTES as u64, "{came} bytes\n{}", site.server);
    let resume = |name: &str| {
        let command = client.upload(peer, &site, work.path(), name, true, LIMIT.as_secs_f64());
        finish(command, format!("{client:?} {name}"), None, LIMIT)
    };
    let done = resume("part");
    done.exits(0);
    assert!(site.holds("part") == whole, "\n{done}\n{}", site.server);
    // Last week's file of the same name is no beginning of this one.
    let old = vec![b'o'; 100_000];
    std::fs::write(site.root.join("old"), &old).unwrap();
    let done = resume("old");
    assert!(site.holds("old") == old || site.holds("old") == whole, "a mix of both\n{done}\n{}", site.server);
    Verdict::Ok
}
