"""How long `status` takes on a large ledger of an open night, and a resumed run until its first request: by no more than the ledger's own growth.

A night of 1,000 prompts x 4 is killed at three quarters; its settled prompts, candidates, bodies and scores are then copied in the ledger until there
are BENCH_CANDIDATES of them (1,000,000). BENCH_LEDGER names a folder to keep it in.
"""
import os
import re
import signal
import sqlite3
import statistics
import subprocess
import time

PROMPTS = 1000
PIPELINE = '''
name: bench
seed: 1
workdir: {workdir}
engines: {{student: {{url: "{url}"}}}}
stages:
  - sample: {{sources: [{{path: rows.jsonl}}], template: template.yaml}}
  - generate: {{engine: student, candidates: 4, sampling: {{max_tokens: 64}}, truncated: score}}
  - verify:
      - math: {{gold: answer}}
      - regex: {{pattern: boxed}}
      - repetition: {{}}
  - select: {{per_prompt: 2}}
  - pack: {{context: 512}}
accept: math = 1
'''


def ledger_of(workdir):
    return f'{workdir}/runs/night/ledger.db'


def begin(thresh, name):
    return subprocess.Popen([thresh, 'run', name, '--run-id', 'night', '--log', 'error'], stdout=subprocess.DEVNULL)


def n_lines(path):
    with open(path, 'rb') as f:
        return sum(1 for _ in f)


def kill_when(process, log, n):
    while n_lines(log) < n:
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()


def multiply(path, n_candidates):
    db = sqlite3.connect(path)
    db.execute('PRAGMA synchronous = OFF')
    db.execute('PRAGMA cache_size = -200000')
    db.execute("CREATE TEMP TABLE t AS SELECT id FROM prompt WHERE state = 'settled' ORDER BY id")
    n = db.execute('SELECT count(*) FROM t').fetchone()[0]

    def columns(table, change):
        return ', '.join(change.get(c, c) for c in [r[1] for r in db.execute(f'PRAGMA table_info({table})')])
    for k in range(1, max(1, round(n_candidates / 4 / n))):
        shift, by = k * PROMPTS, k * PROMPTS * 4096
        db.execute(f"INSERT INTO prompt SELECT {columns('prompt', {'id': f'id + {shift}', 'prompt_id': 'lower(hex(randomblob(16)))'})} "
                   f'FROM prompt WHERE id <= {PROMPTS} AND id IN t')
        db.execute(f"INSERT INTO candidate SELECT {columns('candidate', {'id': f'id + {by}', 'prompt': f'prompt + {shift}'})} "
                   f'FROM candidate WHERE id < {(PROMPTS + 1) * 4096} AND prompt IN t')
        for table in ('candidate_body', 'score'):
            db.execute(f"INSERT INTO {table} SELECT {columns(table, {'candidate': f'candidate + {by}'})} "
                       f'FROM {table} WHERE candidate < {(PROMPTS + 1) * 4096} AND candidate >> 12 IN t')
        db.commit()
    n = db.execute('SELECT count(*) FROM candidate').fetchone()[0]
    db.execute('PRAGMA wal_checkpoint(TRUNCATE)')
    db.close()
    return n


def seconds(command):
    begun = time.monotonic()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.monotonic() - begun


def peak_mib(pid):
    with open(f'/proc/{pid}/status') as f:
        return int(re.search(r'VmHWM:\s+(\d+)', f.read()).group(1)) / 1024


def first_request(thresh, name, log):
    """Seconds until the resumed run has asked for a candidate, and its peak memory by then."""
    before = n_lines(log)
    begun = time.monotonic()
    process = begin(thresh, name)
    while n_lines(log) <= before:
        assert process.poll() is None
        time.sleep(0.002)
    took, peak = time.monotonic() - begun, peak_mib(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    return took, peak


def measure(thresh, name, what, log):
    first_request(thresh, name, log)  # the recovery after the kill, and the page cache
    for kind, args in (('status', []), ('status --json', ['--json'])):
        took = statistics.median(seconds([thresh, 'status', name, *args]) for _ in range(5))
        print(f'start: {kind} on {what}: {1000 * took:.0f} ms (target 200)', flush=True)
    rows = [first_request(thresh, name, log) for _ in range(3)]
    print(f'start: first request of a resumed run on {what}: {statistics.median(r[0] for r in rows):.2f} s (target 2), '
          f'peak memory {max(r[1] for r in rows):.1f} MiB', flush=True)


def main(thresh):
    kept = os.environ.get('BENCH_LEDGER')
    if kept:
        os.makedirs(kept, exist_ok=True)
        os.chdir(kept)
    engine = subprocess.Popen([os.environ['FAKE_ENGINE'], '--die-with-parent', '--slots', '16', '--delay-ms-per-token', '1', '--log', 'engine.log'],
                              stdout=subprocess.PIPE, text=True)
    url = re.search(r'http://\S+', engine.stdout.readline()).group()
    open('engine.log', 'a').close()
    try:
        with open('rows.jsonl', 'w') as f:
            for i in range(PROMPTS):
                f.write(f'{{"question": "What is {i} + 1? [fake: answer={i + 1} p=0.5 len=20]", "answer": {i + 1}}}\n')
        with open('template.yaml', 'w') as f:
            f.write('messages:\n  - user: "{{question}}"\n')
        sizes = [3000, int(os.environ.get('BENCH_CANDIDATES', '1000000'))]
        for size in sizes:
            name = f'n{size}.yaml'
            with open(name, 'w') as f:
                f.write(PIPELINE.format(workdir=f'w{size}', url=url))
            if not os.path.exists(ledger_of(f'w{size}')):
                kill_when(begin(thresh, name), 'engine.log', n_lines('engine.log') + 3 * PROMPTS)
                multiply(ledger_of(f'w{size}'), size)
            db = sqlite3.connect(ledger_of(f'w{size}'))
            n = db.execute('SELECT count(*) FROM candidate').fetchone()[0]
            db.close()
            measure(thresh, name, f'{n:,} candidates, {os.path.getsize(ledger_of(f"w{size}")) / 2**20:.0f} MiB', 'engine.log')
    finally:
        engine.terminate()
