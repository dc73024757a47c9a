#!/bin/sh
# smtpsend beside curl, swaks, msmtp, python's smtplib and smtp-source; all to Postfix's smtp-sink.
. "$(dirname "$0")/common.sh"

size=$(scaled 100)
machine
need postfix smtp-sink postfix || exit 1
postfix=$(peer_env postfix)
port=$(free_port)
port_of_sink=$port
user=
[ "$(id -u)" != 0 ] || user="-u nobody"
# shellcheck disable=SC2086
background sink "$port" $postfix smtp-sink $user 127.0.0.1:"$port" 1000
at=127.0.0.1:$port
head -c $((size * 1048576)) /dev/urandom > attachment
printf 'text\n' > body
printf 'From: a@a.test\r\nTo: b@b.test\r\nSubject: x\r\n\r\ntext\r\n' > tiny.eml
cat > send.py <<'PY'
import smtplib, sys
with smtplib.SMTP(sys.argv[1], int(sys.argv[2])) as client:
    for _ in range(int(sys.argv[3])):
        client.sendmail("a@a.test", ["b@b.test"], open("tiny.eml").read())
PY

{
    printf 'ours\tsmtpsend -q --server smtp://%s --from a@a.test --to b@b.test --subject x --body body --attach attachment\n' "$at"
    printf 'curl -F\tcurl -s --url smtp://%s --mail-from a@a.test --mail-rcpt b@b.test -F "=<body" -F "=@attachment;encoder=base64" -H "Subject: x"\n' "$at"
    if need swaks swaks swaks; then
        printf 'swaks\t%s swaks --silent 3 --server %s --from a@a.test --to b@b.test --attach @attachment\n' "$(peer_env swaks)" "$at"
    fi
} | measure "attachment of $size MiB"

{
    printf 'ours\tsmtpsend -q --server smtp://%s -f a@a.test -t -i < tiny.eml\n' "$at"
    printf 'smtp-source\t%s smtp-source -m 1 -f a@a.test -t b@b.test %s\n' "$postfix" "$at"
    printf 'curl\tcurl -s --url smtp://%s --mail-from a@a.test --mail-rcpt b@b.test -T tiny.eml\n' "$at"
    if need msmtp msmtp msmtp; then
        printf 'msmtp\t%s msmtp --file=/dev/null --host=127.0.0.1 --port=%s --from=a@a.test b@b.test < tiny.eml\n' "$(peer_env msmtp)" "$port"
    fi
    printf 'python smtplib\tpython3 send.py 127.0.0.1 %s 1\n' "$port"
} | ROUNDS=21 measure "one tiny message, process start to exit"

count=$(scaled 5000)
export SINK=smtp://$at/x
python3 - "$count" <<'PY'
import os, sys
count = int(sys.argv[1])
text = "From: a@a.test\nTo: b@b.test\nSubject: x\n\n" + ("x" * 70 + "\n") * 57
os.mkdir("each")
for number in range(count):
    open(f"each/{number:05}.eml", "w").write(text)
open("all.mbox", "w").write(f"From a@a.test Mon Nov 23 05:00:00 2026\n{text}\n" * count)
with open("curl.conf", "w") as conf:
    for number in range(count):
        conf.write("next\n" if number else "")
        conf.write(f'url = "{os.environ["SINK"]}"\nmail-from = "a@a.test"\nmail-rcpt = "b@b.test"\ncrlf\nupload-file = "each/{number:05}.eml"\n')
open("rows.csv", "w").write("name,email\n" + "".join(f"User {n},u{n}@b.test\n" for n in range(count)))
open("template", "w").write("From: a@a.test\nTo: {{name}} <{{email}}>\nSubject: x {{name}}\n\n" + ("x" * 70 + "\n") * 57)
PY
cp each/00000.eml tiny.eml
sessions() { # sessions N: one table for N connections
    {
        printf 'ours --each DIR\tsmtpsend -q --server smtp://%s --each each --concurrency %s\n' "$at" "$1"
        printf 'ours --each MBOX\tsmtpsend -q --server smtp://%s --each all.mbox --concurrency %s\n' "$at" "$1"
        printf 'ours --merge\tsmtpsend -q --server smtp://%s --template template --merge rows.csv --concurrency %s\n' "$at" "$1"
        printf 'smtp-source\t%s smtp-source -d -s %s -l 4096 -m %s -f a@a.test -t b@b.test %s\n' "$postfix" "$1" "$count" "$at"
        [ "$1" != 1 ] || printf 'curl\tcurl -s -K curl.conf\n'
        [ "$1" != 1 ] || printf 'python smtplib\tpython3 send.py 127.0.0.1 %s %s\n' "$port" "$count"
    } | measure "$count messages of 4 KiB over $1 connection(s), one process" --unit messages --count "$count"
}
sessions 1
sessions 10

# ---- servers that keep the mail of tests: the same client to each; none of them syncs
chmod 711 .
mkdir -m 777 sunk
dumped=$(free_port)
# shellcheck disable=SC2086
background dump "$dumped" $postfix smtp-sink $user -d "$PWD/sunk/m." 127.0.0.1:"$dumped" 1000
capture() { # capture NAME OPTION...: one of ours; its port is $port
    name=$1
    shift
    serve "$name" smtpserve -q --listen 127.0.0.1:0 "$@"
}
capture files --capture kept
files=$port
capture records --capture recorded --report records.jsonl
records=$port
source_to() { # source_to TITLE PORT
    printf '%s\t%s smtp-source -d -s 10 -l 4096 -m %s -f a@a.test -t b@b.test 127.0.0.1:%s\n' "$1" "$postfix" "$count" "$2"
}
{
    source_to 'ours --capture DIR' "$files"
    source_to 'ours, with decoded records' "$records"
    source_to 'smtp-sink -d, a file each' "$dumped"
    source_to 'smtp-sink, nothing kept' "$port_of_sink"
} | measure "$count messages of 4 KiB kept, over 10 connections from smtp-source" --unit messages --count "$count"
