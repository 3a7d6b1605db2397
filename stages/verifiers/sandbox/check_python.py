"""Runs a candidate's code against tests: the part of the code verifier that lives inside the sandbox.

Two processes. This one, the checker, holds the tests and the run's nonce and is the only one that can write a verdict. The
candidate's code runs in a child that was forked before the checker had read either, and that has none of their descriptors.
Tests call the candidate through proxies: arguments and results cross as JSON of plain values and are rebuilt here as exactly
int, str, list and so on, so an object that is equal to everything, a builtin that was replaced or a look at the caller's frames
changes nothing that a test sees. What cannot be sent as a value stays with its owner and crosses as a number.

argv: processes, CPU seconds. Descriptors: 3 the report, 4 the candidate's code, 5 the secret: {"nonce", "prefix", "setup", "tests",
"entry_point", "reference"}, of which only nonce and tests must be there; 6 this file, compiled.
"""
import _signal
import os
import resource
import sys
import time

try:
    from _json import encode_basestring_ascii as quote, make_scanner
except ImportError:
    from json.encoder import py_encode_basestring_ascii as quote
    from json.scanner import py_make_scanner as make_scanner

REPORT, CODE, SECRET, HARNESS = 3, 4, 5, 6
MESSAGE_MAX = 16 << 20
DETAIL_MAX = 400
EXCEPTIONS = {name: value for name, value in vars(__builtins__).items()
              if isinstance(value, type) and issubclass(value, Exception)}
# Values beyond JSON that cross whole: module, name, and what they are rebuilt from.
COPIED = {
    ('decimal', 'Decimal'): lambda x: [str(x)],
    ('fractions', 'Fraction'): lambda x: [x.numerator, x.denominator],
    ('collections', 'deque'): lambda x: [list(x)],
    ('datetime', 'date'): lambda x: [x.year, x.month, x.day],
    ('datetime', 'time'): lambda x: [x.hour, x.minute, x.second, x.microsecond],
    ('datetime', 'datetime'): lambda x: [x.year, x.month, x.day, x.hour, x.minute, x.second, x.microsecond],
    ('datetime', 'timedelta'): lambda x: [x.days, x.seconds, x.microseconds],
}


class Ended(BaseException):
    """The other process is gone. Not an Exception, so that a test's `except Exception` does not hide it."""


class TooLong(Exception):
    pass


class ScannerRules:
    strict = True
    object_hook = object_pairs_hook = None
    memo = {}
    parse_float, parse_int = float, int
    parse_constant = {'NaN': float('nan'), 'Infinity': float('inf'), '-Infinity': float('-inf')}.__getitem__
    # Of the pure scanner alone.
    parse_string = parse_array = parse_object = None


scan = make_scanner(ScannerRules)


def read_exactly(fd, n):
    parts = []
    while n:
        part = os.read(fd, min(n, 1 << 20))
        if not part:
            raise Ended
        parts.append(part)
        n -= len(part)
    return b''.join(parts)


def read_all(fd):
    text = read_exactly(fd, os.fstat(fd).st_size)
    os.close(fd)
    return text


def write_all(fd, data):
    while data:
        try:
            data = data[os.write(fd, data):]
        except OSError:
            raise Ended


def short(value):
    try:
        text = str(value)
    except Exception:
        text = 'unprintable'
    # Lone surrogates and zeros are no text for the other programs that will read it.
    text = text.encode('utf-8', 'backslashreplace').decode('utf-8').replace('\0', '\\x00')
    return text if len(text) <= DETAIL_MAX else text[:DETAIL_MAX] + '...'


class Peer:
    """One end of the channel. Both ends may call: a test may hand the candidate a function of its own."""

    def __init__(self, read_fd, write_fd, trusted):
        self.read_fd, self.write_fd, self.trusted = read_fd, write_fd, trusted
        self.kept = []
        self.n_calls = 0
        self.ended = False  # remembered, since a test's bare `except:` hides even Ended

    # Values.

    def encode(self, x):
        kind = type(x)
        if x is None:
            return 'null'
        if x is True:
            return 'true'
        if x is False:
            return 'false'
        if isinstance(x, int):
            x = int(x)
            return int.__repr__(x) if -1 << 63 <= x < 1 << 63 else '["i","%x"]' % x
        if isinstance(x, float):
            return '["f","%s"]' % float.__repr__(x)
        if isinstance(x, str):
            return quote(str.__str__(x))
        if kind is Remote:
            return '["o",%d]' % x._id
        if isinstance(x, (bytes, bytearray)):
            return '["%s","%s"]' % ('b' if isinstance(x, bytes) else 'B', bytes(x).hex())
        for tag, sequence in (('l', list), ('t', tuple), ('s', set), ('z', frozenset)):
            if isinstance(x, sequence):
                return '["%s"%s]' % (tag, ''.join([',' + self.encode(v) for v in sequence.__iter__(x)]))
        if isinstance(x, dict):
            return '["d"%s]' % ''.join([',%s,%s' % (self.encode(k), self.encode(v)) for k, v in dict.items(x)])
        if kind is complex:
            return '["c",%s,%s]' % (self.encode(x.real), self.encode(x.imag))
        if kind is range:
            return '["g",%d,%d,%d]' % (x.start, x.stop, x.step)
        name = (getattr(kind, '__module__', ''), getattr(kind, '__name__', ''))
        if name in COPIED:
            return '["x",%s,%s,%s]' % (quote(name[0]), quote(name[1]), self.encode(COPIED[name](x)))
        if kind is type and x.__module__ == 'builtins':
            return '["y",%s]' % quote(x.__name__)
        if hasattr(kind, '__index__'):
            return self.encode(int(x.__index__()))
        if not self.trusted and hasattr(kind, '__float__') and kind.__module__.startswith('numpy'):
            return self.encode(float(x))
        self.kept.append(x)
        return '["r",%d]' % (len(self.kept) - 1)

    def decode(self, v):
        if type(v) is not list:
            return v
        tag = v[0]
        if tag == 'l':
            return [self.decode(x) for x in v[1:]]
        if tag == 't':
            return tuple([self.decode(x) for x in v[1:]])
        if tag == 'd':
            return {self.decode(v[i]): self.decode(v[i + 1]) for i in range(1, len(v), 2)}
        if tag == 'i':
            return int(v[1], 16)
        if tag == 'f':
            return float(v[1])
        if tag == 's':
            return {self.decode(x) for x in v[1:]}
        if tag == 'z':
            return frozenset([self.decode(x) for x in v[1:]])
        if tag == 'b':
            return bytes.fromhex(v[1])
        if tag == 'B':
            return bytearray.fromhex(v[1])
        if tag == 'c':
            return complex(self.decode(v[1]), self.decode(v[2]))
        if tag == 'g':
            return range(v[1], v[2], v[3])
        if tag == 'x' and (v[1], v[2]) in COPIED:
            return getattr(__import__(v[1]), v[2])(*self.decode(v[3]))
        if tag == 'y' and isinstance(BUILTINS.get(v[1]), type):
            return BUILTINS[v[1]]
        if tag == 'r':
            return Remote(self, int(v[1]))
        if tag == 'o':
            return self.kept[v[1]]
        raise ValueError('a value that is none')

    # Messages.

    def send(self, text):
        data = text.encode('ascii')
        if len(data) > MESSAGE_MAX:
            raise TooLong('a value of %d bytes' % len(data))
        try:
            write_all(self.write_fd, len(data).to_bytes(4, 'little') + data)
        except Ended:
            self.ended = True
            raise

    def receive(self):
        try:
            n = int.from_bytes(read_exactly(self.read_fd, 4), 'little')
            if n > MESSAGE_MAX:
                raise TooLong('a value of %d bytes' % n)
            return scan(read_exactly(self.read_fd, n).decode('ascii'), 0)[0]
        except Ended:
            self.ended = True
            raise

    def answer(self, message):
        """Does what the other end asks for and sends the outcome."""
        _, op, target, args, kwargs = message
        try:
            args, kwargs = self.decode(args), self.decode(kwargs)
            before = [self.encode(a) if isinstance(a, MUTABLE) else None for a in args]
            result = self.encode(self.do(op, target, args, kwargs))
            # A function may be asked to change its argument in place; the caller's own object must follow.
            changed = [[i, self.encode(a)] for i, a in enumerate(args)
                       if before[i] is not None and self.encode(a) != before[i]]
            reply = '["ok",%s,[%s]]' % (result, ','.join('[%d,%s]' % (i, a) for i, a in changed))
            if len(reply) > MESSAGE_MAX:
                raise TooLong('a value of %d bytes' % len(reply))
        except Exception as e:
            # The nearest exception that the other end knows, too.
            name = next((c.__name__ for c in type(e).__mro__ if EXCEPTIONS.get(c.__name__) is c), 'Exception')
            if isinstance(e, TooLong):
                name = 'TooLong'
            reply = '["raise",%s,%s,%s]' % (quote(name), quote(type(e).__name__), quote(short(e)))
        self.send(reply)

    def do(self, op, target, args, kwargs):
        thing = self.kept[target]
        if op == 'call':
            return thing(*args, **kwargs)
        if self.trusted:
            raise TypeError('only calls')
        if op == 'get':
            return getattr(thing, *args)
        if op == 'set':
            return setattr(thing, *args)
        if op == 'item':
            return thing[args[0]]
        if op == 'put':
            thing[args[0]] = args[1]
            return None
        return {'len': len, 'iter': iter, 'next': next, 'str': str, 'repr': repr, 'bool': bool}[op](thing)

    def ask(self, op, target, args=(), kwargs={}):
        self.n_calls += op == 'call'
        self.send('["ask","%s",%d,%s,%s]' % (op, target, self.encode(list(args)), self.encode(kwargs)))
        while True:
            message = self.receive()
            if message[0] != 'ask':
                break
            self.answer(message)
        if message[0] == 'raise':
            raise_remote(op, *message[1:])
        result = self.decode(message[1])
        # A function that works in place returns nothing. Of others, changed arguments do not come back: they could be
        # what the test goes on to compute its expectation from.
        for i, value in message[2] if result is None else ():
            replace_contents(args[i], self.decode(value))
        return result

    def serve(self):
        while True:
            self.answer(self.receive())


MUTABLE = (list, dict, set, bytearray)
BUILTINS = dict(vars(__builtins__))


def replace_contents(old, new):
    if type(old) is not type(new) or not isinstance(old, MUTABLE):
        raise ValueError('an argument of another type')
    if isinstance(old, (list, bytearray)):
        old[:] = new
    else:
        old.clear()
        old.update(new)


def raise_remote(op, name, written, text):
    kind = TooLong if name == 'TooLong' else EXCEPTIONS.get(name, Exception)
    # From a call it would end a test's loop over map(candidate, ...) as if all had been seen.
    if kind in (StopIteration, StopAsyncIteration) and op != 'next':
        kind = RuntimeError
    try:
        e = kind(text)
    except TypeError:
        e = ValueError(text)
    e.written = short(written)
    raise e


class Remote:
    """A thing of the other process. Only equal to itself: what `==` says there is worth nothing here."""
    __slots__ = ('_peer', '_id')

    def __init__(self, peer, number):
        object.__setattr__(self, '_peer', peer)
        object.__setattr__(self, '_id', number)

    def __call__(self, *args, **kwargs):
        return self._peer.ask('call', self._id, args, kwargs)

    def __getattr__(self, name):
        if name.startswith('__'):
            raise AttributeError(name)
        return self._peer.ask('get', self._id, [name])

    def __setattr__(self, name, value):
        self._peer.ask('set', self._id, [name, value])

    def __getitem__(self, key):
        return self._peer.ask('item', self._id, [key])

    def __setitem__(self, key, value):
        self._peer.ask('put', self._id, [key, value])

    def __len__(self):
        return self._peer.ask('len', self._id)

    def __bool__(self):
        return self._peer.ask('bool', self._id)

    def __iter__(self):
        return self._peer.ask('iter', self._id)

    def __next__(self):
        return self._peer.ask('next', self._id)

    def __str__(self):
        return str(self._peer.ask('str', self._id))

    def __repr__(self):
        return str(self._peer.ask('repr', self._id))


# --- the candidate's process ---

def run_candidate(code, peer):
    module = type(sys)('candidate')
    sys.modules['candidate'] = module
    try:
        compiled = compile(code, 'candidate.py', 'exec', dont_inherit=True)
    except Exception as e:
        peer.send('["compile_error",%s]' % quote(short('%s: %s' % (type(e).__name__, e))))
        return
    try:
        exec(compiled, module.__dict__)
    except Exception as e:
        peer.send('["runtime_error",%s,%s]' % (quote(type(e).__name__), quote(short(e))))
        return
    names = [name for name in list(module.__dict__) if type(name) is str and not name.startswith('__')]
    values = [module.__dict__[name] for name in names]
    peer.kept.extend(values)
    peer.send('["loaded"%s]' % ''.join(
        [',' + quote('module ' + name if type(v) is type(sys) else name) for name, v in zip(names, values)]))
    peer.serve()


# --- the checker ---

class Verdict(Exception):
    def __init__(self, status, detail=''):
        self.status, self.detail = status, detail


def names_in(code):
    found = set(code.co_names)
    for value in code.co_consts:
        if hasattr(value, 'co_names'):
            found |= names_in(value)
    return found


def defined_by(source):
    """Functions and classes at the top of a reference solution."""
    try:
        code = compile(source, 'reference.py', 'exec', dont_inherit=True)
    except Exception:
        return set()
    return {c.co_name for c in code.co_consts if hasattr(c, 'co_name')}


def prepare(secret, names, peer):
    """The tests, compiled, and the names that they see."""
    try:
        tests = [compile(t, 'test %d' % i, 'exec', dont_inherit=True) for i, t in enumerate(secret['tests'])]
        setup = compile(secret.get('setup') or '', 'setup.py', 'exec', dont_inherit=True)
    except Exception as e:
        raise Verdict('test_error', '%s: %s' % (type(e).__name__, e))
    space = {'__name__': 'test', '__builtins__': __builtins__}
    entry = secret.get('entry_point')
    # What the prompt defines beside the function that is asked for is the prompt's, whatever the candidate makes of it.
    try:
        exec(compile(secret.get('prefix') or '', 'prefix.py', 'exec', dont_inherit=True), space)
    except Exception:
        pass
    try:
        exec(setup, space)
    except Exception as e:
        raise Verdict('test_error', '%s: %s' % (type(e).__name__, e))
    under_test = {entry} if entry else defined_by(secret.get('reference') or '')
    used = names_in(setup).union(*[names_in(t) for t in tests])
    for i, name in enumerate(names):
        if name.startswith('module '):
            # Tests that lean on an import of the candidate's get the real module.
            name = name[7:]
            if name in used and name not in space and name not in BUILTINS:
                try:
                    space[name] = __import__(name)
                except ImportError:
                    pass
        elif name in under_test or name in used and name not in space and name not in BUILTINS:
            space[name] = Remote(peer, i)
    if entry and not isinstance(space.get(entry), Remote):
        raise Verdict('runtime_error', 'the code does not define %s' % entry)
    return tests, space


def run_tests(secret, peer, progress):
    loaded = peer.receive()
    if loaded[0] == 'compile_error':
        raise Verdict('compile_error', loaded[1])
    if loaded[0] == 'runtime_error':
        raise Verdict('memory_limit' if loaded[1] == 'MemoryError' else 'runtime_error', '%s: %s' % tuple(loaded[1:3]))
    tests, space = prepare(secret, loaded[1:], peer)
    entry = secret.get('entry_point')
    for test in tests:
        exec(test, space)
        progress[0] += 1
    # HumanEval's tests define check(), which does the work.
    if entry and callable(space.get('check')) and not isinstance(space['check'], Remote):
        space['check'](space[entry])
    # A check() that nobody calls, an empty list: whatever the code is, this says nothing.
    if not peer.n_calls and not peer.ended:
        raise Verdict('test_error', 'the tests never call the code')


def judge_end(child, cpu_s):
    """What the candidate's process, which is gone, died of."""
    _, status, usage = os.wait4(child, 0)
    if not os.WIFSIGNALED(status):
        return Verdict('runtime_error', 'the code ended the process with exit code %d' % os.WEXITSTATUS(status))
    if usage.ru_utime + usage.ru_stime >= cpu_s - 0.5:
        return Verdict('time_limit', 'CPU')
    return Verdict('runtime_error', 'the process was killed by signal %d' % os.WTERMSIG(status))


def failed_line(e, tests):
    """The line of the tests that said no."""
    found, at = '', e.__traceback__
    while at:
        name = at.tb_frame.f_code.co_filename
        if name.startswith('test '):
            lines = tests[int(name[5:])].splitlines()
            found = lines[at.tb_lineno - 1].strip() if at.tb_lineno <= len(lines) else ''
        at = at.tb_next
    return found


def check(secret, peer, child, cpu_s):
    progress = [0]
    try:
        run_tests(secret, peer, progress)
        verdict = judge_end(child, cpu_s) if peer.ended else Verdict('passed')
    except Verdict as e:
        verdict = e
    except Ended:
        verdict = judge_end(child, cpu_s)
    except TooLong as e:
        verdict = Verdict('output_limit', short(e))
    except MemoryError as e:
        verdict = Verdict('memory_limit')
    except BaseException as e:
        if peer.ended:
            return judge_end(child, cpu_s), progress[0]
        # The candidate's would have ended its own process.
        if isinstance(e, SystemExit):
            return Verdict('test_error', 'the tests end the process'), progress[0]
        # The candidate's own exceptions carry the name they had there.
        written = getattr(e, 'written', None)
        if written:
            verdict = Verdict('runtime_error', '%s: %s' % (written, short(e)))
        else:
            kind = '' if isinstance(e, AssertionError) else ' (%s: %s)' % (type(e).__name__, short(e))
            verdict = Verdict('failed', failed_line(e, secret['tests']) + kind)
    return verdict, progress[0]


def cpu_ms(child):
    """CPU time of both processes; the clock of another one has a number made of its pid."""
    try:
        theirs = time.clock_gettime(~child << 3 | 2)
    except OSError:
        theirs = 0
    return int((time.process_time() + theirs) * 1000)


def main():
    # Modules come from the installation alone, never from a folder that the candidate can write to.
    sys.path[:] = [p for p in sys.path if p.startswith('/')]
    processes, cpu_s = int(sys.argv[1]), int(sys.argv[2])
    # It counts from zero in this user namespace, so it must be set inside. Without one it would count strangers: 0 says so.
    if processes:
        resource.setrlimit(resource.RLIMIT_NPROC, (processes, processes))
    code = read_all(CODE)
    os.close(HARNESS)
    (to_child, from_parent), (to_parent, from_child) = reversed(os.pipe()), reversed(os.pipe())
    _signal.signal(_signal.SIGINT, _signal.SIG_IGN)
    child = os.fork()
    if child == 0:
        _signal.signal(_signal.SIGINT, _signal.default_int_handler)
        for fd in (REPORT, SECRET, to_child, from_child):
            os.close(fd)
        try:
            run_candidate(code, Peer(from_parent, to_parent, False))
        except Ended:
            pass
        except SystemExit as e:
            os._exit(e.code if type(e.code) is int else e.code is not None)
        os._exit(0)
    # From here on the end is the candidate's affair; what failed before is the machine's.
    os.write(REPORT, b'started\n')
    os.close(from_parent)
    os.close(to_parent)
    secret = scan(read_all(SECRET).decode('utf-8'), 0)[0]
    verdict, n_passed = check(secret, Peer(from_child, to_child, True), child, cpu_s)
    report = '{"nonce":%s,"status":"%s","passed":%d,"cpu_ms":%d,"detail":%s}\n' % (
        quote(secret['nonce']), verdict.status, n_passed, cpu_ms(child), quote(short(verdict.detail)))
    write_all(REPORT, report.encode('ascii'))
    os._exit(0)


main()
