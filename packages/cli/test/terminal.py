"""Runs a command on a terminal of its own and plays a person at it.

    terminal.py ROWSxCOLS COMMAND...

On stdin: lines "send HEX" (keys), "size ROWSxCOLS" (the window changes, with its signal), "end" (hang up).
On stdout: lines "read HEX" (what the terminal shows) and, last, "exit CODE MODES", where MODES says whether
the terminal was left as it was found. Node has no terminals to give, and Python is on every Debian.
"""
import fcntl, os, pty, select, signal, struct, sys, termios


def set_size(fd, text):
    rows, columns = (int(part) for part in text.split("x"))
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def say(line):
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


master, slave = pty.openpty()
set_size(master, sys.argv[1])
before = termios.tcgetattr(slave)
child = os.fork()
if child == 0:
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    for fd in (0, 1, 2):
        os.dup2(slave, fd)
    os.closerange(3, 256)
    os.execvp(sys.argv[2], sys.argv[2:])

held, watched, code = b"", [0, master], None
while code is None:
    ready = select.select(watched, [], [], 0.1)[0]
    if master in ready:
        shown = os.read(master, 65536)
        if shown:
            say("read " + shown.hex())
    if 0 in ready:
        got = os.read(0, 65536)
        if not got:
            watched.remove(0)
        held += got
        *lines, held = held.split(b"\n")
        for line in lines:
            word, _, rest = line.decode().partition(" ")
            if word == "send":
                keys = bytes.fromhex(rest)
                while keys:
                    keys = keys[os.write(master, keys[:512]):]
            elif word == "size":
                set_size(master, rest)
            elif word == "end":
                os.kill(child, signal.SIGHUP)
    if not ready:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            code = os.waitstatus_to_exitcode(status)
same = termios.tcgetattr(slave) == before
say("exit %d %s" % (code, "restored" if same else "changed"))
