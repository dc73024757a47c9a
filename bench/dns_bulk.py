#!/usr/bin/env python3
"""Runs contestants in turn: wall, user and system time, names a CPU second, memory, how many names were answered.

usage: dns_bulk.py TITLE COUNT < contestants

One contestant a line: NAME <TAB> COMMAND <TAB> SHELL COMMAND that prints how many names were answered. Each command's output
goes to the file `out`. The first peer's names a CPU second are the measure of the others.
"""

import os
import statistics
import subprocess
import sys


def measure(command):
    """(wall, user, sys, MiB) of one run. A tool that lost names may say so by its status."""
    import time
    begin = time.monotonic()
    pid = os.posix_spawn("/bin/sh", ["sh", "-c", "exec " + command + " > out 2> err"], os.environ)
    _, status, usage = os.wait4(pid, 0)
    if os.waitstatus_to_exitcode(status) not in (0, 75):
        print(f"{command}: status {os.waitstatus_to_exitcode(status)}", file=sys.stderr)
    return time.monotonic() - begin, usage.ru_utime, usage.ru_stime, usage.ru_maxrss / 1024


def main():
    title, count = sys.argv[1], int(sys.argv[2])
    contestants = [line.rstrip("\n").split("\t") for line in sys.stdin if line.strip()]
    runs = {name: [] for name, _, _ in contestants}
    answered = {}
    for _ in range(int(os.environ.get("ROUNDS", "3"))):
        for name, command, counting in contestants:
            runs[name].append(measure(command))
            done = subprocess.run(["sh", "-c", counting], capture_output=True, text=True)
            answered.setdefault(name, []).append(int(done.stdout.split()[0]))
    cpu = {name: statistics.median(run[1] + run[2] for run in some) for name, some in runs.items()}
    peer = next((name for name in runs if not name.startswith("ours")), None)
    print(f"\n### {title}\n")
    print(f"| what | wall s | names/s | user s | sys s | names per CPU s | x {peer} | MiB | answered |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, some in runs.items():
        wall, user, system, rss = (statistics.median(run[at] for run in some) for at in range(4))
        ratio = cpu[peer] / cpu[name] if peer else 0
        least = min(answered[name])
        shown = "all" if least == count else f"{least:,}"
        print(f"| {name} | {wall:.2f} | {count / wall:,.0f} | {user:.2f} | {system:.2f} | {count / cpu[name]:,.0f} |"
              f" {ratio:.2f} | {rss:.1f} | {shown} |")


main()
