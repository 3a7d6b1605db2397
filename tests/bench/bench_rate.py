"""bench.py rate: candidates/s of the client alone, from request to durable row, against wrk on the same static server.

nginx (one worker) answers every route of the llama.cpp dialect with a text of its own; /completion gives 300 tokens as text and ids, about
3 KB. wrk asks for the same with 64 connections. Needs nginx and wrk (Debian: nginx-light, wrk). OPENAI_PYTHON names a Python with
`openai[aiohttp]`: its client asks for the same, without verifying or keeping anything. BENCH_CANDIDATES and BENCH_ROUNDS change the size.
"""
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

CONNECTIONS, PROMPT_TOKENS, ANSWER_TOKENS, PER_PROMPT = 64, 60, 300, 4
TEMPLATE = "{% for m in messages %}{{ m['content'] }}{% endfor %}"


def answers(logprobs):
    rng = random.Random(1)
    words = ['we', 'add', 'the', 'numbers', 'and', 'find', 'that', 'there', 'are', 'left', 'so', 'half', 'of', 'them', 'is']
    pieces = [' ' + rng.choice(words) for _ in range(ANSWER_TOKENS - 8)] + [' \\', 'boxed', '{', '4', '2', '}', '.', '']
    ids = [rng.randrange(1000, 49000) for _ in range(ANSWER_TOKENS - 1)] + [2]
    completion = {'index': 0, 'content': ''.join(pieces), 'tokens': ids, 'stop_type': 'eos', 'truncated': False,
                  'tokens_evaluated': PROMPT_TOKENS, 'tokens_predicted': ANSWER_TOKENS}
    if logprobs:
        completion['completion_probabilities'] = [
            {'id': i, 'token': p, 'bytes': list(p.encode()), 'logprob': -rng.random(),
             'top_logprobs': [{'id': i, 'token': p, 'bytes': list(p.encode()), 'logprob': -0.5}]} for i, p in zip(ids, pieces)]
    chat = {'id': 'x', 'object': 'chat.completion', 'created': 0, 'model': 'static', 'choices': [
        {'index': 0, 'finish_reason': 'stop', 'message': {'role': 'assistant', 'content': completion['content']}}],
        'usage': {'prompt_tokens': PROMPT_TOKENS, 'completion_tokens': ANSWER_TOKENS, 'total_tokens': PROMPT_TOKENS + ANSWER_TOKENS}}
    return {
        '/health': {'status': 'ok'},
        '/props': {'default_generation_settings': {'n_ctx': 4096}, 'total_slots': CONNECTIONS, 'model_alias': 'static', 'model_path': 'static.gguf',
                   'chat_template': TEMPLATE, 'bos_token': '', 'eos_token': '</s>', 'build_info': 'static'},
        '/v1/models': {'object': 'list', 'data': [{'id': 'static', 'object': 'model', 'owned_by': 'llamacpp', 'meta': {'n_vocab': 49152}}]},
        '/apply-template': {'prompt': 'a prompt that is always the same'},
        '/tokenize': {'tokens': [rng.randrange(1000, 49000) for _ in range(PROMPT_TOKENS)]},
        '/completion': completion, '/v1/chat/completions': chat}


class Static:
    """nginx with one worker; POST to a file is answered with the file."""

    def __init__(self, logprobs=False):
        folder = os.path.abspath('static')
        shutil.rmtree(folder, ignore_errors=True)
        for path, body in answers(logprobs).items():
            name = os.path.join(folder, 'root', path.strip('/'))
            os.makedirs(os.path.dirname(name), exist_ok=True)
            with open(name, 'w') as f:
                json.dump(body, f, separators=(',', ':'))
        with socket.socket() as s:
            s.bind(('127.0.0.1', 0))
            self.port = s.getsockname()[1]
        user = 'user root; ' if os.geteuid() == 0 else ''
        with open('nginx.conf', 'w') as f:
            f.write(f'''{user}worker_processes 1; daemon off; pid {folder}/pid; error_log {folder}/log;
events {{ worker_connections 512; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600s; default_type application/json; open_file_cache max=64; sendfile on; tcp_nopush on;
  client_body_buffer_size 64k; client_body_temp_path {folder}/body; proxy_temp_path {folder}/a; fastcgi_temp_path {folder}/b; uwsgi_temp_path {folder}/c;
  scgi_temp_path {folder}/d;
  server {{ listen 127.0.0.1:{self.port}; root {folder}/root; error_page 405 =200 $uri; }}
}}''')
        binary = shutil.which('nginx') or '/usr/sbin/nginx'
        self.process = subprocess.Popen([binary, '-c', os.path.abspath('nginx.conf'), '-p', folder, '-e', os.path.join(folder, 'log')])
        for _ in range(200):
            with socket.socket() as s:
                if s.connect_ex(('127.0.0.1', self.port)) == 0:
                    return
            time.sleep(0.02)
        raise SystemExit('nginx did not start: ' + open(os.path.join(folder, 'log')).read())

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


def wrk(port, seconds):
    with open('post.lua', 'w') as f:
        f.write('wrk.method = "POST"\nwrk.headers["Content-Type"] = "application/json"\n')
        f.write('wrk.body = [[{"prompt":[' + ','.join(['12345'] * PROMPT_TOKENS) + '],"n_predict":512,"seed":1,"temperature":0.8}]]\n')
    out = subprocess.run(['wrk', '-t', '1', '-c', str(CONNECTIONS), '-d', f'{seconds}s', '-s', 'post.lua', f'http://127.0.0.1:{port}/completion'],
                         stdout=subprocess.PIPE, text=True, check=True).stdout
    assert 'Non-2xx' not in out, out
    return float(re.search(r'Requests/sec:\s+([\d.]+)', out).group(1))


def thresh(binary, port, n, logprobs):
    shutil.rmtree('rate', ignore_errors=True)
    with open('rate.jsonl', 'w') as f:
        for i in range(n // PER_PROMPT):
            f.write(json.dumps({'question': f'What is 42, asked for the {i}th time?', 'answer': 42}) + '\n')
    with open('rate.yaml', 'w') as f:
        f.write(f'''name: rate
seed: 1
workdir: rate
engines: {{student: {{url: "http://127.0.0.1:{port}", dialect: llama.cpp}}}}
stages:
  - sample: {{sources: [{{path: rate.jsonl}}], template: rate-template.yaml}}
  - generate: {{engine: student, candidates: {{min: {PER_PROMPT}, max: {PER_PROMPT}, per_request: 1}}, logprobs: {str(logprobs).lower()}, sampling: {{max_tokens: 512}}}}
  - verify: [math: {{gold: answer}}]
accept: math = 1
''')
    with open('rate-template.yaml', 'w') as f:
        f.write('messages:\n  - user: "{{question}}"\n')
    process = subprocess.Popen([binary, 'run', 'rate.yaml', '--json', '--log', 'error'], stdout=subprocess.PIPE, text=True)
    out = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, out
    facts = json.loads(out)
    assert facts['accepted'] == n // PER_PROMPT * PER_PROMPT, out
    return {'per_s': n / facts['generate_ms'] * 1000, 'cpu': (usage.ru_utime + usage.ru_stime) / n * 100000, 'mib': usage.ru_maxrss / 1024}


def openai_client(port, n):
    """What a careful user of the openai package gets: async, aiohttp, as many in flight."""
    python = os.environ.get('OPENAI_PYTHON')
    if not python:
        return None
    out = subprocess.run([python, os.path.abspath(__file__), str(port), str(n)], stdout=subprocess.PIPE, text=True, check=True).stdout
    return json.loads(out)


def ask_with_openai(port, n):
    import asyncio
    from openai import AsyncOpenAI, DefaultAioHttpClient

    async def work():
        done, client = 0, AsyncOpenAI(base_url=f'http://127.0.0.1:{port}/v1', api_key='x', http_client=DefaultAioHttpClient())

        async def one():
            nonlocal done
            while done < n:
                done += 1
                r = await client.chat.completions.create(model='static', messages=[{'role': 'user', 'content': 'What is 42?'}])
                assert r.choices[0].message.content
        begun = time.monotonic()
        await asyncio.gather(*(one() for _ in range(CONNECTIONS)))
        return time.monotonic() - begun
    cpu = time.process_time()
    seconds = asyncio.run(work())
    return {'per_s': n / seconds, 'cpu': (time.process_time() - cpu) / n * 100000}


def run(binary):
    n, rounds = int(os.environ.get('BENCH_CANDIDATES', 200000)), int(os.environ.get('BENCH_ROUNDS', 3))
    if not shutil.which('wrk') or not (shutil.which('nginx') or os.path.exists('/usr/sbin/nginx')):
        raise SystemExit('rate: needs nginx and wrk (Debian: nginx-light, wrk)')
    for logprobs in (False, True):
        what = 'with logprobs' if logprobs else 'text and ids'
        server = Static(logprobs)
        try:
            for _ in range(rounds):
                limit = wrk(server.port, 3)
                ours = thresh(binary, server.port, n // (5 if logprobs else 1), logprobs)
                print(f'rate: {what}: {ours["per_s"]:,.0f} candidates/s, wrk {limit:,.0f} requests/s, ratio {ours["per_s"] / limit:.3f} (target 0.15); '
                      f'{ours["cpu"]:.1f} CPU s per 100,000 (target 12); peak {ours["mib"]:.1f} MiB', flush=True)
            if not logprobs:
                other = openai_client(server.port, 2000)
                print('rate: openai client: not there to compare (OPENAI_PYTHON)' if not other else
                      f'rate: openai client with aiohttp, nothing verified or kept: {other["per_s"]:,.0f}/s, {other["cpu"]:.0f} CPU s per 100,000; ours '
                      f'{ours["per_s"] / other["per_s"]:.0f} times as many', flush=True)
        finally:
            server.stop()


if __name__ == '__main__':
    print(json.dumps(ask_with_openai(int(sys.argv[1]), int(sys.argv[2]))))
