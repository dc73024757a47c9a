#!/usr/bin/env python3
"""Called by mail-queue.sh: DISK COUNT PEER_ENV POSTFIX_ROOT. Measures wall time from the first byte sent to the last message
taken, and the CPU time of every process of the system under test (not of source and sink)."""

import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time

disk, count, env, root = sys.argv[1], int(sys.argv[2]), sys.argv[3].split(), sys.argv[4]
rounds = int(os.environ.get("ROUNDS", "3"))
tick = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_port(port):
    for _ in range(1000):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.01)
    sys.exit(f"nothing on port {port}")


def fdatasync_p50():
    path = os.path.join(disk, "probe")
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    times = []
    for _ in range(200):
        os.write(fd, b"x" * 4096)
        begun = time.perf_counter()
        os.fdatasync(fd)
        times.append(time.perf_counter() - begun)
    os.close(fd)
    os.unlink(path)
    return statistics.median(times) * 1000


def cpu(pids):
    total = 0
    for pid in pids:
        try:
            fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
        except OSError:
            continue
        total += sum(int(f) for f in fields[11:15])
    return total / tick


def tree(pid):
    found, todo = [], [pid]
    while todo:
        pid = todo.pop()
        found.append(pid)
        try:
            todo += [int(c) for c in open(f"/proc/{pid}/task/{pid}/children").read().split()]
        except OSError:
            pass
    return found


class Sink:
    def __init__(self):
        self.port = free_port()
        self.log = open(os.path.join(disk, "sink.log"), "w+")
        self.process = subprocess.Popen(env + ["smtp-sink", *(["-u", "nobody"] if os.getuid() == 0 else []), "-c", f"127.0.0.1:{self.port}", "1000"],
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


def source(port, sessions, messages, *more):
    return env + ["smtp-source", *more, "-s", str(sessions), "-l", "4096", "-m", str(messages), "-f", "a@a.test", "-t",
                  "b@b.test", f"127.0.0.1:{port}"]


def start(argv):
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    url = process.stdout.readline()
    if not url:
        sys.exit(process.stderr.read())
    return process, int(re.search(r":(\d+)", url.split("//")[-1]).group(1))


def ours(sink):
    queue = os.path.join(disk, "ours")
    serve, port = start(["smtpserve", "--listen", "127.0.0.1:0", "--relay-from", "127.0.0.0/8", "--queue-dir", queue])
    run = subprocess.Popen(["mailq-run", "--watch", "--queue-dir", queue, "--helo", "bench.test", "--route",
                            f"*=smtp://127.0.0.1:{sink.port}"])
    time.sleep(0.2)
    def stop():
        for process in (run, serve):
            process.send_signal(signal.SIGTERM)
            process.wait(20)
        shutil.rmtree(queue)
    return port, (lambda: [serve.pid, run.pid]), stop


def postfix(sink):
    base = os.path.join(disk, "postfix")
    shutil.rmtree(base, ignore_errors=True)
    port = free_port()
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../tests/interop/postfix.sh")
    master = subprocess.Popen(["sh", script, root if os.path.exists(f"{root}/.complete") else "/", base, str(port),
                               "myhostname=bench.test", f"relayhost=[127.0.0.1]:{sink.port}"], stdout=subprocess.DEVNULL)
    wait_port(port)
    def stop():
        master.send_signal(signal.SIGTERM)
        master.wait(20)
        shutil.rmtree(base, ignore_errors=True)
    return port, (lambda: tree(master.pid)), stop


def end_to_end(system):
    sink = Sink()
    port, pids, stop = system(sink)
    try:
        before, begun = cpu(pids()), time.perf_counter()
        subprocess.run(source(port, 10, count), check=True)
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
    subprocess.run(source(port, 10, messages), check=True)
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
    subprocess.run(source(sink.port, sessions, count, "-d"), check=True)
    wall = time.perf_counter() - begun
    sink.end()
    return wall


def median(values):
    return statistics.median(values) if values and None not in values else None


def main():
    print(f"fdatasync after 4 KiB on this disk: p50 {fdatasync_p50():.2f} ms\n")
    print(f"### {count} messages of 4 KiB, 10 sessions, accepted, queued and delivered\n")
    print("| what | median s | messages/s | CPU s/1000 | messages per CPU s | all accepted after s | x Postfix rate | x Postfix per CPU s |")
    print("|---|---|---|---|---|---|---|---|")
    systems = [("Postfix", postfix), ("ours", ours)]
    results = {name: [] for name, _ in systems}
    for _ in range(rounds):
        for name, system in systems:
            try:
                results[name].append(end_to_end(system))
            except (OSError, subprocess.SubprocessError, SystemExit, LookupError) as error:
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
    queue, each = os.path.join(disk, "loop"), 200
    script = f"i=0; while [ $i -lt {each} ]; do smtpsend --queue --queue-dir {queue} -q --from a@a.test --to b@b.test --subject x --body {disk}/text; i=$((i+1)); done"
    with open(f"{disk}/text", "w") as file:
        file.write("hello\n")
    times = []
    for _ in range(rounds):
        begun = time.perf_counter()
        if subprocess.run(["sh", "-c", script]).returncode != 0:
            times.append(None)
            break
        times.append((time.perf_counter() - begun) / each * 1000)
        shutil.rmtree(queue, ignore_errors=True)
    if median(times):
        print(f"\n`smtpsend --queue` in a shell loop: {median(times):.2f} ms each")


main()
