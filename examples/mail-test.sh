#!/bin/sh
# A test of a program that sends mail, with smtpserve as its server: the program writes to bob, the test reads what came.
# From a checkout: PATH=target/release:$PATH sh examples/mail-test.sh
set -eu

work=$(mktemp -d)
server=
trap 'kill $server 2>/dev/null || true; rm -rf "$work"' EXIT
chmod 711 "$work" # root's server becomes nobody
cd "$work"

# The server ends by itself: with 0 when the message is there, with 75 after half a minute without one.
smtpserve -q --json --listen 127.0.0.1:0 --address-file url --capture kept --expect 1 --max-time 30 > records &
server=$!
until [ -s url ]; do kill -0 "$server"; sleep 0.1; done

# ---- the program under test, which is told where the mail server is
smtpsend --server "$(cat url)" --from app@example.test --to bob@example.test --subject 'Please confirm' \
    --text 'Welcome! Follow https://app.example/confirm?token=4711 within a day.'

# ---- what must have happened
wait "$server"
server=
grep -q '^Subject: Please confirm' kept/*.eml
grep -q '"recipients":\["bob@example.test"\]' records
grep -q '"links":\["https://app.example/confirm?token=4711"\]' records
echo "mail-test: passed"
