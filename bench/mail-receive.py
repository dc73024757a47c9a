#!/usr/bin/env python3
"""Called by mail-receive.sh: DISK COUNT PEER_ENV POSTFIX_ROOT. Measures wall time from the first byte sent to the last message in its
mailbox, and the CPU time of every process of the server (not of smtp-source)."""

import os
import signal
import statistics
import subprocess
import sys
import time

import mail_peers
from mail_peers import cpu, fdatasync_p50, source, start

disk, count, env, root = sys.argv[1], int(sys.argv[2]), sys.argv[3].split(), sys.argv[4]
rounds = int(os.environ.get("ROUNDS", "3"))
runs = 0


def mailboxes(number):
    """Fresh mailboxes, never below a directory that was just emptied: ext4 is slow to create files where many were removed."""
    global runs
    runs += 1
    base = os.path.join(disk, f"mail{runs}")
    for user in range(number):
        for inner in ("cur", "new", "tmp"):
            os.makedirs(f"{base}/u{user}/{inner}")
    subprocess.run(["chown", "-R", "daemon:mail", base], check=True)
    return base


def ours(base):
    serve, port = start(["smtpserve", "--run-as", "daemon:mail", "--listen", "127.0.0.1:0", "--domain", "b.test", "--mailboxes", base])

    def stop():
        serve.send_signal(signal.SIGTERM)
        serve.wait(20)
    return port, (lambda: [serve.pid]), stop


def postfix(base):
    maps = os.path.join(disk, "maps")
    with open(maps, "w") as file:
        file.writelines(f"{user}@b.test {user}/\n" for user in os.listdir(base))
    ids = [subprocess.run(["id", what, "daemon"], capture_output=True, text=True, check=True).stdout.strip() for what in ("-u", "-g")]
    return mail_peers.postfix(disk, root, "virtual_mailbox_domains = b.test", f"virtual_mailbox_base = {base}", f"virtual_mailbox_maps = texthash:{maps}",
                              f"virtual_uid_maps = static:{ids[0]}", f"virtual_gid_maps = static:{ids[1]}", "virtual_minimum_uid = 1")


def arrived(base):
    return sum(len(os.listdir(f"{base}/{user}/new")) for user in os.listdir(base))


def send(port, sessions, number):
    """`sessions` sessions at once; with several mailboxes, each session fills its share of them in turn."""
    if number == 1:
        return subprocess.run(source(env, port, sessions, count, "-d", to="u0@b.test"), check=True)
    each = count // number
    scripts = []
    for session in range(sessions):
        commands = [source(env, port, 1, each, "-d", to=f"u{user}@b.test") for user in range(session, number, sessions)]
        scripts.append(subprocess.Popen(["sh", "-ec", "\n".join(" ".join(command) for command in commands)]))
    for script in scripts:
        if script.wait() != 0:
            raise OSError("smtp-source failed")


def run(system, sessions, number):
    base = mailboxes(number)
    port, pids, stop = system(base)
    try:
        before, begun = cpu(pids()), time.perf_counter()
        send(port, sessions, number)
        while arrived(base) < count:
            if time.perf_counter() - begun > 300:
                return None
            time.sleep(0.01)
        return time.perf_counter() - begun, cpu(pids()) - before
    finally:
        stop()


def main():
    print(f"fdatasync after 4 KiB on this disk: p50 {fdatasync_p50(disk):.2f} ms\n")
    print(f"### {count} messages of 4 KiB into Maildirs (median of {rounds} runs, and the least and the most)\n")
    print("| sessions | mailboxes | what | s | messages/s | CPU s | messages per CPU s | x Postfix rate | x Postfix per CPU s |")
    print("|---|---|---|---|---|---|---|---|---|")
    for sessions, number in ((10, 1), (10, 50), (1, 1)):
        systems = [("Postfix", postfix), ("smtpserve", ours)]
        results = {name: [] for name, _ in systems}
        for _ in range(rounds):
            for name, system in systems:
                results[name].append(run(system, sessions, number))
        other = None
        for name, found in results.items():
            if None in found:
                print(f"| {sessions} | {number} | {name} | not all arrived |")
                continue
            wall, used = (statistics.median(one[i] for one in found) for i in range(2))
            spread = f"{wall:.2f} ({min(one[0] for one in found):.2f}-{max(one[0] for one in found):.2f})"
            ratio = f"{other[0] / wall:.1f} | {other[1] / used:.1f}" if other else "1.0 | 1.0"
            other = other or (wall, used)
            print(f"| {sessions} | {number} | {name} | {spread} | {count / wall:,.0f} | {used:.2f} | {count / used:,.0f} | {ratio} |", flush=True)


main()
