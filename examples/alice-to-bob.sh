#!/bin/sh
# Alice writes to Bob, Bob answers, and a file travels by FTP, with nothing but applayer's tools and standard Unix ones.
# Five servers of our own run on loopback ports that the system chooses; everything lies in one temporary folder and
# is gone at the end. `make demo` runs this after building; from a checkout also: PATH=target/release:$PATH sh $0
set -eu

work=$(mktemp -d)
servers=
step=start

# Ends the servers and removes the folder; a failure names its step and shows what the servers had to say.
finish() {
    status=$?
    trap - EXIT INT TERM
    for pid in $servers; do kill "$pid" 2>/dev/null || true; done
    wait
    if [ "$status" -ne 0 ]; then
        echo "FAILED in step: $step (status $status)" >&2
        for log in "$work"/*.log; do
            [ -s "$log" ] && sed "s|^|  $(basename "$log" .log): |" "$log" >&2
        done
    fi
    rm -rf "$work"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

step() { step=$*; echo "== $*"; }
fail() { echo "$*" >&2; exit 1; }

# serve NAME COMMAND...: starts a server in the background. The first line it prints is its URL; $url holds it then.
serve() {
    name=$1 server=$2; shift 2
    # Root serves as somebody else, unless it insists.
    [ "$(id -u)" -ne 0 ] || set -- --run-as root --i-know "$@"
    mkfifo "$work/$name.url"
    "$server" "$@" > "$work/$name.url" 2> "$work/$name.log" &
    servers="$servers $!"
    read -r url < "$work/$name.url" || fail "$name did not start"
    echo "   $name is at $url"
}

# show FILE: what a command printed, indented. (A command never stands before a pipe here: its status would be lost.)
show() { sed 's/^/   /' "$1"; }

# port URL: the port in it.
port() { echo "$1" | sed 's|/*$||; s|.*:||'; }

# expect STATUS COMMAND...: the command must end with this status.
expect() {
    wanted=$1; shift
    status=0
    "$@" || status=$?
    [ "$status" -eq "$wanted" ] || fail "$1 ended with $status, not $wanted"
}

cd "$work"

# ---------------------------------------------------------------------------------------------------------------------
step "dnsserve answers for alice.test and bob.test"
cat > alice.zone <<'ZONE'
$ORIGIN alice.test.
$TTL 300
@       IN SOA  ns.alice.test. hostmaster.alice.test. 1 3600 600 86400 60
        IN NS   ns.alice.test.
        IN MX   10 mail.alice.test.
        IN TXT  "v=spf1 mx -all"
ns      IN A    127.0.0.1
mail    IN A    127.0.0.1
ZONE
sed 's/alice/bob/g' alice.zone > bob.zone
serve dns dnsserve --listen 127.0.0.1:0 alice.zone bob.zone
dns=127.0.0.1:$(port "$url")

step "dnsq asks: short, full, JSON"
[ "$(dnsq --short "@$dns" bob.test MX)" = "10 mail.bob.test." ]
dnsq "@$dns" bob.test MX > full.txt
show full.txt
grep -q '^bob.test.*10 mail.bob.test.$' full.txt
dnsq --json "@$dns" bob.test MX > answer.json
show answer.json
grep -q '"type":"answer","v":1' answer.json
[ "$(dnsq --short "@$dns" mail.alice.test A alice.test TXT | tr '\n' ' ')" = '127.0.0.1 "v=spf1 mx -all" ' ]

step "a negative answer is status 1, a dead server status 75"
expect 1 dnsq --short "@$dns" nobody.bob.test A > /dev/null
serve dying dnsserve --listen 127.0.0.1:0 bob.zone
dead=127.0.0.1:$(port "$url")
dying=${servers##* }
kill "$dying"
wait "$dying" || true
servers=${servers% *}
expect 75 dnsq --timeout 1 --short "@$dead" bob.test MX 2> dead.txt
grep -q '^dnsq: ' dead.txt

# ---------------------------------------------------------------------------------------------------------------------
step "two mail servers: smtpserve for bob.test and for alice.test"
mkdir -p bob/mail/bob alice/mail/alice
echo 'correct horse' > alice.password
echo "alice:$(smtpserve --hash-password < alice.password)" > alice.users
serve bob-mail smtpserve --listen 127.0.0.1:0 --domain bob.test --mailboxes bob/mail --queue-dir bob/queue \
    --self-signed mail.bob.test
bob_port=$(port "$url")
serve alice-mail smtpserve --listen 127.0.0.1:0 --domain alice.test --mailboxes alice/mail --queue-dir alice/queue \
    --self-signed mail.alice.test --cert-out alice.pem --user-file alice.users
alice_port=$(port "$url")

step "Alice composes with smtpsend and submits: STARTTLS, her password, a binary attachment"
head -c 300000 /dev/urandom > photo.bin
printf 'Lieber Bob,\n\nschöne Grüße aus dem Süden! Das Foto hängt an.\n\nAlice ☀\n' > body.txt
echo '<p>Lieber Bob,</p><p>schöne Grüße aus dem <b>Süden</b>!</p>' > body.html
smtpsend --server "smtp://127.0.0.1:$alice_port" --tls starttls --ca-cert alice.pem --tls-name mail.alice.test \
    --user alice --password-file alice.password \
    --from 'Alice Ä <alice@alice.test>' --to bob@bob.test --subject 'Grüße aus dem Süden ☀' \
    --body body.txt --html body.html --attach photo.bin --json > sent.json
show sent.json
grep -q '"outcome":"delivered"' sent.json

step "nobody relays without logging in"
expect 69 smtpsend -q --server "smtp://127.0.0.1:$alice_port" --from x@example.test --to bob@bob.test --subject no \
    --body body.txt 2> refused.txt
grep -q '^smtpsend: ' refused.txt

step "mailq-ls shows it waiting"
mailq-ls --queue-dir alice/queue > queue.txt
show queue.txt
grep -q 'alice@alice.test.*bob@bob.test' queue.txt
[ "$(wc -l < queue.txt)" -eq 1 ]

step "mailq-run finds the MX by DNS and delivers; the queue is empty"
mailq-run --queue-dir alice/queue --resolver "$dns" --mx-port "$bob_port" --json > run.json
show run.json
mailq-ls --queue-dir alice/queue > queue.txt
[ ! -s queue.txt ]

step "Bob reads: list, show, extract; the attachment is byte for byte what Alice sent"
mailread list -m bob/mail/bob > list.txt
show list.txt
grep -q 'Grüße aus dem Süden ☀' list.txt
mailread show -m bob/mail/bob 1 > letter.txt
show letter.txt
grep -q 'schöne Grüße aus dem Süden' letter.txt
mkdir extracted
mailread extract -m bob/mail/bob -o extracted 1 > extracted.txt
cmp photo.bin extracted/photo.bin

step "Bob replies, and the reply reaches Alice the same way"
mailread reply -m bob/mail/bob 1 > reply.eml
echo 'Danke für das Foto!' >> reply.eml
smtpsend --queue --queue-dir bob/queue -f bob@bob.test -t < reply.eml
mailq-run --queue-dir bob/queue --resolver "$dns" --mx-port "$alice_port"
mailread show -m alice/mail/alice 1 > answer.txt
show answer.txt
grep -q 'Danke für das Foto!' answer.txt
grep -qi '^Subject: Re: ' answer.txt

# ---------------------------------------------------------------------------------------------------------------------
step "ftpserve serves a folder: TLS for Bob, who may write"
mkdir -p pub
echo 'staple battery' > bob.password
echo "bob:$(ftpserve --hash-password < bob.password)" > bob.users
serve ftp ftpserve --listen 127.0.0.1:0 --write --user-file bob.users --self-signed localhost --cert-out ftp.pem pub
ftp=127.0.0.1:$(port "$url")

step "ftpput uploads into a new directory; ftpls browses it, text and JSON"
login="--user bob --password-file bob.password"
tls="--ca-cert ftp.pem --tls-name localhost"
# shellcheck disable=SC2086 # the two variables hold several words
{
    ftpput $login $tls extracted/photo.bin "ftpes://$ftp/from/alice/"
    ftpls $login $tls -l -R "ftpes://$ftp/" > tree.txt
    ftpls $login $tls --json "ftpes://$ftp/from/alice/" > tree.json
}
show tree.txt
show tree.json
grep -q '"size_bytes":300000' tree.json
cmp photo.bin pub/from/alice/photo.bin

step "ftpget brings it back: passive and active, TLS and plain, one file and the tree"
# shellcheck disable=SC2086
{
    ftpget $login $tls -o passive-tls.bin "ftpes://$ftp/from/alice/photo.bin"
    ftpget $login $tls --active -o active-tls.bin "ftpes://$ftp/from/alice/photo.bin"
    ftpget $login -o passive-plain.bin "ftp://$ftp/from/alice/photo.bin"
    ftpget $login --active -o active-plain.bin "ftp://$ftp/from/alice/photo.bin"
    ftpget $login $tls -r -o tree "ftpes://$ftp/"
}
for copy in passive-tls.bin active-tls.bin passive-plain.bin active-plain.bin tree/from/alice/photo.bin; do
    cmp photo.bin "$copy"
done

step "done"
