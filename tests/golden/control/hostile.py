"""Whatever comes over the control socket, the night goes on and the next honest request is answered."""
import os
import socket
import sys

path = sys.argv[1]
assert os.stat(path).st_mode & 0o777 == 0o600, oct(os.stat(path).st_mode)


def connect():
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(20)
    s.connect(path)
    return s


def ask(data, end=False):
    with connect() as s:
        answer = b''
        try:
            s.sendall(data)
            if end:
                s.shutdown(socket.SHUT_WR)
            while part := s.recv(65536):
                answer += part
        except (ConnectionResetError, BrokenPipeError):
            pass
        return answer


good = b'{"ok":true,"run":"night"'
assert ask(b'status\n').startswith(good)
assert ask(b'stat' + b'us\nstatus\nstatus\n').startswith(good)  # one request a connection
assert ask(b'\n').startswith(b'{"ok":false'), ask(b'\n')
assert ask(b'sta\0tus\n').startswith(b'{"ok":false')
assert ask(b'\xff\xfe\x1b[2J\n').startswith(b'{"ok":false,"error":"unknown request')
assert ask(b'x' * 64).startswith(b'{"ok":false,"error":"a request is one short word')
ask(b'x' * 1000000)  # whether the answer comes before the reset is the kernel's
assert ask(b'status\n').startswith(good)
assert ask(b'status', end=True) == b''  # hung up in the middle of a word
idle = [connect() for _ in range(15)]
assert ask(b'status\n').startswith(good)
more = [connect() for _ in range(8)]
got = [s.recv(1) for s in more[2:]]
assert got == [b''] * 6, got  # too many: hung up at once
for s in more:
    s.close()
for s in idle[:-1]:
    s.close()
assert ask(b'status\n').startswith(good)
assert idle[-1].recv(1) == b''  # and whoever says nothing is hung up on, after a while
print('the night is still there')
