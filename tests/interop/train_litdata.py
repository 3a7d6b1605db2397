"""Runs what docs/train.md says of LitData.

    train_litdata.py WORKDIR RUN LEDGER.jsonl

Prints TAP.
"""
import os
import shutil
import sys

import document
import litdata
from ledger import chosen, conversations
from tap import check, done


def split(row):
    out, at = [], 0
    tokens, mask = row['tokens'].tolist(), row['loss_mask'].tolist()
    for length in row['seq_lens'].tolist():
        part = slice(at, at + length)
        out.append((tokens[part], [t if m else -100 for t, m in zip(tokens[part], mask[part])]))
        at += length
    assert at == len(tokens) == len(mask)
    return out


def main():
    workdir, run, ledger = sys.argv[1:]
    assert (workdir, run) == ('out', '2026-11-24.1'), 'docs/train.md names these'
    shards, packed = os.path.join(workdir, 'shards', run), chosen(ledger)
    before = sorted(os.listdir(shards))
    ns = {'__name__': '__main__'}
    document.run('litdata', ns)
    rows = list(ns['night'])
    check(sorted(part for row in rows for part in split(row)) == conversations(packed.values()), 'LitData gives the conversations of the ledger')
    check({s for row in rows for s in row['sample_ids'].tolist()} == packed.keys(), 'and their ids')
    check(sorted(os.listdir(shards)) == before, 'the folder is as it was', os.listdir(shards))

    shutil.copytree(shards, 'copy')
    n = sum(1 for _ in litdata.StreamingDataset('copy', cache_dir='cache/plain', serializers={'ndarray': ns['MdsArray']()}))
    check(n == len(rows) and not any(name.endswith('.zstd') for name in os.listdir('copy')),
          'a plain path loses its shards, as the document warns', os.listdir('copy'))
    done()


if __name__ == '__main__':
    main()
