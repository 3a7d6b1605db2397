"""Crash tests: whatever kills a night, the same command ends it with the bytes of an undisturbed one. Prints TAP, one test a kind.

    crash.py random    kill -9 at random instants, again and again until a sitting ends by itself
    crash.py faults    each write, sync, rename, ... and each call to the engine fails, or is where the process dies (fault.c)
    crash.py power     the machine dies: what was not synced is gone, wholly or in part, at each point of a night

`--kills N` and `--at-most N` (points tried of each kind, spread evenly; 0: all) set the size, `--seed N` the random ones. Environment: THRESH,
FAKE_ENGINE, FAULT_LIBRARY (absolute); FAULT_EFFECTS="no malloc" where a sanitizer has the allocations.

After each death: the same command ends with 0, and `thresh fsck` finds nothing; shards and sidecars are those of an undisturbed night, byte for byte; each candidate is in
the ledger once; and `random` holds the engine's log against it: where each row is a commit, no kill has more candidates asked for again than were in flight.
"""
import argparse
import collections
import concurrent.futures
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
THRESH = os.path.abspath(os.environ.get('THRESH', 'build/thresh'))
FAKE_ENGINE = os.path.abspath(os.environ.get('FAKE_ENGINE', 'build/tests/fake_engine/fake_engine'))
CONCURRENCY, PER_REQUEST = 4, 2  # as in pipeline.yaml
# While an answer is taken in, the request that takes its slots may already be under way.
IN_FLIGHT = CONCURRENCY + PER_REQUEST
TIMEOUT_S = 60  # of a run that takes a fraction of a second
FOLDERS = ('shards', 'meta', 'logprobs')


class Wrong(Exception):
    pass


class Night:
    """A folder with a definition and an engine of its own, since the engine's log is evidence."""

    def __init__(self, temp, name, rows, ms_per_token=0):
        self.dir = os.path.join(temp, name)
        os.makedirs(self.dir)
        self.engine = subprocess.Popen(
            [FAKE_ENGINE, '--die-with-parent', '--slots', str(CONCURRENCY), '--delay-ms-per-token', str(ms_per_token), '--log', 'engine.log'],
            cwd=self.dir, stdout=subprocess.PIPE, text=True)
        url = self.engine.stdout.readline().split()[-1]
        with open(os.path.join(HERE, 'pipeline.yaml')) as f:
            self.write('pipeline.yaml', f.read().replace('@ENGINE@', url))
        shutil.copy(os.path.join(HERE, 'template.yaml'), self.dir)
        self.write('rows.jsonl', ''.join(
            json.dumps({'question': f'What is {i} plus {i}? [fake: answer={2 * i} p=0.5 len={20 + i}]', 'answer': 2 * i}) + '\n'
            for i in range(1, rows + 1)))
        self.env = {k: v for k, v in os.environ.items() if not k.lower().endswith('_proxy') and not k.startswith('THRESH_')}
        self.env |= {'TZ': 'UTC', 'LC_ALL': 'C', 'NO_COLOR': '1', 'THRESH_TEST_NOW': '1795500000',
                     'ASAN_OPTIONS': 'verify_asan_link_order=0:detect_leaks=0'}
        self.out = os.path.join(self.dir, 'out')
        self.options = []

    def write(self, name, text):
        with open(os.path.join(self.dir, name), 'w') as f:
            f.write(text)

    def close(self):
        self.engine.kill()
        self.engine.wait()
        self.engine.stdout.close()
        shutil.rmtree(self.dir, ignore_errors=True)

    def start(self, env=None):
        with open(os.path.join(self.dir, 'stderr.txt'), 'w') as err:
            return subprocess.Popen([THRESH, 'run', 'pipeline.yaml', '--run-id', 'night', '--log', 'warn', *self.options], cwd=self.dir,
                                    env=self.env | (env or {}), stdout=subprocess.DEVNULL, stderr=err)

    def run(self, env=None):
        """Exit code and what was said."""
        p = self.start(env)
        try:
            p.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            p.kill()
            p.wait()
            raise Wrong(f'hung; it said: {self.said()}') from None
        return p.returncode, self.said()

    def said(self):
        with open(os.path.join(self.dir, 'stderr.txt'), errors='replace') as f:
            return f.read()

    def start_again(self):
        shutil.rmtree(self.out, ignore_errors=True)

    def query(self, sql, out=None):
        path = os.path.join(out or self.out, 'runs/night/ledger.db')
        with sqlite3.connect(path) as db:
            return db.execute(sql).fetchall()

    def asked(self):
        """How often each candidate was asked for: (prompt, seed) -> n."""
        counts = collections.Counter()
        with open(os.path.join(self.dir, 'engine.log')) as f:
            for line in f:
                request = json.loads(line)
                if request['path'] == '/completion' and request['n_tokens'] and request['n_prompt'] > 2:
                    counts.update((request['prompt_hash'], request['seed'] + i) for i in range(request['n']))
        return counts

    def must_end(self, wanted):
        """The same command once more, and what it has made."""
        code, said = self.run()
        if code != 0:
            raise Wrong(f'the same command ended with {code}: {said}')
        self.must_be(wanted)
        self.must_be_whole()

    def must_be_whole(self, *options):
        check = subprocess.run([THRESH, 'fsck', 'pipeline.yaml', *options], cwd=self.dir, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if check.returncode != 0:
            raise Wrong(f'fsck is not content: {check.stdout.decode(errors="replace")}')

    def must_be(self, wanted):
        made = files_of(self.out)
        if made != wanted.files:
            different = sorted(k for k in made.keys() | wanted.files.keys() if made.get(k) != wanted.files.get(k))
            raise Wrong(f'not as in an undisturbed night: {" ".join(different)}')
        if self.query(ROWS) != wanted.rows:
            raise Wrong('the ledger has not the candidates of an undisturbed night')
        if os.path.exists(os.path.join(self.out, '.staging/night')):
            raise Wrong('the staging folder was left')


ROWS = '''SELECT c.id, c.seed, c.state, c.reason, c.n_tokens, s.outcome, l.row, l.pos FROM candidate c
          JOIN candidate_body b ON b.candidate = c.id LEFT JOIN selection s ON s.candidate = c.id LEFT JOIN plan l ON l.candidate = c.id
          ORDER BY c.id'''


def files_of(out):
    """Path -> content of all that is published."""
    files = {}
    for folder in FOLDERS:
        for root, _, names in os.walk(os.path.join(out, folder)):
            for name in names:
                path = os.path.join(root, name)
                with open(path, 'rb') as f:
                    files[os.path.relpath(path, out)] = f.read()
    return files


class Undisturbed:
    def __init__(self, night):
        begun = time.monotonic()
        code, said = night.run()
        self.seconds = time.monotonic() - begun
        if code != 0:
            raise Wrong(f'an undisturbed night ended with {code}: {said}')
        self.files, self.rows, self.asked = files_of(night.out), night.query(ROWS), night.asked()
        if len(self.rows) != len(self.asked) or set(self.asked.values()) != {1}:
            raise Wrong('an undisturbed night asked for a candidate twice')


# --- random kills ---

class Random:
    """Trials side by side until there were enough kills."""

    def __init__(self, temp, options):
        self.temp, self.n, self.lock = temp, options.kills, threading.Lock()
        self.kills = self.trials = self.most = 0
        self.repeated = [0, 0]  # by commits in groups, by commits of each row
        self.random = random.Random(options.seed)
        night = Night(temp, 'undisturbed', 12, 0.4)
        try:
            self.wanted = Undisturbed(night)
        finally:
            night.close()

    def next(self):
        with self.lock:
            if self.kills >= self.n:
                return None
            self.trials += 1
            return self.trials, self.random.random()

    @staticmethod
    def sitting(night, instant):
        """True if it ended by itself."""
        p = night.start()
        try:
            p.wait(instant)
        except subprocess.TimeoutExpired:
            p.send_signal(signal.SIGKILL)
        if p.wait() not in (0, -signal.SIGKILL):
            raise Wrong(f'a sitting ended with {p.returncode}: {night.said()}')
        return p.returncode == 0

    def trial(self, number, seed):
        rng = random.Random(seed)
        night = Night(self.temp, f'trial{number}', 12, 0.4)
        # Every other one commits as nights do by default: then what came since the last commit is lost as well.
        each_row = number % 2 == 1
        night.options = [] if each_row else ['--set', 'ledger.commit_rows=4096']
        instants, lost = [], 0
        try:
            while True:
                instants.append(rng.uniform(0, 1.1 * self.wanted.seconds))
                if self.sitting(night, instants[-1]):
                    break
                with self.lock:
                    self.kills += 1
                known = 0
                if os.path.exists(os.path.join(night.out, 'runs/night')):
                    night.must_be_whole('--repair')  # which must do no harm, either
                    known = len(night.query('SELECT id FROM candidate'))
                asked = sum(night.asked().values())
                if each_row and asked - known - lost > IN_FLIGHT:
                    raise Wrong(f'{asked - known - lost} candidates were lost in one kill, {IN_FLIGHT} can be in flight')
                with self.lock:
                    self.most = max(self.most, asked - known - lost if each_row else 0)
                lost = asked - known
            night.must_be(self.wanted)
            night.must_be_whole()
            asked = night.asked()
            if asked.keys() != self.wanted.asked.keys():
                raise Wrong('other candidates were asked for than in an undisturbed night')
            with self.lock:
                self.repeated[each_row] += sum(asked.values()) - len(asked)
        except Wrong as e:
            raise Wrong(f'killed after {", ".join(f"{i * 1000:.0f} ms" for i in instants)}: {e}') from None
        finally:
            night.close()

    def work(self):
        while (job := self.next()):
            self.trial(*job)


def run_random(temp, options):
    r = Random(temp, options)
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for job in [pool.submit(r.work) for _ in range(options.jobs)]:
            job.result()
    return (f'{r.kills} kills in {r.trials} nights of {len(r.wanted.asked)} candidates: none lost, none twice, the same bytes; '
            f'asked for again {r.repeated[1]} where each row is a commit, {r.most} at most after one kill, and {r.repeated[0]} with commits as they are by default')


# --- faults ---

# Which calls, and what becomes of the N-th, for each N. `+`: from the N-th on, as a disk that is full stays full.
FILE_FAULTS = ['file:{}:kill', 'write:{}:torn', 'write:{}:short', 'write:{}:EINTR', 'write:{}+:ENOSPC', 'write:{}:ENOSPC', 'write:{}:EIO', 'fsync:{}:EIO',
               'fsync:{}+:ENOSPC', 'rename:{}:EIO', 'open:{}:EMFILE', 'open:{}+:ENOSPC', 'ftruncate:{}:EIO', 'unlink:{}:EACCES', 'mkdir:{}:ENOSPC']
HTTP_FAULTS = ['http:{}:kill', 'connect:{}:ECONNREFUSED', 'send:{}:ECONNRESET', 'send:{}:short', 'recv:{}:ECONNRESET', 'recv:{}:short', 'recv:{}:EINTR']
MALLOC_POINTS = 2000  # of 40,000 in a night; most are in places that ten others are in
MALLOC_FAULTS = ['malloc:{}:ENOMEM']


class Faults:
    def __init__(self, temp, name):
        self.night = Night(temp, name, 3)
        self.wanted = Undisturbed(self.night)
        self.report = os.path.join(self.night.dir, 'report')

    def run(self, fault):
        """Exit code, what was said, and the report: {"hit": what, "calls": n}."""
        self.night.start_again()
        if os.path.exists(self.report):
            os.unlink(self.report)
        code, said = self.night.run({'LD_PRELOAD': os.environ['FAULT_LIBRARY'], 'FAULT': fault, 'FAULT_ROOT': self.night.out,
                                     'FAULT_REPORT': self.report})
        facts = {}
        with open(self.report, 'a+') as f:
            f.seek(0)
            for line in f:
                what, n, text = line.rstrip('\n').split(' ', 2)
                facts[what] = text or int(n)
        return code, said, facts

    def one(self, fault):
        """False if the fault did not strike."""
        code, said, facts = self.run(fault)
        if 'hit' not in facts:
            return False
        try:
            self.judge(fault, code, said)
        except Wrong as e:
            raise Wrong(f'{fault} (at {facts["hit"].removeprefix(self.night.dir + "/")}), exit code {code}: {e}') from None
        return True

    def judge(self, fault, code, said):
        calls, _, effect = fault.split(':')
        # Without memory the program ends in one place, by abort; libcrypto, which cannot say so everywhere, may fall over itself, and
        # libcurl divides by the size of a table that it could not make.
        may_die = (-signal.SIGKILL,) if effect in ('kill', 'torn') else (-signal.SIGABRT, -signal.SIGSEGV, -signal.SIGFPE) if calls == 'malloc' else ()
        if code == 0:
            self.night.must_be(self.wanted)
            return
        if effect in ('short', 'EINTR') or calls in ('connect', 'send', 'recv'):
            raise Wrong(f'this should not be noticed: {said}')
        if code not in may_die and not (code == 1 and '\nthresh: ' in '\n' + said):
            raise Wrong(f'neither done, nor an error that is told, nor a death: {said}')
        self.night.must_end(self.wanted)

    def points(self, fault, at_most):
        total = self.run(fault.replace('+', '').format(0))[2]['calls']
        if total < 2:
            raise Wrong(f'{fault}: only {total} calls were counted')
        n = min(total, at_most) if at_most else total
        return [1 + i * (total - 1) // max(1, n - 1) for i in range(n)], total

    def sweep(self, fault, at_most):
        """How many points were tried, of how many."""
        few = at_most * 8 if fault in MALLOC_FAULTS else at_most
        points, total = self.points(fault, few or (MALLOC_POINTS if fault in MALLOC_FAULTS else 0))
        n = 0
        for n, at in enumerate(points, 1):
            if not self.one(fault.format(at)):
                return n - 1, total
        # Runs differ by a few calls, so the end is where none strikes.
        while not at_most and len(points) == total and self.one(fault.format(n + 1)):
            n += 1
        return n, max(n, total)


def run_faults(faults):
    def run(temp, options):
        if faults is MALLOC_FAULTS and os.environ.get('FAULT_EFFECTS') == 'no malloc':
            return None

        def work(fault):
            f = Faults(temp, fault.format('N').replace(':', '-'))
            try:
                return f.sweep(fault, options.at_most), None
            except Wrong as e:
                return (0, 0), str(e)
            finally:
                f.night.close()

        with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
            results = list(pool.map(work, faults))
        wrong = [why for _, why in results if why]
        if wrong:
            raise Wrong('\n'.join(wrong))
        results = [counts for counts, _ in results]
        return f'{sum(n for n, _ in results)} of {sum(total for _, total in results)} points; ' + ', '.join(
            f'{fault.format("N")} {n}' for fault, (n, _) in zip(faults, results))
    return run


# --- power loss ---

class File:
    def __init__(self):
        self.now, self.synced, self.pending = bytearray(), b'', []  # pending: (offset, bytes), or a length

    def write(self, at, data):
        apply(self.now, (at, data))
        self.pending.append((at, data))

    def truncate(self, length):
        apply(self.now, length)
        self.pending.append(length)

    def sync(self):
        self.synced, self.pending = bytes(self.now), []

    def after(self, rng):
        """What is left of it: what was synced, and of the rest nothing (no rng) or any part, writes torn at sectors."""
        left = bytearray(self.synced)
        for change in self.pending if rng else []:
            if rng.random() < 0.5:
                continue
            if not isinstance(change, int) and rng.random() < 0.3:
                change = change[0], change[1][:512 * rng.randrange(len(change[1]) // 512 + 1)]
            apply(left, change)
        return bytes(left)


def apply(content, change):
    if isinstance(change, int):
        del content[change:]
        content.extend(bytes(change - len(content)))
    else:
        at, data = change
        content.extend(bytes(max(0, at - len(content))))
        content[at:at + len(data)] = data


class Folder:
    def __init__(self):
        self.now, self.synced = {}, {}


class Disk:
    """Replays a trace. A name is durable once its folder was synced after it was given or taken; a rename is one change of two folders."""

    def __init__(self, root):
        self.root, self.top = root, Folder()
        self.changes = []  # of names, not yet durable: {folder: {name: node or None}}

    def folder_of(self, path):
        *parents, name = os.path.relpath(path, os.path.dirname(self.root)).split(os.sep)
        folder = self.top
        for parent in parents:
            folder = folder.now[parent]
        return folder, name

    def find(self, path):
        folder, name = self.folder_of(path)
        return folder.now.get(name)

    def change(self, *names):
        """(path, node) pairs, as one change."""
        change = []
        for path, node in names:
            folder, name = self.folder_of(path)
            if node is None:
                del folder.now[name]
            else:
                folder.now[name] = node
            change.append((folder, name, node))
        self.changes.append(change)

    def sync(self, node):
        if isinstance(node, File):
            node.sync()
            return
        rest = []
        for change in self.changes:
            if any(folder is node for folder, _, _ in change):
                settle(change)
            else:
                rest.append(change)
        self.changes = rest

    def play(self, op, a, b, x, data):
        if op in ('open', 'create'):
            file = self.find(a)
            if file is None:
                self.change((a, File()))
            elif op == 'create':
                file.truncate(0)
        elif op == 'write':
            self.find(a).write(x, data)
        elif op == 'truncate':
            self.find(a).truncate(x)
        elif op == 'sync':
            self.sync(self.find(a) if a != os.path.dirname(self.root) else self.top)
        elif op == 'rename':
            node = self.find(a)
            self.change((a, None), (b, node))
        elif op == 'unlink' and self.find(a) is not None:  # else a socket
            self.change((a, None))
        elif op == 'mkdir':
            self.change((a, Folder()))

    def put(self, to, rng=None, all_of_it=False):
        """Writes what is left after the power has gone to the folder `to`."""
        names = {}
        if not all_of_it:
            for change in self.changes if rng else []:
                if rng.random() < 0.5:
                    for folder, name, node in change:
                        names.setdefault(id(folder), {})[name] = node
        self.put_folder(self.top, to, names, rng, all_of_it)

    def put_folder(self, folder, to, names, rng, all_of_it):
        os.makedirs(to, exist_ok=True)
        entries = folder.now if all_of_it else folder.synced | names.get(id(folder), {})
        for name, node in entries.items():
            path = os.path.join(to, name)
            if isinstance(node, Folder):
                self.put_folder(node, path, names, rng, all_of_it)
            elif node:
                with open(path, 'wb') as f:
                    f.write(node.now if all_of_it else node.after(rng))


def settle(change):
    for folder, name, node in change:
        if node is None:
            folder.synced.pop(name, None)
        else:
            folder.synced[name] = node


def read_trace(path):
    with open(path, 'rb') as f:
        while (line := f.readline()):
            op, a, b, x, n = line.decode().rstrip('\n').split('\t')
            yield op, a, b, int(x), f.read(int(n))


def run_power(temp, options):
    night = Night(temp, 'power', 3)
    try:
        wanted = Undisturbed(night)
        night.start_again()
        trace = os.path.join(night.dir, 'trace')
        code, said = night.run({'LD_PRELOAD': os.environ['FAULT_LIBRARY'], 'FAULT_ROOT': night.dir, 'FAULT_TRACE': trace})
        if code != 0:
            raise Wrong(f'a night that is watched ended with {code}: {said}')
        night.must_be(wanted)
        steps = [s for s in read_trace(trace) if not s[1].endswith(('stderr.txt', 'trace'))]
        points = [i for i, s in enumerate(steps) if s[0] == 'sync']
        n_states = lose_power(night, wanted, steps, points, options)
        return f'{n_states} states of the disk at {len(points)} syncs, {len(steps)} changes'
    finally:
        night.close()


def known(out):
    """What a ledger answers for: rows that must not be lost."""
    path = os.path.join(out, 'runs/night/ledger.db')
    if not os.path.exists(path):
        return None
    with sqlite3.connect(path) as db:
        return [db.execute(sql).fetchall() for sql in ('SELECT id, state FROM candidate', 'SELECT name, state FROM stage', 'SELECT * FROM shard')]


def lose_power(night, wanted, steps, points, options):
    """Right after each sync nothing that was committed before may be lost; right before it, and with half of what is pending, the same command goes on."""
    rng = random.Random(options.seed)
    every = max(1, len(points) // options.at_most) if options.at_most else 1
    tried = {p for n, p in enumerate(points) if n % every == 0 or p == points[-1]}
    disk, kept, n_states = Disk(night.out), os.path.join(night.dir, 'kept'), 0
    for i, step in enumerate(steps):
        for state, generator in (('nothing', None), ('a part', rng)) if i in tried else ():
            night.start_again()
            disk.put(night.dir, generator)
            try:
                night.must_end(wanted)
            except Wrong as e:
                raise Wrong(f'power lost before {describe(night, steps, i)}, {state} of what was pending is there: {e}') from None
            n_states += 1
        disk.play(*step)
        if i in points:
            night.start_again()
            disk.put(night.dir)
            shutil.rmtree(kept, ignore_errors=True)
            disk.put(kept, all_of_it=True)
            if step[1].endswith('-wal') and known(night.out) != known(os.path.join(kept, 'out')):
                raise Wrong(f'power lost after {describe(night, steps, i)}: what was committed is not there')
    night.start_again()
    disk.put(night.dir)
    night.must_be(wanted)
    return n_states


def describe(night, steps, i):
    return f'sync {sum(s[0] == "sync" for s in steps[:i + 1])} ({steps[i][0]} {os.path.relpath(steps[i][1], night.dir)})'


def memory_folder():
    """Where a sync costs nothing: what a death of the process leaves does not depend on it. None: the usual place."""
    try:
        free = shutil.disk_usage('/dev/shm').free
    except OSError:
        return None
    return '/dev/shm' if free > 256 << 20 and os.access('/dev/shm', os.W_OK) else None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('kind', choices=KINDS)
    parser.add_argument('--kills', type=int, default=200)
    parser.add_argument('--at-most', type=int, default=0)
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--jobs', type=int, default=2)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that nothing is left behind
    temp = tempfile.mkdtemp(prefix='thresh-crash-', dir=memory_folder())
    begun, wrong = time.monotonic(), 0
    try:
        for n, (name, test) in enumerate(KINDS[options.kind], 1):
            try:
                facts = test(temp, options)
                print(f'ok {n} - {name}\n# {facts}; {time.monotonic() - begun:.1f} s' if facts else f'ok {n} - {name} # SKIP', flush=True)
            except Wrong as e:
                wrong += 1
                print(f'not ok {n} - {name}')
                print(''.join(f'# {line}\n' for line in str(e).splitlines()), end='', flush=True)
        print(f'1..{len(KINDS[options.kind])}')
    finally:
        shutil.rmtree(temp, ignore_errors=True)
    return 1 if wrong else 0


KINDS = {
    'random': [('killed_at_any_instant_it_ends_in_the_same_bytes', run_random)],
    'power': [('what_was_synced_is_enough', run_power)],
    'faults': [('calls_on_files_that_fail_or_kill', run_faults(FILE_FAULTS)), ('calls_to_the_engine_that_fail_or_kill', run_faults(HTTP_FAULTS)),
               ('allocations_that_fail', run_faults(MALLOC_FAULTS))],
}

if __name__ == '__main__':
    sys.exit(main())
