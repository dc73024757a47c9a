#!/bin/sh
# The whole way of a relayed message: smtp-source -> smtpserve -> queue -> mailq-run --watch -> smtp-sink, beside Postfix
# doing the same; then draining a prepared queue, queueing from a shell loop beside nullmailer, and a queue of a million
# messages (MILLION=0 leaves that out). The queue lies on a disk, not on tmpfs. Postfix and nullmailer need root.
. "$(dirname "$0")/common.sh"
on_disk queue
machine
need postfix smtp-sink postfix
nullmailer=
if [ "$(id -u)" = 0 ] && sh "$here/../tests/interop/fetch.sh" "$peers/nullmailer" nullmailer && unshare -m true; then
    nullmailer=$(cd "$peers/nullmailer" && pwd)
fi
count=$(scaled 5000)
root=/
[ -e "$peers/postfix/.complete" ] && root=$(cd "$peers/postfix" && pwd)
python3 "$here/mail-queue.py" "$disk" "$count" "$(peer_env postfix)" "$root" "$nullmailer" &
servers="$servers $!"
wait $!
