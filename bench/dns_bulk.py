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
import tempfile


def build(folder):
    """The small parent that measures; see spawn.c."""
    program = os.path.join(folder, "spawn")
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "spawn.c")
    subprocess.run(["cc", "-O1", "-o", program, source], check=True)
    return program


def measure(spawn, command):
    """(wall, user, sys, MiB) of one run. A tool that lost names, or met such that do not exist, may say so by its status."""
    reader, writer = os.pipe()
    with open(reader) as report:
        done = subprocess.run([spawn, "sh", "-c", "exec " + command + " > out 2> err"], close_fds=False,
                              preexec_fn=lambda: os.dup2(writer, 3))
        os.close(writer)
        wall, user, system, kib = map(float, report.read().split())
    if done.returncode not in (0, 6, 75):
        print(f"{command}: status {done.returncode}", file=sys.stderr)
    return wall, user, system, kib / 1024


def main():
    title, count = sys.argv[1], int(sys.argv[2])
    contestants = [line.rstrip("\n").split("\t") for line in sys.stdin if line.strip()]
    runs = {name: [] for name, _, _ in contestants}
    answered = {}
    folder = tempfile.TemporaryDirectory()
    spawn = build(folder.name)
    for _ in range(int(os.environ.get("ROUNDS", "3"))):
        for name, command, counting in contestants:
            runs[name].append(measure(spawn, command))
            done = subprocess.run(["sh", "-c", counting], capture_output=True, text=True)
            answered.setdefault(name, []).append(int(done.stdout.split()[0]))
    cpu = {name: statistics.median(run[1] + run[2] for run in some) for name, some in runs.items()}
    peer = next((name for name in runs if not name.startswith("ours")), None)
    print(f"\n### {title}\n")
    beside = [f"x {peer}"] if peer else []
    columns = ["what", "wall s", "names/s", "user s", "sys s", "names per CPU s", *beside, "MiB", "answered"]
    print(f"| {' | '.join(columns)} |")
    print("|---" * len(columns) + "|")
    for name, some in runs.items():
        wall, user, system, rss = (statistics.median(run[at] for run in some) for at in range(4))
        ratio = f" {cpu[peer] / cpu[name]:.2f} |" if peer else ""
        least = min(answered[name])
        shown = "all" if least == count else f"{least:,}"
        print(f"| {name} | {wall:.2f} | {count / wall:,.0f} | {user:.2f} | {system:.2f} | {count / cpu[name]:,.0f} |"
              f"{ratio} {rss:.1f} | {shown} |")


main()
