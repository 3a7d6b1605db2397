"""`bench.py math`: the checker beside Math-Verify, on the same pairs, one thread each. Labelled cases lie outside the repository, in
the folder that THRESH_SHARED names; MATH_VERIFY_PYTHON is a Python that has math-verify[antlr4_13_2]."""
import json
import os
import subprocess
import time

RIVAL = r'''
import json, sys, time, logging
logging.disable(logging.CRITICAL)
from math_verify import parse, verify
rows = [json.loads(line) for line in sys.stdin]
right = 0
begun = time.monotonic()
for row in rows:
    gold = row['gold']
    if '$' not in gold and 'boxed' not in gold:
        gold = '\\boxed{' + gold + '}'
    try:
        equal = verify(parse(gold), parse(row['pred']))
    except Exception:
        equal = False
    right += equal == row['equal']
print(json.dumps({'right': right, 'pairs_per_s': len(rows) / (time.monotonic() - begun)}))
'''


def lines(path):
    with open(path) as f:
        return [json.loads(line) for line in f]


def ours(kind, path):
    done = subprocess.run([os.environ['BENCH_MATH'], kind, path], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def verdicts(thresh, rows):
    """Of --jsonl, on all cores: as labelled, false equal, pairs a second."""
    text = ''.join(json.dumps({key: row[key] for key in ('id', 'gold', 'pred')}) + '\n' for row in rows)
    begun = time.monotonic()
    done = subprocess.run([thresh, 'math', '--jsonl'], input=text, capture_output=True, text=True, check=True)
    seconds = time.monotonic() - begun
    equal = [json.loads(line)['verdict'] == 'equal' for line in done.stdout.splitlines()]
    right = sum(e == row['equal'] for e, row in zip(equal, rows))
    wrong = sum(e and not row['equal'] for e, row in zip(equal, rows))
    return right, wrong, len(rows) / seconds


def rival(rows):
    python = os.environ.get('MATH_VERIFY_PYTHON')
    if not python or not os.path.exists(python):
        return None
    text = ''.join(json.dumps(row) + '\n' for row in rows)
    done = subprocess.run([python, '-c', RIVAL], input=text, capture_output=True, text=True, timeout=600)
    return json.loads(done.stdout) if done.returncode == 0 else None


def report(thresh, name, path, kind):
    if not os.path.exists(path):
        print(f'{name}: {path} is not there, skipped')
        return
    speed = ours(kind, path)
    print(f"{name}: {speed['pairs_per_s']:,.0f} pairs/s, slowest {speed['slowest_ms']:.2f} ms, "
          f"slowest that must answer in time {speed['slowest_hard_ms']:.2f} ms")
    if kind != 'cases':
        return
    rows = [row for row in lines(path) if not row.get('contested')]
    right, wrong, rate = verdicts(thresh, rows)
    print(f'{name}: {right} of {len(rows)} as labelled, {wrong} false equal; {rate:,.0f} lines/s through --jsonl')
    # What must answer in time is what others hang on.
    soft = [row for row in rows if 'in time' not in (row.get('note') or '')]
    other = rival(soft)
    if other is None:
        print(f'{name}: no Math-Verify (MATH_VERIFY_PYTHON), skipped')
    else:
        print(f"{name}: Math-Verify {other['right']} of {len(soft)}, {other['pairs_per_s']:,.0f} pairs/s; "
              f"ours is {speed['pairs_per_s'] / other['pairs_per_s']:,.0f} times as fast")


def run(thresh):
    shared = os.environ.get('THRESH_SHARED')
    if not shared:
        print('math: THRESH_SHARED is not set, skipped')
        return
    report(thresh, 'answers-open', os.path.join(shared, 'cases/answers-open.jsonl'), 'cases')
    report(thresh, 'math-self-open', os.path.join(shared, 'cases/math-self-open.jsonl'), 'cases')
    report(thresh, 'gsm8k outputs', os.path.join(shared, 'data/gsm8k-k4-open.jsonl'), 'outputs')
