"""Math-Verify as a verifier of Thresh (docs/verifiers.md): 1 equal, 0 different, null if the gold cannot be read.

    - exec: {command: [python3, contrib/math_verify_worker.py, answer], as: mv, workers: 4}

The argument is the field that holds the gold: a bare answer, or a solution that ends in `#### answer`.
"""
import json
import sys

from math_verify import parse, verify


def judge(gold_text, text):
    # A bare answer is only read inside an environment. The library's own time limits need the main thread, which this is.
    gold = parse('\\boxed{' + str(gold_text).rsplit('####', 1)[-1].strip() + '}')
    if not gold:
        return {'score': None, 'reason': 'the gold cannot be read'}
    found = parse(text)
    return {'score': verify(gold, found), 'detail': {'found': str(found[-1])[:200] if found else None}}


for line in sys.stdin:
    question = json.loads(line)
    try:
        answer = judge(question['fields'][sys.argv[1]], question['text'])
    except Exception as e:  # one bad candidate is no reason to lose the worker
        answer = {'score': None, 'reason': f'{type(e).__name__}: {e}'[:200]}
    print(json.dumps({'id': question['id'], **answer}), flush=True)
