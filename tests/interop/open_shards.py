"""Opens what a run has published with the real mosaicml-streaming and compares it with the run's ledger.

    open_shards.py WORKDIR RUN LEDGER.jsonl

LEDGER.jsonl: a line a candidate, {"id", "prompt_ids", "ids", "chosen"}, as `thresh query --json` gives them. Prints TAP.
"""
import json
import logging
import os
import sys
import tempfile
import warnings

import shim
from tap import check, done

shim.install()
warnings.filterwarnings('ignore')
logging.disable(logging.WARNING)

import numpy as np  # noqa: E402
from streaming import StreamingDataset  # noqa: E402
from streaming.base.util import clean_stale_shared_memory  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402

def open_folder(folder, **options):
    clean_stale_shared_memory()
    return StreamingDataset(remote=os.path.abspath(folder), local=tempfile.mkdtemp(prefix='thresh-interop-'), shuffle=False, batch_size=1,
                            num_canonical_nodes=1, **options)


def sequences(rows):
    """sample id -> (tokens, mask) of each packed sequence."""
    out = {}
    for row in rows:
        ends = np.cumsum(row['seq_lens'])
        for sample, end, length in zip(row['sample_ids'], ends, row['seq_lens']):
            assert int(sample) not in out, f'{sample} stands twice'
            out[int(sample)] = (row['tokens'][end - length:end].tolist(), row['loss_mask'][end - length:end].tolist())
        assert ends[-1] == len(row['tokens']) == len(row['loss_mask'])
    return out


def same_rows(a, b):
    return len(a) == len(b) and all(x.keys() == y.keys() and all(np.array_equal(x[k], y[k], equal_nan=x[k].dtype.kind == 'f') for k in x)
                                    for x, y in zip(a, b))


def main():
    workdir, run, ledger_path = sys.argv[1:]
    with open(ledger_path) as f:
        ledger = {row['id']: row for row in map(json.loads, f)}
    shards = os.path.join(workdir, 'shards', run)
    with open(os.path.join(shards, 'index.json')) as f:
        facts = json.load(f)['thresh']

    dataset = open_folder(shards)
    by_index = [dataset[i] for i in range(len(dataset))]
    check(len(by_index) == facts['rows'] > 0, 'every row is read by index', f'{len(by_index)} of {facts["rows"]}')
    check(same_rows(by_index, list(dataset)), 'iterating gives the same rows')
    for name in ('xxh64', 'sha256'):
        checked = open_folder(shards, validate_hash=name)
        check(same_rows(by_index, [checked[i] for i in range(len(checked))]), f'hashes validate as {name}, by index')
        check(same_rows(by_index, list(open_folder(shards, validate_hash=name))), f'hashes validate as {name}, iterating')
    # Which worker is first is up to the machine, and with two of them there may be a row twice to make their shares equal.
    loader = DataLoader(open_folder(shards), batch_size=1, num_workers=2, collate_fn=lambda rows: rows[0])
    by_workers = {tuple(row['sample_ids'].tolist()): row for row in loader}
    in_order = [by_workers.get(tuple(row['sample_ids'].tolist()), {}) for row in by_index]
    check(len(by_workers) == len(by_index) and same_rows(by_index, in_order), 'two workers of a DataLoader give the same rows')

    packed = sequences(by_index)
    chosen = {i: row for i, row in ledger.items() if row['chosen']}
    check(packed.keys() == chosen.keys(), 'each chosen candidate is packed exactly once', packed.keys() ^ chosen.keys())
    wrong = [i for i, (tokens, _) in packed.items() if tokens != chosen[i]['prompt_ids'] + chosen[i]['ids']]
    check(not wrong, 'tokens are the prompt ids and the sampled ids of the ledger', wrong)
    wrong = [i for i, (_, mask) in packed.items() if mask != [0] * len(chosen[i]['prompt_ids']) + [1] * len(chosen[i]['ids'])]
    check(not wrong, 'the loss mask is 1 on sampled tokens only', wrong)
    check(max(len(row['tokens']) for row in by_index) <= facts['context'], 'no row is longer than the context')
    check(sum(len(row['tokens']) for row in by_index) == facts['tokens'], 'the index tells the number of tokens')

    meta = open_folder(os.path.join(workdir, 'meta', run))
    order = [int(meta[i]['sample_id']) for i in range(len(meta))]
    check(order == list(packed), 'the sidecar has a row for each sequence, in the same order')
    beside, packed_scores = [meta[i]['score'] for i in range(len(meta))], np.concatenate([row['scores'] for row in by_index])
    check(np.array_equal(np.array(beside, np.float32), packed_scores, equal_nan=True), 'the sidecar tells the same scores')
    done()


if __name__ == '__main__':
    main()
