"""Writes folders of other writers: text.mds without token ids, ids.mds without a vocabulary, bare.mds with neither."""
import json
import os
import struct

TEXTS = ['the first row', 'caf\u00e9 and a \x1b[31mred\x1b[0m alert', 'a' * 60 + 'b' * 400 + 'c' * 60, 'a' * 40 + '!']


def vector(ids):
    return bytes([1 << 2, len(ids)]) + struct.pack('<%dI' % len(ids), *ids)


def write(folder, columns, rows):
    names = [c[0] for c in columns]
    entry = {'version': 2, 'format': 'mds', 'compression': None, 'hashes': [], 'size_limit': None,
             'column_names': names, 'column_encodings': [c[1] for c in columns], 'column_sizes': [None] * len(columns)}
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


write('text.mds', [('extra', 'json'), ('text', 'str')],
      [(json.dumps({'n': i, 'kind': 'row'}).encode(), t.encode()) for i, t in enumerate(TEXTS)])
write('ids.mds', [('tokens', 'ndarray:uint32')], [(vector([1, 2, 3, 2, 3, 4]),), (vector([2, 2, 3, 70000]),)])
write('bare.mds', [('blob', 'bytes')], [(b'\x00\x01',)])
