"""A service manager's socket: runs the command, writes each datagram to notify.txt, one a line with | for newlines. First argument: 'path' or 'abstract'."""
import os
import socket
import subprocess
import sys
import threading

kind, command = sys.argv[1], sys.argv[2:]
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
name = os.path.abspath('notify.socket') if kind == 'path' else f'@thresh-golden-{os.getpid()}'
s.bind(name if kind == 'path' else '\0' + name[1:])
env = dict(os.environ, NOTIFY_SOCKET=name)
process = subprocess.Popen(command, env=env)
done = threading.Event()


def listen():
    with open('notify.txt', 'w') as f:
        while data := s.recv(65536):
            f.write(data.decode().replace('\n', '|') + '\n')
            f.flush()


t = threading.Thread(target=listen)
t.start()
code = process.wait()
socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'', name if kind == 'path' else '\0' + name[1:])
t.join()
sys.exit(code)
