"""Keeps one program and ends it together with whoever wanted it. A script of its own: standard library only.

``python -I -S guard.py COMMAND …`` starts the command in a process group of its own. The standard input is held open
by whoever wants the program: when it closes, however its holder came to an end (``kill -9`` too), the whole group
is killed. What goes over the pipes, a line each:

- in: SIGTERM, for the program alone; SIGKILL, SIGSTOP and SIGCONT, for it and everything that it started
- out: "started PID", or "failed ERRNO"; later "ended STATUS", where a negative status is the signal that ended it

The program prints to the guard's standard error as it is. When the program ends, so do the helpers that it left
behind and the guard. A helper that makes a session of its own (a daemon) escapes, as it does from a terminal.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading

PRINTS = 2  # the file descriptor
KILLED = -9  # as on POSIX; Windows' own status for that could be anything
WINDOWS = sys.platform == "win32"
FLAGS = 0
if sys.platform == "win32":  # so that CTRL_BREAK reaches it alone; nothing here was tried on Windows
    FLAGS = subprocess.CREATE_NEW_PROCESS_GROUP


def main(command: list[str]) -> None:
    """Start the command, do as the lines say that come in, and end it with the last of them."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # Jupyter sends it to all that a kernel has started
    try:
        program = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=PRINTS,
            stderr=PRINTS,
            start_new_session=not WINDOWS,
            creationflags=FLAGS,
        )
    except OSError as error:
        tell(f"failed {error.errno}")
        return
    tell(f"started {program.pid}")
    killed = threading.Event()
    waiting = threading.Thread(target=see_the_end, args=(program, killed))
    waiting.start()
    try:
        for line in sys.stdin.buffer:
            name = line.decode().strip()
            if name == "SIGKILL":
                killed.set()
            if program.returncode is None:
                send(program, name)
    finally:
        killed.set()
        send(program, "SIGKILL")
        waiting.join()


def see_the_end(program: subprocess.Popen[bytes], killed: threading.Event) -> None:
    """Wait for the end of the program, kill what it left behind, and say how it ended."""
    status = program.wait()
    send(program, "SIGKILL")  # its group has the number for as long as anybody is in it
    tell(f"ended {KILLED if WINDOWS and killed.is_set() else status}")
    os._exit(0)  # the other thread waits for a line


def send(program: subprocess.Popen[bytes], name: str) -> None:
    """Send the signal of this name; harmless where nobody is left."""
    with contextlib.suppress(OSError):
        if sys.platform == "win32":
            if name == "SIGKILL":  # the tree, which a venv's python.exe needs: it only starts the real one
                tree = ["taskkill", "/F", "/T", "/PID", str(program.pid)]
                subprocess.run(tree, stdin=subprocess.DEVNULL, capture_output=True, check=False)
            elif name == "SIGTERM":
                program.send_signal(signal.CTRL_BREAK_EVENT)
        elif name == "SIGTERM":
            program.terminate()
        else:
            os.killpg(program.pid, signal.Signals[name])


def tell(line: str) -> None:
    """Say it to whoever wanted the program, if there still is anybody."""
    with contextlib.suppress(OSError):
        os.write(1, f"{line}\n".encode())


if __name__ == "__main__":
    main(sys.argv[1:])
