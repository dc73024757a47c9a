//! Words of curl, wget, lftp and ncftp that are not ours, and what stands for them in the FTP tools.

use crate::cli::foreign::{ForeignMeaning, ForeignWords};

/// In every tool.
pub(super) const ALL: ForeignWords = &[
    ("--ftp-user --username", "--user NAME"),
    (
        "-u -p --password --ftp-password --pass --oauth2-bearer",
        "--user NAME, with --password-file FILE or --password-command CMD",
    ),
    ("-n --netrc --netrc-optional", "done anyway; --netrc-file FILE names another"),
    ("-s -S --silent --show-error --no-verbose -nv -V --no-progress-meter -#", "-q; errors stay"),
    ("--pinnedpubkey", "--pin SHA256; with --ca-cert FILE the certificate is checked as well"),
    ("-k --no-check-certificate", "--insecure, which lets everybody on the way read and change everything"),
    (
        "--ssl --ftp-ssl --ssl-reqd --ftp-ssl-reqd --ftps-implicit --ftp-ssl-control",
        "ftpes:// for AUTH TLS, ftps:// for implicit TLS, or --tls MODE",
    ),
    ("--ftp-ssl-ccc-mode", "--ccc, which ends TLS on both sides"),
    ("--ftps-clear-data-connection", "--data-clear"),
    ("--cacert --capath --ca-certificate --ca-directory", "--ca-cert FILE"),
    ("-E --certificate", "--cert FILE"),
    ("--private-key", "--key FILE"),
    (
        "--tlsv1* --tls-max --secure-protocol --ciphers --tls13-ciphers",
        "nothing: TLS 1.2 and 1.3 are spoken, with safe ciphers",
    ),
    (
        "-P --ftp-port --no-passive-ftp --ftp-pasv --passive-ftp",
        "-A (--active) for active mode, --bind ADDR for the address; passive is the default",
    ),
    (
        "--ftp-skip-pasv-ip --no-ftp-skip-pasv-ip",
        "--pasv-address WHICH; the control connection's address is the default",
    ),
    ("--ftp-method", "nothing: paths go as they are; --before 'CWD DIR' changes the directory"),
    ("--ftp-alternative-to-user --ftp-pret", "--before CMD"),
    ("--interface --local-port --bind-address", "--bind ADDR"),
    ("-x --socks5 --socks5-hostname --socks4 --proxytunnel --preproxy", "--proxy URL"),
    ("-U --proxy-user --noproxy --no-proxy", "--proxy http://USER@HOST:PORT, or none"),
    ("-m --max-filesize-time", "--max-time TIME"),
    ("-y -Y --speed-time --speed-limit", "--min-rate RATE with --timeout TIME"),
    ("-t --tries --retry-max-time --retry-all-errors --retry-connrefused", "--retry N with --max-time TIME"),
    ("-T --read-timeout --keepalive-time", "--timeout TIME"),
    ("-w --wait --waitretry", "--retry-delay TIME between tries; --json prints what was done"),
    (
        "--write-out --trace --trace-ascii --stderr --output-file --append-output --log",
        "-v for the dialogue, --json or --report FILE for records",
    ),
    ("-K", "--config FILE"),
    ("--url -F --file", "the URL as an argument"),
    ("--resolve --connect-to --dns-servers", "a URL with the address, and --tls-name NAME"),
    ("--debug -d", "-v"),
];

/// In `ftpget`.
pub(super) const GET: ForeignWords = &[
    ("-f --fail", "done anyway: what fails has a status; ncftp's login file is --netrc-file FILE"),
    ("--remote-name-all --output-document -J", "-o FILE; without it the file's own name is taken"),
    ("--output-dir --directory-prefix --create-dirs", "-o DIR/"),
    ("--start-pos", "-c, or --range FIRST-LAST"),
    ("--mirror --level -l --remove-listing --no-remove-listing", "-r; files that are the same are left alone"),
    ("--accept -I --include-glob", "--include GLOB"),
    ("--reject -X --exclude-glob", "--exclude GLOB"),
    (
        "--no-parent --no-directories --no-host-directories --cut-dirs --force-directories",
        "nothing: a tree stays below its root",
    ),
    ("--time-cond", "--newer"),
    ("-a", "-B (--ascii)"),
    ("-D", "--delete-source"),
    ("--rate-limit", "--rate RATE"),
    ("--parallel --parallel-max", "-j N"),
    ("-e --no-glob-init", "-g (--no-glob)"),
    ("--upload-file", "ftpput(1)"),
    ("--list-only", "ftpls(1)"),
    ("--max-filesize --quota", "--max-size SIZE"),
    ("--input-file", "-i FILE"),
    ("--head", "ftpls --stat URL"),
];

/// In `ftpput`.
pub(super) const PUT: ForeignWords = &[
    ("-f --fail", "done anyway: what fails has a status; ncftp's login file is --netrc-file FILE"),
    ("-T --upload-file", "the file before the URL"),
    ("-m --mkdirs --ftp-create-dirs --create-dirs", "done anyway: directories that are missing are made"),
    ("--mirror --reverse", "-r"),
    ("-z -c --continue --continue-at -C", "done anyway; --no-resume begins again"),
    ("-D -DD --Remove-source-files", "nothing: rm behind && does it"),
    ("--rate-limit", "--rate RATE"),
    ("--parallel", "-j N"),
    ("-b -bb --background", "nothing: & or a timer runs it again"),
    ("--umask", "--mode OCTAL"),
    ("--accept -I --include-glob", "--include GLOB"),
    ("--reject -X --exclude-glob", "--exclude GLOB"),
    ("-o --output", "the name at the end of the URL"),
];

/// In `ftpls`.
pub(super) const LS: ForeignWords = &[
    ("--list-only", "done anyway: names alone are the default"),
    ("-o -O --output", "> FILE"),
    ("-I --head", "--stat"),
    ("-F --classify -C --columns", "-l, which tells what an entry is"),
];

/// In `ftpdo`.
pub(super) const DO: ForeignWords = &[
    ("-e --execute", "the commands on stdin, one a line, or one after the URL"),
    ("-Q --quote -X", "ftpdo URL quote CMD"),
    ("--ftp-create-dirs --mkdirs", "ftpdo URL mkdir -p DIR"),
    ("--upload-file", "ftpput(1)"),
];

/// Words of ours that `ftpget` is given with another tool's meaning.
pub(super) const GET_MEANINGS: &[ForeignMeaning] = &[
    ("-A", |next| !next.contains("://") && next.contains(['*', '?', ',', '.']), "--include GLOB; -A is active mode"),
    ("-r", |next| is_range(next), "--range FIRST-LAST; -r takes a tree"),
    ("-nc", |_| true, "--no-clobber; -n and -c are written apart"),
    ("-np -nH", |_| true, "nothing: a tree stays below its root; -n is a dry run"),
    ("-nd", |_| true, "nothing: a tree keeps its directories; -n is a dry run"),
    ("-nv", |_| true, "-q; -n and -v are written apart"),
];

/// Words of `ls` that `ftpls` takes otherwise: -r goes down, -h is help.
pub(super) const LS_MEANINGS: &[ForeignMeaning] = &[
    ("-tr -rt -ltr -lrt -latr -lart -altr -alrt -ltra", |_| true, "-l -t --reverse; -r goes down into directories"),
    ("-Sr -rS -lSr -lrS", |_| true, "-l -S --reverse; -r goes down into directories"),
    ("-lr -rl -lar -alr", |_| true, "-l --reverse, or -l -R to go down into directories"),
    ("-lh -hl -lah -lha -alh -lth -lht -lSh -lhS", |_| true, "-l; sizes are in bytes, and the letter h is help"),
];

/// `0-99`, `100-` or `-100`, as curl takes it.
fn is_range(text: &str) -> bool {
    text.contains('-') && text.len() > 1 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::foreign::{assert_agree, refuse_meant_otherwise};
    use crate::tool::{ftpdo, ftpget, ftpls, ftpput};

    #[test]
    fn no_word_of_ours_is_called_foreign_and_ours_are_there() {
        assert_agree(&ftpget::command(), &[GET, ALL], GET_MEANINGS);
        assert_agree(&ftpput::command(), &[PUT, ALL], &[]);
        assert_agree(&ftpls::command(), &[LS, ALL], LS_MEANINGS);
        assert_agree(&ftpdo::command(), &[DO, ALL], &[]);
    }

    #[test]
    fn words_with_another_meaning() {
        for (line, refused) in [
            ("ftpget -r -A *.csv ftp://h/", true),
            ("ftpget -A ftp://h/a.txt", false),
            ("ftpget -r 0-99 ftp://h/a", true),
            ("ftpget -r ftp://h/a-b/", false),
            ("ftpget -nc ftp://h/a", true),
            ("ftpget -n -c ftp://h/a", false),
            ("ftpget -- -nc", false),
        ] {
            let words: Vec<std::ffi::OsString> = line.split(' ').map(Into::into).collect();
            assert_eq!(refuse_meant_otherwise(&words, GET_MEANINGS).is_err(), refused, "{line}");
        }
        for (word, refused) in [("-lart", true), ("-lah", true), ("-nH", false), ("-la", false), ("-r", false)] {
            assert_eq!(refuse_meant_otherwise(&["ftpls".into(), word.into()], LS_MEANINGS).is_err(), refused, "{word}");
        }
    }
}
