"""A reader of shards, sidecars and exports, written from pipeline/shard/FORMAT.md alone: it shows that the document is enough.

It knows nothing of MDS, of seekable zstd or of Megatron but what stands there; pyzstd is given one frame at a time. Whatever is not as
the document says fails an assertion. open_format.py puts it to the test.
"""
import bisect
import codecs
import collections
import hashlib
import json
import os
import struct

import pyzstd
import xxhash

CODES = {'uint8': 'B', 'uint16': 'H', 'int32': 'i', 'uint32': 'I', 'int64': 'q', 'uint64': 'Q', 'float16': 'e', 'float32': 'f'}
PADDING, TABLE, FOOTER = 0x184D2A50, 0x184D2A5E, 0x8F92EAB1
Frame = collections.namedtuple('Frame', 'at size raw_at raw_size checksum')

# One U+FFFD for each byte; Python's own way gives one for all bytes of a character that was cut short.
codecs.register_error('each_byte', lambda e: ('\ufffd', e.start + 1))


def read_file(path):
    with open(path, 'rb') as f:
        return f.read()


def values(dtype, data):
    return [value for value, in struct.iter_unpack('<' + CODES[dtype], data)]


def decode(encoding, data):
    if encoding == 'str':
        return data.decode()
    if encoding == 'json':
        return json.loads(data)
    if not encoding.startswith('ndarray:'):
        value, = values(encoding, data)
        return value
    ndim, width = data[0] >> 2, 1 << (data[0] & 3)
    begin = 1 + ndim * width
    shape = [int.from_bytes(data[i:i + width], 'little') for i in range(1, begin, width)]
    array = values(encoding.removeprefix('ndarray:'), data[begin:])
    assert array and shape == [len(array)]
    return array


class Shard:
    def __init__(self, folder, entry):
        self.entry, self.n_read = entry, 0
        self.file = open(os.path.join(folder, (entry['zip_data'] or entry['raw_data'])['basename']), 'rb')
        if entry['zip_data']:
            self.read_table(entry['zip_data']['bytes'])
        n, = values('uint32', self.read(0, 4))
        assert n == entry['samples']
        self.offsets = values('uint32', self.read(4, 4 * n + 4))

    def pread(self, begin, size):
        data = os.pread(self.file.fileno(), size, begin)
        assert len(data) == size
        self.n_read += size
        return data

    def read_table(self, n_bytes):
        n, flags, magic = struct.unpack('<IBI', self.pread(n_bytes - 9, 9))
        begin = n_bytes - 9 - 12 * n
        assert (flags, magic) == (0x80, FOOTER) and struct.unpack('<II', self.pread(begin - 8, 8)) == (TABLE, 12 * n + 9)
        self.frames, at, raw_at = [], 0, 0
        for size, raw_size, checksum in struct.iter_unpack('<III', self.pread(begin, 12 * n)):
            self.frames.append(Frame(at, size, raw_at, raw_size, checksum))
            at, raw_at = at + size, raw_at + raw_size
        assert at == begin - 8 and raw_at == self.entry['raw_data']['bytes']
        self.starts = [frame.raw_at for frame in self.frames if frame.raw_size]
        self.last = (None, b'')

    def content(self, k):
        """What is in frame k, if its checksums are right."""
        if self.last[0] == k:
            return self.last[1]
        frame = self.frames[k]
        data = self.pread(frame.at, frame.size)
        if struct.unpack('<II', data[:8]) == (PADDING, frame.size - 8):
            content = b''
            assert not any(data[8:])
        else:
            content = pyzstd.decompress(data)
            assert frame.checksum == int.from_bytes(data[-4:], 'little')
        assert len(content) == frame.raw_size and frame.checksum == xxhash.xxh64_intdigest(content) & 0xffffffff
        self.last = (k, content)
        return content

    def read(self, begin, size):
        """Bytes of the raw image, from the one frame that has them."""
        if not self.entry['zip_data']:
            return self.pread(begin, size)
        k = bisect.bisect_right(self.starts, begin) - 1
        data = self.content(k)[begin - self.starts[k]:][:size]
        assert len(data) == size
        return data

    def row(self, i):
        entry, sizes, at = self.entry, list(self.entry['column_sizes']), 0
        data = self.read(self.offsets[i], self.offsets[i + 1] - self.offsets[i])
        for c, size in enumerate(sizes):
            if size is None:
                sizes[c], at = int.from_bytes(data[at:at + 4], 'little'), at + 4
        row = {}
        for name, encoding, size in zip(entry['column_names'], entry['column_encodings'], sizes):
            row[name], at = decode(encoding, data[at:at + size]), at + size
        assert at == len(data)
        return row

    def verify(self):
        """Whether the index, its hashes, the table of frames and the image agree."""
        entry, data = self.entry, read_file(self.file.name)
        image, hashes = data, entry['raw_data']['hashes']
        if entry['zip_data']:
            image = b''.join(self.content(k) for k in range(len(self.frames)))
            config = {key: value for key, value in entry.items() if key not in ('samples', 'raw_data', 'zip_data')}
            if (entry['zip_data']['hashes'] != {'sha256': hashlib.sha256(data).hexdigest(), 'xxh64': xxhash.xxh64_hexdigest(data)}
                    or entry['zip_data']['bytes'] != len(data)
                    or image[4 + 4 * len(self.offsets):self.offsets[0]] != json.dumps(config, sort_keys=True).encode()):
                return False
        return len(image) == entry['raw_data']['bytes'] == self.offsets[-1] and hashes == {'xxh64': xxhash.xxh64_hexdigest(image)}


class Folder:
    def __init__(self, path):
        index = json.loads(read_file(os.path.join(path, 'index.json')))
        assert index['version'] == 2
        self.facts, self.shards = index.get('thresh'), [Shard(path, entry) for entry in index['shards']]

    def __iter__(self):
        return (shard.row(i) for shard in self.shards for i in range(len(shard.offsets) - 1))

    def columns(self):
        return [dict(zip(shard.entry['column_names'], shard.entry['column_encodings'])) for shard in self.shards]

    def verify(self):
        return all([shard.verify() for shard in self.shards])


def conversations(row):
    """(sample_id, score, prompt ids, sampled ids) of each, in either layout."""
    if 'sample_id' in row:
        return [(row['sample_id'], row['score'], row['input_ids'], row['labels'])]
    assert sum(row['seq_lens']) == len(row['tokens']) == len(row['loss_mask'])
    parts, at = [], 0
    for length, sample_id, score in zip(row['seq_lens'], row['sample_ids'], row['scores'], strict=True):
        ids, mask = row['tokens'][at:at + length], row['loss_mask'][at:at + length]
        n = mask.index(1)
        assert mask == [0] * n + [1] * (length - n)
        parts.append((sample_id, score, ids[:n], ids[n:]))
        at += length
    return parts


class Vocab:
    def __init__(self, path):
        data = pyzstd.decompress(read_file(path))
        n, = values('uint32', data[8:12])
        at, self.pieces, self.special = 12 + 8 * n, {}, set()
        for token, length in struct.iter_unpack('<II', data[12:at]):
            if length >> 31:
                self.special.add(token)
            length &= 0x7fffffff
            self.pieces[token], at = data[at:at + length], at + length
        assert data[:8] == b'THRVOC1\n' and at == len(data) and list(self.pieces) == sorted(self.pieces)

    def text(self, ids):
        return b''.join(self.pieces[token] for token in ids).decode(errors='each_byte')


def read_megatron(prefix):
    idx, ids = read_file(prefix + '.idx'), read_file(prefix + '.bin')
    magic, version, code, n, d = struct.unpack('<9sQBQQ', idx[:34])
    lengths, pointers, documents = idx[34:34 + 4 * n], idx[34 + 4 * n:34 + 12 * n], idx[34 + 12 * n:]
    assert (magic, version, values('int64', documents)) == (b'MMIDIDX\0\0', 1, list(range(n + 1))) and d == n + 1
    dtype, width = {8: ('uint16', 2), 4: ('int32', 4)}[code]
    return [values(dtype, ids[at:at + width * length]) for at, length in zip(values('int64', pointers), values('int32', lengths))]
