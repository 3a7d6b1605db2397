"""FORMAT.md and what is on the disk: the reader that was written from the document, on a night and on all that `thresh inspect` makes of it.

    open_format.py WORKDIR RUN LEDGER.jsonl

What it reads is compared with the night's ledger, asked for more than LEDGER.jsonl has. Prints TAP.
"""
import bisect
import hashlib
import json
import os
import random
import re
import shutil
import struct
import subprocess
import sys

import pyzstd
import xxhash
from format_reader import Folder, Vocab, conversations, read_file, read_megatron, values
from tap import check, done

COLUMNS = {
    'packed': {'loss_mask': 'ndarray:uint8', 'sample_ids': 'ndarray:uint64', 'scores': 'ndarray:float32', 'seq_lens': 'ndarray:int32', 'tokens': 'IDS'},
    'samples': {'candidate': 'int32', 'input_ids': 'IDS', 'labels': 'IDS', 'meta': 'json', 'model': 'str', 'prompt_id': 'str', 'sample_id': 'uint64',
                'score': 'float32'},
    'meta': {'candidate': 'int32', 'meta': 'json', 'model': 'str', 'prompt_id': 'str', 'sample_id': 'uint64', 'score': 'float32', 'source': 'str',
             'verifier': 'str'},
    'logprobs': {'logprobs': 'ndarray:float16', 'sample_id': 'uint64'},
}
LEDGER = """select c.id, c.idx, q.prompt_id, q.source, prompt_ids(q.id) as prompt_ids, ids(c.id) as ids, text(c.id) as text, s.value as score,
    c.finish, c.n_tokens, c.seed, c.token_source, hex(b.logprobs) as logprobs from plan p join candidate c on c.id = p.candidate
    join candidate_body b on b.candidate = c.id join prompt q on q.id = c.prompt join score s on s.candidate = c.id and s.verifier = 'math' order by p.row, p.pos"""


def thresh(*arguments):
    return subprocess.run([os.environ['THRESH'], *arguments], stdout=subprocess.PIPE, check=True).stdout


def read_ledger(run):
    rows = [json.loads(line) for line in thresh('query', 'pipeline.yaml', LEDGER, '--json', '--run-id', run).splitlines()]
    for row in rows:
        row['prompt_ids'], row['ids'] = json.loads(row['prompt_ids']), json.loads(row['ids'])
    return rows


def check_one_sample(path):
    """A sample in the middle costs the table, the frame of the offsets and its own frame."""
    shard = Folder(path).shards[0]
    i = len(shard.offsets) // 2
    shard.row(i)
    k = bisect.bisect_right(shard.starts, shard.offsets[i]) - 1
    check(k > 0 and shard.frames[0].raw_size == shard.offsets[0], 'the frame of the offsets has nothing else')
    check(shard.n_read == 17 + 12 * len(shard.frames) + shard.frames[0].size + shard.frames[k].size, 'a sample is read out of two frames',
          shard.n_read)


def check_facts(folder, rows, ledger, manifest):
    facts, n = folder.facts, sum(len(row['prompt_ids'] + row['ids']) for row in ledger)
    got = [facts[key] for key in ('rows', 'sequences', 'tokens', 'loss_tokens')]
    check(got == [len(rows), len(ledger), n, sum(len(row['ids']) for row in ledger)], 'the facts count what is there', got)
    check(facts.get('fill') == (n / (facts['rows'] * facts['context']) if facts['layout'] == 'packed' else None), 'and how full the rows are')
    lines = dict(re.findall(r'^( *\w+): (\{.*\})$', manifest, re.M))
    stages = {name: json.loads(lines['  ' + name]) for name in ('sample', 'generate', 'verify', 'select', 'pack')}
    definition = json.dumps({'accept': facts['accept'], 'seed': facts['seed'], **stages}, separators=(',', ':'))
    check(hashlib.sha256(definition.encode()).hexdigest() == facts['definition'] and json.loads(lines['data']) == facts, 'the manifest has them too')


def check_columns(folder, name):
    ids = 'ndarray:uint16' if 0 < folder.facts['n_vocab'] <= 65536 else 'ndarray:uint32'
    want = {column: ids if encoding == 'IDS' else encoding for column, encoding in COLUMNS[name].items()}
    check(all(list(got.items()) == list(want.items()) for got in folder.columns()), f'{name}: columns', folder.columns())
    check(folder.verify(), f'{name}: hashes, checksums and sizes')


def check_sidecars(workdir, run, ledger, facts):
    meta = Folder(os.path.join(workdir, 'meta', run))
    check_columns(meta, 'meta')
    want = [{'candidate': row['idx'], 'model': facts['model'], 'prompt_id': row['prompt_id'], 'sample_id': row['id'], 'score': row['score'],
             'source': row['source'], 'verifier': 'math',
             'meta': {**{key: row[key] for key in ('finish', 'n_tokens', 'seed', 'token_source')}, 'run': run, 'scores': {'math': row['score']}}} for row in ledger]
    check(list(meta) == want and meta.facts == facts, 'meta: what the ledger has')
    if any(row['logprobs'] for row in ledger):
        logprobs = Folder(os.path.join(workdir, 'logprobs', run))
        check_columns(logprobs, 'logprobs')
        want = [(row['id'], values('float16', pyzstd.decompress(bytes.fromhex(row['logprobs'])))) for row in ledger]
        check([(row['sample_id'], row['logprobs']) for row in logprobs] == want, 'logprobs: what the ledger has')
    return list(meta)


def check_merged(workdir, runs):
    merged = Folder(os.path.join(workdir, 'shards'))
    rows = [row for run in runs for row in Folder(os.path.join(workdir, 'shards', run))]
    check(merged.facts['runs'] == runs and merged.facts['rows'] == len(rows), 'all nights: facts', merged.facts)
    check(list(merged) == rows and merged.verify(), 'all nights: the rows of each')


def check_rewritten(shards, rows, facts):
    for name, options in (('unpacked', ['--unpack']), ('single', ['--frames', 'single', '--repack'])):
        thresh('inspect', shards, *options, name)
        new = Folder(name)
        check(list(new) == rows and new.verify(), f'{name}: the same rows')
        new.facts.pop('repacked', None)
        check(new.facts == {**facts, 'made_from': facts['run']}, f'{name}: the same facts', new.facts)


def check_damage(folder):
    """That the reader's own checks see a bit that was turned."""
    copy = shutil.copytree(folder, 'damaged-' + os.path.basename(folder))
    path = Folder(copy).shards[0].file.name
    data = bytearray(read_file(path))
    data[len(data) // 2] ^= 0x10
    with open(path, 'wb') as f:
        f.write(data)
    try:
        whole = Folder(copy).verify()
    except (AssertionError, pyzstd.ZstdError):
        whole = False
    check(not whole, f'{copy} is seen to be damaged')


def check_frame_of_zeros():
    """A raw image that compresses so that its second frame is larger than all that follows."""
    rng = random.Random(11)
    texts = [rng.randbytes(5000).hex().encode() for _ in range(110)] + 290 * [b'a' * 10000]
    samples = [struct.pack('<I', len(text)) + text for text in texts]
    entry = {'version': 2, 'format': 'mds', 'compression': None, 'hashes': ['xxh64'], 'size_limit': 1 << 26, 'column_names': ['text'],
             'column_encodings': ['str'], 'column_sizes': [None]}
    config, n = json.dumps(entry, sort_keys=True).encode(), len(samples)
    begin = 8 + 4 * n + len(config)
    image = struct.pack(f'<{n + 2}I', n, *range(begin, begin + 10004 * n + 1, 10004)) + config + b''.join(samples)
    raw = {'basename': 'shard.00000.mds', 'bytes': len(image), 'hashes': {'xxh64': xxhash.xxh64_hexdigest(image)}}
    os.mkdir('raw')
    for name, data in (('index.json', json.dumps({'shards': [{**entry, 'samples': n, 'raw_data': raw, 'zip_data': None}], 'version': 2}).encode()),
                       ('shard.00000.mds', image)):
        with open(os.path.join('raw', name), 'wb') as f:
            f.write(data)
    thresh('inspect', 'raw', '--repack', 'zeros')
    new = Folder('zeros')
    frames = new.shards[0].frames
    check(frames[-1].raw_size == 0, 'the last frame is one of zeros', frames)
    end = os.path.getsize(new.shards[0].file.name)
    check(all(frame.size < end - frame.at - frame.size for frame in frames[:-3]), 'so that each but the last two is smaller than what follows', frames)
    check(new.verify() and list(new) == list(Folder('raw')), 'and the rows are those that were written')


def check_exports(shards, rows, ledger, facts, vocab):
    want = [{'prompt': vocab.text(row['prompt_ids']), 'completion': vocab.text(row['ids']), 'sample_id': row['id'], 'score': row['score'],
             'prompt_id': row['prompt_id'], 'candidate': row['idx'], 'source': row['source'], 'model': facts['model'], 'verifier': 'math'}
            for row in ledger]
    text = thresh('inspect', shards, '--export', 'jsonl')
    got = [json.loads(line) for line in text.splitlines()]
    check([list(line.items()) for line in got] == [list(line.items()) for line in want], 'jsonl: the text and what is known of it')
    thresh('inspect', shards, '--export', 'jsonl', '--to', 'lines.zst')
    check(pyzstd.decompress(read_file('lines.zst')) == text, 'jsonl: the same in zstd')
    want = []
    for row in map(conversations, rows):
        want.append({'input_ids': sum((prompt + ids for _, _, prompt, ids in row), []),
                     'labels': sum(([-100] * len(prompt) + ids for _, _, prompt, ids in row), []),
                     'seq_lengths': [len(prompt + ids) for _, _, prompt, ids in row]})
    check([json.loads(line) for line in thresh('inspect', shards, '--export', 'trl').splitlines()] == want, 'trl: the rows with labels and lengths')
    thresh('inspect', shards, '--export', 'megatron', '--to', 'documents')
    check(read_megatron('documents') == [row['prompt_ids'] + row['ids'] for row in ledger], 'megatron: the ids')


def check_broken_text(shards, ledger):
    """Pieces that are not UTF-8, in a vocab.zst of this test's making: the same length each, two bytes of a character of three."""
    copy = shutil.copytree(shards, 'broken')
    path = os.path.join(copy, 'vocab.zst')
    ids = sorted(Vocab(path).pieces)
    entries = [number for token in ids for number in (token, 2)]
    with open(path, 'wb') as f:
        f.write(pyzstd.compress(b'THRVOC1\n' + struct.pack(f'<{1 + len(entries)}I', len(ids), *entries) + b'\xe2\x82' * len(ids)))
    got = [json.loads(line)['completion'] for line in thresh('inspect', copy, '--export', 'jsonl').splitlines()]
    check(got == [Vocab(path).text(row['ids']) for row in ledger] == ['\ufffd' * 2 * len(row['ids']) for row in ledger], 'jsonl: U+FFFD for each byte')


def main():
    workdir, run, _ = sys.argv[1:]
    shards = os.path.join(workdir, 'shards', run)
    folder, ledger = Folder(shards), read_ledger(run)
    rows, facts = list(folder), folder.facts
    check_one_sample(shards)
    check_columns(folder, facts['layout'])
    check_facts(folder, rows, ledger, read_file(os.path.join(shards, 'manifest.yaml')).decode())
    got = [part for row in rows for part in conversations(row)]
    check(got == [(row['id'], row['score'], row['prompt_ids'], row['ids']) for row in ledger], 'the conversations of the ledger, in its order')
    vocab = Vocab(os.path.join(shards, 'vocab.zst'))
    check(all(vocab.text([token for token in row['ids'] if token not in vocab.special]) == row['text'] for row in ledger), 'and their text')
    print('#', json.dumps(vocab.text(got[0][2] + got[0][3])))
    meta = check_sidecars(workdir, run, ledger, facts)
    if facts['layout'] == 'samples':
        check([{**of_meta, **row} for of_meta, row in zip(meta, rows, strict=True)] == [{**row, **of_meta} for of_meta, row in zip(meta, rows)],
              'rows of samples say what meta says')
    check_merged(workdir, sorted(name for name in os.listdir(os.path.join(workdir, 'shards')) if name.startswith('20')))
    check_rewritten(shards, rows, facts)
    check_damage(shards)
    check_damage('unpacked')
    check_frame_of_zeros()
    check_exports(shards, rows, ledger, facts, vocab)
    check_broken_text(shards, ledger)
    done()


if __name__ == '__main__':
    main()
