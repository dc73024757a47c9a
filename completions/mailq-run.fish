complete -c mailq-run -l sender -d 'From this sender; `<>` for bounces' -r
complete -c mailq-run -l recipient -d 'To this recipient' -r
complete -c mailq-run -l domain -d 'To recipients of this domain' -r
complete -c mailq-run -l state -d 'In this state: queued, active or held' -r
complete -c mailq-run -l reason -d 'Whose last outcome has this text' -r
complete -c mailq-run -l older-than -d 'Queued at least so long ago' -r
complete -c mailq-run -l newer-than -d 'Queued at most so long ago' -r
complete -c mailq-run -l mx-port -d 'The port of mail exchangers' -r
complete -c mailq-run -l route -d 'Send mail for a domain, `.domain` (those below it) or `*` to smtp://, smtps://, submission://, lmtp:, maildir: or mx:; several of one domain are tried in turn; account:NAME is the server of an account' -r
complete -c mailq-run -l smarthost -d 'Send everything that no --route names through this server; --user and its kin log in there; of several each is tried when those before it could not be reached or said "later"' -r
complete -c mailq-run -l auth -d 'Log in at the --smarthost by this mechanism: scram-sha-256, plain, login, cram-md5, oauthbearer, xoauth2 …' -r
complete -c mailq-run -l account -d 'Send everything that no --route names through the server of this account of smtpsend\'s accounts file' -r
complete -c mailq-run -l accounts -d 'The accounts file, in msmtp\'s words (default: ~/.config/applayer/accounts, else /etc/applayer/accounts)' -r -F
complete -c mailq-run -l helo -d 'Our name in EHLO and in reports (default: the host\'s)' -r
complete -c mailq-run -l local -d 'An address of ours: a mail exchanger there would be a loop; may be repeated' -r
complete -c mailq-run -l concurrency -d 'Messages under way at the same time' -r
complete -c mailq-run -l rate -d 'Messages to one destination in a time, at most: 100/1h' -r
complete -c mailq-run -l per-destination -d 'Connections to one destination, at most' -r
complete -c mailq-run -l retry-after -d 'The wait after the first failed attempt; it doubles up to an hour' -r
complete -c mailq-run -l warn-after -d 'Warn the sender when a message is this old; 0 never warns' -r
complete -c mailq-run -l expire -d 'Return a message to its sender when it is this old' -r
complete -c mailq-run -l bounce-to -d 'Tell ADDRESS of failures that cannot be returned because the sender is empty; without it such mail is held' -r
complete -c mailq-run -l queue-dir -d 'The queue\'s directory (default: $APPLAYER_QUEUE, else /var/spool/applayer where you may write, else below $XDG_STATE_HOME)' -r -F
complete -c mailq-run -l resolver -d 'Ask this name server, ADDRESS[:PORT] (default: the system\'s); may be repeated' -r
complete -c mailq-run -l bind -d 'Connect from this local address' -r
complete -c mailq-run -l connect-timeout -d 'Give up connecting after this time' -r
complete -c mailq-run -l timeout -d 'Give up when the peer stays silent for this time' -r
complete -c mailq-run -l min-rate -d 'Give up a transfer that stays slower than this many bytes a second for the time of --timeout; 0: only silence counts' -r
complete -c mailq-run -l max-time -d 'End the whole run after this time' -r
complete -c mailq-run -l proxy -d 'Go through a proxy: socks5://, socks5h:// or http://[USER:PASSWORD@]HOST[:PORT]; `none` for none' -r
complete -c mailq-run -l tls -d 'When to use TLS: none, try (if offered), starttls (required), implicit' -r
complete -c mailq-run -l ca-cert -d 'Trust the authorities in FILE (PEM) instead of the system\'s' -r -F
complete -c mailq-run -l cert -d 'Show the peer this certificate (PEM)' -r -F
complete -c mailq-run -l key -d 'The certificate\'s key (PEM), if not in the same file' -r -F
complete -c mailq-run -l pin -d 'Take servers whose certificate or public key has this SHA-256 digest only, whoever issued the certificate (hexadecimal or base64; repeatable); with --ca-cert or --tls-name the certificate is checked as well' -r
complete -c mailq-run -l tls-name -d 'Ask for this name and check the certificate against it' -r
complete -c mailq-run -l user -d 'Log in as NAME' -r
complete -c mailq-run -l password-file -d 'Read the password from the first line of FILE, or of stdin' -r -F
complete -c mailq-run -l password-command -d 'Read the password from the first line that CMD prints' -r
complete -c mailq-run -l netrc-file -d 'Look logins up in FILE instead of $NETRC or ~/.netrc' -r -F
complete -c mailq-run -l log -d 'Append the log, one line of text per event, to FILE (made for its owner alone, no link); HUP opens it again' -r -F
complete -c mailq-run -l syslog -d 'Send the log to the local syslog daemon: daemon, mail, ftp, auth, local0 …' -r
complete -c mailq-run -l metrics -d 'Serve the counters in Prometheus\' text format at http://ADDR/metrics; a port alone is one of 127.0.0.1' -r
complete -c mailq-run -l report -d 'Append records as JSON Lines to FILE (made for its owner alone, no link) or to an open descriptor, fd:N' -r
complete -c mailq-run -l color -d 'When to use colours' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`'
always\t'Always'
never\t'Never'"
complete -c mailq-run -l config -d 'Read options from FILE, one per line, instead of the default files; - reads none' -r -F
complete -c mailq-run -l watch -d 'Stay: deliver as soon as something is queued or falls due'
complete -c mailq-run -l flush -d 'Try everything now, due or not; a selection does the same for what it selects'
complete -c mailq-run -l strict -d 'Exit with 75 if anything was deferred'
complete -c mailq-run -s n -l dry-run -d 'Print where each destination\'s mail would go, and deliver nothing'
complete -c mailq-run -s 4 -l ipv4 -d 'IPv4 only'
complete -c mailq-run -s 6 -l ipv6 -d 'IPv6 only'
complete -c mailq-run -l insecure -d 'Take any certificate: anybody on the way can read and change everything'
complete -c mailq-run -l json -d 'Print JSON Lines: one object a record'
complete -c mailq-run -s q -l quiet -d 'No progress, warnings or hints, and no words for the answer "no"; -qq: nor for temporary failures (75)'
complete -c mailq-run -s v -l verbose -d 'Show the dialogue with the peer on stderr, without secrets'
complete -c mailq-run -s 0 -l null -d 'End records with NUL and leave bytes unescaped'
complete -c mailq-run -l show-config -d 'Print the options in force, with the origin of each, and end'
complete -c mailq-run -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mailq-run -s V -l version -d 'Print version'
