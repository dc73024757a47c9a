//! Failed logins in the logs of the servers are what the filters of dist/fail2ban match, and nothing else is.

use std::path::{Path, PathBuf};

use regex::Regex;

use crate::harness::{server, temp_dir, tool};

/// The servers with logins.
pub(crate) const SERVERS: [&str; 2] = ["ftpserve", "smtpserve"];

pub(crate) fn filter(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("dist/fail2ban/{name}.conf"))
}

/// Writes a log with one good login and two failed ones of joe, from 127.0.0.1, and returns it.
pub(crate) fn log_with_failed_logins(name: &str, folder: &Path) -> PathBuf {
    let (log, users) = (folder.join(format!("{name}.log")), folder.join("users"));
    let hash = tool(name).arg("--hash-password").stdin("secret\n").run().silent_success().text().to_owned();
    std::fs::write(&users, format!("joe:{hash}")).unwrap();
    std::fs::set_permissions(&users, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    std::fs::create_dir_all(folder.join("served/joe")).unwrap();
    let serving = server(name).arg("--user-file").arg(&users).arg("--log").arg(&log).arg("--auth-in-clear");
    let served = folder.join("served");
    let serving = match name {
        "ftpserve" => serving.arg(&served).start(),
        _ => serving.args(["--domain", "x.test", "--mailboxes"]).arg(&served).start(),
    };
    for (password, status) in [("wrong", 77), ("secret", 0), ("false", 77)] {
        let client = match name {
            "ftpserve" => tool("ftpls").arg(format!("ftp://joe@{}/", serving.addr)),
            _ => tool("smtpsend").args(["--probe", "--user", "joe", "--tls", "none", "--server"]).arg(&serving.url),
        };
        client.args(["--password-file", "-"]).stdin(format!("{password}\n")).run().exits(status);
    }
    assert_eq!(serving.stop(), 0);
    log
}

#[test]
fn filters_match_failed_logins() {
    for name in SERVERS {
        let folder = temp_dir();
        let log = std::fs::read_to_string(log_with_failed_logins(name, folder.path())).unwrap();
        let text = std::fs::read_to_string(filter(name)).unwrap();
        let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).unwrap().to_owned();
        let date = value("datepattern = ").replace("%%Y-%%m-%%dT%%H:%%M:%%S", r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d");
        let date = Regex::new(&date.replace("%%f", r"\d+").replace("%%z", "(?:Z|[+-]\\d\\d:\\d\\d)")).unwrap();
        let failed = value("failregex = ").replace("<F-USER>", "(").replace("</F-USER>", ")");
        let failed = Regex::new(&failed.replace("<ADDR>", "([0-9a-f.:]+)")).unwrap();
        // fail2ban takes the date out of the line first.
        let found: Vec<(String, String)> = log
            .lines()
            .filter_map(|line| {
                let line = date.replace(line, "");
                let found = failed.captures(&line)?;
                Some((found[1].to_owned(), found[2].to_owned()))
            })
            .collect();
        assert_eq!(found, vec![("joe".to_owned(), "127.0.0.1".to_owned()); 2], "{name}:\n{log}");
    }
}
