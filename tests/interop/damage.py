"""What becomes of a damaged shard: StreamingDataset says nothing when it iterates, `thresh inspect --verify` says it all.

    damage.py WORKDIR RUN LEDGER.jsonl

This is why docs/train.md wants a folder verified before it is trained on. Prints TAP.
"""
import logging
import os
import shutil
import subprocess
import sys
import warnings

import shim
from tap import check, done

shim.install()
warnings.filterwarnings('ignore')
logging.disable(logging.WARNING)

from open_shards import open_folder  # noqa: E402


def verify(folder):
    result = subprocess.run([os.environ['THRESH'], 'inspect', folder, '--verify'], stdout=subprocess.PIPE, text=True)
    return result.returncode, result.stdout


def damaged_copy(folder, name):
    copy = f'damaged-{name}'
    shutil.copytree(folder, copy)
    path = os.path.join(copy, name)
    with open(path, 'r+b') as f:
        # The middle of the file is in the middle of compressed data: shards here are large enough for that.
        f.seek(os.path.getsize(path) // 2)
        byte = f.read(1)[0]
        f.seek(-1, os.SEEK_CUR)
        f.write(bytes([byte ^ 0x10]))
    return copy


def iterate(folder, **options):
    """How many rows come, and the exception if one does."""
    n = 0
    try:
        for _ in open_folder(folder, **options):
            n += 1
    except Exception as e:
        return n, e
    return n, None


def main():
    workdir, run, _ = sys.argv[1:]
    shards = os.path.join(workdir, 'shards', run)
    whole, _ = iterate(shards)
    code, text = verify(shards)
    check(code == 0 and ': ok, ' in text, 'the folder is good before', f'{code} {text}')
    for name in ('shard.00000.mds.zstd', 'shard.00001.mds.zstd'):
        copy = damaged_copy(shards, name)
        code, text = verify(copy)
        check(code == 1 and name in text, f'inspect --verify reports {name}', f'{code} {text}')
        for options in ({}, {'validate_hash': 'xxh64'}):
            n, exception = iterate(copy, **options)
            check(exception is None and n < whole, f'iterating over {copy} ends early and silently {options or ""}', f'{n} of {whole}, {exception!r}')
        try:
            dataset = open_folder(copy, validate_hash='xxh64')
            rows = [dataset[i] for i in range(len(dataset))]
            check(False, f'validate_hash finds {name}, by index', f'{len(rows)} rows')
        except ValueError as e:
            check('Checksum failure' in str(e), f'validate_hash finds {name}, by index', e)
    done()


if __name__ == '__main__':
    main()
