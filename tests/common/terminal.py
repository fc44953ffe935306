"""Runs a command on a terminal of its own: terminal.py ANSWER COMMAND…, and types ANSWER when "[y/N] " comes.

What the terminal shows goes to standard output; the exit code is the command's.
"""
import os, pty, sys

answer, command = sys.argv[1], sys.argv[2:]
child, terminal = pty.fork()
if child == 0:
    os.execvp(command[0], command)
shown = b""
typed = False
while True:
    try:
        some = os.read(terminal, 65536)
    except OSError:  # Linux says so when the other side has closed it.
        break
    if not some:
        break
    shown += some
    if not typed and b"[y/N] " in shown:
        typed = True
        os.write(terminal, answer.encode() + b"\n")
sys.stdout.buffer.write(shown)
sys.stdout.flush()
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
