#!/usr/bin/env python3
"""Called by mail-queue.sh: DISK COUNT PEER_ENV POSTFIX_ROOT NULLMAILER_ROOT. Measures wall time from the first byte sent to the last message
taken, and the CPU time of every process of the system under test (not of source and sink)."""

import os
import re
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import time

import mail_peers
from mail_peers import child, cpu, fdatasync_p50, free_port, source, start, wait_port

disk, count, env, root, nullmailer_root = sys.argv[1], int(sys.argv[2]), sys.argv[3].split(), sys.argv[4], sys.argv[5]
rounds = int(os.environ.get("ROUNDS", "3"))
class Sink:
    def __init__(self):
        self.port = free_port()
        self.log = open(os.path.join(disk, "sink.log"), "w+")
        self.process = child(env + ["smtp-sink", *(["-u", "nobody"] if os.getuid() == 0 else []), "-c", f"127.0.0.1:{self.port}", "1000"],
                                        stdout=self.log, stderr=subprocess.DEVNULL)
        wait_port(self.port)

    def taken(self):
        self.log.seek(max(0, os.fstat(self.log.fileno()).st_size - 200))
        counts = re.findall(r"mesg=(\d+)", self.log.read())
        return int(counts[-1]) if counts else 0

    def wait(self, count):
        end = time.time() + 120
        while self.taken() < count:
            if time.time() > end:
                return False
            time.sleep(0.005)
        return True

    def end(self):
        self.process.kill()
        self.process.wait()


def ours(sink):
    queue = os.path.join(disk, "ours")
    serve, port = start(["smtpserve", "--listen", "127.0.0.1:0", "--relay-from", "127.0.0.0/8", "--queue-dir", queue])
    run = child(["mailq-run", "--watch", "--queue-dir", queue, "--helo", "bench.test", "--route",
                            f"*=smtp://127.0.0.1:{sink.port}"])
    time.sleep(0.2)
    def stop():
        for process in (run, serve):
            process.send_signal(signal.SIGTERM)
            process.wait(20)
        shutil.rmtree(queue)
    return port, (lambda: [serve.pid, run.pid]), stop


def postfix(sink):
    return mail_peers.postfix(disk, root, f"relayhost = [127.0.0.1]:{sink.port}")


def end_to_end(system):
    sink = Sink()
    port, pids, stop = system(sink)
    try:
        before, begun = cpu(pids()), time.perf_counter()
        subprocess.run(source(env, port, 10, count), check=True)
        accepted = time.perf_counter() - begun
        if not sink.wait(count):
            return None
        wall = time.perf_counter() - begun
        return wall, cpu(pids()) - before, accepted
    finally:
        stop()
        sink.end()


def fill(queue, messages):
    serve, port = start(["smtpserve", "--listen", "127.0.0.1:0", "--relay-from", "127.0.0.0/8", "--queue-dir", queue])
    subprocess.run(source(env, port, 10, messages), check=True)
    serve.send_signal(signal.SIGTERM)
    serve.wait(20)


def drain(connections):
    queue = os.path.join(disk, "drain")
    fill(queue, count)
    sink = Sink()
    begun = time.perf_counter()
    subprocess.run(["mailq-run", "--queue-dir", queue, "--helo", "bench.test", "--per-destination", str(connections),
                    "--route", f"*=smtp://127.0.0.1:{sink.port}"], check=True)
    wall = time.perf_counter() - begun
    taken = sink.taken()
    sink.end()
    shutil.rmtree(queue)
    return wall if taken == count else None


def direct(sessions):
    sink = Sink()
    begun = time.perf_counter()
    subprocess.run(source(env, sink.port, sessions, count, "-d"), check=True)
    wall = time.perf_counter() - begun
    sink.end()
    return wall


def median(values):
    return statistics.median(values) if values and None not in values else None


def main():
    print(f"fdatasync after 4 KiB on this disk: p50 {fdatasync_p50(disk):.2f} ms\n")
    print(f"### {count} messages of 4 KiB, 10 sessions, accepted, queued and delivered\n")
    print("| what | median s | messages/s | CPU s/1000 | messages per CPU s | all accepted after s | x Postfix rate | x Postfix per CPU s |")
    print("|---|---|---|---|---|---|---|---|")
    systems = [("Postfix", postfix), ("ours", ours)]
    results = {name: [] for name, _ in systems}
    for _ in range(rounds):
        for name, system in systems:
            try:
                results[name].append(end_to_end(system))
            except (OSError, subprocess.SubprocessError, LookupError) as error:
                print(f"{name}: left out: {error}", file=sys.stderr)
                results[name].append(None)
    figures = {name: [statistics.median(run[i] for run in runs) for i in range(3)]
               for name, runs in results.items() if None not in runs}
    for name, (wall, used, accepted) in figures.items():
        other = figures.get("Postfix")
        ratio = f"{other[0] / wall:.1f} | {other[1] / used:.1f}" if other else "- | -"
        print(f"| {name} | {wall:.3f} | {count / wall:,.0f} | {used / count * 1000:.3f} | {count / used:,.0f} | {accepted:.3f} | {ratio} |")
    print(f"\n### Draining {count} prepared messages of 4 KiB to one smtp-sink\n")
    print("| connections | mailq-run s | messages/s | smtp-source s | x smtp-source's rate |")
    print("|---|---|---|---|---|")
    for connections in (1, 10):
        pairs = [(drain(connections), direct(connections)) for _ in range(rounds)]
        mine, theirs = median([a for a, _ in pairs]), median([b for _, b in pairs])
        if mine:
            print(f"| {connections} | {mine:.3f} | {count / mine:,.0f} | {theirs:.3f} | {theirs / mine:.2f} |")
    print(f"\n### One message queued by one process, in a shell loop of {EACH}; fdatasync now p50 {fdatasync_p50(disk):.2f} ms\n")
    print("| what | median ms | x nullmailer-inject |")
    print("|---|---|---|")
    pairs = [(loop(), nullmailer()) for _ in range(rounds)]
    mine, theirs = median([a for a, _ in pairs]), median([b for _, b in pairs])
    if theirs:
        print(f"| nullmailer-inject | {theirs:.2f} | 1.00 |")
    if mine:
        print(f"| smtpsend --queue | {mine:.2f} | {f'{mine / theirs:.2f}' if theirs else '-'} |")
    if os.environ.get("MILLION") != "0":
        million()


EACH = 200


def shell_loop(command, *prefix):
    script = f"i=0; while [ $i -lt {EACH} ]; do {command} || exit 1; i=$((i+1)); done"
    begun = time.perf_counter()
    ended = subprocess.run([*prefix, "sh", "-c", script])
    return (time.perf_counter() - begun) / EACH * 1000 if ended.returncode == 0 else None


def loop():
    queue = os.path.join(disk, "loop")
    with open(f"{disk}/text", "w") as file:
        file.write("hello\n")
    took = shell_loop(f"smtpsend --queue --queue-dir {queue} -q --from a@a.test --to b@b.test --subject x --body {disk}/text")
    shutil.rmtree(queue, ignore_errors=True)
    return took


def nullmailer():
    """Its paths are fixed: it runs in a mount namespace of its own, with its spool on the disk that is measured."""
    if not nullmailer_root:
        return None
    spool = os.path.join(disk, "spool")
    for folder in ("queue", "tmp", "failed"):
        os.makedirs(f"{spool}/nullmailer/{folder}")
    subprocess.run(["chown", "-R", "mail", spool], check=True)
    mounts = f"mount --bind {spool} /var/spool && mount -t overlay overlay -o lowerdir={nullmailer_root}/usr/sbin:/usr/sbin /usr/sbin"
    took = shell_loop(f"{nullmailer_root}/usr/bin/nullmailer-inject -f a@a.test b@b.test < {disk}/text", "unshare", "-m", "sh", "-c",
                      f'{mounts} && exec "$@"', "-")
    shutil.rmtree(spool)
    return took


def million():
    """A million queued messages, copied from one of ours inside the database."""
    queue = os.path.join(disk, "million")
    subprocess.run(["smtpsend", "--queue", "--queue-dir", queue, "-q", "--from", "a@a.test", "--to", "b@b.test", "--subject", "x",
                    "--body", f"{disk}/text"], check=True)
    db = sqlite3.connect(f"{queue}/queue.db")
    db.execute("PRAGMA synchronous = off")
    new = dict(message="m.id + n.x * 1024", domain="'d' || (n.x % 1000) || '.test'", lane="n.x % 64", id="m.id + n.x * 1024",
               address="'user' || n.x || '@d' || (n.x % 1000) || '.test'",
               last_reply="CASE WHEN n.x % 10 = 0 THEN '451 4.7.1 greylisted, come back in ' || n.x || ' s' ELSE '452 4.2.2 mailbox full' END")
    for table, key in (("message", "id"), ("body", "id"), ("recipient", "message")):
        columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
        values = ", ".join(new.get(c, f"m.{c}") if (c == key or table == "recipient") else f"m.{c}" for c in columns)
        values = values.replace("m.id + n.x", f"m.{key} + n.x")
        db.execute(f"WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 999999) "
                   f"INSERT INTO {table} ({', '.join(columns)}) SELECT {values} FROM n, {table} m")
    db.commit()
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    print("\n### A million queued messages\n")
    print("| what | median s | RSS MiB |")
    print("|---|---|---|")
    listings = [("--count", []), ("--summary", []), ("--count", ["--domain", "d7.test"]), ("--count", ["--reason", "greylisted"]),
                ("--count", ["--recipient", "user77@d77.test"]), ("--count", ["--sender", "nobody@a.test"]),
                ("--count", ["--state", "held"]), ("--count", ["--older-than", "1d"])]
    for what, more in listings:
        runs = [measured(["mailq-ls", what, *more, "--queue-dir", queue]) for _ in range(max(rounds, 3))]
        print(f"| mailq-ls {' '.join([what, *more])} | {median([r[0] for r in runs]):.3f} | {max(r[1] for r in runs):.0f} |")
    sink = Sink()
    begun = time.perf_counter()
    run = child(["mailq-run", "--queue-dir", queue, "--helo", "bench.test", "--route", f"*=smtp://127.0.0.1:{sink.port}"],
                stderr=subprocess.DEVNULL)
    first = None
    while first is None and time.perf_counter() - begun < 60:
        if sink.taken() > 0:
            first = time.perf_counter() - begun
        time.sleep(0.002)
    time.sleep(2)
    peak = int(re.search(r"VmHWM:\s+(\d+)", open(f"/proc/{run.pid}/status").read()).group(1)) / 1024
    run.kill()
    run.wait(30)
    sink.end()
    print(f"| mailq-run, its first delivery; RSS after two more seconds | {first if first else -1:.3f} | {peak:.0f} |")
    shutil.rmtree(queue)


def measured(argv):
    begun = time.perf_counter()
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, _, usage = os.wait4(process.pid, 0)
    return time.perf_counter() - begun, usage.ru_maxrss / 1024


main()
