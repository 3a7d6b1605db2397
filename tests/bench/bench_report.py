"""bench.py report: time and memory of `thresh report` on a ledger of a million candidates.

A night of the fake engine with three verifiers is run as it is; then its rows are copied under new ids until there are enough. So every text,
score and reason is a real one, stored as thresh stores it, and the copies differ in their ids and times."""
import glob
import json
import os
import sqlite3
import subprocess
import time

N_PROMPTS, N_CANDIDATES = 400, 4


def write(name, text):
    with open(name, 'w') as f:
        f.write(text)


def small_night(thresh):
    fake = subprocess.Popen([os.environ['FAKE_ENGINE'], '--die-with-parent'], stdout=subprocess.PIPE, text=True)
    url = fake.stdout.readline().split()[-1]
    with open('rows.jsonl', 'w') as f:
        for i in range(N_PROMPTS):
            p, length = (i % 10) / 10, 40 + i % 160
            f.write(json.dumps({'question': f'What is {i} plus {i}? [fake: answer={2 * i} p={p} len={length} loop={0.2 if i % 7 == 0 else 0}]', 'answer': 2 * i}) + '\n')
    write('template.yaml', 'messages:\n  - system: Solve the problem. End with \\boxed{N}.\n  - user: "{{question}}"\n')
    write('judge.yaml', 'messages:\n  - user: |\n      {{question}}\n      {{candidate}}\n      [fake: judge=0.8]\n      Is it correct? Answer Yes or No.\n')
    write('night.yaml', f'''
name: million
seed: 1
workdir: out
engines: {{student: {{url: "{url}"}}}}
stages:
  - sample: {{sources: [{{path: rows.jsonl}}], template: template.yaml}}
  - generate: {{engine: student, candidates: {N_CANDIDATES}, sampling: {{max_tokens: 256}}}}
  - verify: [math: {{gold: answer}}, repetition: {{}}, judge: {{engine: student, template: judge.yaml}}]
  - select: {{per_prompt: 2}}
  - pack: {{context: 1024}}
accept: math = 1 and judge >= 0.3
''')
    subprocess.run([thresh, 'run', 'night.yaml', '--log', 'error'], stdout=subprocess.DEVNULL, check=True)
    fake.kill()
    fake.wait()


def enlarge(path, copies):
    """Each prompt with all that hangs on it, `copies` times."""
    db = sqlite3.connect(path)
    db.executescript('PRAGMA synchronous = OFF; PRAGMA journal_mode = OFF; PRAGMA cache_size = -200000;')
    columns = {t: [r[1] for r in db.execute(f'PRAGMA table_info({t})')] for t in ('prompt', 'candidate', 'candidate_body', 'score', 'selection')}
    moved = {('prompt', 'id'): f'id + {N_PROMPTS} * k', ('prompt', 'prompt_id'): "printf('%032x', id * 1000003 + k * 7919 * 1000003 + 1)",
             ('candidate', 'prompt'): f'prompt + {N_PROMPTS} * k', ('candidate', 'id'): f'id + 4096 * {N_PROMPTS} * k',
             ('candidate', 'created_ms'): 'created_ms + 7200 * k', ('candidate', 'latency_ms'): '15000 + latency_ms % 20000'}
    for table, names in columns.items():
        what = ', '.join(moved.get((table, n)) or (f'candidate + 4096 * {N_PROMPTS} * k' if n == 'candidate' else n) for n in names)
        order = {'prompt': 'k, id', 'candidate': 'k, id', 'score': 'k, candidate, verifier'}.get(table, 'k, candidate')
        db.execute(f'INSERT INTO {table} ({", ".join(names)}) WITH RECURSIVE n (k) AS (SELECT 1 UNION ALL SELECT k + 1 FROM n WHERE k < {copies - 1}) '
                   f'SELECT {what} FROM n, (SELECT * FROM {table}) ORDER BY {order}')
    db.commit()
    n = db.execute('SELECT (SELECT count(*) FROM candidate), (SELECT count(*) FROM score)').fetchone()
    db.execute('PRAGMA journal_mode = WAL')
    db.close()
    return n


def elsewhere(work):
    """In another process, whose memory is not taken for that of what is measured."""
    pid = os.fork()
    if pid == 0:
        work()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0


def measured(command):
    begun = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    out = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, command
    return out, time.monotonic() - begun, usage


def report(thresh, what):
    page, seconds, usage = measured([thresh, 'report', 'night.yaml'])
    print(f'report: {what}: {seconds:.2f} s ({usage.ru_utime + usage.ru_stime:.2f} s of processor), '
          f'page of {os.path.getsize(page.strip()) / 1e6:.2f} MB, peak memory {usage.ru_maxrss / 1024:.1f} MiB', flush=True)


def run(thresh):
    copies = int(os.environ.get('BENCH_CANDIDATES', 1000000)) // (N_PROMPTS * N_CANDIDATES)
    small_night(thresh)
    path, = glob.glob('out/runs/*/ledger.db')
    report(thresh, f'{N_PROMPTS * N_CANDIDATES:,} candidates')
    elsewhere(lambda: enlarge(path, copies))
    # As while the run goes on: nobody has summed it up yet.
    db = sqlite3.connect('out/history.db')
    db.execute("UPDATE run SET run = run || '-small'")
    db.commit()
    print(f'report: the ledger has {os.path.getsize(path) / 1e6:.0f} MB (targets: 20 s, page below 2 MB)', flush=True)
    for _ in range(3):
        report(thresh, f'{copies * N_PROMPTS * N_CANDIDATES:,} candidates, all counted anew')
    # As after a run: what it has told history at its end.
    summary = measured([thresh, 'status', 'night.yaml', '--json'])[0]
    db.execute("UPDATE run SET run = replace(run, '-small', ''), summary = ?", (summary,))
    db.commit()
    for _ in range(3):
        report(thresh, f'{copies * N_PROMPTS * N_CANDIDATES:,} candidates of a finished run')
    db.close()
