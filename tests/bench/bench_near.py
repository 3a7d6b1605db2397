"""Near duplicates: texts/s from text to persistent index on one core, against rensa; recall; ten million signatures.

RENSA_PYTHON names a Python with the package rensa (pip install rensa); without it nothing is compared. Called by bench.py; as a program it is what
RENSA_PYTHON runs: bench_near.py TEXTS.txt prints seconds and duplicates.
"""
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time

WORDS = 5


def rensa_seconds(path):
    """Its fastest way that begins with text: token sets in bulk, a matrix of digests, one call of the LSH."""
    from rensa import RMinHash, RMinHashLSH
    with open(path) as f:
        texts = f.read().splitlines()
    word = re.compile(r'[a-z0-9]+')
    begun, cpu_begun = time.monotonic(), time.process_time()
    sets = []
    for text in texts:
        words = word.findall(text.lower())
        sets.append([' '.join(shingle) for shingle in zip(*(words[i:] for i in range(WORDS)))])
    shingled = time.monotonic()
    lsh = RMinHashLSH(threshold=0.8, num_perm=96, num_bands=16)
    flags = lsh.insert_matrix_and_query_duplicate_flags(RMinHash.digest_matrix_from_token_sets(sets, 96, 42))
    done = time.monotonic()
    return {'texts': len(texts), 'seconds': done - begun, 'cpu_seconds': time.process_time() - cpu_begun, 'shingles': shingled - begun, 'duplicates': sum(map(bool, flags))}


def facts(*args):
    program = os.environ.get('BENCH_NEAR', os.path.join(os.environ.get('THRESH_SOURCE', '.'), 'build/tests/bench/bench_near'))
    out = subprocess.run(['taskset', '-c', '0', program, *map(str, args)], stdout=subprocess.PIPE, text=True, check=True).stdout
    return {key: float(value) for key, value in (line.split(' ') for line in out.splitlines())}


def speed(texts, rounds):
    """By the clock, and by the processor's time, which others on the machine change less."""
    facts('make', 'texts.txt', texts, 300)
    python = os.environ.get('RENSA_PYTHON')
    ours, ours_cpu, ratios, ratios_cpu = [], [], [], []
    for i in range(rounds):
        f = facts('index', 'texts.txt', 'near')
        shutil.rmtree('near')
        ours.append(f['texts_per_s'])
        ours_cpu.append(f['texts_per_cpu_s'])
        line = f'near: round {i + 1}: {f["texts"]:.0f} texts of 300 words, {f["bytes"] / f["texts"]:.0f} bytes each, to a durable index: {ours[-1]:,.0f}/s, ' \
               f'{ours_cpu[-1]:,.0f} a CPU second; {f["kept"]:.0f} kept'
        if python:
            r = json.loads(subprocess.run(['taskset', '-c', '0', python, __file__, 'texts.txt'], stdout=subprocess.PIPE, check=True).stdout)
            ratios.append(ours[-1] * r['seconds'] / r['texts'])
            ratios_cpu.append(ours_cpu[-1] * r['cpu_seconds'] / r['texts'])
            line += f'; rensa {r["texts"] / r["seconds"]:,.0f}/s in memory, {r["texts"] / r["cpu_seconds"]:,.0f} a CPU second, ' \
                    f'{r["texts"] / (r["seconds"] - r["shingles"]):,.0f}/s after the shingles are made; ratio {ratios[-1]:.1f}, {ratios_cpu[-1]:.1f}'
        print(line, flush=True)
    print(f'near: median {statistics.median(ours):,.0f} texts/s, {statistics.median(ours_cpu):,.0f} a CPU second (target 60,000)' +
          (f', {statistics.median(ratios):.1f} and {statistics.median(ratios_cpu):.1f} times rensa (target 3)' if ratios else
           '; RENSA_PYTHON is not set: nothing to compare with'), flush=True)


def recall(pairs):
    f = facts('planted', pairs)
    print(f'near: threshold 0.8, {pairs} planted pairs each: found ' + ', '.join(f'{v:.4f} at {k}' for k, v in f.items()) +
          ' (targets: 0.95 at 0.80, at most 0.01 at 0.50)', flush=True)


def many(n):
    f = facts('many', n, 'many')
    shutil.rmtree('many')
    print(f'near: {f["records"]:,.0f} signatures: {f["bytes"] / 2**30:.2f} GiB on disk (target 2 for 10,000,000), tables made in {f["make_tables_s"]:.1f} s, '
          f'opened and checked in {f["open_s"]:.1f} s, {f["look_ups_per_s"]:,.0f} look-ups/s, {f["found"]:.4f} of the planted found', flush=True)


def run():
    recall(int(os.environ.get('BENCH_PAIRS', 5000)))
    speed(int(os.environ.get('BENCH_TEXTS', 100000)), int(os.environ.get('BENCH_ROUNDS', 3)))
    many(int(os.environ.get('BENCH_SIGNATURES', 200000)))


if __name__ == '__main__':
    print(json.dumps(rensa_seconds(sys.argv[1])))
