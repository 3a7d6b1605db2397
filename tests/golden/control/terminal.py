"""status --watch on a terminal of 12 rows and 60 columns: pictures in place of each other that fit it, and in the end the whole summary."""
import fcntl
import os
import pty
import re
import struct
import sys
import termios

ROWS, COLUMNS = 12, 60
pid, fd = pty.fork()
if pid == 0:
    os.environ.pop('NO_COLOR', None)
    os.environ['TERM'] = 'xterm'
    fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack('HHHH', ROWS, COLUMNS, 0, 0))
    os.execv(sys.argv[1], sys.argv[1:])
out = b''
try:
    while part := os.read(fd, 65536):
        out += part
except OSError:  # its end of the terminal is closed
    pass
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
pictures = out.decode().split('\x1b[H')[1:]
last = pictures.pop()
assert code == 0 and pictures, (code, out[-500:])
for p in pictures:
    lines = p.removesuffix('\x1b[J').replace('\x1b[K', '').split('\r\n')
    assert len(lines) <= ROWS and all(len(line) <= COLUMNS for line in lines), lines
assert re.search(r'pid \d+, generate\+verify, at work', pictures[0]) and re.search(r'engine student at http://\S+: \d of 4 in flight', pictures[0]), pictures[0]
assert 'run night of golden, finished' in last and 'chosen' in last, last
print('drawn')
