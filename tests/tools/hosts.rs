//! Every tool on hosts in odd states: a shell script puts a file, a message and a question through all thirteen, and what
//! they end with and leave is looked at. States that need namespaces are skipped by name where there are none; the interop
//! run, which is root's, runs them too, and adds clocks that are far off.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::harness::{binary, finish, temp_dir};

/// A state of the host.
pub(crate) struct HostState {
    pub(crate) name: &'static str,
    /// The flags of unshare(1), if it takes a namespace.
    pub(crate) unshare: &'static str,
    /// What the shell does once, in the namespace.
    pub(crate) once: &'static str,
    /// What the shell does before it becomes a tool.
    pub(crate) each: String,
    /// Where the servers listen.
    pub(crate) address: &'static str,
    /// Statuses other than 0: of one tool, or of `*`; none is "any that is documented".
    pub(crate) odd: &'static [(&'static str, &'static [i32])],
}

pub(crate) fn state(name: &'static str, each: &str) -> HostState {
    HostState { name, unshare: "", once: "", each: each.to_owned(), address: "127.0.0.1", odd: &[] }
}

/// Documented, and no bug of ours.
const DOCUMENTED: &[i32] = &[0, 1, 3, 64, 65, 66, 67, 68, 69, 73, 74, 75, 76, 77, 78];

/// In this order: servers, then what is done with them, then the end of the servers. Prints `TOOL STATUS` lines.
const SESSION: &str = r#"
bin=$1 host=$2 once=$3 each=$4
eval "$once" || exit 99
tool() { name=$1; shift; ( eval "$each"; exec "$bin/$name" "$@" ) >>out 2>>err; echo "$name $?"; }
start() {
    name=$1; shift
    ( eval "$each"; exec "$bin/$name" --listen "$host:0" --address-file "$name.url" "$@" ) </dev/null >>out 2>>err &
    eval "pid_$name=\$!"
    while kill -0 $! 2>/dev/null && [ ! -s "$name.url" ]; do sleep 0.02; done
}
end() { eval "kill \$pid_$1; wait \$pid_$1"; echo "$1 $?"; }
url() { [ ! -e "$1.url" ] || sed 's,/*$,,' "$1.url"; }
start ftpserve --write tree
start smtpserve --domain a.test --mailboxes mail
start dnsserve zone
ftp=$(url ftpserve) smtp=$(url smtpserve) dns=$(url dnsserve)
tool ftpput f "$ftp/f" </dev/null
tool ftpget -o got "$ftp/f" </dev/null
tool ftpls -l "$ftp/" </dev/null
tool ftpdo "$ftp/" mkdir -p made </dev/null
tool smtpsend --server "$smtp" --from a@a.test --to u@a.test --subject s --body message </dev/null
cat message | tool smtpsend --server "$smtp" -f a@a.test -t
tool mailread list -m mail/u </dev/null
tool smtpsend --queue --queue-dir q --from a@a.test --to u@a.test --subject queued --body message </dev/null
tool mailq-ls --queue-dir q </dev/null
tool mailq-edit --queue-dir q hold --domain a.test </dev/null
tool mailq-edit --queue-dir q release --domain a.test </dev/null
tool mailq-run --queue-dir q --smarthost "$smtp" </dev/null
tool dnsq "@${dns#dns://}" --short www.a.test </dev/null
tool dnsserve --check zone </dev/null
end ftpserve; end smtpserve; end dnsserve
"#;

const ZONE: &str = "$ORIGIN a.test.\n@ 60 SOA ns h 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\nwww A 192.0.2.2\n";

/// Runs the session in this state; what this host cannot do is the error.
pub(crate) fn check(state: &HostState) -> Result<(), String> {
    let flags = || state.unshare.split_whitespace();
    if !state.unshare.is_empty() {
        let probe = Command::new("unshare").args(flags()).args(["sh", "-c", state.once]).output();
        if !probe.as_ref().is_ok_and(|done| done.status.success()) {
            return Err(format!("{}: {probe:?}", state.name));
        }
    }
    let work = temp_dir();
    let at = |name: &str| work.path().join(name);
    let file: Vec<u8> = (0..300_000u32).map(|index| (index.wrapping_mul(index) >> 7) as u8).collect();
    // More than is kept in memory.
    let text = format!("To: u@a.test\nSubject: s\n\n{}", "a line of the message\n".repeat(100_000));
    for folder in ["tree", "mail/u", "home"] {
        std::fs::create_dir_all(at(folder)).unwrap();
    }
    for (name, content) in
        [("f", file.as_slice()), ("message", text.as_bytes()), ("zone", ZONE.as_bytes()), ("out", b""), ("err", b"")]
    {
        std::fs::write(at(name), content).unwrap();
    }
    let mut command = Command::new(if state.unshare.is_empty() { "sh" } else { "unshare" });
    if !state.unshare.is_empty() {
        command.args(flags()).arg("sh");
    }
    command.args(["-c", SESSION, "sh"]).arg(binary("ftpget").parent().unwrap()).arg(state.address);
    command.args([state.once, &state.each]).current_dir(work.path()).env_clear();
    command.env("HOME", at("home")).env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let done = finish(command, state.name.to_owned(), None, Duration::from_secs(120));
    let said = String::from_utf8_lossy(&std::fs::read(at("err")).unwrap()).into_owned();
    let story = format!("{}\n{done}\n{said}", state.name);
    assert!(!["internal error", "panicked"].iter().any(|word| said.contains(word)), "{story}");
    let read = |name: &str| std::fs::read(at(name)).ok();
    let mut failures = BTreeMap::<&str, usize>::new();
    for line in done.text().lines() {
        let (tool, status) = line.split_once(' ').unwrap_or_else(|| panic!("{line}: {story}"));
        let status: i32 = status.parse().unwrap();
        let odd = state.odd.iter().find(|(name, _)| [tool, "*"].contains(name)).map_or(&[0][..], |(_, odd)| odd);
        assert!(odd.contains(&status), "{tool}: {status}\n{story}");
        *failures.entry(tool).or_default() += usize::from(status != 0);
    }
    assert_eq!(failures.len(), 13, "{story}");
    // Whole, or not at all.
    for (name, tool) in [("tree/f", "ftpput"), ("got", "ftpget")] {
        let found = read(name);
        let missing = found.is_none() && failures[tool] > 0;
        assert!(missing || found.as_deref() == Some(&file), "{name}\n{story}");
    }
    let list = |name: &str| {
        let entries = std::fs::read_dir(at(name)).into_iter().flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    let mails = list("mail/u/new");
    for mail in &mails {
        let mail = String::from_utf8(read(&format!("mail/u/new/{mail}")).unwrap()).unwrap();
        assert!(mail.ends_with("a line of the message\n"), "half a message\n{story}");
    }
    let all = failures.values().sum::<usize>() == 0;
    assert!(!all || (mails.len() == 3 && list("tree") == ["f", "made"]), "{mails:?} {:?}\n{story}", list("tree"));
    assert!(!all || read("out").unwrap().ends_with(b"\n"), "{story}");
    Ok(())
}

fn all(states: impl IntoIterator<Item = HostState>) {
    for skipped in states.into_iter().filter_map(|state| check(&state).err()) {
        eprintln!("skipped: {skipped}");
    }
}

#[test]
fn no_home_no_room_no_locale() {
    all([
        state("an ordinary host", ""),
        state("no HOME", "unset HOME"),
        state("HOME that is not there", "HOME=/nowhere/at/all"),
        state("HOME that is a file", "HOME=/dev/null"),
        state("HOME that cannot be written", "HOME=/proc"),
        state("TMPDIR that is not there", "export TMPDIR=/nowhere/at/all"),
        state("TMPDIR that is a file", "export TMPDIR=/dev/null"),
        state("nothing in the environment", "unset HOME PATH PWD OLDPWD SHLVL _"),
        state("locales that are none", "export LC_ALL=xx_YY.none LANG=C.none LANGUAGE=: TZ=No/Where TERM="),
        state("umask 000", "umask 000"),
        state("umask 777", "umask 777"),
        HostState { odd: &[("smtpsend", &[0, 66])], ..state("no stdin", "exec <&-") },
        state("no stderr", "exec 2>&-"),
    ]);
}

#[test]
fn few_descriptors() {
    let few = |name, each| HostState { odd: &[("*", DOCUMENTED)], ..state(name, each) };
    all([
        few("8 descriptors", "ulimit -n 8"),
        few("4 descriptors", "ulimit -n 4"),
        few("16 descriptors", "ulimit -n 16"),
    ]);
}

/// States in namespaces.
pub(crate) fn namespaces() -> Vec<HostState> {
    let place = |name, unshare, once, each| HostState { unshare, once, ..state(name, each) };
    vec![
        place("IPv4 alone", "-rn", "ip link set lo up && echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6", ""),
        HostState {
            address: "[::1]",
            ..place("IPv6 alone", "-rn", "ip link set lo up && ip address del 127.0.0.1/8 dev lo", "")
        },
        place(
            "no network but loopback, and an empty /etc",
            "-rmn",
            "ip link set lo up && mount -t tmpfs none /etc",
            "",
        ),
        place("HOME without room", "-rm", "mkdir -p full && mount -t tmpfs -o size=4k,ro none full", "HOME=$PWD/full"),
        HostState {
            odd: &[("smtpsend", &[0, 75])],
            ..place(
                "TMPDIR without room",
                "-rm",
                "mkdir -p full && mount -t tmpfs -o size=4k none full",
                "export TMPDIR=$PWD/full",
            )
        },
    ]
}

#[test]
fn one_family_and_no_etc() {
    all(namespaces());
}

/// The library of libfaketime moves what the C library tells of the time.
#[allow(dead_code, reason = "the interop tests use it")]
pub(crate) fn clocks(library: &Path) -> Vec<HostState> {
    let times = [("1965", "@1965-02-03 04:05:06"), ("2100", "@2100-02-03 04:05:06")];
    let each = |time| format!("export LD_PRELOAD={} FAKETIME='{time}' DONT_FAKE_MONOTONIC=1 TZ=UTC", library.display());
    times.map(|(name, time)| state(name, &each(time))).into()
}
