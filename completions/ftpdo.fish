complete -c ftpdo -s d -l date -d 'touch: set this time instead of now: 2026-11-23T05:52:22Z, @SECONDS, or 2d for two days ago' -r
complete -c ftpdo -s a -l algorithm -d 'hash: use SHA-512, SHA-256, SHA-1, MD5 or CRC32 instead of the server\'s strongest' -r -f -a "SHA-512\t''
SHA-256\t''
SHA-1\t''
MD5\t''
CRC32\t''"
complete -c ftpdo -s o -l to -d 'get, put: target file; with a / at the end the target directory' -r
complete -c ftpdo -l min-days -d 'probe: end with status 1 if a certificate of the server\'s chain ends in fewer days' -r
complete -c ftpdo -l name -d 'Only names that match this glob; with a / in it the path (repeatable: one must match)' -r
complete -c ftpdo -l exclude -d 'Exclude names that match this glob, and directories with their contents (repeatable)' -r
complete -c ftpdo -l type -d 'Only files (f), directories (d), links (l) or others (o); `f,l` for several' -r -f -a "f\t''
d\t''
l\t''
o\t''"
complete -c ftpdo -l min-size -d 'Only entries of this size or larger' -r
complete -c ftpdo -l max-size -d 'Only entries of this size or smaller' -r
complete -c ftpdo -l newer -l newer-than -d 'Only entries modified at this time or later: 2026-11-23, 2026-11-23T05:52:22Z, @SECONDS, or 2d for two days ago' -r
complete -c ftpdo -l older -l older-than -d 'Only entries modified at this time or earlier' -r
complete -c ftpdo -l port-range -d 'Ports to listen on for active data connections' -r
complete -c ftpdo -l pasv-address -d 'Address of passive data connections: that of the control connection (control), or the server\'s reply (trust)' -r -f -a "control\t''
trust\t''"
complete -c ftpdo -l account -l ftp-account -d 'Account that a server requests after the password (ACCT)' -r
complete -c ftpdo -l charset -l remote-encoding -d 'Charset of the server\'s names (koi8-r, shift_jis ...); local names are UTF-8' -r
complete -c ftpdo -l before -d 'Send this command after the login (repeatable; a leading `*`: it may fail)' -r
complete -c ftpdo -l user -d 'Log in as NAME' -r
complete -c ftpdo -l password-file -d 'Read the password from the first line of FILE, or of stdin' -r -F
complete -c ftpdo -l password-command -d 'Read the password from the first line that CMD prints' -r
complete -c ftpdo -l netrc-file -d 'Look logins up in FILE instead of $NETRC or ~/.netrc' -r -F
complete -c ftpdo -l tls -d 'When to use TLS: none, try (if offered), starttls (required), implicit' -r -f -a "none\t''
try\t''
starttls\t''
implicit\t''"
complete -c ftpdo -l ca-cert -d 'Trust the authorities in FILE (PEM) instead of the system\'s' -r -F
complete -c ftpdo -l cert -d 'Client certificate (PEM)' -r -F
complete -c ftpdo -l key -d 'Key of the certificate (PEM), if it is not in the same file' -r -F
complete -c ftpdo -l pin -d 'Accept only servers whose certificate or public key has this SHA-256 digest, from any issuer (hexadecimal or base64); with --ca-cert or --tls-name the certificate is checked too; may be repeated' -r
complete -c ftpdo -l tls-name -d 'Send this name (SNI) and check the certificate against it' -r
complete -c ftpdo -l bind -d 'Connect from this local address' -r
complete -c ftpdo -l connect-timeout -d 'Give up connecting after this time' -r
complete -c ftpdo -l timeout -d 'Give up when the peer stays silent for this time' -r
complete -c ftpdo -l min-rate -d 'Give up a transfer that is slower than RATE bytes per second for the time of --timeout; 0: only the timeout applies' -r
complete -c ftpdo -l max-time -d 'End the whole run after this time' -r
complete -c ftpdo -l proxy -d 'Connect through a proxy: socks5://, socks5h:// or http://[USER:PASSWORD@]HOST[:PORT]; `none`: no proxy' -r
complete -c ftpdo -l retry -d 'Try again up to N times after a temporary failure' -r
complete -c ftpdo -l retry-delay -d 'Wait TIME before the first retry; each further wait is twice as long' -r
complete -c ftpdo -l report -d 'Append records as JSON Lines to FILE (created with mode 0600, not through a link) or to an open descriptor, fd:N' -r
complete -c ftpdo -l color -d 'When to use colours' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`'
always\t'Always'
never\t'Never'"
complete -c ftpdo -l config -d 'Read options from FILE, one per line, instead of the default files; - reads none' -r -F
complete -c ftpdo -s p -l parents -d 'mkdir: make parents too; an existing directory is no error'
complete -c ftpdo -s r -l recursive -d 'rm: remove directories with their contents'
complete -c ftpdo -s f -l force -d 'rm: a missing file is no error'
complete -c ftpdo -s c -l no-create -d 'touch: do not create files'
complete -c ftpdo -s k -l keep-going -d 'Continue the script after a failed command'
complete -c ftpdo -s n -l dry-run -d 'Print the changes without making them'
complete -c ftpdo -l no-glob -d 'Take `*`, `?`, `[` and `{` in the paths of the command line literally'
complete -c ftpdo -s l -l long -d 'ls: print all columns'
complete -c ftpdo -s A -l active -d 'Let the server open the data connections (EPRT, PORT); not through a proxy'
complete -c ftpdo -l disable-epsv -d 'Request data connections with PASV, never with EPSV (IPv4)'
complete -c ftpdo -l disable-eprt -d 'With --active: use PORT, never EPRT (IPv4)'
complete -c ftpdo -l lock-step -d 'Send one command at a time, for servers that fail on several in one packet (also detected automatically)'
complete -c ftpdo -l data-clear -l ftp-ssl-control -d 'With TLS: send files and listings unencrypted (PROT C)'
complete -c ftpdo -l ccc -l ftp-ssl-ccc -d 'With TLS: end it on the control connection after the login, for firewalls that inspect it (CCC)'
complete -c ftpdo -l insecure -d 'Accept any certificate: an attacker in the network path can read and change the data'
complete -c ftpdo -s 4 -l ipv4 -d 'IPv4 only'
complete -c ftpdo -s 6 -l ipv6 -d 'IPv6 only'
complete -c ftpdo -l json -d 'Print JSON Lines: one object per record'
complete -c ftpdo -s q -l quiet -d 'No progress, warnings or hints, and no words for the answer "no"; -qq: nor for temporary failures (75)'
complete -c ftpdo -s v -l verbose -d 'Show the dialogue with the peer on stderr, without secrets'
complete -c ftpdo -s 0 -l null -d 'End records with NUL and leave bytes unescaped'
complete -c ftpdo -l show-config -d 'Print the options in force, each with its origin, and exit'
complete -c ftpdo -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ftpdo -s V -l version -d 'Print version'
complete -c ftpdo -a "mkdir rm rmdir mv chmod touch stat ls get put cat hash du pwd raw"
