"""The loop that everybody writes once: asks for candidates with AsyncOpenAI, some at a time, appends each to a file of JSON lines, and when it is
started again skips those that the file has. Run by bench.py crash with OPENAI_PYTHON.

    home_made.py URL ROWS.jsonl OUT.jsonl CANDIDATES CONCURRENCY [--flush]
"""
import asyncio
import json
import os
import sys

from openai import AsyncOpenAI


def read_done(path):
    done = set()
    if os.path.exists(path):
        with open(path) as f:
            for line in f:
                try:
                    row = json.loads(line)
                    done.add((row['id'], row['candidate']))
                except ValueError:
                    pass  # the end of an earlier life
    return done


async def main():
    url, rows_path, out_path, n, concurrency = *sys.argv[1:4], int(sys.argv[4]), int(sys.argv[5])
    client = AsyncOpenAI(base_url=url + '/v1', api_key='none')
    semaphore = asyncio.Semaphore(concurrency)
    done = read_done(out_path)
    with open(rows_path) as f:
        rows = [json.loads(line) for line in f]
    with open(out_path, 'a') as out:
        async def one(i, row, k):
            async with semaphore:
                answer = await client.chat.completions.create(
                    model='fake', messages=[{'role': 'user', 'content': row['question']}], max_tokens=64, temperature=0.8, seed=1000 * i + k)
                out.write(json.dumps({'id': i, 'candidate': k, 'text': answer.choices[0].message.content}) + '\n')
                if '--flush' in sys.argv:
                    out.flush()
        await asyncio.gather(*[one(i, row, k) for i, row in enumerate(rows) for k in range(n) if (i, k) not in done])


asyncio.run(main())
