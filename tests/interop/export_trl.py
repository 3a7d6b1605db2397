"""What `thresh inspect SHARDS --export trl` writes, made from StreamingDataset's rows, for a thresh that cannot export.

    export_trl.py SHARDS
"""
import json
import sys

import shim

shim.install()

from open_shards import open_folder  # noqa: E402

dataset = open_folder(sys.argv[1])
for i in range(len(dataset)):
    row = dataset[i]
    tokens = row['tokens'].tolist()
    labels = [token if mask else -100 for token, mask in zip(tokens, row['loss_mask'].tolist())]
    print(json.dumps({'input_ids': tokens, 'labels': labels, 'seq_lengths': row['seq_lens'].tolist()}))
