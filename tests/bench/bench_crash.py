"""bench.py crash: kill -9 at random instants while candidates come in, again and again, until a sitting ends by itself: what is lost, what is
there twice, what is asked for again. Thresh beside the loop that everybody writes (home_made.py), which needs OPENAI_PYTHON, a Python with
`openai`; as it is usually written, and with a flush behind each line. BENCH_KILLS (100) of each, from the first request of a sitting on.

bench.py durability: candidates/s at 64 connections on the fake engine, and with all syncs left out (tests/crash/fault.c), which is what SQLite's
synchronous=OFF leaves out and more. Needs FAULT_LIBRARY. BENCH_CANDIDATES (40,000), BENCH_ROUNDS (3).
"""
import collections
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '..', 'crash'))
ROWS, CANDIDATES, CONCURRENCY, MS_PER_TOKEN = 40, 4, 8, 1


class Engine:
    def __init__(self, dialect, log, slots=CONCURRENCY, ms_per_token=MS_PER_TOKEN):
        self.log = os.path.abspath(log)
        open(self.log, 'w').close()
        args = ['--log', self.log] if ms_per_token else []
        self.process = subprocess.Popen([os.environ['FAKE_ENGINE'], '--die-with-parent', '--dialect', dialect, '--slots', str(slots),
                                         '--delay-ms-per-token', str(ms_per_token), *args], stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().split()[-1]

    def asked(self):
        counts = collections.Counter()
        with open(self.log) as f:
            for line in f:
                r = json.loads(line)
                if r['path'] in ('/completion', '/v1/chat/completions') and r['n_tokens'] and r['n_prompt'] != 1:
                    counts.update((r['prompt_hash'], r['seed'] + i) for i in range(r['n']))
        return counts

    def stop(self):
        self.process.kill()
        self.process.wait()


def start(command, engine):
    """The process, once its first request is there."""
    before = os.path.getsize(engine.log)
    with open('said', 'w') as said:
        p = subprocess.Popen(command, stdout=said, stderr=said)
    while p.poll() is None and os.path.getsize(engine.log) == before:
        time.sleep(0.001)
    return p


def span(command, engine):
    """Seconds from the first request of an undisturbed night to its last."""
    p = start(command, engine)
    first = last = time.monotonic()
    size = 0
    while p.poll() is None:
        if os.path.getsize(engine.log) != size:
            size, last = os.path.getsize(engine.log), time.monotonic()
        time.sleep(0.001)
    return last - first


def sitting(command, engine, instant):
    """True if it ended by itself; instant None: let it."""
    p = start(command, engine)
    try:
        p.wait(instant)
    except subprocess.TimeoutExpired:
        p.send_signal(signal.SIGKILL)
    if p.wait() not in (0, -signal.SIGKILL):
        raise SystemExit(f'{command[0]} ended with {p.returncode}: ' + open('said').read()[-2000:])
    return p.returncode == 0


def fresh(engine):
    shutil.rmtree('night', ignore_errors=True)
    os.mkdir('night')
    open(engine.log, 'w').close()


def killed(name, dialect, command_of, kept_of, n_kills):
    rng, engine = random.Random(1), Engine(dialect, 'log')
    command, wanted = command_of(engine.url), ROWS * CANDIDATES
    kills = nights = lost = twice = repeated = 0
    fresh(engine)
    seconds = span(command, engine)
    while kills < n_kills:
        fresh(engine)
        # Three kills a night, each in what is left of it by the clock.
        for left in (1, 0.7, 0.4):
            if sitting(command, engine, rng.uniform(0, seconds * left)):
                break
            kills += 1
        sitting(command, engine, None)
        nights += 1
        kept, asked = kept_of(), engine.asked()
        lost += wanted - len(set(kept))
        twice += len(kept) - len(set(kept))
        repeated += sum(asked.values()) - len(asked)
    engine.stop()
    print(f'  {name:34} {kills} kills in {nights} nights of {wanted} candidates: {lost} lost, {twice} there twice, '
          f'{repeated} asked for again ({repeated / kills:.1f} a kill)', flush=True)


def crash(thresh):
    n = int(os.environ.get('BENCH_KILLS', 100))
    print(f'crash: {CONCURRENCY} candidates in flight, {n} kills of each', flush=True)
    with open('rows.jsonl', 'w') as f:
        for i in range(ROWS):
            f.write(json.dumps({'question': f'What is {i} plus {i}? [fake: answer={2 * i} p=0.5 len={20 + i % 20}]', 'answer': 2 * i}) + '\n')
    with open('template.yaml', 'w') as f:
        f.write('messages:\n  - user: "{{question}}"\n')

    def night(url, ledger):
        with open('pipeline.yaml', 'w') as f:
            f.write(f'''
name: bench
seed: 1
workdir: night
engines: {{student: {{url: "{url}", concurrency: {CONCURRENCY}}}}}
stages:
  - sample: {{sources: [{{path: rows.jsonl}}], template: template.yaml}}
  - generate: {{engine: student, candidates: {CANDIDATES}, sampling: {{max_tokens: 64}}, truncated: score}}
  - verify: [math: {{gold: answer}}]
  - select: {{per_prompt: 4}}
  - pack: {{context: 512}}
accept: math = 1
{ledger}''')
        return [thresh, 'run', 'pipeline.yaml', '--run-id', 'night', '--log', 'warn']

    def kept_by_thresh():
        if not os.path.exists('night/runs/night/ledger.db'):
            return []
        out = subprocess.run([thresh, 'query', 'pipeline.yaml', 'select id from candidate'], stdout=subprocess.PIPE, text=True, check=True).stdout
        return out.split()[1:]

    def kept_by_script():
        kept = []
        if os.path.exists('night/out.jsonl'):
            with open('night/out.jsonl') as f:
                for line in f:
                    try:
                        row = json.loads(line)
                        kept.append((row['id'], row['candidate']))
                    except ValueError:
                        pass
        return kept

    killed('thresh', 'llama.cpp', lambda url: night(url, ''), kept_by_thresh, n)
    killed('thresh, ledger.commit_rows: 1', 'llama.cpp', lambda url: night(url, 'ledger: {commit_rows: 1}\n'), kept_by_thresh, n)
    python = os.environ.get('OPENAI_PYTHON')
    if not python:
        print('  the home-made loop: not there to compare (OPENAI_PYTHON)')
        return
    for name, more in (('AsyncOpenAI + JSONL', []), ('AsyncOpenAI + JSONL, flushed', ['--flush'])):
        killed(name, 'openai', lambda url: [python, os.path.join(HERE, 'home_made.py'), url, 'rows.jsonl', 'night/out.jsonl', str(CANDIDATES),
                                            str(CONCURRENCY), *more], kept_by_script, n)


def durability(thresh):
    n = int(os.environ.get('BENCH_CANDIDATES', 40000))
    library = os.path.abspath(os.environ['FAULT_LIBRARY'])
    engine = Engine('llama.cpp', 'log', 64, 0)
    with open('rows.jsonl', 'w') as f:
        for i in range(n // 4):
            f.write(json.dumps({'question': f'What is {i} plus {i}? [fake: answer={2 * i} p=0.5 len=300]', 'answer': 2 * i}) + '\n')
    with open('template.yaml', 'w') as f:
        f.write('messages:\n  - user: "{{question}}"\n')
    with open('pipeline.yaml', 'w') as f:
        f.write(f'''
name: bench
seed: 1
workdir: night
engines: {{student: {{url: "{engine.url}", concurrency: 64}}}}
stages:
  - sample: {{sources: [{{path: rows.jsonl}}], template: template.yaml}}
  - generate: {{engine: student, candidates: 4, sampling: {{max_tokens: 512}}, truncated: score}}
  - verify: [math: {{gold: answer}}]
accept: math = 1
''')
    rates = {'synced': [], 'not synced': []}
    for r in range(int(os.environ.get('BENCH_ROUNDS', 3))):
        for name in sorted(rates, reverse=r % 2 == 0):
            shutil.rmtree('night', ignore_errors=True)
            env = dict(os.environ, LD_PRELOAD=library, FAULT_ROOT=os.path.abspath('night'), FAULT='fsync:1+:skip' if name == 'not synced' else 'fsync:0:EIO')
            out = subprocess.run([thresh, 'run', 'pipeline.yaml', '--log', 'error', '--json'], env=env, stdout=subprocess.PIPE, check=True).stdout
            facts = json.loads(out)
            rates[name].append(facts['candidates'] / (facts['generate_ms'] / 1000))
    engine.stop()
    synced, not_synced = (statistics.median(rates[k]) for k in ('synced', 'not synced'))
    print(f'durability: {n} candidates of 300 tokens, 64 connections: {synced:,.0f} candidates/s, {not_synced:,.0f} without a sync: {synced / not_synced:.3f} '
          f'(target >= 0.9; rounds {", ".join(f"{a / b:.3f}" for a, b in zip(rates["synced"], rates["not synced"]))})')
