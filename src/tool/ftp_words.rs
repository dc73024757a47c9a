//! Options of curl, wget, lftp and ncftp that the FTP tools do not have, and their equivalents.

use crate::cli::foreign::{ForeignMeaning, ForeignWords};

/// For every FTP tool.
pub(super) const ALL: ForeignWords = &[
    ("--ftp-user --username --sasl-authzid", "--user NAME"),
    (
        "-u -p --password --ftp-password --pass --oauth2-bearer --http-user --http-password --ask-password --use-askpass",
        "--user NAME, with --password-file FILE or --password-command CMD",
    ),
    ("-n --netrc --netrc-optional", "done anyway; --netrc-file FILE names another"),
    ("--no-netrc", "--netrc-file /dev/null"),
    ("-s -S --silent --show-error --no-verbose -nv -V --no-progress-meter -#", "-q; errors stay"),
    ("--pinnedpubkey", "--pin SHA256; with --ca-cert FILE the certificate is checked as well"),
    ("-k --no-check-certificate", "--insecure, which protects against no attacker between the hosts"),
    (
        "--ssl --ftp-ssl --ssl-reqd --ftp-ssl-reqd --ftps-implicit --ftps-fallback-to-ftp --ftp-ssl-control",
        "ftpes:// for AUTH TLS, ftps:// for implicit TLS, or --tls MODE",
    ),
    ("--ftp-ssl-ccc-mode", "--ccc, which ends TLS on both sides"),
    ("--ftps-clear-data-connection", "--data-clear"),
    ("--cacert --capath --ca-certificate --ca-directory", "--ca-cert FILE"),
    ("-E --certificate", "--cert FILE"),
    ("--private-key", "--key FILE"),
    ("--cert-type --key-type --certificate-type --private-key-type", "nothing: certificates and keys are PEM files"),
    (
        "--crlfile --crl-file --cert-status --ssl-no-revoke --ssl-revoke-best-effort",
        "nothing: revocation lists are not read",
    ),
    (
        "--tlsv1* --tls-max --secure-protocol --ciphers --tls13-ciphers --curves --sslv2 --sslv3 --ssl-allow-beast -2 -3",
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
    ("--ftp-method", "nothing: paths are sent unchanged; --before 'CWD DIR' changes the directory"),
    ("--ftp-alternative-to-user --ftp-pret", "--before CMD"),
    ("--interface --local-port --bind-address", "--bind ADDR"),
    ("-x --socks* --proxytunnel --preproxy", "--proxy URL"),
    ("-U --proxy-user --proxy-password --noproxy --no-proxy", "--proxy http://USER@HOST:PORT, or none"),
    ("--proxy-*", "--proxy URL; the connection to the proxy has no TLS of its own"),
    ("-m --max-filesize-time", "--max-time TIME"),
    ("-y -Y --speed-time --speed-limit", "--min-rate RATE with --timeout TIME"),
    ("-t --tries --retry-max-time --retry-all-errors --retry-connrefused", "--retry N with --max-time TIME"),
    ("-T --read-timeout --keepalive-time", "--timeout TIME"),
    ("-w --wait --waitretry --random-wait", "--retry-delay TIME between tries; --json prints records"),
    (
        "--write-out --trace* --stderr --output-file --append-output --log --server-response --dump-header --include -i",
        "-v for the dialogue, --json or --report FILE for records",
    ),
    ("-K --rcfile", "--config FILE"),
    ("--disable --no-config --norc", "done anyway: a file is read only if --config or $APPLAYER_CONFIG names it"),
    ("--url -F --file", "the URL as an argument"),
    ("--resolve --connect-to --dns-servers", "a URL with the address, and --tls-name NAME"),
    ("--debug -d", "-v"),
    (
        "--progress-bar --progress --show-progress --styled-output --report-speed",
        "done anyway on a terminal; -q hides it",
    ),
    ("--inet4-only --prefer-family", "-4 or -6"),
    ("--inet6-only", "-6"),
    ("--doh-url --dns-interface --dns-ipv4-addr --dns-ipv6-addr --dns-timeout", "nothing: the system resolves names"),
    (
        "--no-buffer --no-keepalive --tcp-nodelay --tcp-fastopen --happy-eyeballs-timeout-ms --no-alpn --no-npn --no-sessionid \
         --false-start --engine --random-file --egd-file --krb --delegation --tlsuser --tlspassword --tlsauthtype --proto* \
         --next --raw --xattr --libcurl --metalink --hsts --alt-svc --no-cache --no-cookies --no-hsts --no-dns-cache",
        "nothing: there is no such setting",
    ),
    ("--background -b -bb", "nothing: & runs the command in the background"),
    (
        "--data --data-ascii --data-binary --data-raw --data-urlencode --post-data --post-file --form --form-string --header \
         --user-agent --referer --request --cookie --cookie-jar --load-cookies --save-cookies --compressed --location -L \
         --location-trusted --max-redirs --http1* --http2* --http3* --anyauth --basic --digest --negotiate --ntlm -G -H",
        "nothing: FTP has no requests, header fields, cookies or redirects",
    ),
];

/// For `ftpget`.
pub(super) const GET: ForeignWords = &[
    (
        "-f --fail --fail-early --fail-with-body",
        "done anyway: the exit status tells; ncftp's login file is --netrc-file FILE",
    ),
    ("--remote-name-all --remote-header-name --output-document -J", "-o FILE; the default is the name in the URL"),
    ("--output-dir --directory-prefix --create-dirs --ftp-create-dirs", "-o DIR/"),
    ("--start-pos", "-c, or --range FIRST-LAST"),
    ("--mirror --level -l --remove-listing --no-remove-listing", "-r; unchanged files are skipped"),
    ("--accept -I --include-glob --include-directories", "--include GLOB"),
    ("--reject -X --exclude-glob --exclude-directories", "--exclude GLOB"),
    ("--accept-regex", "--include-regex REGEX"),
    ("--reject-regex", "--exclude-regex REGEX"),
    ("-L --dereference --no-dereference --retr-symlinks", "--links follow; FTP has no redirects"),
    ("--remote-time --no-use-server-timestamps", "done anyway: files get the server's time"),
    ("--preserve-permissions --perms --no-perms --no-umask --allow-suid", "--keep-mode"),
    ("--script --just-print", "-n (--dry-run)"),
    ("--append", "-c (--continue)"),
    ("--delete-after", "-o /dev/null"),
    ("--crlf", "-B (--ascii)"),
    ("--content-disposition --trust-server-names --restrict-file-names", "nothing: the name in the URL is the file's"),
    ("--ignore-case --regex-type", "(?i) in the regular expression"),
    ("--no-empty-dirs --scan-all-first --depth-first --only-missing-dirs", "nothing: the whole tree is transferred"),
    ("--remove-on-error --unlink", "--no-resume; a file appears when it is complete"),
    ("-H --span-hosts --page-requisites --convert-links --adjust-extension --domains", "nothing: no HTML is read"),
    (
        "--no-parent --no-directories --no-host-directories --cut-dirs --force-directories --protocol-directories",
        "nothing: a tree stays below its root",
    ),
    ("--time-cond", "--newer"),
    ("-a", "-B (--ascii)"),
    ("-D -DD --Remove-source-dirs --move", "--delete-source"),
    ("--rate-limit", "--rate RATE"),
    ("--parallel --parallel-max --parallel-immediate --use-pget-n", "-j N"),
    ("-e --no-glob-init", "-g (--no-glob)"),
    ("--upload-file", "ftpput(1)"),
    ("--list-only", "ftpls(1)"),
    ("--max-filesize --quota", "--max-size SIZE"),
    ("--input-file", "-i FILE"),
    ("--head --spider", "ftpls --stat URL"),
];

/// For `ftpput`.
pub(super) const PUT: ForeignWords = &[
    (
        "-f --fail --fail-early --fail-with-body",
        "done anyway: the exit status tells; ncftp's login file is --netrc-file FILE",
    ),
    ("-T --upload-file", "the file before the URL"),
    ("-m --mkdirs --ftp-create-dirs --create-dirs", "done anyway: missing directories are made"),
    ("--mirror --reverse", "-r"),
    ("-z -c --continue --continue-at -C", "done anyway; --no-resume starts over"),
    ("-D -DD --Remove-source-files", "nothing: write && rm FILE"),
    ("--script --just-print", "-n (--dry-run)"),
    ("-L --dereference", "--links follow"),
    ("--perms -p", "--keep-mode"),
    ("--rate-limit --limit", "--rate RATE"),
    ("--accept-regex", "--include-regex REGEX"),
    ("--reject-regex", "--exclude-regex REGEX"),
    ("--crlf", "-B (--ascii)"),
    ("--parallel --parallel-max --parallel-immediate", "-j N"),
    ("--umask", "--mode OCTAL"),
    ("--accept -I --include-glob", "--include GLOB"),
    ("--reject -X --exclude-glob", "--exclude GLOB"),
    ("-o -O --output --output-document --remote-name", "the name at the end of the URL"),
    ("--head --list-only -l", "ftpls(1)"),
    ("--range --output-dir --remote-name-all -J --remote-time", "ftpget(1)"),
    ("--no-umask --allow-suid --no-perms", "--mode OCTAL or --keep-mode"),
];

/// For `ftpls`.
pub(super) const LS: ForeignWords = &[
    ("--list-only", "done anyway: names alone are the default"),
    ("-o -O --output --output-dir --output-document --remote-name", "> FILE"),
    ("-I --head --spider", "--stat"),
    ("-i --size --block-size", "-l, which has the size in bytes"),
    ("-1a -1l", "-l or nothing: one entry per line is the default"),
    ("--group-directories-first --no-group --human-readable -G", "-l; sizes are in bytes"),
    ("-X --sort-by", "--sort ORDER"),
    ("-c -f -U", "--sort ORDER; the server's order is the default"),
    ("-L --dereference", "nothing: links are listed as links"),
    ("--upload-file -T", "ftpput(1)"),
    ("-F --classify -C --columns", "-l, which tells what an entry is"),
];

/// For `ftpdo`.
pub(super) const DO: ForeignWords = &[
    ("-e --execute", "the commands on stdin, one per line, or one after the URL"),
    ("-Q --quote -X", "ftpdo URL raw CMD"),
    ("--ftp-create-dirs --mkdirs", "ftpdo URL mkdir -p DIR"),
    ("--upload-file -T", "ftpdo URL put FILE, or ftpput(1)"),
    ("-O --remote-name --output", "ftpdo URL get FILE, or ftpget(1)"),
    ("--list-only --head -I", "ftpdo URL ls, or ftpls(1)"),
    ("--continue-at -C --range --create-dirs --remote-time --parallel -Z -J --no-clobber", "ftpget(1)"),
];

/// Commands of lftp, ncftp and ftp(1) that are no verbs of `ftpdo`.
pub(super) const VERBS: ForeignWords = &[
    ("cd chdir cdup open connect user login", "the URL: it names the server, the user and the directory"),
    ("lcd lls lpwd lmkdir lrm", "a shell command before ftpdo"),
    ("mirror", "ftpget -r URL, or ftpput -r DIR URL"),
    ("nlist ndir nls recls rels mdir mls", "ls"),
    ("find", "ftpls -R URL"),
    ("reget pget get1 newer", "get; ftpget(1) continues a file"),
    ("reput append put1", "put; ftpput(1) continues and appends"),
    ("more zcat zmore bzcat page less", "cat"),
    ("size modtime", "stat"),
    ("quote literal site rhelp remotehelp system status features feat noop", "raw"),
    ("mkd", "mkdir"),
    ("rmd", "rmdir"),
    ("dele rmglob", "rm"),
    ("md5 md5sum sha1 sha256 sha256sum sum checksum crc", "hash"),
    ("mmv", "mv; several files go into a directory"),
    (
        "type ascii binary bin image mode struct form",
        "nothing: files are sent as binary; ftpget -B and ftpput -B send text",
    ),
    ("passive pasv sendport epsv4", "nothing: passive is the default; -A (--active) before the URL"),
    ("prompt glob hash-marks verbose debug set", "an option of ftpdo: --no-glob, -v"),
    ("bye quit exit close disconnect", "nothing: the session ends with the last command"),
    ("umask idle", "raw SITE UMASK or raw SITE IDLE"),
    ("ln symlink", "raw SITE SYMLINK, where the server has it"),
];

/// Options of `ftpget` that have another meaning in other tools.
pub(super) const GET_MEANINGS: &[ForeignMeaning] = &[
    (
        |word, next| word == "-A" && !next.contains("://") && next.contains(['*', '?', ',', '.']),
        "--include GLOB; -A is active mode",
    ),
    (|word, next| word == "-r" && is_range(next), "--range FIRST-LAST; -r fetches a tree"),
    (|word, _| word == "-nc", "--no-clobber; -n and -c are written apart"),
    (|word, _| matches!(word, "-np" | "-nH"), "nothing: a tree stays below its root; -n is a dry run"),
    (|word, _| word == "-nd", "nothing: a tree keeps its directories; -n is a dry run"),
    (|word, _| word == "-nv", "-q; -n and -v are written apart"),
];

/// Options of `ls` with another meaning in `ftpls`: -r is recursive, -h is help.
pub(super) const LS_MEANINGS: &[ForeignMeaning] = &[
    (|word, _| is_ls(word) && word.contains('h'), "-l; sizes are in bytes, and -h is help"),
    (
        |word, _| is_ls(word) && word.contains('r'),
        "--reverse, apart from the other letters; -r goes down into directories",
    ),
];

/// True for several letters of `ls` in one argument.
fn is_ls(word: &str) -> bool {
    let letters = word.strip_prefix('-').unwrap_or_default();
    letters.len() > 1 && letters.bytes().all(|letter| b"1ahlrtAS".contains(&letter))
}

/// True for `0-99`, `100-` or `-100`, the range syntax of curl.
fn is_range(text: &str) -> bool {
    text.contains('-') && text.len() > 1 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::foreign::refuse_meant_otherwise;

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
        for (word, refused) in
            [("-lart", true), ("-Sr", true), ("-lah", true), ("-nH", false), ("-la", false), ("-r", false)]
        {
            assert_eq!(refuse_meant_otherwise(&["ftpls".into(), word.into()], LS_MEANINGS).is_err(), refused, "{word}");
        }
    }
}
