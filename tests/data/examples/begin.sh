# What stands before an example: how a background job ends with it, and how a server is visited.
trap 'end_servers; kill $(jobs -p) 2>/dev/null || true; wait' EXIT

# Waits until the example's server says where it listens; $url is its first address.
visit_when_ready() {
    until cat "$W"/*.address ./*url 2>/dev/null | grep -q . || ! kill -0 "$visited" 2>/dev/null; do sleep 0.05; done
    url=$(cat "$W"/*.address ./*url 2>/dev/null | head -n 1)
}

# TERM to the servers among the processes of this script.
end_servers() {
    read -r _ _ _ _ ours _ < /proc/$$/stat
    for stat in /proc/[0-9]*/stat; do
        read -r pid name _ _ group _ 2>/dev/null < "$stat" || continue
        case $group$name in "$ours"\(*serve\)) kill "$pid" 2>/dev/null || true ;; esac
    done
}
