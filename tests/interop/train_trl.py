"""Runs what docs/train.md says of TRL, on the rows that `thresh inspect --export trl` writes.

    train_trl.py WORKDIR RUN LEDGER.jsonl

Prints TAP.
"""
import json
import logging
import os
import subprocess
import sys
import warnings

import shim
from ledger import chosen, conversations
from tap import check, done

shim.hide()
warnings.filterwarnings('ignore')
logging.disable(logging.WARNING)

import document  # noqa: E402
import tiny  # noqa: E402
import torch  # noqa: E402
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling  # noqa: E402


def export(shards):
    with open('rows.jsonl', 'w') as f:
        result = subprocess.run([os.environ['THRESH'], 'inspect', shards, '--export', 'trl'], stdout=f)
    check(result.returncode == 0, 'rows are exported', result.returncode)
    with open('rows.jsonl') as f:
        return [json.loads(line) for line in f]


def split(row):
    """(ids, labels) of each conversation of a row."""
    out, at = [], 0
    for length in row['seq_lengths']:
        out.append((row['input_ids'][at:at + length], row['labels'][at:at + length]))
        at += length
    assert at == len(row['input_ids']) == len(row['labels'])
    return out


def check_collator(rows):
    batch = DataCollatorForLanguageModeling(pad_token_id=0, padding_free=True)(rows)
    parts = [part for row in rows for part in split(row)]
    lengths = [len(ids) for ids, _ in parts]
    check(len(parts) > len(rows) > 1, 'the batch has several rows of several conversations')
    check(batch['input_ids'].tolist() == [[i for ids, _ in parts for i in ids]], 'the collator lays conversations end to end')
    check(batch['position_ids'].tolist() == [[i for n in lengths for i in range(n)]], 'positions restart at each conversation')
    check(batch['labels'].tolist() == [[i for _, labels in parts for i in [-100] + labels[1:]]], 'labels are masked as the rows say')
    ends = [sum(lengths[:i]) for i in range(len(lengths) + 1)]
    check(batch['cu_seq_lens_q'].tolist() == batch['cu_seq_lens_k'].tolist() == ends, 'cu_seq_lens are the bounds of the conversations', ends)


def loss_alone(model, rows):
    """The mean over all tokens with a label, each conversation seen by itself."""
    total, n = 0.0, 0
    with torch.no_grad():
        for ids, labels in (part for row in rows for part in split(row)):
            logits = model(input_ids=torch.tensor([ids])).logits[0, :-1]
            target = torch.tensor(labels[1:])
            total += torch.nn.functional.cross_entropy(logits, target, reduction='sum').item()
            n += int((target != -100).sum())
    return total / n


def main():
    workdir, run, ledger = sys.argv[1:]
    assert (workdir, run) == ('out', '2026-11-24.1'), 'docs/train.md names these'
    shards, packed = os.path.join(workdir, 'shards', run), chosen(ledger)
    with open(os.path.join(shards, 'index.json')) as f:
        facts = json.load(f)['thresh']
    rows = export(shards)
    check(len(rows) == facts['rows'], 'there is a line for each row', f'{len(rows)} of {facts["rows"]}')
    check(sorted(part for row in rows for part in split(row)) == conversations(packed.values()), 'they hold the conversations of the ledger')
    check_collator(rows[:3])

    tiny.save('model', facts['n_vocab'], next(iter(packed.values()))['ids'][-1], facts['context'])
    ns = {'__name__': '__main__'}
    document.run('trl', ns)
    trainer = ns['trainer']
    losses = [entry['loss'] for entry in trainer.state.log_history if 'loss' in entry]
    check(len(losses) == 3 and losses[-1] < 0.9 * losses[0], 'the loss falls', losses)
    two = rows[:2]
    model = trainer.model.eval()
    with torch.no_grad():
        loss = trainer.compute_loss(model, trainer.data_collator(two)).item()
    check(abs(loss - loss_alone(model, two)) < 1e-3, 'the loss is that of conversations seen alone', f'{loss} {loss_alone(model, two)}')
    done()


if __name__ == '__main__':
    main()
