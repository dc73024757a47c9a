#!/usr/bin/env python3
"""Runs contestants in turn and prints a table of wall time, CPU time and memory.

usage: measure.py TITLE [--unit NAME --count N] [--within WORDS] < contestants

One contestant a line: NAME <TAB> SHELL COMMAND [<TAB> SHELL COMMAND run before each round, not measured].
--within WORDS runs each command as the last argument of these words (netdelay and its server).
Names that start with "ours" are held against the best of the others. A command that fails drops its row, saying so.
"""

import os
import shlex
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


def measure(spawn, command, within):
    """(wall seconds, CPU seconds, peak MiB) of one run, and its status."""
    # A command without shell operators is executed directly: the shell's own start is not part of the result.
    simple = not any(mark in command for mark in ";|&()<>*$'\"\\")
    argv = command.split() if simple else ["sh", "-c", command]
    argv = [spawn, *argv]
    if within:
        argv = [*shlex.split(within), shlex.join(argv)]
    reader, writer = os.pipe()
    with open(reader) as report:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, close_fds=False,
                              preexec_fn=lambda: os.dup2(writer, 3))
        os.close(writer)
        words = report.read().split()
    if done.returncode != 0 or len(words) != 4:
        return None, done.returncode
    wall, user, system, kib = map(float, words)
    return (wall, user + system, kib / 1024), 0


def run(spawn, contestant, within):
    """What is to be done before, and one run; see measure()."""
    _, command, *before = contestant
    if before and before[0]:
        subprocess.run(before[0], shell=True, check=True)
    return measure(spawn, command, within)


def main():
    args = sys.argv[1:]
    title, unit, count = args[0], None, 1
    if "--unit" in args:
        unit, count = args[args.index("--unit") + 1], float(args[args.index("--count") + 1])
    within = args[args.index("--within") + 1] if "--within" in args else None
    rounds = int(os.environ.get("ROUNDS", "3"))
    contestants = [line.rstrip("\n").split("\t") for line in sys.stdin if line.strip()]
    folder = tempfile.TemporaryDirectory()
    spawn = build(folder.name)
    results = {row[0]: [] for row in contestants}
    # What the first use of memory costs is nobody's result.
    run(spawn, contestants[0], within)
    for _ in range(rounds):
        for contestant in contestants:
            name = contestant[0]
            if results[name] is None:
                continue
            got, status = run(spawn, contestant, within)
            if got is None:
                print(f"{title}: {name} failed with status {status}: left out", file=sys.stderr)
                results[name] = None
            else:
                results[name].append(got)
    done = {name: runs for name, runs in results.items() if runs}
    peers = [name for name in done if not name.startswith("ours")]
    best = min((statistics.median(run[0] for run in done[name]) for name in peers), default=None)
    print(f"\n### {title}\n")
    rate = f" {unit}/s |" if unit else ""
    print(f"| what | min s | median s | max s |{rate} x best peer | CPU s | MiB |")
    print("|---|---|---|---|" + ("---|" if unit else "") + "---|---|---|")
    for name, runs in done.items():
        walls = [run[0] for run in runs]
        median = statistics.median(walls)
        ratio = f"{median / best:.2f}" if best else "-"
        rate = f" {count / median:,.0f} |" if unit else ""
        cpu = statistics.median(run[1] for run in runs)
        rss = statistics.median(run[2] for run in runs)
        print(f"| {name} | {min(walls):.4f} | {median:.4f} | {max(walls):.4f} |{rate} {ratio} | {cpu:.4f} | {rss:.1f} |")


main()
