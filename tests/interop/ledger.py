"""LEDGER.jsonl: a line a candidate, {"id", "prompt_ids", "ids", "chosen"}, as `thresh query --json` gives them."""
import json


def chosen(path):
    """id -> row, of what has been packed."""
    with open(path) as f:
        return {row['id']: row for row in map(json.loads, f) if row['chosen']}


def conversations(rows):
    """(ids, labels) of each, sorted: what any order of them must come to."""
    return sorted((row['prompt_ids'] + row['ids'], [-100] * len(row['prompt_ids']) + row['ids']) for row in rows)
