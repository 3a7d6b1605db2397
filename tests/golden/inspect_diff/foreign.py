"""Writes a folder of another writer, with a repeated sequence, scores that are no numbers, and a name that would clear a terminal."""
import json
import os
import struct


def vector(fmt, values):
    return bytes([1 << 2, len(values)]) + struct.pack('<%d%s' % (len(values), fmt), *values)


def write(folder, rows):
    entry = {'version': 2, 'format': 'mds', 'compression': None, 'hashes': [], 'size_limit': None,
             'column_names': ['scores', 'source', 'prompt_id', 'tokens'],
             'column_encodings': ['ndarray:float32', 'str', 'str', 'ndarray:uint32'], 'column_sizes': [None] * 4}
    config = json.dumps(entry, sort_keys=True).encode()
    samples = [b''.join(struct.pack('<I', len(v)) for v in row) + b''.join(row) for row in rows]
    offsets = [4 + 4 * (len(rows) + 1) + len(config)]
    for s in samples:
        offsets.append(offsets[-1] + len(s))
    image = struct.pack('<%dI' % (len(rows) + 2), len(rows), *offsets) + config + b''.join(samples)
    os.mkdir(folder)
    with open(folder + '/shard.00000.mds', 'wb') as f:
        f.write(image)
    entry.update(samples=len(rows), zip_data=None, raw_data={'basename': 'shard.00000.mds', 'bytes': len(image), 'hashes': {}})
    with open(folder + '/index.json', 'w') as f:
        json.dump({'version': 2, 'shards': [entry]}, f)


def row(ids, score, source, prompt):
    return vector('f', [score]), source.encode(), prompt.encode(), vector('I', ids)


NAN = float('nan')
write('x.mds', [row([1, 2, 3], NAN, 'web', 'p1'), row([4, 5], 0.5, 'web', 'p2'), row([4, 5], NAN, 'web', 'p2')])
write('y.mds', [row([4, 5], NAN, '\x1b[2J', 'p2'), row([6], float('inf'), 'web', 'p3'), row([4, 5], NAN, 'web', 'p2')])
