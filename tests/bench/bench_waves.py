"""bench.py waves: what waves, giving up and rounds get out of a million generated tokens, against a fixed number of candidates.

The fake engine's prompts have pass rates drawn from Beta(0.4, 0.8): many that nearly always fail, some that nearly always pass. Candidate j of a
prompt has the same seed whatever the waves, so all ways see the same candidates, and differ in how many of them they ask for."""
import json
import os
import random
import re
import subprocess


def write(name, text):
    with open(name, 'w') as f:
        f.write(text)


def run(thresh, url, name, candidates, budget='', sources='{path: rows.jsonl}', max_tokens=128):
    write(f'{name}.yaml', f'''
name: {name}
seed: 1
workdir: {name}
engines: {{student: {{url: "{url}"}}}}
stages:
  - sample: {{sources: [{sources}], template: template.yaml}}
  - generate: {{engine: student, candidates: {candidates}, sampling: {{max_tokens: {max_tokens}}}}}
  - verify: [math: {{gold: answer}}]
accept: math = 1
{budget}
''')
    subprocess.run([thresh, 'run', f'{name}.yaml', '--log', 'error'], stdout=subprocess.DEVNULL, check=not budget)
    facts = json.loads(subprocess.run([thresh, 'status', f'{name}.yaml', '--json'], stdout=subprocess.PIPE, check=True).stdout)
    solved = subprocess.run([thresh, 'query', f'{name}.yaml', "select count(distinct prompt) as n from candidate where state = 'accepted'", '--json'],
                            stdout=subprocess.PIPE, text=True, check=True).stdout
    return json.loads(solved)['n'], facts['tokens_generated'], facts['generate_ms']


def main(thresh):
    n = int(os.environ.get('BENCH_PROMPTS', 4000))
    rng = random.Random(1)
    with open('rows.jsonl', 'w') as f:
        for i in range(n):
            f.write(json.dumps({'question': f'What is {i} + 1? [fake: answer={i + 1} p={rng.betavariate(0.4, 0.8):.6f} len=24]',
                                'answer': i + 1}) + '\n')
    write('template.yaml', 'messages:\n  - user: "{{question}}"\n')
    engine = subprocess.Popen([os.environ['FAKE_ENGINE'], '--die-with-parent', '--slots', '64'], stdout=subprocess.PIPE, text=True)
    url = re.search(r'http://\S+', engine.stdout.readline()).group()
    try:
        solved, tokens, _ = run(thresh, url, 'fixed', 8)
        per_million = solved / tokens * 1e6
        print(f'waves: {n} prompts, 8 candidates each: {solved} solved, {tokens:,} tokens, {per_million:.0f} a million tokens', flush=True)
        for name, candidates, note in (
                ('twos', '{min: 2, max: 8, stop_after: 1}', 'waves of 2 (target 1.6)'),
                ('ones', '{min: 1, max: 8, stop_after: 1}', 'waves of 1 (target 1.8)'),
                ('later', '{min: 1, max: 8, wave: 2, stop_after: 1}', 'one, then waves of 2'),
                ('up', '{min: 1, max: 8, stop_after: 1, give_up: 0.3}', 'waves of 1, give up below 0.3')):
            s, t, _ = run(thresh, url, name, candidates)
            print(f'waves: {note}: ratio {s / t * 1e6 / per_million:.2f}, {s} solved ({s / solved - 1:+.1%}), {t:,} tokens', flush=True)
        for share in (0.1, 0.25, 0.5):
            budget = f'budget: {{tokens: {int(tokens * share)}}}'
            got = [run(thresh, url, f'budget{share}{way}'.replace('.', '_'), candidates, budget) for way, candidates in (
                ('a', '{min: 1, max: 8, stop_after: 1}'), ('b', '{min: 1, max: 8, stop_after: 1, rounds: true}'))]
            print(f'waves: {share:.0%} of those tokens: prompt by prompt {got[0][0]} solved, in rounds {got[1][0]}, ratio '
                  f'{got[1][0] / got[0][0]:.2f}', flush=True)
    finally:
        engine.terminate()


def tail(thresh):
    """How long a night takes, against its work over its slots: with sources of different lengths, and with the same prompts in one source."""
    slots, ms, rounds = 16, 2, int(os.environ.get('BENCH_ROUNDS', 3))
    engine = subprocess.Popen([os.environ['FAKE_ENGINE'], '--die-with-parent', '--slots', str(slots), '--delay-ms-per-token', str(ms)],
                              stdout=subprocess.PIPE, text=True)
    url = re.search(r'http://\S+', engine.stdout.readline()).group()
    write('template.yaml', 'messages:\n  - user: "{{question}}"\n')
    try:
        for n in (48, 144):
            rng, rows = random.Random(n), {'short': [], 'middle': [], 'long': []}
            for i in range(n):
                name, mean = (('short', 30), ('middle', 90), ('long', 360))[i % 3]
                length = min(int(mean * rng.lognormvariate(0, 0.5)), 1500)
                rows[name].append(json.dumps({'question': f'What is {i} + 1? [fake: answer={i + 1} p=0.5 len={length}]', 'answer': i + 1}))
            for name, lines in rows.items():
                write(f'{name}.jsonl', '\n'.join(lines) + '\n')
            write('rows.jsonl', '\n'.join(line for lines in rows.values() for line in lines) + '\n')
            for note, sources in (('one source', '{path: rows.jsonl}'), ('three', ', '.join(f'{{path: {name}.jsonl}}' for name in rows))):
                over = []
                for i in range(rounds):
                    _, tokens, took = run(thresh, url, f'tail{n}{note[:3]}{i}', 4, sources=sources, max_tokens=2000)
                    over.append(took / (tokens * ms / slots) - 1)
                print(f'tail: {n} prompts x 4, {note}: {sorted(over)[len(over) // 2]:.1%} longer than the work over the slots', flush=True)
    finally:
        engine.terminate()
