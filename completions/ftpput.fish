complete -c ftpput -s j -l jobs -d 'Connections for -r; chosen by the round trip if not given' -r
complete -c ftpput -l port-range -d 'Listen for them on a port of this range' -r
complete -c ftpput -l pasv-address -d 'Where passive data connections go: the host of the control connection, or what the server says' -r -f -a "control\t''
trust\t''"
complete -c ftpput -l before -d 'Send this command after the login (repeatable; a leading `*`: it may fail)' -r
complete -c ftpput -l user -d 'Log in as NAME' -r
complete -c ftpput -l password-file -d 'Read the password from the first line of FILE, or of stdin' -r
complete -c ftpput -l password-command -d 'Read the password from the first line that CMD prints' -r
complete -c ftpput -l netrc-file -d 'Look logins up in FILE instead of $NETRC or ~/.netrc' -r -F
complete -c ftpput -l tls -d 'When to use TLS: none, try (if offered), starttls (required), implicit' -r
complete -c ftpput -l ca-cert -d 'Trust the authorities in FILE (PEM) instead of the system\'s' -r -F
complete -c ftpput -l cert -d 'Show the peer this certificate (PEM)' -r -F
complete -c ftpput -l key -d 'The certificate\'s key (PEM), if not in the same file' -r -F
complete -c ftpput -l tls-name -d 'Ask for this name and check the certificate against it' -r
complete -c ftpput -l bind -d 'Connect from this local address' -r
complete -c ftpput -l connect-timeout -d 'Give up connecting after this time' -r
complete -c ftpput -l timeout -d 'Give up when the peer stays silent for this time' -r
complete -c ftpput -l min-rate -d 'Give up a transfer that stays slower than this many bytes a second for the time of --timeout; 0: only silence counts' -r
complete -c ftpput -l max-time -d 'End the whole run after this time' -r
complete -c ftpput -l proxy -d 'Go through a proxy: socks5://, socks5h:// or http://[USER:PASSWORD@]HOST[:PORT]; `none` for none' -r
complete -c ftpput -l retry -d 'Try again up to N times after a temporary failure' -r
complete -c ftpput -l retry-delay -d 'Wait this long before the first retry, twice as long before each further one' -r
complete -c ftpput -l report -d 'Write records as JSON Lines to FILE or to an open descriptor, fd:N' -r
complete -c ftpput -l color -d 'When to use colours' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`'
always\t'Always'
never\t'Never'"
complete -c ftpput -s r -l recursive -d 'Store the contents of directories below the URL'
complete -c ftpput -l in-place -d 'Write under the final name at once, without a temporary one'
complete -c ftpput -l replace -d 'Delete the old file before the complete upload gets its name, for servers that do not rename over a file'
complete -c ftpput -s a -l append -d 'Add to the end of the remote file'
complete -c ftpput -l no-resume -d 'Begin again instead of continuing what an earlier run left'
complete -c ftpput -s A -l active -d 'Let the server open data connections (EPRT, PORT)'
complete -c ftpput -l insecure -d 'Take any certificate: anybody on the way can read and change everything'
complete -c ftpput -s 4 -l ipv4 -d 'IPv4 only'
complete -c ftpput -s 6 -l ipv6 -d 'IPv6 only'
complete -c ftpput -l json -d 'Print JSON Lines: one object a record'
complete -c ftpput -s q -l quiet -d 'No progress, warnings or hints; errors stay'
complete -c ftpput -s v -l verbose -d 'Show the dialogue with the peer on stderr, without secrets'
complete -c ftpput -s 0 -l null -d 'End records with NUL and leave bytes unescaped'
complete -c ftpput -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ftpput -s V -l version -d 'Print version'
