complete -c ftpget -s i -l input -d 'Fetch what FILE or stdin names too: a URL a line, or with --base a path a line; with -0 each ends in NUL' -r -F
complete -c ftpget -l base -d 'The lines of -i are paths below this URL, taken as they are' -r
complete -c ftpget -s o -l output -d 'Where to: a file, a directory (several URLs, a glob, or a trailing `/`), or `-` for stdout; by default ./NAME' -r -F
complete -c ftpget -s C -l continue-at -d 'As -c (curl\'s `-C -`)' -r -f -a "-\t''"
complete -c ftpget -l links -d 'What to do about symbolic links: skip (and say so), follow (fetch what they lead to), keep (make links)' -r
complete -c ftpget -l range -d 'Fetch only these bytes of one file, counted from 0: 0-99, 100-, or -100 for the last hundred' -r
complete -c ftpget -l sha256 -d 'Fetch one file that must have this SHA-256; else it does not appear, and the status is 65' -r
complete -c ftpget -s j -l jobs -d 'Connections; chosen by the round trip and the work if not given' -r
complete -c ftpget -l move-source -d 'Move each file at the server into DIR when it is here, verified and synced' -r
complete -c ftpget -l include -d 'Take only what matches a GLOB (repeatable; the first rule that matches decides)' -r
complete -c ftpget -l exclude -d 'Leave out what matches a GLOB, directories with all that is in them (repeatable)' -r
complete -c ftpget -l include-regex -d 'The same by a regular expression, which matches anywhere in the path (repeatable)' -r
complete -c ftpget -l exclude-regex -d 'Leave out by a regular expression (repeatable)' -r
complete -c ftpget -l max-size -d 'Leave larger files out' -r
complete -c ftpget -l min-size -d 'Leave smaller files out' -r
complete -c ftpget -l min-age -d 'Leave files out that were modified within this time: they may still be written' -r
complete -c ftpget -l max-age -d 'Leave files out that were modified longer ago' -r
complete -c ftpget -l max-delete -d 'Delete nothing if more than N files and directories would go' -r
complete -c ftpget -l rate -l limit-rate -d 'No more than so many bytes a second, all connections together' -r
complete -c ftpget -l port-range -d 'Listen for them on a port of this range' -r
complete -c ftpget -l pasv-address -d 'Where passive data connections go: the host of the control connection, or what the server says' -r -f -a "control\t''
trust\t''"
complete -c ftpget -l account -l ftp-account -d 'The account that a server asks for after the password (ACCT)' -r
complete -c ftpget -l charset -l remote-encoding -d 'Names at the server are in this charset (koi8-r, shift_jis ...); here they are UTF-8' -r
complete -c ftpget -l before -d 'Send this command after the login (repeatable; a leading `*`: it may fail)' -r
complete -c ftpget -l user -d 'Log in as NAME' -r
complete -c ftpget -l password-file -d 'Read the password from the first line of FILE, or of stdin' -r -F
complete -c ftpget -l password-command -d 'Read the password from the first line that CMD prints' -r
complete -c ftpget -l netrc-file -d 'Look logins up in FILE instead of $NETRC or ~/.netrc' -r -F
complete -c ftpget -l tls -d 'When to use TLS: none, try (if offered), starttls (required), implicit' -r
complete -c ftpget -l ca-cert -d 'Trust the authorities in FILE (PEM) instead of the system\'s' -r -F
complete -c ftpget -l cert -d 'Show the peer this certificate (PEM)' -r -F
complete -c ftpget -l key -d 'The certificate\'s key (PEM), if not in the same file' -r -F
complete -c ftpget -l tls-name -d 'Ask for this name and check the certificate against it' -r
complete -c ftpget -l bind -d 'Connect from this local address' -r
complete -c ftpget -l connect-timeout -d 'Give up connecting after this time' -r
complete -c ftpget -l timeout -d 'Give up when the peer stays silent for this time' -r
complete -c ftpget -l min-rate -d 'Give up a transfer that stays slower than this many bytes a second for the time of --timeout; 0: only silence counts' -r
complete -c ftpget -l max-time -d 'End the whole run after this time' -r
complete -c ftpget -l proxy -d 'Go through a proxy: socks5://, socks5h:// or http://[USER:PASSWORD@]HOST[:PORT]; `none` for none' -r
complete -c ftpget -l retry -d 'Try again up to N times after a temporary failure' -r
complete -c ftpget -l retry-delay -d 'Wait this long before the first retry, twice as long before each further one' -r
complete -c ftpget -l after -d 'Send this command when all is done and nothing failed (repeatable; a leading `*`: it may fail)' -r
complete -c ftpget -s Q -l quote -d 'As --before; with a leading `-` as --after (curl\'s -Q)' -r
complete -c ftpget -l report -d 'Append records as JSON Lines to FILE (made for its owner alone, no link) or to an open descriptor, fd:N' -r
complete -c ftpget -l color -d 'When to use colours' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`'
always\t'Always'
never\t'Never'"
complete -c ftpget -l config -d 'Read options from FILE, one per line, instead of the default files; - reads none' -r -F
complete -c ftpget -s g -l no-glob -l globoff -d 'Take `* ? [ {` in URLs as they are'
complete -c ftpget -s r -l recursive -d 'Fetch whole trees; files that have the same size and time already are left alone'
complete -c ftpget -s n -l dry-run -d 'Only say what would be fetched, deleted, moved'
complete -c ftpget -s c -l continue -d 'Append what is missing to a shorter file of the final name (parts of our own are always continued)'
complete -c ftpget -s O -l remote-name -d 'What happens anyway (curl\'s -O): a file keeps its name'
complete -c ftpget -l no-resume -d 'Begin again instead of continuing what an earlier run left'
complete -c ftpget -l no-clobber -l only-missing -d 'Never replace a file that is there; with -r and globs such files are left out, else that is an error'
complete -c ftpget -s B -l ascii -l use-ascii -d 'Transfer text: line ends become LF; the same as `;type=a` in every URL'
complete -c ftpget -l keep-mode -d 'Give each file the permissions that it has at the server, without set-user-ID, set-group-ID and the sticky bit'
complete -c ftpget -l delete-source -d 'Delete each file at the server when it is here, verified and synced'
complete -c ftpget -l newer -l update -d 'Transfer a file only if it is newer than the other side\'s, whatever the sizes (single files too)'
complete -c ftpget -l size-only -d 'Files of the same size are the same, whatever their times (single files too)'
complete -c ftpget -l always -d 'Transfer what is the same on both sides too'
complete -c ftpget -l delete -d 'Delete what the source does not have, after all transfers and only if every listing was complete'
complete -c ftpget -l delete-first -d 'Delete before the transfers, as far as every listing is complete then'
complete -c ftpget -l allow-empty -d 'Delete also where the source is an empty directory'
complete -c ftpget -l verify -d 'Compare what was transferred with the server\'s checksum (HASH, XSHA256 ...) where it computes one, else size and time once more'
complete -c ftpget -l itemize -d 'Print one line per file or directory that is new, changed, deleted or skipped; with -n, what would be'
complete -c ftpget -s A -l active -d 'Let the server open data connections (EPRT, PORT); not through a proxy'
complete -c ftpget -l disable-epsv -d 'Ask for data connections with PASV, never with EPSV (IPv4)'
complete -c ftpget -l disable-eprt -d 'With --active: name the port with PORT, never with EPRT (IPv4)'
complete -c ftpget -l lock-step -d 'One command at a time, for servers that cannot do with several in one packet (found out by itself, too)'
complete -c ftpget -l data-clear -l ftp-ssl-control -d 'Inside TLS: files and listings in clear text (PROT C)'
complete -c ftpget -l ccc -l ftp-ssl-ccc -d 'Inside TLS: end it on the control connection after the login, for firewalls that read along (CCC)'
complete -c ftpget -l insecure -d 'Take any certificate: anybody on the way can read and change everything'
complete -c ftpget -s 4 -l ipv4 -d 'IPv4 only'
complete -c ftpget -s 6 -l ipv6 -d 'IPv6 only'
complete -c ftpget -l json -d 'Print JSON Lines: one object a record'
complete -c ftpget -s q -l quiet -d 'No progress, warnings or hints; errors stay'
complete -c ftpget -s v -l verbose -d 'Show the dialogue with the peer on stderr, without secrets'
complete -c ftpget -l show-config -d 'Print the options in force, with the origin of each, and end'
complete -c ftpget -s 0 -l null -d 'End records with NUL and leave bytes unescaped'
complete -c ftpget -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ftpget -s V -l version -d 'Print version'
