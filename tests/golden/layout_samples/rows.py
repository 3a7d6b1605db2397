"""rows.py PIPELINE WORKDIR RUN: compares each row of shards/RUN with the ledger and with its row in the sidecar, by what thresh itself prints."""
import json
import os
import subprocess
import sys

pipeline, workdir, run = sys.argv[1:]
thresh = os.environ['THRESH']


def call(*args):
    return subprocess.run([thresh, *args], check=True, stdout=subprocess.PIPE, text=True).stdout


def rows(folder):
    path = f'{workdir}/{folder}/{run}'
    n = json.loads(call('inspect', path, '--json'))['samples']
    return [json.loads(call('inspect', path, '--sample', str(i), '--json'))['columns'] for i in range(n)]


sql = ("select c.id, c.idx, p.prompt_id, prompt_ids(p.id) as prompt_ids, ids(c.id) as ids, s.value as score from candidate c"
       " join prompt p on p.id = c.prompt join score s on s.candidate = c.id join selection x on x.candidate = c.id where x.outcome = 'chosen'")
ledger = {}
for line in call('query', pipeline, sql, '--run-id', run, '--json').splitlines():
    row = json.loads(line)
    ledger[row['id']] = row
as_list = lambda ids: json.loads(ids) if isinstance(ids, str) else ids
samples = rows('shards')
assert len(samples) == len(ledger) > 8, (len(samples), len(ledger))
for row in samples:
    known = ledger.pop(row['sample_id'])
    assert row['input_ids'] + row['labels'] == as_list(known['prompt_ids']) + as_list(known['ids']), row['sample_id']
    assert row['labels'] == as_list(known['ids']) and row['input_ids'], row['sample_id']
    assert (row['candidate'], row['prompt_id'], row['score']) == (known['idx'], known['prompt_id'], known['score']), row
    assert (row['model'], row['meta']['run']) == ('fake', run), row
order = [row['sample_id'] for row in samples]
assert order != sorted(order), 'rows are ordered by prompt'
for folder in 'meta', 'logprobs':
    assert [row['sample_id'] for row in rows(folder)] == order, folder
assert [len(row['logprobs']) for row in rows('logprobs')] == [len(row['labels']) for row in samples]
index = json.load(open(f'{workdir}/shards/{run}/index.json'))
print(' '.join(f'{n}:{e}' for n, e in zip(index['shards'][0]['column_names'], index['shards'][0]['column_encodings'])))
facts = index['thresh']
assert 'fill' not in facts and len(facts['definition']) == 64 and len(facts['chat_template']) == 32, facts
print(facts['layout'], facts['rows'] == facts['sequences'] == len(samples))
