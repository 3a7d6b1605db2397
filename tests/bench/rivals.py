"""What others need for the same work; run by bench.py with the Python of the interop environment. Prints one JSON object.

    rivals.py write TOKENS.u16 ROUNDS     seconds in which mosaicml-streaming's MDSWriter writes these tokens
    rivals.py pack LENGTHS.u32            seconds and rows of TRL's bfd for these lengths, all at once, context 4096
"""
import json
import os
import shutil
import sys
import tempfile
import time

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'interop'))
import shim  # noqa: E402

CONTEXT = 2048


def write(path, rounds):
    shim.install()
    from streaming import MDSWriter
    tokens = np.fromfile(path, np.uint16).reshape(-1, CONTEXT)
    mask = np.tile(np.r_[np.zeros(160, np.uint8), np.ones(352, np.uint8)], 4)
    columns = {'tokens': 'ndarray:uint16', 'loss_mask': 'ndarray:uint8', 'seq_lens': 'ndarray:int32', 'sample_ids': 'ndarray:uint64',
               'scores': 'ndarray:float32'}
    lens, scores = np.full(4, 512, np.int32), np.ones(4, np.float32)
    seconds = []
    for _ in range(rounds):
        folder = tempfile.mkdtemp(prefix='thresh-rival-')
        begun = time.monotonic()
        with MDSWriter(out=os.path.join(folder, 'out'), columns=columns, compression='zstd:3', hashes=['xxh64'], size_limit=1 << 26) as out:
            for i, row in enumerate(tokens):
                out.write({'tokens': row, 'loss_mask': mask, 'seq_lens': lens, 'scores': scores,
                           'sample_ids': np.arange(4 * i, 4 * i + 4, dtype=np.uint64)})
        seconds.append(time.monotonic() - begun)
        shutil.rmtree(folder)
    return {'seconds': sorted(seconds)[rounds // 2], 'tokens': tokens.size}


def pack(path):
    shim.hide()
    import pyarrow as pa
    from trl.data_utils import _pack_bfd
    lengths = np.fromfile(path, np.uint32)
    # The narrowest column there is: what is packed matters less than how.
    offsets = np.r_[0, np.cumsum(lengths, dtype=np.int64)]
    table = pa.table({'input_ids': pa.LargeListArray.from_arrays(offsets, pa.array(np.zeros(offsets[-1], np.uint8)))})
    begun = time.monotonic()
    packed = _pack_bfd(table, 4096)
    return {'seconds': time.monotonic() - begun, 'rows': len(packed)}


if __name__ == '__main__':
    print(json.dumps(write(sys.argv[2], int(sys.argv[3])) if sys.argv[1] == 'write' else pack(sys.argv[2])))
