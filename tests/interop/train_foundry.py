"""Opens a night of the layout `samples` with llm-foundry's own reader and collators, with the values of docs/train.md.

    train_foundry.py WORKDIR RUN LEDGER.jsonl

Prints TAP.
"""
import json
import logging
import os
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
import tiny  # noqa: E402
import yaml  # noqa: E402


def unpadded(batch):
    """(ids, labels) of each row of a batch."""
    out = []
    for ids, labels, mask in zip(batch['input_ids'], batch['labels'], batch['attention_mask']):
        out.append((ids[mask == 1].tolist(), labels[mask == 1].tolist()))
        assert (labels[mask == 0] == -100).all()
    return out


def unpacked(batch):
    """(ids, labels) of each conversation of a packed batch; the first label of all but the first in a row is masked there."""
    out = []
    for ids, labels, sequence in zip(batch['input_ids'], batch['labels'], batch['sequence_id']):
        for i in range(int(sequence.max()) + 1):
            out.append((ids[sequence == i].tolist(), labels[sequence == i].tolist()))
    return out


def main():
    workdir, run, ledger = sys.argv[1:]
    assert (workdir, run) == ('out', '2026-11-24.1'), 'docs/train.md names these'
    shards = os.path.join(workdir, 'shards', run)
    with open(os.path.join(shards, 'index.json')) as f:
        facts = json.load(f)['thresh']
    check(facts['layout'] == 'samples', 'the layout is samples', facts['layout'])
    packed = chosen(ledger)
    eos = next(iter(packed.values()))['ids'][-1]
    tokenizer = tiny.tokenizer(facts['n_vocab'], eos)

    Dataset, Collator, BinPack = alone.foundry()
    config = yaml.safe_load(document.snippets()['llm-foundry'])['train_loader']['dataset']
    max_seq_len = config['max_seq_len']
    dataset = Dataset(tokenizer=tokenizer, batch_size=8, **{k: config[k] for k in ('remote', 'local', 'shuffle', 'max_seq_len')})
    by_index = [dataset[i] for i in range(len(dataset))]
    turns = sorted((row['turns'][0]['input_ids'], row['turns'][0]['labels']) for row in by_index)
    check(turns == sorted((row['prompt_ids'], row['ids']) for row in packed.values()), 'rows are the prompts and the answers of the ledger')
    check(all(row['ids'][-1] == eos for row in packed.values()), 'each answer ends with EOS')
    check(len(list(dataset)) == len(packed), 'iterating gives as many')

    collator = Collator(tokenizer, **{k: config[k] for k in ('max_seq_len', 'decoder_only_format', 'target_prompts', 'target_responses')})
    check(sorted(unpadded(collator(by_index))) == conversations(packed.values()), 'the collator joins them and masks the prompts')
    batch = BinPack(collator, target_batch_size=8, max_seq_len=max_seq_len, pad_token_id=0, padding_side='right')(by_index[:24])
    got = unpacked(batch)
    check(len(got) > 8 and all(part in conversations(packed.values()) for part in got), 'packed by llm-foundry they are the same')
    done()


if __name__ == '__main__':
    main()
