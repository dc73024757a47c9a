complete -c ftpls -l max-depth -d 'Go down N directories at most; 1 is the directory itself' -r
complete -c ftpls -l sort -d 'In which order: as the server lists (at once, however long), by name, largest or latest first' -r -f -a "none\t'As the server lists them, at once'
name\t'By path, byte by byte'
size\t'Largest first'
time\t'Latest first'"
complete -c ftpls -l limit -d 'Print no more than the first N entries of each URL, in the order of --sort' -r
complete -c ftpls -l name -d 'Only names that match this glob; with a / in it the path (repeatable: one must match)' -r
complete -c ftpls -l exclude -d 'Leave out what matches this glob, directories with all that is in them (repeatable)' -r
complete -c ftpls -l type -d 'Only files (f), directories (d), links (l) or others (o); `f,l` for several' -r
complete -c ftpls -l min-size -d 'Only entries of this size or larger' -r
complete -c ftpls -l max-size -d 'Only entries of this size or smaller' -r
complete -c ftpls -l newer -l newer-than -d 'Only entries modified at this time or later: 2026-11-23, 2026-11-23T05:52:22Z, @SECONDS, or 2d for two days ago' -r
complete -c ftpls -l older -l older-than -d 'Only entries modified at this time or earlier' -r
complete -c ftpls -l way -d 'How to list: auto (MLSD, else LIST, else STAT), mlsd, list, or stat (needs no data connection)' -r
complete -c ftpls -l parse -d 'Read a listing that was saved, in any dialect, instead of asking a server' -r -F
complete -c ftpls -l now -d 'The time of that listing: it decides the year of dates that have none' -r
complete -c ftpls -l port-range -d 'Listen for them on a port of this range' -r
complete -c ftpls -l pasv-address -d 'Where passive data connections go: the host of the control connection, or what the server says' -r -f -a "control\t''
trust\t''"
complete -c ftpls -l account -l ftp-account -d 'The account that a server asks for after the password (ACCT)' -r
complete -c ftpls -l charset -l remote-encoding -d 'Names at the server are in this charset (koi8-r, shift_jis ...); here they are UTF-8' -r
complete -c ftpls -l before -d 'Send this command after the login (repeatable; a leading `*`: it may fail)' -r
complete -c ftpls -l user -d 'Log in as NAME' -r
complete -c ftpls -l password-file -d 'Read the password from the first line of FILE, or of stdin' -r -F
complete -c ftpls -l password-command -d 'Read the password from the first line that CMD prints' -r
complete -c ftpls -l netrc-file -d 'Look logins up in FILE instead of $NETRC or ~/.netrc' -r -F
complete -c ftpls -l tls -d 'When to use TLS: none, try (if offered), starttls (required), implicit' -r
complete -c ftpls -l ca-cert -d 'Trust the authorities in FILE (PEM) instead of the system\'s' -r -F
complete -c ftpls -l cert -d 'Show the peer this certificate (PEM)' -r -F
complete -c ftpls -l key -d 'The certificate\'s key (PEM), if not in the same file' -r -F
complete -c ftpls -l pin -d 'Take servers whose certificate or public key has this SHA-256 digest only, whoever issued the certificate (hexadecimal or base64; repeatable); with --ca-cert or --tls-name the certificate is checked as well' -r
complete -c ftpls -l tls-name -d 'Ask for this name and check the certificate against it' -r
complete -c ftpls -l bind -d 'Connect from this local address' -r
complete -c ftpls -l connect-timeout -d 'Give up connecting after this time' -r
complete -c ftpls -l timeout -d 'Give up when the peer stays silent for this time' -r
complete -c ftpls -l min-rate -d 'Give up a transfer that stays slower than this many bytes a second for the time of --timeout; 0: only silence counts' -r
complete -c ftpls -l max-time -d 'End the whole run after this time' -r
complete -c ftpls -l proxy -d 'Go through a proxy: socks5://, socks5h:// or http://[USER:PASSWORD@]HOST[:PORT]; `none` for none' -r
complete -c ftpls -l retry -d 'Try again up to N times after a temporary failure' -r
complete -c ftpls -l retry-delay -d 'Wait this long before the first retry, twice as long before each further one' -r
complete -c ftpls -l report -d 'Append records as JSON Lines to FILE (made for its owner alone, no link) or to an open descriptor, fd:N' -r
complete -c ftpls -l color -d 'When to use colours' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`'
always\t'Always'
never\t'Never'"
complete -c ftpls -l config -d 'Read options from FILE, one per line, instead of the default files; - reads none' -r -F
complete -c ftpls -s l -l long -d 'Type, mode, owner, group, size, time and name, with TABs between them'
complete -c ftpls -s R -l recursive -d 'Go down into directories'
complete -c ftpls -l du -d 'Print what the files below each directory take together, in bytes'
complete -c ftpls -s g -l no-glob -l globoff -d 'Take *, ?, [ and { in URLs as they are'
complete -c ftpls -s t -d 'The same as --sort time'
complete -c ftpls -s S -d 'The same as --sort size'
complete -c ftpls -l reverse -d 'The other way round'
complete -c ftpls -s a -d 'As ls(1) takes them; done anyway: all entries, one a line'
complete -c ftpls -l stat -d 'The same as --way stat'
complete -c ftpls -s A -l active -d 'Let the server open data connections (EPRT, PORT); not through a proxy'
complete -c ftpls -l disable-epsv -d 'Ask for data connections with PASV, never with EPSV (IPv4)'
complete -c ftpls -l disable-eprt -d 'With --active: name the port with PORT, never with EPRT (IPv4)'
complete -c ftpls -l lock-step -d 'One command at a time, for servers that cannot do with several in one packet (found out by itself, too)'
complete -c ftpls -l data-clear -l ftp-ssl-control -d 'Inside TLS: files and listings in clear text (PROT C)'
complete -c ftpls -l ccc -l ftp-ssl-ccc -d 'Inside TLS: end it on the control connection after the login, for firewalls that read along (CCC)'
complete -c ftpls -l insecure -d 'Take any certificate: anybody on the way can read and change everything'
complete -c ftpls -s 4 -l ipv4 -d 'IPv4 only'
complete -c ftpls -s 6 -l ipv6 -d 'IPv6 only'
complete -c ftpls -l json -d 'Print JSON Lines: one object a record'
complete -c ftpls -s q -l quiet -d 'No progress, warnings or hints, and no words for the answer "no"; -qq: nor for temporary failures (75)'
complete -c ftpls -s v -l verbose -d 'Show the dialogue with the peer on stderr, without secrets'
complete -c ftpls -s 0 -l null -d 'End records with NUL and leave bytes unescaped'
complete -c ftpls -l show-config -d 'Print the options in force, with the origin of each, and end'
complete -c ftpls -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ftpls -s V -l version -d 'Print version'
