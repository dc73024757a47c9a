#!/bin/sh
# Cron use: build a report, put it in the durable queue, let the queue deliver it, and act on exit statuses.
#
# In a crontab it is two lines, silent unless something failed for good:
#   15 6 * * *   nightly-report.sh ops@example.org
#   */5 * * * *  mailq-run -q
#
# Run without an argument it shows itself: a private queue, and a mail server of its own to deliver to.
set -eu

work=$(mktemp -d)
servers=
finish() {
    status=$?
    trap - EXIT INT TERM
    for pid in $servers; do kill "$pid" 2>/dev/null || true; done
    wait
    rm -rf "$work"
    [ "$status" -eq 0 ] || echo "nightly-report: failed with status $status" >&2
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

report() {
    echo "Disk usage on $(uname -n):"
    echo
    df -P
}

# queue_report RECIPIENT: 0 means that the message is on disk and will be tried until it is delivered or expires.
queue_report() {
    report > "$work/report.txt"
    df -P | awk 'NR > 1 { print $6 "," $5 }' > "$work/usage.csv"
    smtpsend --queue --from "reports@$(uname -n)" --to "$1" --subject "Nightly report, $(date +%F)" \
        --body "$work/report.txt" --attach "$work/usage.csv"
}

if [ $# -gt 0 ]; then
    queue_report "$1"
    exit
fi

APPLAYER_QUEUE=$work/queue
export APPLAYER_QUEUE

echo "== the report is queued"
queue_report ops@reports.test
mailq-ls

# serve COMMAND...: starts a server in the background; its first line is its URL, $port the port in it.
mkfifo "$work/url"
serve() {
    server=$1; shift
    # Root serves as somebody else, unless it insists.
    [ "$(id -u)" -ne 0 ] || set -- --run-as root --i-know "$@"
    "$server" "$@" > "$work/url" &
    servers="$servers $!"
    read -r url < "$work/url"
    port=$(echo "$url" | sed 's|/*$||; s|.*:||')
}

cat > "$work/zone" <<'ZONE'
$ORIGIN reports.test.
$TTL 300
@     IN SOA  ns hostmaster 1 3600 600 86400 60
      IN NS   ns
      IN MX   10 mail
ns    IN A    127.0.0.1
mail  IN A    127.0.0.1
ZONE
serve dnsserve --listen 127.0.0.1:0 "$work/zone"
dns=127.0.0.1:$port

echo "== its mail server is down: a deferral is within the schedule (0); with --strict it is 75"
mkdir -p "$work/mail/ops"
serve smtpserve --listen 127.0.0.1:0 --domain reports.test --mailboxes "$work/mail"
kill "${servers##* }"
wait "${servers##* }" || true
servers=${servers% *}
status=0
mailq-run -q --strict --resolver "$dns" --mx-port "$port" || status=$?
[ "$status" -eq 75 ] || { echo "expected 75, got $status" >&2; exit 1; }
mailq-run -q --resolver "$dns" --mx-port "$port"
mailq-ls

echo "== the server is back: retry now instead of when it is due, and it arrives"
serve smtpserve --listen 127.0.0.1:0 --domain reports.test --mailboxes "$work/mail"
mailq-ls | cut -f 1 | mailq-edit retry -
mailq-run -q --resolver "$dns" --mx-port "$port"
[ -z "$(mailq-ls)" ]
mailread list -m "$work/mail/ops"
