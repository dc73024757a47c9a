//! Completions: generated from clap, with what a shell finds out when it completes (accounts, queue ids) added; and tried in bash.

use std::path::Path;
use std::process::Command;

use clap_complete::Shell;

use crate::docs::{committed, each_tool, root};
use crate::harness::{binary, temp_dir};
use crate::queue::enqueue;

/// Names of accounts in the accounts file, and ids of queued messages: shell functions that bash and zsh both understand.
const DYNAMIC: [(&str, &str); 2] = [
    (
        "_applayer_accounts",
        "cat \"${XDG_CONFIG_HOME:-$HOME/.config}/applayer/accounts\" /etc/applayer/accounts 2>/dev/null |\n        \
         sed -n 's/^[[:blank:]]*account[[:blank:]]\\{1,\\}\\([^:[:blank:]]\\{1,\\}\\).*/\\1/p'",
    ),
    ("_applayer_queue_ids", "mailq-ls -q 2>/dev/null | cut -f 1 | sort -u"),
];

/// The tools with an argument that a function of [`DYNAMIC`] completes: an option by its long name, or the positional ids.
const COMPLETED: [(&str, &str, usize); 5] = [
    ("smtpsend", "account", 0),
    ("mailq-run", "account", 0),
    ("mailq-run", "ids", 1),
    ("mailq-ls", "ids", 1),
    ("mailq-edit", "ids", 1),
];

fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "the generator of completions has changed: no {from}");
    text.replace(from, to)
}

fn functions(shell: Shell, used: &[(&str, usize)]) -> String {
    let mut text = String::new();
    for (number, (function, body)) in DYNAMIC.iter().enumerate() {
        if used.iter().any(|(_, it)| *it == number) {
            text.push_str(&format!("{function}() {{\n    {body}\n}}\n"));
            if shell == Shell::Zsh {
                text.push_str(&format!("{function}_offered() {{\n    compadd -- $({function})\n}}\n"));
            }
        }
    }
    text
}

fn bash(text: String, used: &[(&str, usize)]) -> String {
    // `--tls=st`: bash splits words at the =.
    let prev = "    prev=\"$3\"\n";
    let split = "    [[ \"${prev}\" == = && ${COMP_CWORD} -gt 1 ]] && prev=\"${COMP_WORDS[COMP_CWORD-2]}\"\n";
    let mut text = replaced(&text, prev, &format!("{prev}{split}"));
    for (what, number) in used {
        let function = DYNAMIC[*number].0;
        text = match *what {
            "ids" => {
                let last = "*)\n                    COMPREPLY=()\n                    ;;\n            esac\n";
                replaced(&text, last, &format!("{last}            opts+=\" $({function})\"\n"))
            }
            option => {
                let files = "                    COMPREPLY=($(compgen -f \"${cur}\"))\n";
                let from = format!("                --{option})\n{files}");
                let words = format!("COMPREPLY=($(compgen -W \"$({function})\" -- \"${{cur}}\"))");
                replaced(&text, &from, &format!("                --{option})\n                    {words}\n"))
            }
        };
    }
    functions(Shell::Bash, used) + &text
}

fn zsh(text: &str, used: &[(&str, usize)]) -> String {
    let mut lines: Vec<String> = text.lines().map(|line| format!("{line}\n")).collect();
    for (what, number) in used {
        let function = DYNAMIC[*number].0;
        let is_it = |line: &str| match *what {
            "ids" => line.starts_with("'*::ids "),
            option => line.contains(&format!("--{option}=[")),
        };
        let line = lines.iter_mut().find(|line| is_it(line)).expect("the argument");
        *line = replaced(line, ":_default", &format!(":{function}_offered"));
    }
    lines.insert(1, format!("\n{}", functions(Shell::Zsh, used)));
    lines.concat()
}

/// fish gets no values of positional arguments from clap.
fn fish(text: String, tool: &str, command: &clap::Command, used: &[(&str, usize)]) -> String {
    let mut text = text;
    for argument in command.get_positionals() {
        let values = argument.get_possible_values();
        let names: Vec<&str> = values.iter().map(|value| value.get_name()).collect();
        if !names.is_empty() {
            text.push_str(&format!("complete -c {tool} -a \"{}\"\n", names.join(" ")));
        }
    }
    for (what, number) in used {
        let body = DYNAMIC[*number].1.replace("${XDG_CONFIG_HOME:-$HOME/.config}", "$HOME/.config");
        let body = body.replace("\n        ", " ").replace('\'', "\\'").replace("\\{", "\\\\{").replace("\\}", "\\\\}");
        let body = body.replace("\\(", "\\\\(").replace("\\)", "\\\\)").replace("\\1", "\\\\1");
        let option = if *what == "ids" { String::new() } else { format!(" -l {what} -x") };
        text.push_str(&format!("complete -c {tool}{option} -a '({body})'\n"));
    }
    text
}

#[test]
fn completions_are_those_of_clap() {
    each_tool(|name, command| {
        let used: Vec<_> = COMPLETED.iter().filter(|(tool, ..)| *tool == name).map(|(_, it, at)| (*it, *at)).collect();
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command(), name, &mut script);
            let script = String::from_utf8(script).expect("UTF-8");
            let (file, script) = match shell {
                Shell::Bash => (format!("{name}.bash"), bash(script, &used)),
                Shell::Zsh => (format!("_{name}"), zsh(&script, &used)),
                _ => (format!("{name}.fish"), fish(script, name, &command(), &used)),
            };
            committed(&root().join("completions").join(file), &script);
        }
    });
}

/// What bash offers for the last word of a command line.
fn offered(home: &Path, line: &str) -> Vec<String> {
    let tool = line.split(' ').next().unwrap();
    let script = "source \"$1\"; tool=$2; shift 2
        COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
        spec=$(complete -p \"$tool\"); spec=${spec#*-F }; function=${spec%% *}
        \"$function\" \"$tool\" \"${COMP_WORDS[COMP_CWORD]}\" \"${COMP_WORDS[COMP_CWORD-1]}\" 2>/dev/null
        printf '%s\\n' \"${COMPREPLY[@]}\"";
    let words = line.replace('=', " = ");
    let path = format!("{}:/usr/bin:/bin", binary(tool).parent().unwrap().display());
    let done = Command::new("bash")
        .args(["-c", script, "bash"])
        .arg(root().join(format!("completions/{tool}.bash")))
        .arg(tool)
        .args(words.split(' '))
        .env_clear()
        .envs([("PATH", path.as_str())])
        .envs([("HOME", home), ("APPLAYER_QUEUE", &home.join("q"))])
        .output()
        .expect("bash");
    String::from_utf8(done.stdout).unwrap().lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[test]
fn bash_completes_values() {
    let home = temp_dir();
    for (line, expected) in [
        ("ftpls --tls st", "starttls"),
        ("ftpls --tls=im", "implicit"),
        ("ftpls --sort s", "size"),
        ("ftpls --way ml", "mlsd"),
        ("ftpls --color a", "auto always"),
        ("ftpls ftp://h/ --type ", "f d l o"),
        ("ftpget --links ", "skip follow keep"),
        ("ftpput --links ", "skip follow"),
        ("ftpdo ftp://h/ mk", "mkdir"),
        ("ftpdo --algorithm SHA-5", "SHA-512"),
        ("smtpsend --auth scram-sha-2", "scram-sha-256-plus scram-sha-256"),
        ("smtpsend --notify n", "never"),
        ("smtpsend --ret h", "hdrs"),
        ("smtpsend --protocol lm", "lmtp"),
        ("mailq-ls --state h", "held"),
        ("mailq-edit rer", "reroute"),
        ("mailread ext", "extract"),
        ("mailread flag --add se", "seen"),
        ("dnsq example.org MX", "MX"),
        ("dnsq example.org NSEC", "NSEC NSEC3 NSEC3PARAM"),
        ("dnsq example.org +tls-c", "+tls-ca +tls-certfile"),
        ("dnsq -f x --wildcards ", "drop mark"),
        ("dnsq --type TLS", "TLSA"),
        ("dnsq --class H", "HS"),
        ("smtpserve --tls req", "required"),
        ("ftpserve --syslog ft", "ftp"),
    ] {
        assert_eq!(offered(home.path(), line).join(" "), expected, "{line}");
    }
}

#[test]
fn bash_completes_accounts_and_queue_ids() {
    let home = temp_dir();
    let config = home.path().join(".config/applayer");
    std::fs::create_dir_all(&config).unwrap();
    std::fs::write(config.join("accounts"), "defaults\nport 25\n account work\nhost h\naccount home : work\n").unwrap();
    for line in ["smtpsend --account ", "mailq-run --account "] {
        assert_eq!(offered(home.path(), line), ["work", "home"], "{line}");
    }
    let ids = enqueue(&home.path().join("q"), &[("a@a.test", &["b@b.test"], "x")]);
    let id = ids[0].to_string();
    for line in ["mailq-edit hold ", "mailq-ls --json ", "mailq-run --flush "] {
        let offered = offered(home.path(), &format!("{line}{}", &id[..4]));
        assert_eq!(offered, [id.as_str()], "{line}");
    }
}
