"""folders.py SHARDS RUN ...: the index over all nights names the shards of these runs, in this order, each as the run's own index has it."""
import json
import sys

shards, *runs = sys.argv[1:]


def read(*parts):
    with open('/'.join([shards, *parts, 'index.json'])) as f:
        return json.load(f)


wanted = []
for run in runs:
    for entry in read(run)['shards']:
        for file in 'raw_data', 'zip_data':
            entry[file]['basename'] = f'{run}/{entry[file]["basename"]}'
        wanted.append(entry)
merged = read()
assert merged['shards'] == wanted, json.dumps(merged['shards'], indent=1)
assert merged['thresh']['runs'] == runs and merged['thresh']['rows'] == sum(e['samples'] for e in wanted), merged['thresh']
assert list(merged) == ['shards', 'thresh', 'version'] and merged['version'] == 2
print(' '.join(runs), 'are one data set,', merged['thresh']['layout'])
