"""A sandbox of a stand-in: a folder, and a program in bubblewrap.

Some folders of the sandbox are the folder's; the rest is this machine's
system, which cannot be written.  The program prints lines of JSON, the first
of which says {"ready": PORT}, and takes lines on its stdin.
"""
import asyncio
import json
import os
import signal

HERE = os.path.dirname(os.path.abspath(__file__))


def bubble(folder, own):
    """The command line up to the program."""
    args = ['bwrap', '--unshare-pid', '--unshare-ipc', '--unshare-uts',
            '--hostname', 'sandbox', '--die-with-parent', '--new-session']
    for name in ('bin', 'sbin', 'lib', 'lib32', 'lib64', 'libx32'):
        path = '/' + name
        if os.path.islink(path):
            args += ['--symlink', os.readlink(path), path]
        elif os.path.isdir(path):
            args += ['--ro-bind', path, path]
    args += ['--ro-bind', '/usr', '/usr', '--ro-bind', '/etc', '/etc',
             '--proc', '/proc', '--ro-bind', '/sys', '/sys',
             '--dev', '/dev', '--tmpfs', '/run',
             '--perms', '1777', '--tmpfs', '/dev/shm', '--dir', '/home',
             '--dir', '/var', '--dir', '/mnt',
             '--ro-bind', HERE, '/opt/standin']
    for name, path in own.items():
        args += ['--bind', os.path.join(folder, name), path]
    return args + ['--chdir', '/', '--']


def family(pid):
    """A process and all that descend from it."""
    parents, found = {}, [pid]
    for name in os.listdir('/proc'):
        if name.isdigit():
            try:
                with open('/proc/%s/stat' % name) as f:
                    parents.setdefault(int(f.read().rpartition(')')[2]
                                           .split()[1]), []).append(int(name))
            except OSError:
                pass
    for p in found:
        found += parents.get(p, [])
    return found


class Box:
    def __init__(self, folder, workspace, program, env, args, heard,
                 more=()):
        """workspace: its path in the sandbox; heard: called with each line;
        more: folders of its own besides, {NAME: PATH}"""
        self.folder, self.env, self.args = folder, env, args
        self.program, self.heard = program, heard
        self.own = {'workspace': workspace, 'tmp': '/tmp',
                    'vartmp': '/var/tmp', 'root': '/root', **dict(more)}
        self.proc, self.port, self.pidfd = None, None, -1
        for name in self.own:
            path = os.path.join(folder, name)
            if not os.path.isdir(path):
                os.makedirs(path)
                if 'tmp' in name:
                    os.chmod(path, 0o1777)

    async def start(self):
        env = {'PATH': '/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin',
               'HOME': '/root', 'LANG': 'C.UTF-8', 'PYTHONDONTWRITEBYTECODE':
               '1', **{k: v for k, v in self.env.items() if v is not None}}
        self.proc = await asyncio.create_subprocess_exec(
            *bubble(self.folder, self.own), '/usr/bin/python3',
            '/opt/standin/' + self.program, *self.args, env=env,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            limit=1 << 22)
        self.pidfd = os.pidfd_open(self.proc.pid)
        first = await self.proc.stdout.readline()
        if not first:
            raise RuntimeError('%s did not start' % self.program)
        self.port = json.loads(first)['ready']
        asyncio.ensure_future(self.listen(self.proc.stdout))

    async def listen(self, stdout):
        while True:
            line = await stdout.readline()
            if not line:
                return
            self.heard(json.loads(line))

    def say(self, line):
        self.proc.stdin.write(line.encode() + b'\n')

    def processes(self):
        """None once it has ended: its number may be another's by then, and
        whose it was is known here later than there."""
        found = family(self.proc.pid)
        try:
            signal.pidfd_send_signal(self.pidfd, 0)
        except ProcessLookupError:
            return []
        return found

    def freeze(self, on):
        """As the freezer of cgroups: who is new was forked meanwhile."""
        done = set()
        while True:
            new = set(self.processes()) - done
            if not new:
                return
            for pid in new:
                try:
                    os.kill(pid, signal.SIGSTOP if on else signal.SIGCONT)
                except ProcessLookupError:
                    pass
            done |= new

    async def kill(self):
        if not self.proc:
            return
        for pid in reversed(self.processes()):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        await self.proc.wait()
        os.close(self.pidfd)
        self.proc = None
