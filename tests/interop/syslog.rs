//! The messages of `--syslog` in both formats, as the daemons that people run read them.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::harness::{LIMIT, binary, finish, stay_root, temp_dir};
use crate::peers::{Peer, Trial, Verdict, trial};

/// One row a peer × feature.
pub(crate) const TRIALS: &[Trial] = &[
    trial("rsyslog", "--syslog: its parser of local messages", |peer| rsyslog(peer, "ftp", "on", LOCAL)),
    trial("rsyslog", "--syslog: its chain of parsers", |peer| rsyslog(peer, "ftp", "off", LOCAL)),
    trial("rsyslog", "--syslog FACILITY,rfc5424: its parser of local messages", |peer| {
        rsyslog(peer, "ftp,rfc5424", "on", UNREAD)
    }),
    trial("rsyslog", "--syslog FACILITY,rfc5424: its chain of parsers", |peer| {
        rsyslog(peer, "ftp,rfc5424", "off", WHOLE)
    }),
    trial("syslog-ng", "--syslog: unix-dgram()", |peer| syslog_ng(peer, "ftp", "", LOCAL)),
    trial("syslog-ng", "--syslog: flags(syslog-protocol)", |peer| syslog_ng(peer, "ftp", SYSLOG_PROTOCOL, LOCAL)),
    trial("syslog-ng", "--syslog FACILITY,rfc5424: unix-dgram()", |peer| syslog_ng(peer, "ftp,rfc5424", "", UNREAD)),
    trial("syslog-ng", "--syslog FACILITY,rfc5424: flags(syslog-protocol)", |peer| {
        syslog_ng(peer, "ftp,rfc5424", SYSLOG_PROTOCOL, WHOLE)
    }),
    trial("journald", "--syslog", |peer| journald(peer, "ftp", LOCAL)),
    trial("journald", "--syslog FACILITY,rfc5424", |peer| journald(peer, "ftp,rfc5424", UNREAD)),
];

/// What a daemon found in the message `listening URL` of ftpserve: program, message ID, and the first word of the text.
type Read = (&'static str, &'static str, &'static str);

const LOCAL: Read = ("ftpserve", "", "listening");
const WHOLE: Read = ("ftpserve", "listening", "listening");
/// The header is text: the daemon takes the version for the program, or for the first word.
const UNREAD: Read = ("1", "", "TIME");

const SYSLOG_PROTOCOL: &str = "flags(syslog-protocol)";

/// Runs a daemon that listens on `socket` and ftpserve with its log there, both in namespaces of their own that end with the
/// shell; `show` is a shell command that prints what was logged. Returns its output.
fn heard(mut command: Command, dir: &Path, daemon: &str, socket: &str, show: &str, syslog: &str) -> String {
    let script = format!(
        "set -e
         mkdir old served
         mount --rbind /dev old && mount -t tmpfs none /dev
         for device in null urandom random zero; do touch /dev/$device && mount --bind old/$device /dev/$device; done
         mount -t tmpfs none /run && mkdir -p /run/systemd/journal /run/log/journal
         ln -s {socket} /dev/log
         {daemon} > daemon.log 2>&1 < /dev/null &
         until [ -S {socket} ]; do kill -0 $! || {{ cat daemon.log; exit 1; }}; sleep 0.05; done
         \"$0\" --listen 127.0.0.1:0 --syslog={syslog} served > /dev/null &
         until {show} 2> /dev/null | grep -q listening; do kill -0 $!; sleep 0.05; done
         {show}"
    );
    let line = format!("unshare … sh -c {script:?}");
    command.args(["--mount", "--pid", "--mount-proc", "--fork", "--kill-child", "sh", "-c", &script]);
    command.arg(binary("ftpserve")).current_dir(dir).stdin(Stdio::null());
    stay_root(&mut command);
    let done = finish(command, line, None, LIMIT);
    done.exits(0);
    done.text().lines().find(|line| line.contains("listening")).unwrap_or_else(|| panic!("{done}")).to_owned()
}

/// Namespaces with the libraries of a peer, for root.
fn unshare(peer: &Peer, home: &Path) -> Option<Command> {
    let usable = || Command::new("unshare").args(["--mount", "--pid", "--fork", "true"]).status();
    let usable = rustix::process::geteuid().is_root() && usable().is_ok_and(|status| status.success());
    usable.then(|| peer.command("unshare", home))
}

fn no_namespaces() -> Verdict {
    Verdict::Skipped("needs root and namespaces".to_owned())
}

/// Fails unless the line has the fields of an event that ftpserve logged with facility ftp (11) and severity info (6).
fn judge(line: &str, pri: &str, program: &str, pid: &str, msgid: &str, text: &str, read: Read) -> Verdict {
    let first = text.split_whitespace().next().unwrap_or_default();
    // A header that was not read begins with a time.
    let first = if first.parse::<jiff::Timestamp>().is_ok() { "TIME" } else { first };
    assert_eq!((pri, program, msgid.trim_start_matches('-'), first), ("94", read.0, read.1, read.2), "{line}");
    assert!(text.contains("listening ftp://127.0.0.1:"), "{line}");
    if read != UNREAD {
        assert!(pid.parse::<u32>().is_ok(), "{line}");
        return Verdict::Ok;
    }
    Verdict::NotApplicable("takes the header for text")
}

fn rsyslog(peer: &Peer, syslog: &str, special: &str, read: Read) -> Verdict {
    let home = temp_dir();
    let Some(command) = unshare(peer, home.path()) else { return no_namespaces() };
    let dir = home.path().display();
    let config = format!(
        "module(load=\"imuxsock\" SysSock.Use=\"off\")
         input(type=\"imuxsock\" Socket=\"{dir}/log\" UseSpecialParser=\"{special}\" IgnoreTimestamp=\"off\")
         template(name=\"t\" type=\"string\" string=\"%pri%|%app-name%|%procid%|%msgid%|%timestamp:::date-rfc3339%|%msg%\\n\")
         action(type=\"omfile\" file=\"{dir}/out\" template=\"t\")\n"
    );
    std::fs::write(home.path().join("conf"), config).unwrap();
    let modules = ["usr/lib", "lib"].map(|below| peer.root().join(below));
    let modules = modules.iter().find_map(|below| holding(below, "imuxsock.so")).expect("rsyslog's modules");
    let program = peer.program("rsyslogd");
    let daemon = format!("{} -n -f {dir}/conf -i {dir}/pid -M{}", program.display(), modules.display());
    let line = heard(command, home.path(), &daemon, &format!("{dir}/log"), &format!("cat {dir}/out"), syslog);
    let fields: Vec<_> = line.splitn(6, '|').collect();
    if read == WHOLE {
        // All six digits: TIMESTAMP is what ftpserve sent.
        let micros = fields[4].split(['.', '+', 'Z']).nth(1).unwrap_or_default();
        assert_eq!(micros.len(), 6, "{line}");
    }
    judge(&line, fields[0], fields[1], fields[2], fields[3], fields[5], read)
}

fn syslog_ng(peer: &Peer, syslog: &str, flags: &str, read: Read) -> Verdict {
    let home = temp_dir();
    let Some(command) = unshare(peer, home.path()) else { return no_namespaces() };
    let dir = home.path().display();
    let config = format!(
        "@version: 3.38
         source s {{ unix-dgram(\"{dir}/log\" {flags}); }};
         destination d {{ file(\"{dir}/out\" template(\"$PRI|$PROGRAM|$PID|$MSGID|$MESSAGE\\n\")); }};
         log {{ source(s); destination(d); }};\n"
    );
    std::fs::write(home.path().join("conf"), config).unwrap();
    let modules = holding(&peer.root().join("usr/lib"), "libafsocket.so").expect("syslog-ng's modules");
    let daemon = format!(
        "{} -F -f {dir}/conf -R {dir}/persist -p {dir}/pid -c {dir}/control --module-path={}",
        peer.program("syslog-ng").display(),
        modules.display()
    );
    let line = heard(command, home.path(), &daemon, &format!("{dir}/log"), &format!("cat {dir}/out"), syslog);
    let fields: Vec<_> = line.splitn(5, '|').collect();
    judge(&line, fields[0], fields[1], fields[2], fields[3], fields[4], read)
}

fn journald(peer: &Peer, syslog: &str, read: Read) -> Verdict {
    let home = temp_dir();
    let Some(command) = unshare(peer, home.path()) else { return no_namespaces() };
    let program = peer.program("../lib/systemd/systemd-journald");
    let show = "journalctl -D /run/log/journal -o json --no-pager";
    let socket = "/run/systemd/journal/dev-log";
    let line = heard(command, home.path(), &program.display().to_string(), socket, show, syslog);
    let record: serde_json::Value = serde_json::from_str(&line).unwrap();
    let field = |name: &str| record[name].as_str().unwrap_or_default();
    let number = |name: &str| field(name).parse::<u32>().unwrap();
    let pri = (number("SYSLOG_FACILITY") * 8 + number("PRIORITY")).to_string();
    // The journal takes no word for the program that no colon follows.
    let (program, text) = match field("SYSLOG_IDENTIFIER") {
        "" => field("MESSAGE").split_once(' ').unwrap_or_default(),
        program => (program, field("MESSAGE")),
    };
    judge(&line, &pri, program, field("SYSLOG_PID"), "", text, read)
}

/// The directory below `root` that holds a file of this name.
fn holding(root: &Path, name: &str) -> Option<std::path::PathBuf> {
    let mut open = vec![root.to_owned()];
    while let Some(folder) = open.pop() {
        if folder.join(name).exists() {
            return Some(folder);
        }
        let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        open.extend(
            entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()),
        );
    }
    None
}
