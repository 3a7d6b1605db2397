"""Data sets of somebody else's, made by hand, and readers of what thresh writes. Needs nothing but Python.

    mds.py make CASE DIR      writes a folder; CASES below
    mds.py trl FILE           checks rows of --export trl in themselves and prints what is in them
    mds.py megatron PREFIX FILE    checks that PREFIX.bin and .idx hold the sequences of FILE, which is --export trl
    mds.py raw DIR [DIR2]     prints rows and hashes of uncompressed shards; of two folders, whether the images are the same
    mds.py closed COMMAND ... runs a command whose standard output nobody reads
"""
import json
import os
import struct
import subprocess
import sys

SIZES = {'uint64': 8, 'int32': 4, 'float32': 4, 'int': 8}
DTYPES = {'uint16': 'H', 'uint32': 'I', 'int32': 'i', 'int64': 'q', 'uint8': 'B', 'uint64': 'Q', 'float32': 'f'}


def value(encoding, v):
    if encoding.startswith('ndarray:'):
        width = 0 if len(v) < 256 else 1 if len(v) < 65536 else 2
        return bytes([4 | width]) + len(v).to_bytes(1 << width, 'little') + struct.pack(f'<{len(v)}{DTYPES[encoding[8:]]}', *v)
    if encoding in SIZES:
        return struct.pack('<' + {'int': 'q', **DTYPES}[encoding], v)
    return v if isinstance(v, bytes) else v.encode()


def image(columns, rows):
    config = b'{"any": "thing"}'
    samples = []
    for row in rows:
        values = [value(e, v) for (_, e), v in zip(columns, row)]
        samples.append(b''.join(struct.pack('<I', len(v)) for (_, e), v in zip(columns, values) if e not in SIZES) + b''.join(values))
    at = [4 + 4 * (len(rows) + 1) + len(config)]
    for s in samples:
        at.append(at[-1] + len(s))
    return struct.pack(f'<I{len(at)}I', len(rows), *at) + config + b''.join(samples)


def zstd(content):
    """A frame of stored blocks."""
    blocks, step = b'', 100000
    for i in range(0, len(content), step):
        part = content[i:i + step]
        blocks += ((len(part) << 3) | (i + step >= len(content))).to_bytes(3, 'little') + part
    return b'\x28\xb5\x2f\xfd\xa0' + struct.pack('<I', len(content)) + blocks


def vocab(pieces):
    text = b''.join(pieces.values())
    return zstd(b'THRVOC1\n' + struct.pack('<I', len(pieces)) + b''.join(struct.pack('<II', i, len(p)) for i, p in pieces.items()) + text)


def write(folder, shards, pieces=None):
    """shards: [(name, columns, rows, zipped)]"""
    os.makedirs(folder)
    entries = []
    for name, columns, rows, zipped in shards:
        raw = image(columns, rows)
        stored = zstd(raw) if zipped else raw
        os.makedirs(os.path.dirname(os.path.join(folder, name)), exist_ok=True)
        with open(os.path.join(folder, name + ('.zstd' if zipped else '')), 'wb') as f:
            f.write(stored)
        entries.append({
            'version': 2, 'format': 'mds', 'compression': 'zstd' if zipped else None, 'hashes': [], 'size_limit': '64mb',
            'column_names': [c for c, _ in columns], 'column_encodings': [e for _, e in columns],
            'column_sizes': [SIZES.get(e) for _, e in columns], 'samples': len(rows),
            'raw_data': {'basename': name, 'bytes': len(raw), 'hashes': {}},
            'zip_data': {'basename': name + '.zstd', 'bytes': len(stored), 'hashes': {}} if zipped else None})
    with open(os.path.join(folder, 'index.json'), 'w') as f:
        json.dump({'version': 2, 'shards': entries, 'made_by': 'hand'}, f)
    for part, of in (pieces or {}).items():
        with open(os.path.join(folder, part, 'vocab.zst'), 'wb') as f:
            f.write(vocab(of))


TOKENS = [('tokens', 'ndarray:uint32'), ('loss_mask', 'ndarray:uint8'), ('seq_lens', 'ndarray:int32')]
UNSORTED = [('text', 'str'), ('n', 'int'), ('blob', 'bytes'), ('input_ids', 'ndarray:uint16')]
# A character in two halves, one half alone, what JSON escapes, a long piece, an id beyond those that are kept.
PIECES = {1: b'a', 2: b'\xc3', 3: b'\xa9', 4: b'"\n\x01', 5: b'long piece ' * 3, 6: b'', 7: '€'.encode(), (1 << 20) + 5: b'far\xc3'}
NAN, SHARD = float('nan'), 'shard.00000.mds'
SCORED = [('scores', 'ndarray:float32'), ('source', 'str'), ('prompt_id', 'str'), ('tokens', 'ndarray:uint32')]
TEXTS = ['the first row', 'caf\u00e9 and a \x1b[31mred\x1b[0m alert', 'a' * 60 + 'b' * 400 + 'c' * 60, 'a' * 40 + '!']
CASES = {
    'text': ([(SHARD, [('extra', 'json'), ('text', 'str')], [(json.dumps({'n': i, 'kind': 'row'}), t) for i, t in enumerate(TEXTS)], False)], {}),
    'ids': ([(SHARD, [('tokens', 'ndarray:uint32')], [([1, 2, 3, 2, 3, 4],), ([2, 2, 3, 70000],)], False)], {}),
    'bare': ([(SHARD, [('blob', 'bytes')], [(b'\x00\x01',)], False)], {}),
    # A repeated sequence, scores that are no numbers, a name that would clear a terminal.
    'night_x': ([(SHARD, SCORED, [
        ([NAN], 'web', 'p1', [1, 2, 3]), ([0.5], 'web', 'p2', [4, 5]), ([NAN], 'web', 'p2', [4, 5])], False)], {}),
    'night_y': ([(SHARD, SCORED, [
        ([NAN], '\x1b[2J', 'p2', [4, 5]), ([float('inf')], 'web', 'p3', [6]), ([NAN], 'web', 'p2', [4, 5])], False)], {}),
    'texts': ([('s', TOKENS, [
        ([1, 2, 3, 4, 1, 2, 1], [0, 0, 0, 0, 1, 1, 1], [4, 3]),
        ([2, 7, 3, 5, 6, (1 << 20) + 5, 3, 1], [0, 0, 0, 0, 1, 1, 1, 1], [8])], False)], {'': PIECES}),
    'no_mask': ([('s', [('tokens', 'ndarray:uint16')], [([1, 2, 3],), ([7, 7],)], False)], {'': PIECES}),
    'no_vocab': ([('s', TOKENS, [([1, 2], [0, 1], [2])], False)], {}),
    'unknown_id': ([('s', TOKENS, [([1, 99], [0, 1], [2])], False)], {'': PIECES}),
    'turns': ([('s', TOKENS, [([1, 1, 1, 1], [0, 1, 0, 1], [4])], False)], {'': PIECES}),
    'all_trained': ([('s', TOKENS, [([1, 1], [1, 1], [2])], False)], {'': PIECES}),
    'wide': ([('s', TOKENS, [([1, 65500], [0, 1], [2]), ([4294967295 // 2, 262143, 262144, 99999], [0, 1, 1, 1], [4])], False)], {}),
    'unsorted': ([('a/s', UNSORTED, [('t0', -1, b'\x00\xff', [1, 2]), ('', 5, b'', [3])], False),
                  ('b/s', [UNSORTED[2], UNSORTED[0], UNSORTED[3], UNSORTED[1]], [(b'z', 'é', [65535], 7)], True)],
                 {'a': {1: b'a', 2: b'b', 3: b'c'}, 'b': {2: b'b', 65535: b'z'}}),
    'contradiction': ([('a/s', UNSORTED, [('t', 1, b'x', [1])], False), ('b/s', UNSORTED, [('t', 1, b'x', [1])], False)],
                      {'a': {1: b'a'}, 'b': {1: b'b'}}),
    'other_columns': ([('a', UNSORTED, [('t', 1, b'x', [1])], False), ('b', UNSORTED[:2], [('t', 1)], False)], {}),
    'unknown_encoding': ([('s', [('n', 'int'), ('odd', 'mystery')], [(1, b'x')], False)], {}),
    'many': ([('s', UNSORTED, [(f'row {i}', i, bytes(range(256)) * 4, [i, 7 * i]) for i in range(300)], True)], {}),
    'bad_lens': ([('s', TOKENS, [([1, 1], [0, 1], [2]), ([1, 1, 1], [0, 1, 1], [2])], False)], {'': PIECES}),
    'bad_text': ([('s', UNSORTED, [('ok', 1, b'', [1]), (b'\xff', 1, b'', [1])], True)], {}),
    'large_row': ([('s', [('blob', 'bytes')], [(b'x' * 200000,), (b'y',), (b'',)], True)], {}),
}


def check_trl(path):
    n = trained = 0
    with open(path) as f:
        rows = [json.loads(line) for line in f]
    for row in rows:
        assert list(row) == ['input_ids', 'labels', 'seq_lengths'], row
        assert len(row['labels']) == len(row['input_ids']) == sum(row['seq_lengths']), row
        assert all(b in (-100, a) for a, b in zip(row['input_ids'], row['labels'])), row
        n += len(row['labels'])
        trained += sum(b != -100 for b in row['labels'])
    print(len(rows), 'rows,', sum(len(r['seq_lengths']) for r in rows), 'sequences,', n, 'tokens,', trained, 'trained')
    return rows


def check_megatron(prefix, path):
    with open(prefix + '.idx', 'rb') as f:
        idx = f.read()
    with open(prefix + '.bin', 'rb') as f:
        ids = f.read()
    assert idx[:9] == b'MMIDIDX\x00\x00'
    version, code, n, n_documents = struct.unpack_from('<QBQQ', idx, 9)
    form, width = {8: ('H', 2), 4: ('i', 4)}[code]
    lengths = struct.unpack_from(f'<{n}i', idx, 34)
    pointers = struct.unpack_from(f'<{n}q', idx, 34 + 4 * n)
    documents = struct.unpack_from(f'<{n_documents}q', idx, 34 + 12 * n)
    assert version == 1 and documents == tuple(range(n + 1)) and len(idx) == 34 + 12 * n + 8 * n_documents
    wanted = []
    for row in check_trl(path):
        at = 0
        for length in row['seq_lengths']:
            wanted.append(row['input_ids'][at:at + length])
            at += length
    assert [list(struct.unpack_from(f'<{length}{form}', ids, at)) for length, at in zip(lengths, pointers)] == wanted
    assert len(ids) == width * sum(lengths)
    print(n, 'documents of', form)


def raw_images(folder):
    with open(os.path.join(folder, 'index.json')) as f:
        index = json.load(f)
    for s in index['shards']:
        assert set(s) == {'column_encodings', 'column_names', 'column_sizes', 'compression', 'format', 'hashes', 'raw_data', 'samples',
                          'size_limit', 'version', 'zip_data'}, s
        with open(os.path.join(folder, s['raw_data']['basename']), 'rb') as f:
            yield s, f.read()


def show_raw(folders):
    shards = [list(raw_images(f)) for f in folders]
    if len(folders) == 2:
        print('the same images' if [i for _, i in shards[0]] == [i for _, i in shards[1]] else 'other images')
        return
    for s, data in shards[0]:
        print(s['raw_data']['basename'], s['samples'], len(data) == s['raw_data']['bytes'], *s['column_names'])


def closed(command):
    read, write_end = os.pipe()
    os.close(read)
    done = subprocess.run(command, stdout=write_end, stderr=subprocess.PIPE, text=True)
    print('exit', done.returncode, 'stderr', repr(done.stderr))


def main(command, *args):
    if command == 'make':
        write(args[1], *CASES[args[0]])
    elif command == 'trl':
        check_trl(*args)
    elif command == 'megatron':
        check_megatron(*args)
    elif command == 'raw':
        show_raw(args)
    elif command == 'closed':
        closed(args)


main(*sys.argv[1:])
