"""Makes small nights and runs one of the checks of this folder on what they have published.

    run_interop.py fake|samples|large|real CHECK.py [PACKAGE ...]

fake: two nights of the fake engine, in shards of one frame each. samples: one night of it, a conversation a row. large: one night
of it, in shards of many frames. real: one night of the real server and model. The check is started in the folder of the nights as `CHECK.py out RUN LEDGER.jsonl`.

Environment: THRESH, FAKE_ENGINE (all but real), THRESH_SOURCE (the checkout: its model and .thresh), THRESH_INTEROP_PYTHON (a Python
with the packages; default: the one that ./bootstrap test makes). Without that Python or one of PACKAGE the
test is skipped. Prints TAP.
"""
import json
import os
import subprocess
import sys
import tempfile

RUNS = ['2026-11-24.1', '2026-11-25.1']  # as docs/train.md calls them
PIPELINE = '''
name: interop
seed: 11
workdir: out
engines:
  student: {engine}
stages:
  - sample:
      sources: [{{path: rows.jsonl}}]
      template: template.yaml
      limit: {limit}
  - generate: {{engine: student, candidates: {candidates}, logprobs: {logprobs}, truncated: score, sampling: {{max_tokens: {max_tokens}, temperature: 0.7}}}}
  - verify:
      - math: {{gold: answer}}
  - select: {{per_prompt: 3}}
  - pack: {{context: {context}, shard_bytes: {shard_bytes}, layout: {layout}}}
accept: {accept}
'''
TEMPLATE = 'messages:\n  - system: Solve the problem. End with \\boxed{N}.\n  - user: "{{question}}"\n'
FAKE = {'nights': 2, 'limit': 150, 'candidates': 4, 'logprobs': 'true', 'p': 0.5, 'length': 20, 'max_tokens': 200,
        'context': 512, 'shard_bytes': '64KiB', 'layout': 'packed', 'accept': 'math = 1'}
KINDS = {
    'fake': FAKE,
    'samples': {**FAKE, 'nights': 1, 'layout': 'samples'},
    'large': {**FAKE, 'nights': 1, 'limit': 700, 'candidates': 3, 'logprobs': 'false', 'p': 1, 'length': 900, 'max_tokens': 1000,
              'context': 4096, 'shard_bytes': '5MiB'},
    # The real model is small: whatever it writes is kept, cut at the limit or not.
    'real': {**FAKE, 'nights': 1, 'limit': 4, 'length': 0, 'max_tokens': 48, 'accept': '1'},
}


def skip(why):
    print(f'1..0 # SKIP {why}')
    sys.exit(0)


def write(name, text):
    with open(name, 'w') as f:
        f.write(text)


def interop_python(home, packages):
    python = os.environ.get('THRESH_INTEROP_PYTHON') or os.path.join(home, 'interop', 'bin', 'python')
    if not os.path.exists(python):
        skip('no Python with the packages of tests/interop (THRESH_INTEROP_PYTHON); ./bootstrap test makes it')
    for package in packages:
        found = subprocess.run([python, '-c', f'import importlib.util as u, sys; sys.exit(not u.find_spec("{package}"))'])
        if found.returncode:
            skip(f'{python} has no {package}')
    return python


def write_definition(kind, engine):
    write('pipeline.yaml', PIPELINE.format(engine=engine, **kind))
    write('template.yaml', TEMPLATE)
    with open('rows.jsonl', 'w') as f:
        for i in range(kind['limit'] * kind['nights']):
            hint = f' [fake: answer={i} p={kind["p"]} len={kind["length"] + i % 80}]' if kind['length'] else ''
            f.write(json.dumps({'question': f'What is {i} + 0?{hint}', 'answer': i}) + '\n')


def make_nights(thresh, runs):
    for run in runs:
        result = subprocess.run([thresh, 'run', 'pipeline.yaml', '--json', '--run-id', run], stdout=subprocess.PIPE, text=True)
        if result.returncode != 0:
            print(f'1..1\nnot ok 1 - thresh run ends with 0, not {result.returncode}')
            sys.exit(1)


def write_ledger(thresh, run):
    sql = ("select c.id, prompt_ids(c.prompt) as prompt_ids, ids(c.id) as ids, s.outcome = 'chosen' as chosen"
           " from candidate c left join selection s on s.candidate = c.id where c.state <> 'failed' order by c.id")
    rows = subprocess.run([thresh, 'query', 'pipeline.yaml', sql, '--json', '--run-id', run], stdout=subprocess.PIPE, text=True, check=True).stdout
    with open('ledger.jsonl', 'w') as f:
        for row in map(json.loads, rows.splitlines()):
            row['prompt_ids'], row['ids'], row['chosen'] = json.loads(row['prompt_ids']), json.loads(row['ids']), bool(row['chosen'])
            f.write(json.dumps(row) + '\n')


def main():
    name, check, packages = sys.argv[1], sys.argv[2], sys.argv[3:]
    for program in ('THRESH', 'FAKE_ENGINE'):
        os.environ[program] = os.path.abspath(os.environ.get(program, ''))
    kind, thresh = KINDS[name], os.environ['THRESH']
    source = os.path.abspath(os.environ.get('THRESH_SOURCE', '.'))
    home = os.path.abspath(os.environ.get('THRESH_HOME') or os.path.join(source, '.thresh'))
    python = interop_python(home, packages)
    server_here = os.path.join(home, 'bin', 'llama-server')
    if os.path.exists(server_here):
        os.environ.setdefault('THRESH_LLAMA_SERVER', server_here)
    model = os.path.join(source, 'models', 'smollm2-135m-instruct.gguf')
    if name == 'real' and not os.path.exists(model):
        skip('the model is not there; ./bootstrap setup fetches it')
    check = os.path.join(os.path.dirname(os.path.abspath(__file__)), check)
    runs = RUNS[:kind['nights']]
    with tempfile.TemporaryDirectory(prefix='thresh-interop-') as folder:
        os.chdir(folder)
        server = None
        if name == 'real':
            engine = f'{{serve: {{model: "{model}", parallel: 8, context: 1024}}}}'
        else:
            server = subprocess.Popen([os.environ['FAKE_ENGINE'], '--die-with-parent', '--context', '4096'], stdout=subprocess.PIPE, text=True)
            engine = f'{{url: "{server.stdout.readline().split()[-1]}"}}'
        write_definition(kind, engine)
        make_nights(thresh, runs)
        if server:
            server.terminate()
        write_ledger(thresh, runs[0])
        sys.stdout.flush()
        # The models are tiny: threads that wait for each other cost more than they bring, on a busy machine many times more.
        os.environ.update(HF_HUB_OFFLINE='1', OMP_NUM_THREADS='1')
        with open('stderr', 'w') as stderr:
            result = subprocess.run([python, check, 'out', runs[0], 'ledger.jsonl'], stderr=stderr)
        if result.returncode:
            sys.stderr.write(open('stderr', errors='replace').read()[-4000:])
        os.chdir('/')
    sys.exit(result.returncode)


if __name__ == '__main__':
    main()
