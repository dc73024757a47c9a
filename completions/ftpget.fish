complete -c ftpget -s i -l input -d 'Also fetch the URLs in FILE or on stdin, one per line; with --base they are paths; with -0 each ends with NUL' -r -F
complete -c ftpget -l base -d 'The lines of -i are literal paths below this URL' -r
complete -c ftpget -s o -l output -d 'Target: a file, a directory with a trailing `/`, or `-` for stdout; the default is ./NAME, and a directory for several files' -r -F
complete -c ftpget -s C -l continue-at -d 'As -c (curl\'s `-C -`)' -r -f -a "-\t''"
complete -c ftpget -l links -d 'Symbolic links: skip (with a warning), follow (fetch their targets), keep (create links)' -r -f -a "skip\t''
follow\t''
keep\t''"
complete -c ftpget -l range -d 'Fetch only these bytes of one file, counted from 0: 0-99, 100-, or -100 for the last hundred' -r
complete -c ftpget -l sha256 -d 'Fetch one file with this SHA-256; any other content is discarded, with status 65' -r
complete -c ftpget -s j -l jobs -d 'Number of connections (default: by round-trip time and number of files)' -r
complete -c ftpget -l move-source -d 'Move each file on the server into DIR after it is verified and synced here' -r
complete -c ftpget -l include -d 'Include only names that match GLOB (repeatable; the first matching rule decides)' -r
complete -c ftpget -l exclude -d 'Exclude names that match GLOB, and directories with their contents (repeatable)' -r
complete -c ftpget -l include-regex -d 'Include paths in which a regular expression matches anywhere (repeatable)' -r
complete -c ftpget -l exclude-regex -d 'Exclude paths in which a regular expression matches anywhere (repeatable)' -r
complete -c ftpget -l max-size -d 'Skip larger files' -r
complete -c ftpget -l min-size -d 'Skip smaller files' -r
complete -c ftpget -l min-age -d 'Skip files modified within this time: they may still be written' -r
complete -c ftpget -l max-age -d 'Skip files modified longer ago' -r
complete -c ftpget -l max-delete -d 'Delete nothing if more than N files and directories would go' -r
complete -c ftpget -l rate -l limit-rate -d 'Transfer at most RATE bytes per second, all connections together' -r
complete -c ftpget -l port-range -d 'Ports to listen on for active data connections' -r
complete -c ftpget -l pasv-address -d 'Address of passive data connections: that of the control connection (control), or the server\'s reply (trust)' -r -f -a "control\t''
trust\t''"
complete -c ftpget -l account -l ftp-account -d 'Account that a server requests after the password (ACCT)' -r
complete -c ftpget -l charset -l remote-encoding -d 'Charset of the server\'s names (koi8-r, shift_jis ...); local names are UTF-8' -r
complete -c ftpget -l before -d 'Send this command after the login (repeatable; a leading `*`: it may fail)' -r
complete -c ftpget -l user -d 'Log in as NAME' -r
complete -c ftpget -l password-file -d 'Read the password from the first line of FILE, or of stdin' -r -F
complete -c ftpget -l password-command -d 'Read the password from the first line that CMD prints' -r
complete -c ftpget -l netrc-file -d 'Look logins up in FILE instead of $NETRC or ~/.netrc' -r -F
complete -c ftpget -l tls -d 'When to use TLS: none, try (if offered), starttls (required), implicit' -r -f -a "none\t''
try\t''
starttls\t''
implicit\t''"
complete -c ftpget -l ca-cert -d 'Trust the authorities in FILE (PEM) instead of the system\'s' -r -F
complete -c ftpget -l cert -d 'Client certificate (PEM)' -r -F
complete -c ftpget -l key -d 'Key of the certificate (PEM), if it is not in the same file' -r -F
complete -c ftpget -l pin -d 'Accept only servers whose certificate or public key has this SHA-256 digest, from any issuer (hexadecimal or base64); with --ca-cert or --tls-name the certificate is checked too; may be repeated' -r
complete -c ftpget -l tls-name -d 'Send this name (SNI) and check the certificate against it' -r
complete -c ftpget -l bind -d 'Connect from this local address' -r
complete -c ftpget -l connect-timeout -d 'Give up connecting after this time' -r
complete -c ftpget -l timeout -d 'Give up when the peer stays silent for this time' -r
complete -c ftpget -l min-rate -d 'Give up a transfer that is slower than RATE bytes per second for the time of --timeout; 0: only the timeout applies' -r
complete -c ftpget -l max-time -d 'End the whole run after this time' -r
complete -c ftpget -l proxy -d 'Connect through a proxy: socks5://, socks5h:// or http://[USER:PASSWORD@]HOST[:PORT]; `none`: no proxy' -r
complete -c ftpget -l retry -d 'Try again up to N times after a temporary failure' -r
complete -c ftpget -l retry-delay -d 'Wait TIME before the first retry; each further wait is twice as long' -r
complete -c ftpget -l after -d 'Send this command at the end, if nothing failed (repeatable; a leading `*`: it may fail)' -r
complete -c ftpget -s Q -l quote -d 'As --before; with a leading `-` as --after (curl\'s -Q)' -r
complete -c ftpget -l report -d 'Append records as JSON Lines to FILE (created with mode 0600, not through a link) or to an open descriptor, fd:N' -r
complete -c ftpget -l color -d 'When to use colours' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`'
always\t'Always'
never\t'Never'"
complete -c ftpget -l config -d 'Read options from FILE, one per line, instead of the default files; - reads none' -r -F
complete -c ftpget -s g -l no-glob -l globoff -d 'Take `* ? [ {` in URLs literally'
complete -c ftpget -s r -l recursive -d 'Fetch whole trees; skip files whose size and time are the same'
complete -c ftpget -s n -l dry-run -d 'Print the files that would be fetched, deleted or moved; change nothing'
complete -c ftpget -s c -l continue -d 'Continue a shorter local file that another tool left; parts of ftpget are always continued'
complete -c ftpget -s O -l remote-name -d 'What happens anyway (curl\'s -O): a file keeps its name'
complete -c ftpget -l no-resume -d 'Start over instead of continuing the part of an earlier run'
complete -c ftpget -l no-clobber -l only-missing -d 'Never replace an existing file; with -r and globs it is skipped, else it is an error'
complete -c ftpget -s B -l ascii -l use-ascii -d 'Transfer text: line ends become LF; the same as `;type=a` in every URL'
complete -c ftpget -l keep-mode -d 'Copy the permissions of each file, without set-user-ID, set-group-ID and the sticky bit'
complete -c ftpget -l delete-source -d 'Delete each file on the server after it is verified and synced here'
complete -c ftpget -l newer -l update -d 'Transfer a file only if it is newer than the other side\'s, whatever the sizes (single files too)'
complete -c ftpget -l size-only -d 'Files of the same size are the same, whatever their times (single files too)'
complete -c ftpget -l always -d 'Transfer unchanged files too'
complete -c ftpget -l delete -d 'Delete files that the source does not have, after all transfers and only if every listing was complete'
complete -c ftpget -l delete-first -d 'Delete before the transfers; only if every listing is complete by then'
complete -c ftpget -l allow-empty -d 'Delete even if the source is an empty directory'
complete -c ftpget -l verify -d 'Compare each file with the server\'s checksum (HASH, XSHA256 ...), or with its size and time if the server computes none'
complete -c ftpget -l itemize -d 'Print one line per file or directory that is new, changed, deleted or skipped; with -n, what would be'
complete -c ftpget -s A -l active -d 'Let the server open the data connections (EPRT, PORT); not through a proxy'
complete -c ftpget -l disable-epsv -d 'Request data connections with PASV, never with EPSV (IPv4)'
complete -c ftpget -l disable-eprt -d 'With --active: use PORT, never EPRT (IPv4)'
complete -c ftpget -l lock-step -d 'Send one command at a time, for servers that fail on several in one packet (also detected automatically)'
complete -c ftpget -l data-clear -l ftp-ssl-control -d 'With TLS: send files and listings unencrypted (PROT C)'
complete -c ftpget -l ccc -l ftp-ssl-ccc -d 'With TLS: end it on the control connection after the login, for firewalls that inspect it (CCC)'
complete -c ftpget -l insecure -d 'Accept any certificate: an attacker in the network path can read and change the data'
complete -c ftpget -s 4 -l ipv4 -d 'IPv4 only'
complete -c ftpget -s 6 -l ipv6 -d 'IPv6 only'
complete -c ftpget -l json -d 'Print JSON Lines: one object per record'
complete -c ftpget -s q -l quiet -d 'No progress, warnings or hints, and no words for the answer "no"; -qq: nor for temporary failures (75)'
complete -c ftpget -s v -l verbose -d 'Show the dialogue with the peer on stderr, without secrets'
complete -c ftpget -l show-config -d 'Print the options in force, each with its origin, and exit'
complete -c ftpget -s 0 -l null -d 'End records with NUL and leave bytes unescaped'
complete -c ftpget -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ftpget -s V -l version -d 'Print version'
