"""Opens each shard file as what it is without us: a seekable zstd file, read by pyzstd at random offsets, and a zstd file for zstd.

    open_zstd.py WORKDIR RUN LEDGER.jsonl

The order of the offsets and what is read there must not matter; the seed is fixed so that a failure can be repeated. Prints TAP.
"""
import json
import os
import random
import subprocess
import sys

import pyzstd
import xxhash
from tap import check, done

N_READS = 200


def frames(path):
    """(compressed, decompressed) sizes of the seek table, read by this code and nobody else's."""
    with open(path, 'rb') as f:
        data = f.read()
    n = int.from_bytes(data[-9:-5], 'little')
    assert data[-5] == 0x80 and data[-4:] == bytes.fromhex('b1ea928f')
    table = data[-9 - 12 * n:-9]
    return [(int.from_bytes(table[i:i + 4], 'little'), int.from_bytes(table[i + 4:i + 8], 'little')) for i in range(0, 12 * n, 12)]


def differences(path, image, rng):
    """Offsets at which the seekable reader does not give what stands in the image."""
    wrong = []
    with pyzstd.SeekableZstdFile(path, 'r') as f:
        for _ in range(N_READS):
            offset, size = rng.randrange(len(image)), rng.randrange(1, 65536)
            f.seek(offset)
            if f.read(size) != image[offset:offset + size]:
                wrong.append(offset)
        f.seek(0)
        if f.read() != image:
            wrong.append('whole')
    return wrong


def main():
    workdir, run, _ = sys.argv[1:]
    shards = os.path.join(workdir, 'shards', run)
    with open(os.path.join(shards, 'index.json')) as f:
        entries = json.load(f)['shards']
    rng = random.Random(11)
    most = 0
    for entry in entries:
        name = entry['zip_data']['basename']
        path = os.path.join(shards, name)
        check(subprocess.run(['zstd', '-qt', path]).returncode == 0, f'zstd -t takes {name}')
        image = subprocess.run(['zstd', '-dcq', path], stdout=subprocess.PIPE).stdout
        check(len(image) == entry['raw_data']['bytes'] and xxhash.xxh64_hexdigest(image) == entry['raw_data']['hashes']['xxh64'],
              f'zstd -dc of {name} is the image whose hash the index tells')
        table = frames(path)
        most = max(most, len(table))
        check(sum(c for c, _ in table) + 12 * len(table) + 17 == os.path.getsize(path), f'the seek table of {name} covers the file')
        check(sum(d for _, d in table) == len(image), f'the seek table of {name} covers the image')
        wrong = differences(path, image, rng)
        check(not wrong, f'pyzstd reads {name} at {N_READS} offsets', wrong)
    check(most >= 4, 'one shard at least is of several frames', most)
    done()


if __name__ == '__main__':
    main()
