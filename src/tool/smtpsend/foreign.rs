//! Words of msmtp, swaks, mailx, nullmailer, ssmtp and curl that are not ours, and what stands for them here.

/// For [`crate::cli::Tool::FOREIGN_WORDS`].
pub(super) const WORDS: crate::cli::foreign::ForeignWords = &[
    // msmtp
    ("-C --file", "--accounts FILE"),
    ("-K", "--config FILE"),
    ("-a", "--account NAME for an account, --attach FILE for a file, --auth MECHANISM and --user NAME for a login"),
    ("-P --pretend --dump", "-n (--dry-run)"),
    ("-d --debug --trace --trace-ascii --stderr", "-v; the message stands on stdin"),
    ("--serverinfo", "--probe"),
    ("-S", "--probe to look at a server, --server URL to name one"),
    ("--host", "--server HOST[:PORT]"),
    ("--port -p", "--server HOST:PORT"),
    ("--domain --mydomain --fqdn -H --hello", "--helo NAME"),
    ("--socket", "--server lmtp+unix:/PATH"),
    ("--read-recipients", "-t"),
    ("--read-envelope-from --auto-from --add-missing-from-header --add-missing-date-header", "done anyway"),
    ("--set-from-header --set-date-header", "nothing: a header that is there stays"),
    ("--undisclosed-recipients --remove-bcc-headers", "--bcc ADDRESSES, which nobody sees"),
    ("--passwordeval", "--password-command CMD"),
    ("--logfile -X --syslog --output", "--report FILE"),
    ("--source-ip --interface --local-interface --li --local-address", "--bind ADDRESS"),
    ("--proxy-host --proxy-port --socks5 --socks5-hostname -x", "--proxy socks5://HOST:PORT"),
    ("--dsn-notify -N", "--notify WHEN"),
    ("--dsn-return -R", "--ret full or --ret hdrs"),
    ("--tls-starttls --starttls --ssl --ssl-reqd --tls-required --tls-on", "--tls starttls"),
    ("--tls-optional --tlso --tls-optional-strict --tlsos", "--tls try"),
    ("--tls-on-connect --tlsc --tls-implicit --use-ssl", "--server smtps://HOST, or --tls implicit"),
    ("--no-tls --notls --tls-off", "--tls none"),
    ("--tls-trust-file --tls-ca-path --tls-ca-file --cacert --capath --x509cafile", "--ca-cert FILE"),
    ("--tls-cert --tls-cert-file --x509certfile", "--cert FILE"),
    ("--tls-key --tls-key-file", "--key FILE"),
    ("--tls-sni --tls-host-override --tls-verify-target", "--tls-name NAME"),
    ("--tls-fingerprint", "--pin SHA256, or tls_fingerprint in the accounts file"),
    (
        "--tls-certcheck --no-check-certificate -k",
        "--insecure, which lets everybody on the way read and change everything",
    ),
    ("--tls-verify --tls-verify-ca --tls-verify-host", "done with a login, --ca-cert or --tls-name"),
    ("--tls-*", "--tls MODE, --ca-cert, --cert, --key or --tls-name"),
    ("--rmqs --queue-run", "mailq-run, which delivers what is queued"),
    // swaks
    ("--au --auth-user --username --login", "--user NAME"),
    ("--ap --auth-password --password --pass --login-password", "--password-file FILE or --password-command CMD"),
    ("--am --auth-optional --ao --auth-login --login-options --auth-map --auth-plaintext", "--auth MECHANISM"),
    ("--oauth2-bearer", "--auth oauthbearer, with the token from --password-file"),
    ("--header-* --h-* --h --add-header --ah", "--header 'Name: value', or --subject, --from, --to"),
    ("--data --upload-file -T", "the message on stdin: < FILE"),
    ("--body-attach --attach-body", "--body FILE or --html FILE"),
    (
        "--attach-type --attach-name --attachment --attach-inline",
        "--attach 'FILE;type=TYPE;name=NAME', or --inline FILE",
    ),
    ("--copy-routing --cr", "--mx"),
    ("--pipeline --pipe --bdat --chunking --prdr", "done where the server offers it"),
    ("--drop-after --drop-after-send --da --das", "--quit-after STAGE"),
    ("--silent --hide-all --ha --suppress-data --hide-send --hide-receive --hide-informational", "-q"),
    ("--show-time-lapse --stl", "--json, which has times_ms"),
    ("--timeout-connect --connecttimeout", "--connect-timeout TIME"),
    ("--lmtp --ssmtp", "--protocol NAME, or --server lmtp://HOST"),
    ("--force-getpwuid --g", "--from ADDRESS"),
    ("-l", "--tls starttls"),
    ("--xclient* --proxy-version --proxy-family", "nothing: XCLIENT and PROXY are not spoken"),
    // mailx
    ("-c", "--cc ADDRESSES"),
    ("-b -o", "--bcc ADDRESSES; flags of sendmail are understood behind --sendmail as the first argument"),
    ("-r --return-path --mail-from --envelope-from", "-f ADDRESS"),
    ("-M --content-type --mime", "--html FILE, or --attach 'FILE;type=TYPE'"),
    ("-e -u -I -L --read", "mailread, which lists and shows mailboxes"),
    ("-m --max-time-out", "--max-time TIME"),
    ("--keepbcc -E", "nothing: Bcc is removed, and an empty message is sent"),
    // curl
    ("--mail-rcpt --recipient --rcpt", "the RECIPIENT as an argument, or --to ADDRESSES"),
    ("--mail-rcpt-allowfails", "--partial"),
    ("--mail-auth --crlf --url-query", "not needed"),
    ("--url", "--server URL"),
    ("--form", "--body, --html and --attach"),
    ("--netrc --netrc-optional", "done anyway; --netrc-file FILE names another"),
    ("--resolve --connect-to --dns-servers", "--server ADDRESS with --tls-name NAME, or --resolver ADDRESS"),
    ("--retry-max-time --retry-all-errors --retry-connrefused", "--retry N with --max-time TIME"),
];

#[cfg(test)]
mod tests {
    #[test]
    fn no_word_of_ours_is_called_foreign_and_ours_are_there() {
        crate::cli::foreign::assert_agree(&crate::tool::smtpsend::command(), &[super::WORDS], &[]);
    }
}
