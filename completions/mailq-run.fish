complete -c mailq-run -l sender -d 'Only from this sender; `<>` for bounces' -r
complete -c mailq-run -l recipient -d 'Only to this recipient' -r
complete -c mailq-run -l domain -d 'Only to recipients of this domain' -r
complete -c mailq-run -l state -d 'Only in this state: queued, active or held' -r -f -a "queued\t''
active\t''
held\t''"
complete -c mailq-run -l reason -d 'Only with this text in the last outcome' -r
complete -c mailq-run -l older-than -d 'Only queued at least this long ago' -r
complete -c mailq-run -l newer-than -d 'Only queued at most this long ago' -r
complete -c mailq-run -l mx-port -d 'Port of mail exchangers' -r
complete -c mailq-run -l route -d 'Send mail for a domain, `.domain` (those below it) or `*` to smtp://, smtps://, submission://, lmtp:, maildir: or mx:; several of one domain are tried in turn; account:NAME is the server of an account' -r
complete -c mailq-run -l smarthost -d 'Send all mail without a --route through this server, with the login of --user; of several, each is tried if those before it are unreachable or refuse temporarily' -r
complete -c mailq-run -l auth -d 'Log in at the --smarthost with this mechanism: scram-sha-256, plain, login, cram-md5, oauthbearer, xoauth2 …' -r -f -a "scram-sha-256-plus\t''
scram-sha-256\t''
scram-sha-1\t''
plain\t''
login\t''
cram-md5\t''
external\t''
oauthbearer\t''
xoauth2\t''"
complete -c mailq-run -l account -d 'Send all mail without a --route through the server of this account of smtpsend\'s accounts file' -r
complete -c mailq-run -l accounts -d 'Accounts file, in msmtp\'s format (default: ~/.config/applayer/accounts, else /etc/applayer/accounts)' -r -F
complete -c mailq-run -l helo -d 'Host name in EHLO and in reports (default: the name of this host)' -r
complete -c mailq-run -l local -d 'Address of this host: a mail exchanger with it would be a loop; may be repeated' -r
complete -c mailq-run -l concurrency -d 'Number of messages delivered at the same time' -r
complete -c mailq-run -l rate -d 'Most messages to one destination in this time: 100/1h' -r
complete -c mailq-run -l per-destination -d 'Most connections to one destination' -r
complete -c mailq-run -l retry-after -d 'Wait after the first failed attempt; it doubles up to an hour' -r
complete -c mailq-run -l warn-after -d 'Warn the sender when a message is this old; 0: never' -r
complete -c mailq-run -l expire -d 'Return a message to its sender when it is this old' -r
complete -c mailq-run -l bounce-to -d 'Report failures of mail with an empty sender to ADDRESS; the default is to hold such mail' -r
complete -c mailq-run -l queue-dir -d 'Queue directory (default: $APPLAYER_QUEUE, else /var/spool/applayer where you may write, else below $XDG_STATE_HOME)' -r -F
complete -c mailq-run -l resolver -d 'Query this name server, ADDRESS[:PORT] (default: the system\'s); may be repeated' -r
complete -c mailq-run -l bind -d 'Connect from this local address' -r
complete -c mailq-run -l connect-timeout -d 'Give up connecting after this time' -r
complete -c mailq-run -l timeout -d 'Give up when the peer stays silent for this time' -r
complete -c mailq-run -l min-rate -d 'Give up a transfer that is slower than RATE bytes per second for the time of --timeout; 0: only the timeout applies' -r
complete -c mailq-run -l max-time -d 'End the whole run after this time' -r
complete -c mailq-run -l proxy -d 'Connect through a proxy: socks5://, socks5h:// or http://[USER:PASSWORD@]HOST[:PORT]; `none`: no proxy' -r
complete -c mailq-run -l tls -d 'When to use TLS: none, try (if offered), starttls (required), implicit' -r -f -a "none\t''
try\t''
starttls\t''
implicit\t''"
complete -c mailq-run -l ca-cert -d 'Trust the authorities in FILE (PEM) instead of the system\'s' -r -F
complete -c mailq-run -l cert -d 'Client certificate (PEM)' -r -F
complete -c mailq-run -l key -d 'Key of the certificate (PEM), if it is not in the same file' -r -F
complete -c mailq-run -l pin -d 'Accept only servers whose certificate or public key has this SHA-256 digest, from any issuer (hexadecimal or base64); with --ca-cert or --tls-name the certificate is checked too; may be repeated' -r
complete -c mailq-run -l tls-name -d 'Send this name (SNI) and check the certificate against it' -r
complete -c mailq-run -l user -d 'Log in as NAME' -r
complete -c mailq-run -l password-file -d 'Read the password from the first line of FILE, or of stdin' -r -F
complete -c mailq-run -l password-command -d 'Read the password from the first line that CMD prints' -r
complete -c mailq-run -l netrc-file -d 'Look logins up in FILE instead of $NETRC or ~/.netrc' -r -F
complete -c mailq-run -l log -d 'Append the log, one line of text per event, to FILE (created with mode 0600, not through a link); HUP reopens it' -r -F
complete -c mailq-run -l syslog -d 'Send the log to the local syslog daemon as daemon, mail, ftp, auth, local0 …; FACILITY,rfc5424: in the format of RFC 5424' -r -f -a "user\t''
mail\t''
daemon\t''
auth\t''
syslog\t''
lpr\t''
news\t''
uucp\t''
cron\t''
authpriv\t''
ftp\t''
local0\t''
local1\t''
local2\t''
local3\t''
local4\t''
local5\t''
local6\t''
local7\t''"
complete -c mailq-run -l metrics -d 'Serve the counters in Prometheus\' text format at http://ADDR/metrics; a port alone is one of 127.0.0.1' -r
complete -c mailq-run -l report -d 'Append records as JSON Lines to FILE (created with mode 0600, not through a link) or to an open descriptor, fd:N' -r
complete -c mailq-run -l color -d 'When to use colours' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`'
always\t'Always'
never\t'Never'"
complete -c mailq-run -l config -d 'Read options from FILE, one per line, instead of the default files; - reads none' -r -F
complete -c mailq-run -l watch -d 'Keep running; deliver as soon as a message is queued or due'
complete -c mailq-run -l flush -d 'Try all messages now, due or not; a selection does the same for the selected ones'
complete -c mailq-run -l strict -d 'Exit with 75 if anything was deferred'
complete -c mailq-run -s n -l dry-run -d 'Print the next server of each destination; deliver nothing'
complete -c mailq-run -s 4 -l ipv4 -d 'IPv4 only'
complete -c mailq-run -s 6 -l ipv6 -d 'IPv6 only'
complete -c mailq-run -l insecure -d 'Accept any certificate: an attacker in the network path can read and change the data'
complete -c mailq-run -l json -d 'Print JSON Lines: one object per record'
complete -c mailq-run -s q -l quiet -d 'No progress, warnings or hints, and no words for the answer "no"; -qq: nor for temporary failures (75)'
complete -c mailq-run -s v -l verbose -d 'Show the dialogue with the peer on stderr, without secrets'
complete -c mailq-run -s 0 -l null -d 'End records with NUL and leave bytes unescaped'
complete -c mailq-run -l show-config -d 'Print the options in force, each with its origin, and exit'
complete -c mailq-run -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mailq-run -s V -l version -d 'Print version'
complete -c mailq-run -l account -x -a '(cat "$HOME/.config/applayer/accounts" /etc/applayer/accounts 2>/dev/null | sed -n \'s/^[[:blank:]]*account[[:blank:]]\\{1,\\}\\([^:[:blank:]]\\{1,\\}\\).*/\\1/p\')'
complete -c mailq-run -a '(mailq-ls -q 2>/dev/null | cut -f 1 | sort -u)'
