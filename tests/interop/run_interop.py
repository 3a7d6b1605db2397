"""A small night, and the checks of open_shards.py on what it has made.

    run_interop.py fake|real

Environment: THRESH, FAKE_ENGINE (fake), THRESH_SOURCE (the checkout: its model and .thresh), THRESH_INTEROP_PYTHON (a Python with
mosaicml-streaming; default: the one that ./bootstrap test makes; without it the test is skipped). Prints TAP.
"""
import json
import os
import subprocess
import sys
import tempfile

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
  - generate: {{engine: student, candidates: 4, logprobs: true, sampling: {{max_tokens: {max_tokens}, temperature: 0.7}}}}
  - verify:
      - math: {{gold: answer}}
  - select: {{per_prompt: 3}}
  - pack: {{context: 512, shard_bytes: 64KiB}}
accept: {accept}
'''
TEMPLATE = 'messages:\n  - system: Solve the problem. End with \\boxed{N}.\n  - user: "{{question}}"\n'


def skip(why):
    print(f'1..0 # SKIP {why}')
    sys.exit(0)


def write(name, text):
    with open(name, 'w') as f:
        f.write(text)


def main():
    kind = sys.argv[1]
    thresh = os.environ['THRESH']
    home = os.environ.get('THRESH_HOME') or os.path.join(os.environ.get('THRESH_SOURCE', '.'), '.thresh')
    python = os.environ.get('THRESH_INTEROP_PYTHON') or os.path.join(home, 'interop', 'bin', 'python')
    here = os.path.dirname(os.path.abspath(__file__))
    if not python or not os.path.exists(python):
        skip('no Python with mosaicml-streaming (THRESH_INTEROP_PYTHON)')
    server_here = os.path.abspath(os.path.join(home, 'bin', 'llama-server'))
    if os.path.exists(server_here):
        os.environ.setdefault('THRESH_LLAMA_SERVER', server_here)
    model = os.path.join(os.environ.get('THRESH_SOURCE', '.'), 'models', 'smollm2-135m-instruct.gguf')
    if kind == 'real' and not os.path.exists(model):
        skip('the model is not there; ./bootstrap setup fetches it')
    folder = tempfile.TemporaryDirectory(prefix='thresh-interop-')
    os.chdir(folder.name)
    server = None
    if kind == 'fake':
        server = subprocess.Popen([os.environ['FAKE_ENGINE'], '--die-with-parent', '--context', '2048'], stdout=subprocess.PIPE, text=True)
        url = server.stdout.readline().split()[-1]
        engine, n, accept = f'{{url: "{url}"}}', 300, 'math = 1'
    else:
        engine, n, accept = f'{{serve: {{model: "{model}", parallel: 8, context: 1024}}}}', 4, '1'
    write('pipeline.yaml', PIPELINE.format(engine=engine, max_tokens=200 if kind == 'fake' else 48, accept=accept))
    if kind == 'real':  # so that nearly every chain ends by itself or is kept as it is
        write('pipeline.yaml', open('pipeline.yaml').read().replace('logprobs: true,', 'logprobs: true, truncated: score,'))
    write('template.yaml', TEMPLATE)
    with open('rows.jsonl', 'w') as f:
        for i in range(n):
            hint = f' [fake: answer={i} p=0.5 len={20 + i % 80}]' if kind == 'fake' else ''
            f.write(json.dumps({'question': f'What is {i} + 0?{hint}', 'answer': i}) + '\n')
    run = subprocess.run([thresh, 'run', 'pipeline.yaml', '--json', '--run-id', 'night'], stdout=subprocess.PIPE, text=True)
    if server:
        server.terminate()
    if run.returncode != 0:
        print(f'1..1\nnot ok 1 - thresh run ends with 0, not {run.returncode}')
        sys.exit(1)
    sql = ("select c.id, prompt_ids(c.prompt) as prompt_ids, ids(c.id) as ids, s.outcome = 'chosen' as chosen"
           " from candidate c left join selection s on s.candidate = c.id where c.state <> 'failed' order by c.id")
    rows = subprocess.run([thresh, 'query', 'pipeline.yaml', sql, '--json'], stdout=subprocess.PIPE, text=True, check=True).stdout
    with open('ledger.jsonl', 'w') as f:
        for row in map(json.loads, rows.splitlines()):
            row['prompt_ids'], row['ids'], row['chosen'] = json.loads(row['prompt_ids']), json.loads(row['ids']), bool(row['chosen'])
            f.write(json.dumps(row) + '\n')
    sys.stdout.flush()
    result = subprocess.run([python, os.path.join(here, 'open_shards.py'), 'out', 'night', 'ledger.jsonl'], stderr=subprocess.DEVNULL)
    folder.cleanup()
    sys.exit(result.returncode)


if __name__ == '__main__':
    main()
