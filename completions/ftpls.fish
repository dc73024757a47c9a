complete -c ftpls -l max-depth -d 'List at most N levels; 1 is the directory itself' -r
complete -c ftpls -l sort -d 'Order: the server\'s (printed as it arrives), by name, largest first or latest first' -r -f -a "none\t'The server\'s order, printed as it arrives'
name\t'By path, in byte order'
size\t'Largest first'
time\t'Latest first'"
complete -c ftpls -l limit -d 'Print no more than the first N entries of each URL, in the order of --sort' -r
complete -c ftpls -l name -d 'Only names that match this glob; with a / in it the path (repeatable: one must match)' -r
complete -c ftpls -l exclude -d 'Exclude names that match this glob, and directories with their contents (repeatable)' -r
complete -c ftpls -l type -d 'Only files (f), directories (d), links (l) or others (o); `f,l` for several' -r -f -a "f\t''
d\t''
l\t''
o\t''"
complete -c ftpls -l min-size -d 'Only entries of this size or larger' -r
complete -c ftpls -l max-size -d 'Only entries of this size or smaller' -r
complete -c ftpls -l newer -l newer-than -d 'Only entries modified at this time or later: 2026-11-23, 2026-11-23T05:52:22Z, @SECONDS, or 2d for two days ago' -r
complete -c ftpls -l older -l older-than -d 'Only entries modified at this time or earlier' -r
complete -c ftpls -l way -d 'Listing command: auto (MLSD, else LIST, else STAT), mlsd, list, or stat (needs no data connection)' -r -f -a "auto\t''
mlsd\t''
list\t''
stat\t''"
complete -c ftpls -l parse -d 'Parse a saved listing, in any dialect, instead of a server\'s' -r -F
complete -c ftpls -l now -d 'Time of the saved listing: it determines the year of dates without one' -r
complete -c ftpls -l port-range -d 'Ports to listen on for active data connections' -r
complete -c ftpls -l pasv-address -d 'Address of passive data connections: that of the control connection (control), or the server\'s reply (trust)' -r -f -a "control\t''
trust\t''"
complete -c ftpls -l account -l ftp-account -d 'Account that a server requests after the password (ACCT)' -r
complete -c ftpls -l charset -l remote-encoding -d 'Charset of the server\'s names (koi8-r, shift_jis ...); local names are UTF-8' -r
complete -c ftpls -l before -d 'Send this command after the login (repeatable; a leading `*`: it may fail)' -r
complete -c ftpls -l user -d 'Log in as NAME' -r
complete -c ftpls -l password-file -d 'Read the password from the first line of FILE, or of stdin' -r -F
complete -c ftpls -l password-command -d 'Read the password from the first line that CMD prints' -r
complete -c ftpls -l netrc-file -d 'Look logins up in FILE instead of $NETRC or ~/.netrc' -r -F
complete -c ftpls -l tls -d 'When to use TLS: none, try (if offered), starttls (required), implicit' -r -f -a "none\t''
try\t''
starttls\t''
implicit\t''"
complete -c ftpls -l ca-cert -d 'Trust the authorities in FILE (PEM) instead of the system\'s' -r -F
complete -c ftpls -l cert -d 'Client certificate (PEM)' -r -F
complete -c ftpls -l key -d 'Key of the certificate (PEM), if it is not in the same file' -r -F
complete -c ftpls -l pin -d 'Accept only servers whose certificate or public key has this SHA-256 digest, from any issuer (hexadecimal or base64); with --ca-cert or --tls-name the certificate is checked too; may be repeated' -r
complete -c ftpls -l tls-name -d 'Send this name (SNI) and check the certificate against it' -r
complete -c ftpls -l bind -d 'Connect from this local address' -r
complete -c ftpls -l connect-timeout -d 'Give up connecting after this time' -r
complete -c ftpls -l timeout -d 'Give up when the peer stays silent for this time' -r
complete -c ftpls -l min-rate -d 'Give up a transfer that is slower than RATE bytes per second for the time of --timeout; 0: only the timeout applies' -r
complete -c ftpls -l max-time -d 'End the whole run after this time' -r
complete -c ftpls -l proxy -d 'Connect through a proxy: socks5://, socks5h:// or http://[USER:PASSWORD@]HOST[:PORT]; `none`: no proxy' -r
complete -c ftpls -l retry -d 'Try again up to N times after a temporary failure' -r
complete -c ftpls -l retry-delay -d 'Wait TIME before the first retry; each further wait is twice as long' -r
complete -c ftpls -l report -d 'Append records as JSON Lines to FILE (created with mode 0600, not through a link) or to an open descriptor, fd:N' -r
complete -c ftpls -l color -d 'When to use colours' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`'
always\t'Always'
never\t'Never'"
complete -c ftpls -l config -d 'Read options from FILE, one per line, instead of the default files; - reads none' -r -F
complete -c ftpls -s l -l long -d 'Print type, mode, owner, group, size, time and name, separated by TABs'
complete -c ftpls -s R -l recursive -d 'List directories recursively'
complete -c ftpls -l du -d 'Print the total size of the files below each directory, in bytes'
complete -c ftpls -s g -l no-glob -l globoff -d 'Take *, ?, [ and { in URLs literally'
complete -c ftpls -s t -d 'The same as --sort time'
complete -c ftpls -s S -d 'The same as --sort size'
complete -c ftpls -l reverse -d 'Reverse the order'
complete -c ftpls -s a -d 'As ls(1) takes them; done anyway: all entries, one a line'
complete -c ftpls -l stat -d 'The same as --way stat'
complete -c ftpls -s A -l active -d 'Let the server open the data connections (EPRT, PORT); not through a proxy'
complete -c ftpls -l disable-epsv -d 'Request data connections with PASV, never with EPSV (IPv4)'
complete -c ftpls -l disable-eprt -d 'With --active: use PORT, never EPRT (IPv4)'
complete -c ftpls -l lock-step -d 'Send one command at a time, for servers that fail on several in one packet (also detected automatically)'
complete -c ftpls -l data-clear -l ftp-ssl-control -d 'With TLS: send files and listings unencrypted (PROT C)'
complete -c ftpls -l ccc -l ftp-ssl-ccc -d 'With TLS: end it on the control connection after the login, for firewalls that inspect it (CCC)'
complete -c ftpls -l insecure -d 'Accept any certificate: an attacker in the network path can read and change the data'
complete -c ftpls -s 4 -l ipv4 -d 'IPv4 only'
complete -c ftpls -s 6 -l ipv6 -d 'IPv6 only'
complete -c ftpls -l json -d 'Print JSON Lines: one object per record'
complete -c ftpls -s q -l quiet -d 'No progress, warnings or hints, and no words for the answer "no"; -qq: nor for temporary failures (75)'
complete -c ftpls -s v -l verbose -d 'Show the dialogue with the peer on stderr, without secrets'
complete -c ftpls -s 0 -l null -d 'End records with NUL and leave bytes unescaped'
complete -c ftpls -l show-config -d 'Print the options in force, each with its origin, and exit'
complete -c ftpls -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ftpls -s V -l version -d 'Print version'
