"""Locks a folder as a process of another host: HOST FOLDER LEASE SKEW wait|once.

The host's clock is SKEW seconds ahead. The program writes each line of stdin to FOLDER/file.
"""

import socket
import sys
import time
from pathlib import Path

from harness.system import locks
from harness.system.atomic_files import write_atomic
from harness.system.errors import LeaseLost

host, home, lease, skew, how = sys.argv[1:]
now = time.time
if host:
    socket.gethostname = lambda: host
if float(skew):
    time.time = lambda: now() + float(skew)
locks.LEASE_S, locks.HEARTBEAT_S = float(lease), float(lease) / 10
try:
    with locks.locked(Path(home), wait=how == "wait"):
        print("in", flush=True)
        for line in sys.stdin:
            write_atomic(Path(home) / "file", line)
            print("wrote", flush=True)
except (locks.Busy, LeaseLost) as error:
    print(f"{type(error).__name__}: {error}", flush=True)
