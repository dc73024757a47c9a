"""What the benchmarks of mail servers share: children that end with the script, CPU time of process trees, Postfix and smtp-source."""

import atexit
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time

tick = os.sysconf("SC_CLK_TCK")
here = os.path.dirname(os.path.abspath(__file__))
children = []


def child(argv, **how):
    """A process that does not outlive this one, however it ends."""
    process = subprocess.Popen(argv, **how)
    children.append(process)
    return process


def end_children():
    for process in children:
        if process.poll() is None:
            process.terminate()
    for process in children:
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


atexit.register(end_children)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


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
    raise OSError(f"nothing on port {port}")


def fdatasync_p50(disk):
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


def source(env, port, sessions, messages, *more, to="b@b.test"):
    return env + ["smtp-source", *more, "-s", str(sessions), "-l", "4096", "-m", str(messages), "-f", "a@a.test", "-t",
                  to, f"127.0.0.1:{port}"]


def start(argv):
    process = child(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    url = process.stdout.readline()
    if not url:
        sys.exit(process.stderr.read())
    return process, int(re.search(r":(\d+)", url.split("//")[-1]).group(1))


def postfix(disk, root, *settings):
    """Postfix with these settings: its port, the pids of its processes, and what ends it."""
    base, port = os.path.join(disk, "postfix"), free_port()
    shutil.rmtree(base, ignore_errors=True)
    master = child(["sh", os.path.join(here, "../tests/interop/postfix.sh"), root, base, str(port), *settings],
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_port(port)

    def stop():
        master.send_signal(signal.SIGTERM)
        master.wait(20)
        shutil.rmtree(base, ignore_errors=True)
    return port, (lambda: tree(master.pid)), stop
