complete -c ftpserve -l system-root -d 'Serve PATH to all users of the system instead of their home directories' -r -F
complete -c ftpserve -l min-uid -d 'Lowest number of a user of the system that may log in, by --system-users or as= in the user file; root never may' -r
complete -c ftpserve -l tls -d 'When TLS starts, with a certificate: on the client\'s request (AUTH TLS), always (AUTH TLS), or before the first byte' -r -f -a "try\t'On the client\'s request'
starttls\t'By AUTH TLS, before any other command'
implicit\t'Before the first byte'"
complete -c ftpserve -l pasv-ports -d 'Ports for passive data connections' -r
complete -c ftpserve -l pasv-address -d 'Address in replies to PASV (behind NAT)' -r
complete -c ftpserve -l max-file-size -d 'Largest file that may be uploaded' -r
complete -c ftpserve -l min-free -d 'Refuse uploads when the file system has less free space than this' -r
complete -c ftpserve -l fsync -d 'What is on the disk when an upload is reported as complete; --fsync alone is --fsync=full' -r -f -a "none\t'Nothing: the system writes the file when it sees fit'
data\t'The bytes, before the file gets its name'
full\t'The bytes and the name'"
complete -c ftpserve -l idle -d 'End connections that are silent for this time' -r
complete -c ftpserve -l timeout -d 'End transfers that stall for this time' -r
complete -c ftpserve -l xferlog -d 'Append a line per transfer of a file to FILE, in the form of wu-ftpd\'s xferlog(5)' -r -F
complete -c ftpserve -l charset -d 'Charset of names on the wire, until a client sends OPTS UTF8 ON (koi8-r, shift_jis ...); names in DIR are UTF-8' -r
complete -c ftpserve -l hide -d 'Leave names that match GLOB (* and ?) out of listings; may be repeated' -r
complete -c ftpserve -l deny -d 'Refuse every command on names that match GLOB, and links that lead to such names; may be repeated' -r
complete -c ftpserve -l rule -d 'Set the rights in the directory PATH and below: words of the user file, or none; may be repeated, the longest PATH applies' -r
complete -c ftpserve -l exec-upload -d 'Run CMD with the path of each file that has arrived as its last argument; no shell reads CMD' -r
complete -c ftpserve -l exec-limit -d 'Kill the program of --exec-upload after this time' -r
complete -c ftpserve -l rate -d 'Limit each login to RATE bytes per second in each direction; up= and down= of the user file override it' -r
complete -c ftpserve -l max-transfers -d 'Run at most N transfers and listings at once; more are refused with 450' -r
complete -c ftpserve -l umask -d 'Permission bits that new files and directories do not get (default: those of the process)' -r
complete -c ftpserve -l greeting -d 'Text of the greeting' -r
complete -c ftpserve -l banner -d 'A file with the lines of the greeting' -r -F
complete -c ftpserve -l listen -d 'Listen on ADDRESS:PORT (port 0: any free one), or on PORT of 127.0.0.1; may be repeated' -r
complete -c ftpserve -l max-clients -d 'Serve at most N connections at once; more are refused' -r
complete -c ftpserve -l max-per-address -d 'Serve at most N connections from one address (IPv6: one /64 network), and no more than half of --max-clients' -r
complete -c ftpserve -l max-rate-per-address -d 'Accept at most N new connections per minute from one address, half of them at once; 0: no limit' -r
complete -c ftpserve -l address-file -d 'Write the URLs to FILE, one per line, once the server listens' -r -F
complete -c ftpserve -l drain -d 'After INT or TERM, let open connections finish for this time' -r
complete -c ftpserve -l cert -d 'Offer TLS with this certificate chain (PEM); may be repeated: a client gets the first that has the requested name' -r -F
complete -c ftpserve -l key -d 'The certificate\'s key (PEM), if not in the same file; one for each --cert' -r -F
complete -c ftpserve -l self-signed -d 'Offer TLS with a certificate made for NAME at start; may be repeated' -r
complete -c ftpserve -l cert-out -d 'Write the certificate that --self-signed made to FILE, for clients\' --ca-cert' -r -F
complete -c ftpserve -l client-ca -d 'Accept only clients with a certificate issued by an authority in FILE (PEM); without it no command is obeyed' -r -F
complete -c ftpserve -l min-rate -d 'Disconnect a client that is slower than RATE bytes per second for the time of --timeout; 0: only the timeout applies' -r
complete -c ftpserve -l user-file -d 'Users who may log in: one NAME:HASH[:HOME[:FLAGS]] per line; --hash-password makes the hash' -r -F
complete -c ftpserve -l hash-password -d 'Ask for a password (without a terminal: read it from stdin), print its hash for the user file, and exit' -r -f -a "argon2id\t'Argon2id: the best protection of a stolen file; passwords are checked by PLAIN and LOGIN'
scram-sha-256\t'A verifier for SCRAM-SHA-256, which also works with PLAIN and LOGIN'"
complete -c ftpserve -l log -d 'Append the log, one line of text per event, to FILE (created with mode 0600, not through a link); HUP reopens it' -r -F
complete -c ftpserve -l syslog -d 'Send the log to the local syslog daemon as daemon, mail, ftp, auth, local0 …; FACILITY,rfc5424: in the format of RFC 5424' -r -f -a "user\t''
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
complete -c ftpserve -l metrics -d 'Serve the counters in Prometheus\' text format at http://ADDR/metrics; a port alone is one of 127.0.0.1' -r
complete -c ftpserve -l reload-every -d 'Check for changed certificate files at this interval; 0: read them again only on HUP' -r
complete -c ftpserve -l run-as -d 'When started as root, become USER after ports are bound and keys are read (default: the owner of the served files)' -r
complete -c ftpserve -l report -d 'Append records as JSON Lines to FILE (created with mode 0600, not through a link) or to an open descriptor, fd:N' -r
complete -c ftpserve -l color -d 'When to use colours' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`'
always\t'Always'
never\t'Never'"
complete -c ftpserve -l config -d 'Read options from FILE, one per line, instead of the default files; - reads none' -r -F
complete -c ftpserve -l write -d 'Let clients upload, delete, rename and make directories'
complete -c ftpserve -l upload-only -d 'As --write, without downloads'
complete -c ftpserve -l drop-box -d 'Accept new files only; nothing is listed, downloaded or overwritten'
complete -c ftpserve -l anonymous -d 'With --user-file or --system-users: let anonymous list and download too'
complete -c ftpserve -l system-users -d 'Let users of the system log in with their passwords of /etc/shadow, each with their own rights, in their home directory'
complete -c ftpserve -l cert-login -d 'Log a user in without a password if the client\'s certificate has the user\'s name (as CN, mail address or DNS name)'
complete -c ftpserve -l auth-in-clear -d 'Accept passwords without TLS from other hosts'
complete -c ftpserve -l no-require-tls-reuse -d 'Take data connections inside TLS that do not resume the session of their control connection (curl -Z, rclone)'
complete -c ftpserve -l lenient-tls-end -d 'Accept an upload that ends without a TLS close notice as complete'
complete -c ftpserve -l no-active -d 'Refuse active mode (PORT, EPRT)'
complete -c ftpserve -l keep-partial -d 'Keep the received part of an interrupted upload, if its name was free'
complete -c ftpserve -l append -d 'Let APPE, and REST with STOR, write into any file; the default is only into an interrupted upload of the same user'
complete -c ftpserve -l check-config -d 'Check the options and files without starting, and exit: 0 if they are valid, else 78'
complete -c ftpserve -l i-know -d 'Allow --run-as to name root'
complete -c ftpserve -l no-sandbox -d 'Do not restrict the server to the named files and directories'
complete -c ftpserve -l json -d 'Print JSON Lines: one object per record'
complete -c ftpserve -s q -l quiet -d 'No progress, warnings or hints, and no words for the answer "no"; -qq: nor for temporary failures (75)'
complete -c ftpserve -s v -l verbose -d 'Show the dialogue with the peer on stderr, without secrets'
complete -c ftpserve -s 0 -l null -d 'End records with NUL and leave bytes unescaped'
complete -c ftpserve -l show-config -d 'Print the options in force, each with its origin, and exit'
complete -c ftpserve -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ftpserve -s V -l version -d 'Print version'
