#!/bin/sh
# The whole way of a relayed message: smtp-source -> smtpserve -> queue -> mailq-run --watch -> smtp-sink, beside Postfix
# doing the same; then draining a prepared queue, and queueing from a shell loop. The queue lies on a disk, not on tmpfs.
. "$(dirname "$0")/common.sh"
disk=${APPLAYER_BENCH_DISK:-$here/../target/bench}
mkdir -p "$disk"
disk=$(cd "$disk" && mktemp -d queue.XXXXXX -p "$PWD")
# Postfix runs as a user of its own.
chmod 755 "$disk"
cleanup() { rm -rf "$disk"; finish; }
trap cleanup EXIT
machine
need postfix smtp-sink postfix
count=$(scaled 5000)
python3 "$here/mail-queue.py" "$disk" "$count" "$(peer_env postfix)" "$peers/postfix"
