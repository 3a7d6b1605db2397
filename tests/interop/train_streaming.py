"""Runs what docs/train.md says of StreamingDataset and transformers.

    train_streaming.py WORKDIR RUN LEDGER.jsonl

Two nights must be there. Prints TAP.
"""
import logging
import os
import sys
import warnings

import shim
from tap import check, done

shim.install_beside_transformers()
warnings.filterwarnings('ignore')
logging.disable(logging.WARNING)

import document  # noqa: E402
import torch  # noqa: E402
from open_shards import open_folder  # noqa: E402


def expected(row):
    """ids, labels, positions and conversation of each token of a row, a loop at a time."""
    out, at = [], 0
    for number, length in enumerate(row['seq_lens'].tolist()):
        for position in range(length):
            token, mask = int(row['tokens'][at]), int(row['loss_mask'][at])
            out.append((token, token if mask and position else -100, position, number))
            at += 1
    assert at == len(row['tokens'])
    return out


def check_collate(collate, rows):
    batch = collate(rows)
    names = ['ids', 'labels', 'positions', 'conversations']
    got = [list(zip(*(batch[name][i].tolist() for name in names))) for i in range(len(rows))]
    want = [expected(row) for row in rows]
    width = max(map(len, want))
    check(min(map(len, want)) < width, 'rows of a batch have several lengths')
    check(got == [row + [(0, -100, 0, -1)] * (width - len(row)) for row in want], 'positions restart, labels are masked, padding is no label')
    check(any(len(row['seq_lens']) > 1 for row in rows), 'there are rows of several conversations')


def check_apart(name, logits_of, batch, n_vocab):
    """Other tokens in the first conversation change its logits and no others."""
    other = dict(batch, ids=batch['ids'].clone())
    first = batch['conversations'] == 0
    other['ids'][first] = (other['ids'][first] + 1) % n_vocab
    with torch.no_grad():
        before, after = logits_of(batch), logits_of(other)
    change = (before - after).abs().amax(-1)
    check(bool((change[first] > 1e-4).all()) and bool((change[~first] < 1e-5).all()), f'{name}: conversations do not see each other',
          f'{change[first].min()} {change[~first].max()}')


def logits_packed(llama, batch, **options):
    with torch.no_grad():
        return llama(input_ids=batch['ids'], position_ids=batch['positions'], **options).logits


def check_alone(llama, batch):
    """Each conversation by itself gives the logits that it has within its row."""
    packed = logits_packed(llama, batch, use_cache=False)
    for row, conversations in enumerate(batch['conversations']):
        for i in range(int(conversations.max()) + 1):
            mine = conversations == i
            with torch.no_grad():
                alone = llama(input_ids=batch['ids'][row][mine][None]).logits[0]
            if not torch.allclose(alone, packed[row][mine], atol=1e-4):
                return False
    return True


def tokens_of(rows):
    return {tuple(row['tokens'].tolist()) for row in rows}


def main():
    workdir, run, _ = sys.argv[1:]
    assert (workdir, run) == ('out', '2026-11-24.1'), 'docs/train.md names these'
    check(not document.unmarked(), 'every fenced block of the document is a snippet', document.unmarked())
    ns = {'__name__': '__main__'}
    document.run('rows', ns)
    dataset = ns['dataset']
    rows = [dataset[i] for i in range(len(dataset))]
    check_collate(ns['collate'], rows[:8])
    packed_row = next(row for row in rows if len(row['seq_lens']) > 1)

    document.run('step', ns)
    losses, n = ns['losses'], len(ns['losses']) // 3
    check(n == -(-len(dataset) // 8) and sum(losses[-n:]) < 0.7 * sum(losses[:n]), 'the loss falls', losses)
    model = ns['model']
    check_apart('step', lambda b: model(b['ids'], b['positions'], b['conversations']), ns['collate']([packed_row]), ns['facts']['n_vocab'])

    document.run('nights', ns)
    mixed = [tuple(row['tokens'].tolist()) for row in ns['mixed']]
    of_first = sum(row in tokens_of(rows) for row in mixed)
    check(abs(of_first / len(mixed) - 0.25) < 0.05, 'two nights are mixed by their shares', f'{of_first} of {len(mixed)}')

    document.run('all-nights', ns)
    of_each = [tokens_of(open_folder(os.path.join(workdir, 'shards', night))) for night in os.listdir(os.path.join(workdir, 'runs'))]
    every = list(ns['every'])
    check(len(of_each) == 2 and len(every) == sum(map(len, of_each)) and tokens_of(every) == set.union(*of_each),
          'the index over all nights has the rows of each once', f'{len(every)} of {list(map(len, of_each))}')

    document.run('transformers', ns)
    llama, one, several = ns['llama'], ns['collate']([packed_row]), ns['collate'](rows[:3])
    check(ns['output'].loss.isfinite() and any(p.grad is not None and p.grad.any() for p in llama.parameters()), 'transformers: a gradient comes')
    check(check_alone(llama, several), 'transformers: conversations have the logits that they have alone')
    check_apart('transformers', lambda b: logits_packed(llama, b, use_cache=False), one, ns['facts']['n_vocab'])
    check(not torch.allclose(logits_packed(llama, one), logits_packed(llama, one, use_cache=False), atol=1e-3),
          'transformers: with the cache on it is not so, as the document warns')
    done()


if __name__ == '__main__':
    main()
