complete -c ftpput -l links -d 'Symbolic links in trees: skip (with a warning), follow (store their targets)' -r -f -a "skip\t''
follow\t''"
complete -c ftpput -l mode -l chmod -d 'Set these permission bits on every file (SITE CHMOD)' -r
complete -c ftpput -s j -l jobs -d 'Number of connections (default: by round-trip time and number of files)' -r
complete -c ftpput -l include -d 'Include only names that match GLOB (repeatable; the first matching rule decides)' -r
complete -c ftpput -l exclude -d 'Exclude names that match GLOB, and directories with their contents (repeatable)' -r
complete -c ftpput -l include-regex -d 'Include paths in which a regular expression matches anywhere (repeatable)' -r
complete -c ftpput -l exclude-regex -d 'Exclude paths in which a regular expression matches anywhere (repeatable)' -r
complete -c ftpput -l max-size -d 'Skip larger files' -r
complete -c ftpput -l min-size -d 'Skip smaller files' -r
complete -c ftpput -l min-age -d 'Skip files modified within this time: they may still be written' -r
complete -c ftpput -l max-age -d 'Skip files modified longer ago' -r
complete -c ftpput -l max-delete -d 'Delete nothing if more than N files and directories would go' -r
complete -c ftpput -l rate -l limit-rate -d 'Transfer at most RATE bytes per second, all connections together' -r
complete -c ftpput -l port-range -d 'Ports to listen on for active data connections' -r
complete -c ftpput -l pasv-address -d 'Address of passive data connections: that of the control connection (control), or the server\'s reply (trust)' -r -f -a "control\t''
trust\t''"
complete -c ftpput -l account -l ftp-account -d 'Account that a server requests after the password (ACCT)' -r
complete -c ftpput -l charset -l remote-encoding -d 'Charset of the server\'s names (koi8-r, shift_jis ...); local names are UTF-8' -r
complete -c ftpput -l before -d 'Send this command after the login (repeatable; a leading `*`: it may fail)' -r
complete -c ftpput -l user -d 'Log in as NAME' -r
complete -c ftpput -l password-file -d 'Read the password from the first line of FILE, or of stdin' -r -F
complete -c ftpput -l password-command -d 'Read the password from the first line that CMD prints' -r
complete -c ftpput -l netrc-file -d 'Look logins up in FILE instead of $NETRC or ~/.netrc' -r -F
complete -c ftpput -l tls -d 'When to use TLS: none, try (if offered), starttls (required), implicit' -r -f -a "none\t''
try\t''
starttls\t''
implicit\t''"
complete -c ftpput -l ca-cert -d 'Trust the authorities in FILE (PEM) instead of the system\'s' -r -F
complete -c ftpput -l cert -d 'Client certificate (PEM)' -r -F
complete -c ftpput -l key -d 'Key of the certificate (PEM), if it is not in the same file' -r -F
complete -c ftpput -l pin -d 'Accept only servers whose certificate or public key has this SHA-256 digest, from any issuer (hexadecimal or base64); with --ca-cert or --tls-name the certificate is checked too; may be repeated' -r
complete -c ftpput -l tls-name -d 'Send this name (SNI) and check the certificate against it' -r
complete -c ftpput -l bind -d 'Connect from this local address' -r
complete -c ftpput -l connect-timeout -d 'Give up connecting after this time' -r
complete -c ftpput -l timeout -d 'Give up when the peer stays silent for this time' -r
complete -c ftpput -l min-rate -d 'Give up a transfer that is slower than RATE bytes per second for the time of --timeout; 0: only the timeout applies' -r
complete -c ftpput -l max-time -d 'End the whole run after this time' -r
complete -c ftpput -l proxy -d 'Connect through a proxy: socks5://, socks5h:// or http://[USER:PASSWORD@]HOST[:PORT]; `none`: no proxy' -r
complete -c ftpput -l retry -d 'Try again up to N times after a temporary failure' -r
complete -c ftpput -l retry-delay -d 'Wait TIME before the first retry; each further wait is twice as long' -r
complete -c ftpput -l after -d 'Send this command at the end, if nothing failed (repeatable; a leading `*`: it may fail)' -r
complete -c ftpput -s Q -l quote -d 'As --before; with a leading `-` as --after (curl\'s -Q)' -r
complete -c ftpput -l report -d 'Append records as JSON Lines to FILE (created with mode 0600, not through a link) or to an open descriptor, fd:N' -r
complete -c ftpput -l color -d 'When to use colours' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`'
always\t'Always'
never\t'Never'"
complete -c ftpput -l config -d 'Read options from FILE, one per line, instead of the default files; - reads none' -r -F
complete -c ftpput -s r -l recursive -d 'Store the contents of directories below the URL; skip files whose size and time are the same'
complete -c ftpput -s n -l dry-run -d 'Print the files that would be stored or deleted; change nothing'
complete -c ftpput -l in-place -d 'Write under the final name from the start, without a temporary name'
complete -c ftpput -l replace -d 'Delete the old file before the complete upload is renamed, for servers that do not rename over a file'
complete -c ftpput -s a -l append -d 'Add to the end of the remote file'
complete -c ftpput -l no-resume -d 'Start over instead of continuing the part of an earlier run'
complete -c ftpput -l no-clobber -l only-missing -d 'Never replace an existing file; with -r it is skipped, else it is an error'
complete -c ftpput -l keep-mode -d 'Copy the permission bits of every file (SITE CHMOD)'
complete -c ftpput -s B -l ascii -l use-ascii -d 'Transfer text: line ends become CRLF; the same as `;type=a` in the URL'
complete -c ftpput -l newer -l update -d 'Transfer a file only if it is newer than the other side\'s, whatever the sizes (single files too)'
complete -c ftpput -l size-only -d 'Files of the same size are the same, whatever their times (single files too)'
complete -c ftpput -l always -d 'Transfer unchanged files too'
complete -c ftpput -l delete -d 'Delete files that the source does not have, after all transfers and only if every listing was complete'
complete -c ftpput -l delete-first -d 'Delete before the transfers; only if every listing is complete by then'
complete -c ftpput -l allow-empty -d 'Delete even if the source is an empty directory'
complete -c ftpput -l verify -d 'Compare each file with the server\'s checksum (HASH, XSHA256 ...), or with its size and time if the server computes none'
complete -c ftpput -l itemize -d 'Print one line per file or directory that is new, changed, deleted or skipped; with -n, what would be'
complete -c ftpput -s A -l active -d 'Let the server open the data connections (EPRT, PORT); not through a proxy'
complete -c ftpput -l disable-epsv -d 'Request data connections with PASV, never with EPSV (IPv4)'
complete -c ftpput -l disable-eprt -d 'With --active: use PORT, never EPRT (IPv4)'
complete -c ftpput -l lock-step -d 'Send one command at a time, for servers that fail on several in one packet (also detected automatically)'
complete -c ftpput -l data-clear -l ftp-ssl-control -d 'With TLS: send files and listings unencrypted (PROT C)'
complete -c ftpput -l ccc -l ftp-ssl-ccc -d 'With TLS: end it on the control connection after the login, for firewalls that inspect it (CCC)'
complete -c ftpput -l insecure -d 'Accept any certificate: an attacker in the network path can read and change the data'
complete -c ftpput -s 4 -l ipv4 -d 'IPv4 only'
complete -c ftpput -s 6 -l ipv6 -d 'IPv6 only'
complete -c ftpput -l json -d 'Print JSON Lines: one object per record'
complete -c ftpput -s q -l quiet -d 'No progress, warnings or hints, and no words for the answer "no"; -qq: nor for temporary failures (75)'
complete -c ftpput -s v -l verbose -d 'Show the dialogue with the peer on stderr, without secrets'
complete -c ftpput -s 0 -l null -d 'End records with NUL and leave bytes unescaped'
complete -c ftpput -l show-config -d 'Print the options in force, each with its origin, and exit'
complete -c ftpput -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ftpput -s V -l version -d 'Print version'
