#!/usr/bin/env python3
"""Runs the same clients against several FTP servers in turn and prints a table for each job; see ftp-server.sh.

usage: ftp_server.py MEBIBYTES FILES PART... < contestants

One contestant a line: NAME <TAB> PORT <TAB> PROCESS <TAB> PORT INSIDE TLS <TAB> ITS PROCESS. "ours" is held against the best of the others: a ratio of
2 means twice as fast. The CPU time is that of the server and its children.
"""

import os
import re
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import threading
import time

TICK = os.sysconf("SC_CLK_TCK")
ROUNDS = int(os.environ.get("ROUNDS", "3"))
USER, PASSWORD = "bench", "secret"


class Contestant:
    def __init__(self, line):
        self.name, *numbers = line.split("\t")
        self.port, self.pid, self.tls_port, self.tls_pid = map(int, numbers)
        self.folder = "served/" + self.name.split("-")[0]

    def family(self, tls=True):
        """The process for clear text, the one for TLS, and their descendants."""
        found, waiting = [], [self.pid, self.tls_pid] if tls else [self.pid]
        while waiting:
            pid = waiting.pop()
            found.append(pid)
            try:
                for task in os.listdir(f"/proc/{pid}/task"):
                    waiting += map(int, open(f"/proc/{pid}/task/{task}/children").read().split())
            except OSError:
                pass
        return found

    def cpu(self):
        ticks = 0
        for pid in self.family():
            try:
                fields = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()
            except OSError:
                continue
            ticks += sum(map(int, fields[11:15]))
        return ticks / TICK

    def memory(self):
        """MiB of the process for clear text and its descendants, pages that processes share divided among them."""
        kib = 0
        for pid in self.family(False):
            try:
                kib += int(re.search(r"^Pss: *(\d+)", open(f"/proc/{pid}/smaps_rollup").read(), re.M)[1])
            except (OSError, TypeError):
                continue
        return kib / 1024


class Client:
    """A control connection."""

    def __init__(self, port, source="127.0.0.1"):
        self.source = source
        self.socket = socket.create_connection(("127.0.0.1", port), 60, (source, 0))
        self.lines = self.socket.makefile("rb")
        self.reply()

    def reply(self):
        while True:
            line = self.lines.readline()
            if not line:
                raise EOFError("the server closed the connection")
            if line[3:4] != b"-" and line[:3].isdigit():
                if line[:1] in b"45":
                    raise RuntimeError(line.decode())
                return line

    def command(self, line):
        self.socket.sendall(line.encode() + b"\r\n")
        return self.reply()

    def login(self):
        self.command("USER " + USER)
        self.command("PASS " + PASSWORD)
        return self

    def data(self):
        numbers = re.search(rb"(\d+),(\d+)\)", self.command("PASV"))
        return socket.create_connection(("127.0.0.1", int(numbers[1]) * 256 + int(numbers[2])), 60, (self.source, 0))

    def close(self):
        self.lines.close()
        self.socket.close()


def table(title, results, unit="s", better=min):
    """results: contestant's name -> list of (value, CPU seconds)."""
    print(f"\n### {title}\n\n| server | min {unit} | median {unit} | max {unit} | x best peer | CPU s |\n|---|---|---|---|---|---|")
    median = {name: statistics.median(value for value, _ in runs) for name, runs in results.items() if runs}
    peers = [value for name, value in median.items() if name != "ours"]
    for name, runs in results.items():
        if not runs:
            print(f"| {name} | failed | | | | |")
            continue
        values = [value for value, _ in runs]
        ratio = "-"
        if peers:
            best = better(peers)
            ratio = f"{best / median[name] if better is min else median[name] / best:.2f}"
        cpu = statistics.median(cpu for _, cpu in runs)
        print(f"| {name} | {min(values):.3f} | {median[name]:.3f} | {max(values):.3f} | {ratio} | {cpu:.2f} |")
    sys.stdout.flush()


def in_turn(contestants, job, before=lambda it: None):
    """Each contestant's results of `job`, which returns a value; one round first that does not count."""
    results = {it.name: [] for it in contestants}
    for number in range(ROUNDS + 1):
        for it in contestants:
            before(it)
            cpu = it.cpu()
            try:
                value = job(it)
            except (OSError, EOFError, RuntimeError, subprocess.SubprocessError) as error:
                print(f"{it.name}: {str(error)[-200:]}", file=sys.stderr)
                continue
            if number:
                results[it.name].append((value, it.cpu() - cpu))
    return results


def timed(command):
    """A job: the seconds that a shell command takes; @ stands for user, host and port, TLS for those inside TLS, DIR for the tree."""

    def job(it):
        words = command.replace("@TLS", f"{USER}:{PASSWORD}@127.0.0.1:{it.tls_port}")
        words = words.replace("@", f"{USER}:{PASSWORD}@127.0.0.1:{it.port}") if "@TLS" not in command else words
        began = time.perf_counter()
        done = subprocess.run(["sh", "-c", words], stdin=subprocess.DEVNULL, capture_output=True, timeout=120)
        if done.returncode:
            raise RuntimeError(f"{words}: status {done.returncode}: {done.stderr.decode()[-300:]}")
        return time.perf_counter() - began

    return job


def clean(*names):
    def before(it):
        for name in names:
            path = name.replace("DIR", it.folder)
            if os.path.isdir(path):
                shutil.rmtree(path)
            elif os.path.exists(path):
                os.unlink(path)

    return before


def big(them, size):
    table(f"{size} MiB down (curl)", in_turn(them, timed("curl -s -o /dev/null ftp://@/big")))
    table(f"{size} MiB up (curl)", in_turn(them, timed("curl -s -T here/big ftp://@/up"), clean("DIR/up")))
    clean_up(them)


def tls(them, size):
    curl = "curl -s -k --ssl-reqd"
    table(f"{size} MiB down, TLS (curl)", in_turn(them, timed(f"{curl} -o /dev/null ftp://@TLS/big")))
    table(f"{size} MiB up, TLS (curl)", in_turn(them, timed(f"{curl} -T here/big ftp://@TLS/up"), clean("DIR/up")))
    clean_up(them)


def clean_up(them):
    for it in them:
        clean("DIR/up", "DIR/tree", "back/tree")(it)


def small(them, files):
    before = clean("back/tree", "DIR/tree")
    for title, command in [
        ("down, lftp mirror -P8", "lftp -c 'open ftp://@; mirror --parallel=8 many back/tree'"),
        ("up, lftp mirror -R -P8", "lftp -c 'open ftp://@; mirror -R --parallel=8 here/many tree'"),
        ("down, ftpget -r", "ftpget -q -r -o back/tree ftp://@/many/"),
        ("up, ftpput -r", "ftpput -q -r here/many ftp://@/tree/"),
    ]:
        table(f"{files} files of 4 KiB {title}", in_turn(them, timed(command), before))
    clean_up(them)


def logins(them):
    for together in (1, 8):

        def job(it):
            count = 300 if together == 1 else 800
            failures = []

            def work():
                try:
                    for _ in range(count // together):
                        client = Client(it.port).login()
                        client.close()
                except (OSError, EOFError, RuntimeError) as error:
                    failures.append(error)

            threads = [threading.Thread(target=work) for _ in range(together)]
            began = time.perf_counter()
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            if failures:
                raise RuntimeError(f"{len(failures)} of {together} clients failed: {failures[0]}")
            return count / (time.perf_counter() - began)

        table(f"logins a second, {together} at once, SHA-512 crypt", in_turn(them, job), "/s", max)
    memory("memory after these logins", them)


def memory(title, them):
    print(f"\n### {title}\n\n| server | MiB |\n|---|---|")
    for it in them:
        print(f"| {it.name} | {it.memory():.1f} |")


def crowd(them):
    """pyftpdlib's ftpbench with 300 clients."""
    bench = shutil.which("ftpbench")
    if not bench:
        print("ftpbench: not here (pip install pyftpdlib), left out", file=sys.stderr)
        return
    rows, most = {}, {it.name: 0 for it in them}
    for number in range(ROUNDS):
        for it in them:
            words = [bench, "-u", USER, "-p", PASSWORD, "-H", "127.0.0.1", "-P", str(it.port), "-b", "all", "-n", "300"]
            run = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            while run.poll() is None:
                most[it.name] = max(most[it.name], it.memory())
                time.sleep(0.2)
            for what, value, unit in re.findall(r"^(\S.*?)  +([\d.]+) (MB/sec|secs)", run.stdout.read(), re.M):
                rows.setdefault((what, unit), {}).setdefault(it.name, []).append((float(value), 0))
    for (what, unit), results in rows.items():
        better = max if unit == "MB/sec" else min
        table(f"ftpbench, 300 clients: {what}", results, unit, better)
    print("\n### ftpbench: most memory meanwhile\n\n| server | MiB |\n|---|---|")
    for name, mib in most.items():
        print(f"| {name} | {mib:.1f} |")


def idle(them):
    print("\n### 1,000 idle sessions of a named user\n\n| server | MiB before | MiB |\n|---|---|---|")
    for it in them:
        before, clients = it.memory(), []
        try:
            clients = [Client(it.port).login() for _ in range(1000)]
            print(f"| {it.name} | {before:.1f} | {it.memory():.1f} |")
        except (OSError, EOFError, RuntimeError) as error:
            print(f"| {it.name} | {before:.1f} | {error} |")
        for client in clients:
            client.close()
    sys.stdout.flush()


def readers(them):
    """Clients that read hardly anything of a large file must not keep others waiting."""
    print("\n### a login while 2,000 clients read 1 KiB every second of a large file\n")
    print("| server | clients | median ms | max ms | MiB |\n|---|---|---|---|---|")
    for it in them:
        clients = []
        try:
            for number in range(2000):
                # A server may allow one address only a part of its places.
                client = Client(it.port, f"127.0.0.{2 + number % 2}").login()
                data = client.data()
                data.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                client.command("TYPE I")
                client.socket.sendall(b"RETR big\r\n")
                client.reply()
                data.setblocking(False)
                clients.append((client, data))
        except (OSError, EOFError, RuntimeError) as error:
            print(f"{it.name}: {str(error)[-200:]}", file=sys.stderr)
        stop = threading.Event()

        def drip():
            while not stop.wait(1):
                for _, data in clients:
                    try:
                        data.recv(1024)
                    except OSError:
                        pass

        thread = threading.Thread(target=drip)
        thread.start()
        waits = []
        for _ in range(20):
            began = time.perf_counter()
            try:
                Client(it.port).login().close()
            except (OSError, EOFError, RuntimeError) as error:
                print(f"{it.name}: {str(error)[-200:]}", file=sys.stderr)
                waits.append(float("inf"))
                break
            waits.append((time.perf_counter() - began) * 1000)
        print(f"| {it.name} | {len(clients)} | {statistics.median(waits):.1f} | {max(waits):.1f} | {it.memory():.1f} |")
        sys.stdout.flush()
        stop.set()
        thread.join()
        for client, data in clients:
            data.close()
            client.close()


def main():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    size, files, *parts = sys.argv[1:]
    them = [Contestant(line.rstrip("\n")) for line in sys.stdin if line.strip()]
    for part in parts:
        {
            "big": lambda: big(them, size),
            "tls": lambda: tls(them, size),
            "small": lambda: small(them, files),
            "logins": lambda: logins(them),
            "crowd": lambda: crowd(them),
            "idle": lambda: idle(them),
            # One process a client takes the peers minutes for this.
            "readers": lambda: readers(them if os.environ.get("LONG") else them[:1]),
        }[part]()


main()
