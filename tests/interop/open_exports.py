"""What `thresh inspect` makes out of a night, opened by those it is made for.

    open_exports.py WORKDIR RUN LEDGER.jsonl

Prints TAP.
"""
import logging
import os
import subprocess
import sys
import warnings

import shim
from ledger import chosen, conversations
from tap import check, done

shim.install_beside_transformers()
warnings.filterwarnings('ignore')
logging.disable(logging.WARNING)

import alone  # noqa: E402
import document  # noqa: E402
from datasets import load_dataset  # noqa: E402
from open_shards import open_folder, same_rows  # noqa: E402


def inspect(shards, *options):
    result = subprocess.run([os.environ['THRESH'], 'inspect', shards, *options], stdout=subprocess.DEVNULL)
    check(result.returncode == 0, 'inspect ' + ' '.join(options), result.returncode)


def all_rows(folder):
    dataset = open_folder(folder, validate_hash='xxh64')
    return [dataset[i] for i in range(len(dataset))]


def check_mds(shards, packed):
    rows = all_rows(shards)
    inspect(shards, '--unpack', 'unpacked')
    ns = {'__name__': '__main__'}
    document.run('local', ns)
    check(same_rows(rows, [ns['rows'][i] for i in range(len(ns['rows']))]), 'LocalDataset has the same rows')
    inspect(shards, '--repack', 'level', '--level', '9')
    check(same_rows(rows, all_rows('level')), 'repacked at another level: the same rows')
    inspect(shards, '--repack', 'single', '--frames', 'single')
    check(same_rows(rows, all_rows('single')), 'repacked in one frame: the same rows')
    inspect(shards, '--repack', 'samples', '--layout', 'samples')
    got = {int(row['sample_id']): (row['input_ids'].tolist(), row['labels'].tolist()) for row in all_rows('samples')}
    check(got == {i: (row['prompt_ids'], row['ids']) for i, row in packed.items()}, 'repacked as samples: the prompts and answers of the ledger')


def check_json_lines(shards, n):
    inspect(shards, '--export', 'jsonl', '--to', 'lines.jsonl')
    inspect(shards, '--export', 'jsonl', '--to', 'lines.jsonl.zst')
    plain, packed = (load_dataset('json', data_files=name, split='train') for name in ('lines.jsonl', 'lines.jsonl.zst'))
    check(len(plain) == n and all(row['prompt'] and row['completion'] for row in plain), 'datasets reads a line a conversation', len(plain))
    check(plain.to_list() == packed.to_list(), 'and the same out of a .zst file')


def check_megatron(shards, rows):
    inspect(shards, '--export', 'megatron', '--to', 'documents')
    alone.megatron()
    ns = {'__name__': '__main__'}
    document.run('megatron', ns)
    documents = ns['documents']
    got = sorted(documents[i].tolist() for i in range(len(documents)))
    check(got == [ids for ids, _ in conversations(rows)], 'IndexedDataset has the conversations of the ledger')
    check(len(documents.document_indices) == len(rows) + 1, 'a document is a conversation', len(documents.document_indices))


def main():
    workdir, run, ledger = sys.argv[1:]
    assert (workdir, run) == ('out', '2026-11-24.1'), 'docs/train.md names these'
    shards, packed = os.path.join(workdir, 'shards', run), chosen(ledger)
    check_mds(shards, packed)
    check_json_lines(shards, len(packed))
    check_megatron(shards, packed.values())
    done()


if __name__ == '__main__':
    main()
