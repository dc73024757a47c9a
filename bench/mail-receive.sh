#!/bin/sh
# Mail that arrives for mailboxes: smtp-source -> smtpserve -> Maildir, beside Postfix and its virtual(8), with the same durability on the
# same disk: ten sessions into one Maildir and into fifty, one session into one. Root only, for Postfix.
. "$(dirname "$0")/common.sh"
on_disk receive
machine
need postfix smtp-source postfix
root=/
[ -e "$peers/postfix/.complete" ] && root=$(cd "$peers/postfix" && pwd)
python3 "$here/mail-receive.py" "$disk" "$(scaled 5000)" "$(peer_env postfix)" "$root" &
servers="$servers $!"
wait $!
