#!/usr/bin/python3
"""An interpreter that keeps what it was told, for opensandbox_run.py: lines of
JSON {"code": ...} on stdin; what comes of each as execd's events, without
their times, a line each, and {"done": true} behind them, as in the beginning.
SIGINT interrupts.
"""
import ast
import json
import os
import sys
import traceback

told = os.fdopen(os.dup(1), 'w', 1)


def tell(**event):
    told.write(json.dumps(event) + '\n')


class Stream:
    def __init__(self, kind):
        self.kind = kind

    def write(self, text):
        if text:
            tell(type=self.kind, text=text)

    def flush(self):
        pass


def run(code, names):
    tree = ast.parse(code)
    last = tree.body.pop() if tree.body and isinstance(
        tree.body[-1], ast.Expr) else None
    exec(compile(tree, '<code>', 'exec'), names)
    if last:
        value = eval(compile(ast.Expression(last.value), '<code>', 'eval'),
                     names)
        if value is not None:
            tell(type='result', results={'text': repr(value),
                                         'text/html': '<b>'})


def main():
    names = {'__name__': '__main__'}
    sys.stdout, sys.stderr = Stream('stdout'), Stream('stderr')
    tell(done=True)
    while True:
        try:
            line = sys.stdin.readline()
            if not line:
                return
            run(json.loads(line)['code'], names)
            tell(type='execution_complete', execution_time=1)
        except BaseException as e:
            tell(type='error', error={
                'ename': type(e).__name__, 'evalue': str(e),
                'traceback': traceback.format_exc().splitlines()})
        tell(done=True)


main()
