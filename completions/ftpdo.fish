complete -c ftpdo -s d -l date -d 'touch: this time instead of now: 2026-11-23T05:52:22Z, @SECONDS, or 2d for two days ago' -r
complete -c ftpdo -s a -l algorithm -d 'hash: SHA-512, SHA-256, SHA-1, MD5 or CRC32 instead of the strongest that the server has' -r
complete -c ftpdo -s o -l to -d 'get, put: where the file goes; with a / at its end the directory that files go into' -r
complete -c ftpdo -l min-days -d 'probe: end with status 1 if a certificate of the server\'s chain ends in fewer days' -r
complete -c ftpdo -l name -d 'Only names that match this glob; with a / in it the path (repeatable: one must match)' -r
complete -c ftpdo -l exclude -d 'Leave out what matches this glob, directories with all that is in them (repeatable)' -r
complete -c ftpdo -l type -d 'Only files (f), directories (d), links (l) or others (o); `f,l` for several' -r
complete -c ftpdo -l min-size -d 'Only entries of this size or larger' -r
complete -c ftpdo -l max-size -d 'Only entries of this size or smaller' -r
complete -c ftpdo -l newer -l newer-than -d 'Only entries modified at this time or later: 2026-11-23, 2026-11-23T05:52:22Z, @SECONDS, or 2d for two days ago' -r
complete -c ftpdo -l older -l older-than -d 'Only entries modified at this time or earlier' -r
complete -c ftpdo -l port-range -d 'Listen for them on a port of this range' -r
complete -c ftpdo -l pasv-address -d 'Where passive data connections go: the host of the control connection, or what the server says' -r -f -a "control\t''
trust\t''"
complete -c ftpdo -l account -l ftp-account -d 'The account that a server asks for after the password (ACCT)' -r
complete -c ftpdo -l charset -l remote-encoding -d 'Names at the server are in this charset (koi8-r, shift_jis ...); here they are UTF-8' -r
complete -c ftpdo -l before -d 'Send this command after the login (repeatable; a leading `*`: it may fail)' -r
complete -c ftpdo -l user -d 'Log in as NAME' -r
complete -c ftpdo -l password-file -d 'Read the password from the first line of FILE, or of stdin' -r -F
complete -c ftpdo -l password-command -d 'Read the password from the first line that CMD prints' -r
complete -c ftpdo -l netrc-file -d 'Look logins up in FILE instead of $NETRC or ~/.netrc' -r -F
complete -c ftpdo -l tls -d 'When to use TLS: none, try (if offered), starttls (required), implicit' -r
complete -c ftpdo -l ca-cert -d 'Trust the authorities in FILE (PEM) instead of the system\'s' -r -F
complete -c ftpdo -l cert -d 'Show the peer this certificate (PEM)' -r -F
complete -c ftpdo -l key -d 'The certificate\'s key (PEM), if not in the same file' -r -F
complete -c ftpdo -l pin -d 'Take servers whose certificate or public key has this SHA-256 digest only, whoever issued the certificate (hexadecimal or base64; repeatable); with --ca-cert or --tls-name the certificate is checked as well' -r
complete -c ftpdo -l tls-name -d 'Ask for this name and check the certificate against it' -r
complete -c ftpdo -l bind -d 'Connect from this local address' -r
complete -c ftpdo -l connect-timeout -d 'Give up connecting after this time' -r
complete -c ftpdo -l timeout -d 'Give up when the peer stays silent for this time' -r
complete -c ftpdo -l min-rate -d 'Give up a transfer that stays slower than this many bytes a second for the time of --timeout; 0: only silence counts' -r
complete -c ftpdo -l max-time -d 'End the whole run after this time' -r
complete -c ftpdo -l proxy -d 'Go through a proxy: socks5://, socks5h:// or http://[USER:PASSWORD@]HOST[:PORT]; `none` for none' -r
complete -c ftpdo -l retry -d 'Try again up to N times after a temporary failure' -r
complete -c ftpdo -l retry-delay -d 'Wait this long before the first retry, twice as long before each further one' -r
complete -c ftpdo -l report -d 'Append records as JSON Lines to FILE (made for its owner alone, no link) or to an open descriptor, fd:N' -r
complete -c ftpdo -l color -d 'When to use colours' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`'
always\t'Always'
never\t'Never'"
complete -c ftpdo -l config -d 'Read options from FILE, one per line, instead of the default files; - reads none' -r -F
complete -c ftpdo -s p -l parents -d 'mkdir: parents too, and no error for what is there already'
complete -c ftpdo -s r -l recursive -d 'rm: directories with all that is in them'
complete -c ftpdo -s f -l force -d 'rm: no error for what is not there'
complete -c ftpdo -s c -l no-create -d 'touch: make no files'
complete -c ftpdo -s k -l keep-going -d 'Go on with the script after a command that failed'
complete -c ftpdo -s n -l dry-run -d 'Change nothing: say what would be done'
complete -c ftpdo -l no-glob -d 'Take `*`, `?`, `[` and `{` in the paths of the command line as they are'
complete -c ftpdo -s l -l long -d 'ls: all columns'
complete -c ftpdo -s A -l active -d 'Let the server open data connections (EPRT, PORT); not through a proxy'
complete -c ftpdo -l disable-epsv -d 'Ask for data connections with PASV, never with EPSV (IPv4)'
complete -c ftpdo -l disable-eprt -d 'With --active: name the port with PORT, never with EPRT (IPv4)'
complete -c ftpdo -l lock-step -d 'One command at a time, for servers that cannot do with several in one packet (found out by itself, too)'
complete -c ftpdo -l data-clear -l ftp-ssl-control -d 'Inside TLS: files and listings in clear text (PROT C)'
complete -c ftpdo -l ccc -l ftp-ssl-ccc -d 'Inside TLS: end it on the control connection after the login, for firewalls that read along (CCC)'
complete -c ftpdo -l insecure -d 'Take any certificate: anybody on the way can read and change everything'
complete -c ftpdo -s 4 -l ipv4 -d 'IPv4 only'
complete -c ftpdo -s 6 -l ipv6 -d 'IPv6 only'
complete -c ftpdo -l json -d 'Print JSON Lines: one object a record'
complete -c ftpdo -s q -l quiet -d 'No progress, warnings or hints, and no words for the answer "no"; -qq: nor for temporary failures (75)'
complete -c ftpdo -s v -l verbose -d 'Show the dialogue with the peer on stderr, without secrets'
complete -c ftpdo -s 0 -l null -d 'End records with NUL and leave bytes unescaped'
complete -c ftpdo -l show-config -d 'Print the options in force, with the origin of each, and end'
complete -c ftpdo -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ftpdo -s V -l version -d 'Print version'
