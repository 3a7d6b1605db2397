"""Runs one golden case and prints TAP, one test a step.

    run_golden.py CASE_FOLDER [--update]

A case is a folder with `case.json` and the files that its commands read. Everything is copied into a fresh folder, which is the
working directory; `@ENGINE@` in the files becomes the address of a fake engine that lives as long as the case (`@ENGINE2@` that of "engine2"), `@FAKE@` the path
of its program, `@PORT@` a port that nobody listens on. case.json:

    {"engine": {"args": ["--slots", "4"], "script": [{"path": "/completion", "nth": 2, "fault": "500"}]},
     "env": {"THRESH_TEST_NOW": "1795500000"},
     "steps": [
       {"name": "a_good_night", "run": "run pipeline.yaml", "exit": 0,
        "stdout": ["lines", "with * as a wildcard", "..."],        "..." alone stands for any number of lines
        "stderr": ["*pipeline.yaml:3:1*"],
        "json": {"accepted": 12, "stages.pack.facts.rows": [">", 0]},      of what the command prints with --json
        "requests": {"/completion": 40}                                   counted since the step before
        "requests_since": ["a_step", "/completion", ["<=", 50]]           counted since that step ended
       },
       {"name": "killed", "run": "run pipeline.yaml", "signal": ["KILL", 10], "exit": -9},     once 10 more requests are in the log
       {"name": "same", "same": ["out/shards/night", "undisturbed/shards/night"]},             folders, byte for byte
       {"name": "by_hand", "shell": "echo ...", "exit": 0, "timeout": 250}           seconds; $THRESH is the program, $GOLDEN this folder, for what cases share
     ]}

`expect` in a step names a file with the whole expected stdout; --update rewrites it. Volatile parts are normalised by RULES.
"""
import fnmatch
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

GOLDEN = os.path.dirname(os.path.abspath(__file__))
RULES = [
    (r'127\.0\.0\.1:\d+', '127.0.0.1:PORT'),
    (r'\b\d+ tokens/s', 'N tokens/s'),
    (r'(?<=[ ])(?:\d+ms|\d+\.\d+s|\d+m\d\ds)(?= |,|;|$)', 'TIME'),
    (r'\b\d+ ms\b', 'N ms'),
    (r'(?<=prompt tokens read) +[\d,]+   [\d.]+ % of', ' N   N % of'),
    (r'/tmp/thresh-golden-[^/\s]+', '@TMP@'),
]


def normalise(text):
    for pattern, replacement in RULES:
        text = re.sub(pattern, replacement, text, flags=re.M)
    return text


def lines_match(expected, got):
    """Expected lines are globs; '...' stands for any number of lines."""
    if not expected:
        return not got
    if expected[0] == '...':
        return any(lines_match(expected[1:], got[i:]) for i in range(len(got) + 1))
    return bool(got) and fnmatch.fnmatchcase(got[0], expected[0].replace('[', '[[]')) and lines_match(expected[1:], got[1:])


def lookup(value, path):
    for part in path.split('.'):
        value = value[int(part)] if isinstance(value, list) else value.get(part) if isinstance(value, dict) else None
    return value


def holds(value, wanted):
    if isinstance(wanted, list) and len(wanted) == 2 and wanted[0] in ('>', '<', '>=', '<='):
        return value is not None and {'>': value > wanted[1], '<': value < wanted[1], '>=': value >= wanted[1], '<=': value <= wanted[1]}[wanted[0]]
    return value == wanted


class Case:
    def __init__(self, folder, update):
        self.source, self.update, self.engines, self.n_requests, self.n_tests, self.failed = folder, update, [], {}, 0, False
        self.counts_after = {}
        with open(os.path.join(folder, 'case.json')) as f:
            self.case = json.load(f)
        self.temp = tempfile.mkdtemp(prefix='thresh-golden-')

    def set_up(self):
        self.thresh, fake = os.path.abspath(os.environ['THRESH']), os.path.abspath(os.environ['FAKE_ENGINE'])
        words = {'@FAKE@': fake}
        with socket.socket() as s:
            s.bind(('127.0.0.1', 0))
            words['@PORT@'] = str(s.getsockname()[1])
        # Nothing of the caller's: a proxy or another server would make it another test.
        inherited = {k: v for k, v in os.environ.items() if not k.lower().endswith('_proxy') and not k.startswith(('THRESH_', 'FAKE_ENGINE_'))}
        self.env = {**inherited, 'TZ': 'UTC', 'LC_ALL': 'C', 'NO_COLOR': '1', 'THRESH_TEST_NOW': '1795500000', **self.case.get('env', {})}
        os.chdir(self.temp)
        for name, log in (('engine', 'engine.log'), ('engine2', 'engine2.log')):
            if name in self.case:
                e = self.case[name]
                with open(name + '.script', 'w') as f:
                    f.writelines(json.dumps(rule) + '\n' for rule in e.get('script', []))
                self.engines.append(subprocess.Popen([fake, '--die-with-parent', '--script', name + '.script', '--log', log, *e.get('args', [])],
                                                     stdout=subprocess.PIPE, text=True))
                words[f'@{name.upper()}@'] = self.engines[-1].stdout.readline().split()[-1]
        open('engine.log', 'a').close()
        self.words = words
        for root, _, files in os.walk(self.source):
            for name in files:
                path = os.path.join(root, name)
                to = os.path.join(self.temp, os.path.relpath(path, self.source))
                os.makedirs(os.path.dirname(to), exist_ok=True)
                with open(path, 'rb') as f:
                    data = f.read()
                data = self.fill(data.decode()).encode()
                with open(to, 'wb') as f:
                    f.write(data)

    def tear_down(self):
        for engine in self.engines:
            engine.kill()
            engine.wait()
        os.chdir('/')
        shutil.rmtree(self.temp, ignore_errors=True)

    def fill(self, text):
        for word, value in self.words.items():
            text = text.replace(word, value)
        return text

    def requests(self):
        counts = {}
        with open('engine.log') as f:
            for line in f:
                path = json.loads(line)['path']
                counts[path] = counts.get(path, 0) + 1
        return counts

    def execute(self, step):
        env = dict(self.env, **step.get('env', {}))
        command = ['/bin/sh', '-c', step['shell']] if 'shell' in step else [self.thresh] + [
            self.fill(w) for w in (step['run'].split() if isinstance(step['run'], str) else step['run'])]
        env['THRESH'], env['GOLDEN'] = self.thresh, GOLDEN
        stdin = (step.get('stdin') or '').encode()
        with open('stdout.txt', 'wb') as out, open('stderr.txt', 'wb') as err:
            p = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=out, stderr=err)
            try:
                p.stdin.write(stdin)
                p.stdin.close()
            except BrokenPipeError:
                pass
            if 'signal' in step:
                name, n = step['signal']
                before = sum(self.n_requests.values())
                while p.poll() is None and sum(self.requests().values()) < before + n:
                    time.sleep(0.002)
                if p.poll() is None:
                    p.send_signal(getattr(signal, 'SIG' + name))
            try:
                p.wait(timeout=step.get('timeout', 100))
            finally:
                p.kill()
        with open('stdout.txt', errors='replace') as out, open('stderr.txt', errors='replace') as err:
            return p.returncode, normalise(out.read()), normalise(err.read())

    def check(self, step):
        if 'same' in step:
            a, b = step['same']
            r = subprocess.run(['diff', '-r', a, b], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            return [] if r.returncode == 0 else [f'{a} and {b} differ:\n{r.stdout[:2000]}']
        code, out, err = self.execute(step)
        if code == 77:
            return None
        wrong = []
        if code != step.get('exit', 0):
            wrong.append(f'exit code {code}, expected {step.get("exit", 0)}')
        for name, text in (('stdout', out), ('stderr', err)):
            if name in step and not lines_match(['...'] + step[name] + ['...'], text.splitlines()):
                wrong.append(f'{name} does not have {step[name]}')
        if 'expect' in step:
            path = os.path.join(self.source, step['expect'])
            if self.update:
                with open(path, 'w') as f:
                    f.write(out)
            elif not os.path.exists(path) or open(path).read() != out:
                wrong.append(f'stdout is not {step["expect"]}')
        if 'json' in step:
            try:
                value = json.loads(out)
                wrong += [f'{path} is {lookup(value, path)!r}, expected {wanted!r}' for path, wanted in step['json'].items()
                          if not holds(lookup(value, path), wanted)]
            except ValueError:
                wrong.append('stdout is not JSON')
        if 'counted again' in err:
            wrong.append('the counts of a ledger were wrong')  # nobody but a bug brings this about
        counts = self.requests()
        if 'requests' in step:
            delta = {k: counts.get(k, 0) - self.n_requests.get(k, 0) for k in step['requests']}
            wrong += [f'{delta[k]} requests of {k}, expected {wanted}' for k, wanted in step['requests'].items() if not holds(delta[k], wanted)]
        if 'requests_since' in step:
            name, path, wanted = step['requests_since']
            n = counts.get(path, 0) - self.counts_after[name].get(path, 0)
            wrong += [] if holds(n, wanted) else [f'{n} requests of {path} since {name}, expected {wanted}']
        self.n_requests = self.counts_after[step['name']] = counts
        if wrong:
            wrong += ['stdout:', *out.splitlines()[-25:], 'stderr:', *err.splitlines()[-15:]]
        return wrong

    def run(self):
        try:
            self.set_up()
            for step in self.case['steps']:
                wrong = self.check(step)
                self.n_tests += 1
                self.failed = self.failed or bool(wrong)
                skipped = wrong is None
                print(f'{"not ok" if wrong else "ok"} {self.n_tests} - {step["name"]}{" # SKIP" if skipped else ""}', flush=True)
                if skipped:
                    break  # what follows rests on it
                for line in '\n'.join(wrong).splitlines():
                    print(f'# {line}', flush=True)
        finally:
            self.tear_down()
        print(f'1..{self.n_tests}')
        return self.failed


if __name__ == '__main__':
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that nothing is left behind
    case = Case(os.path.abspath(sys.argv[1]), '--update' in sys.argv)
    sys.exit(1 if case.run() else 0)
