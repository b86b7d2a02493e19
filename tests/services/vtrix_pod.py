"""The pod of one sandbox of Vtrix's stand-in: a folder, seen in bubblewrap.

In it /workspace, /tmp, /var/tmp and /root are the folder's; the rest is this
machine's system, which cannot be written.  All commands see the same, and
each process has a mark, by which the pod is ended.  Part of vtrix.py.
"""
import os
import signal
import time

OWN = {"/workspace": "workspace", "/tmp": "tmp", "/var/tmp": "vartmp",
       "/root": "root"}


class Pod:
    def __init__(self, folder):
        self.folder = folder
        for name in OWN.values():
            os.makedirs(os.path.join(folder, name), exist_ok=True)
        for name in ("tmp", "vartmp"):
            os.chmod(os.path.join(folder, name), 0o1777)

    def bubble(self, cwd):
        """The command line up to the program."""
        args = ["bwrap", "--ro-bind", "/usr", "/usr", "--ro-bind", "/etc",
                "/etc", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/run",
                "--perms", "1777", "--tmpfs", "/dev/shm", "--dir", "/var"]
        for d in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
            if os.path.islink("/" + d):
                args += ["--symlink", os.readlink("/" + d), "/" + d]
            elif os.path.isdir("/" + d):
                args += ["--ro-bind", "/" + d, "/" + d]
        for path, name in OWN.items():
            args += ["--bind", os.path.join(self.folder, name), path]
        return args + ["--chdir", cwd or "/workspace", "--"]

    def env(self):
        return {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
                "HOME": "/root", "LANG": "C.UTF-8", "STANDIN_POD": self.folder}

    def host(self, path):
        """Where a path of the pod is on this machine."""
        path = os.path.normpath(os.path.join("/workspace", path))
        for top, name in OWN.items():
            if path == top or path.startswith(top + "/"):
                return os.path.join(self.folder, name) + path[len(top):]
        return path

    def processes(self):
        mark = b"STANDIN_POD=" + self.folder.encode()
        found = []
        for p in os.listdir("/proc"):
            if p.isdigit():
                try:
                    with open("/proc/%s/environ" % p, "rb") as f:
                        if mark in f.read().split(b"\0"):
                            found.append(int(p))
                except OSError:
                    pass
        return found

    def end(self):
        """Nothing of it runs any more."""
        while pids := self.processes():
            for p in pids:
                try:
                    os.kill(p, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            time.sleep(0.005)
