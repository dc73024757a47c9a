#!/bin/sh
# The queue on a real disk: taking 5,000 messages by SMTP, putting one there from the shell, draining 5,000 to smtp-sink; beside
# smtp-source, which sends the same messages straight to the sink and keeps nothing.
. "$(dirname "$0")/common.sh"

messages=$(scaled 5000)
machine
need postfix smtp-sink postfix || exit 1
postfix=$(peer_env postfix)
disk=$(mktemp -d "$here/../target/bench-queue.XXXXXX")
trap 'status=$?; rm -rf "$disk"; (exit $status); finish' EXIT
python3 - "$disk" <<'PY'
import os, statistics, sys, time
path = os.path.join(sys.argv[1], "probe")
with open(path, "ab", buffering=0) as probe:
    times = []
    for _ in range(200):
        start = time.perf_counter()
        probe.write(b"x" * 4096)
        os.fdatasync(probe.fileno())
        times.append(time.perf_counter() - start)
os.unlink(path)
print(f"fdatasync after 4 KiB: median {statistics.median(times) * 1e3:.2f} ms, worst {max(times) * 1e3:.2f} ms")
PY
user=
[ "$(id -u)" != 0 ] || user="-u nobody"
port=$(free_port)
# shellcheck disable=SC2086
background sink "$port" $postfix smtp-sink $user 127.0.0.1:"$port" 1000
sink=127.0.0.1:$port
serve smtpserve smtpserve -q --listen 127.0.0.1:0 --relay-from 127.0.0.0/8 --queue-dir "$disk/queue"
accept=127.0.0.1:$port
printf 'text\n' > body

drain="mailq-run -q --queue-dir $disk/queue --route b.test=smtp://$sink"
fill="$postfix smtp-source -s 10 -l 4096 -m $messages -f a@a.test -t b@b.test"
{
    printf 'ours: smtpserve takes into the queue, 10 sessions\t%s %s\t%s\n' "$fill" "$accept" "$drain"
    printf 'smtp-source to the sink, 10 sessions\t%s %s\n' "$fill" "$sink"
} | measure "taking $messages messages of 4 KiB" --unit messages --count "$messages"
{
    printf 'ours: mailq-run drains the queue\t%s\t%s && %s %s\n' "$drain" "$drain" "$fill" "$accept"
    printf 'smtp-source to the sink, 1 session kept open\t%s smtp-source -d -s 1 -l 4096 -m %s -f a@a.test -t b@b.test %s\n' "$postfix" "$messages" "$sink"
    printf 'smtp-source to the sink, 10 sessions kept open\t%s smtp-source -d -s 10 -l 4096 -m %s -f a@a.test -t b@b.test %s\n' "$postfix" "$messages" "$sink"
} | measure "draining $messages messages of 4 KiB" --unit messages --count "$messages"
$drain
printf 'ours: smtpsend --queue\tsmtpsend -q --queue --queue-dir %s --from a@a.test --to b@b.test --subject x --body body\n' "$disk/one" |
    ROUNDS=21 measure "one message into the queue, process start to exit"
