# Sourced by the benchmark scripts: a work folder that goes away, servers that end with the script, peers, measuring.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
peers=${APPLAYER_PEERS:-$here/../target/peers}
base=/dev/shm
[ -w "$base" ] || base=${TMPDIR:-/tmp}
work=$(mktemp -d "$base/applayer-bench.XXXXXX")
servers=

finish() {
    status=$?
    trap - EXIT INT TERM
    for pid in $servers; do kill "$pid" 2>/dev/null || true; done
    wait
    if [ "$status" -ne 0 ]; then tail -n 5 "$work"/*.log >&2 2>/dev/null || true; fi
    rm -rf "$work"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
cd "$work"

# on_disk NAME: $disk is a folder on a real disk, which goes away with the script.
on_disk() {
    disk=${APPLAYER_BENCH_DISK:-$here/../target/bench}
    mkdir -p "$disk"
    disk=$(cd "$disk" && mktemp -d "$1.XXXXXX" -p "$PWD")
    chmod 755 "$disk"
    trap leave_disk EXIT
}

leave_disk() {
    status=$?
    for pid in $servers; do kill "$pid" 2> /dev/null && wait "$pid" || true; done
    rm -rf "$disk"
    (exit $status)
    finish
}

# need NAME PROGRAM PACKAGE...: true when the peer is here, installed or fetched; says so when it is not.
need() {
    name=$1 program=$2
    shift 2
    command -v "$program" > /dev/null && return 0
    sh "$here/../tests/interop/fetch.sh" "$peers/$name" "$@" || { echo "$name: not here, left out" >&2; return 1; }
}

# peer_env NAME: the words that run a program of a fetched peer: env PATH=… LD_LIBRARY_PATH=…; nothing for an installed one.
peer_env() {
    root=$peers/$1
    [ -e "$root/.complete" ] || return 0
    libraries=$(find "$root" -name '*.so*' -printf '%h\n' | sort -u | paste -s -d :)
    perl=$(find "$root" -path '*/share/perl5' -o -path '*/perl5/5.*' -prune | paste -s -d :)
    echo "env PERL5LIB=$perl PATH=$root/usr/bin:$root/usr/sbin:$root/bin:$root/sbin:$PATH LD_LIBRARY_PATH=$libraries"
}

# serve LOG COMMAND...: starts one of our servers; $url is what it prints first, $port the port in it.
serve() {
    log=$1 server=$2
    shift 2
    # Root serves as somebody else, unless it insists.
    [ "$(id -u)" -ne 0 ] || set -- --run-as root --i-know "$@"
    mkfifo "$log.url"
    "$server" "$@" > "$log.url" 2> "$log.log" &
    servers="$servers $!"
    read -r url < "$log.url"
    port=$(echo "$url" | sed 's|/*$||; s|.*:||')
}

# free_port: a loopback port that was free a moment ago, for peers that cannot choose one.
free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# background LOG PORT COMMAND...: starts a peer and waits until it takes connections (20 s at most).
background() {
    log=$1 port=$2
    shift 2
    "$@" > "$log.log" 2>&1 &
    servers="$servers $!"
    python3 - "$port" <<'PY'
import socket, sys, time
end = time.time() + 20
while True:
    try:
        socket.create_connection(("127.0.0.1", int(sys.argv[1])), 1).close()
        break
    except OSError:
        if time.time() > end:
            sys.exit("not reachable on port " + sys.argv[1])
        time.sleep(0.02)
PY
}

# measure TITLE [--unit NAME --count N] < contestants: see measure.py.
measure() { python3 "$here/measure.py" "$@"; }

# scaled N: N, or a tenth of it with SCALE=small.
scaled() { if [ "${SCALE:-}" = small ]; then echo $(($1 / 10)); else echo "$1"; fi; }

machine() {
    echo "Machine: $(nproc) x $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1), $(uname -sr), $(date -u +%F)"
}
