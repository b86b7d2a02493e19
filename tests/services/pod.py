"""A sandbox of a stand-in, which lives in bubblewrap, with files in a folder.

In it /workspace, /tmp, /var/tmp and /root are the folder's; the rest is this
machine's system, which cannot be written.  Its first process does nothing;
commands enter what it lives in, and end with it.  Part of vtrix.py and of
timetravel.py.
"""
import fcntl
import json
import os
import signal
import subprocess

OWN = {"/workspace": "workspace", "/tmp": "tmp", "/var/tmp": "vartmp",
       "/root": "root"}
NS_GET_PARENT = 0xB702  # ioctl_ns(2)


class Pod:
    own, cwd, links = OWN, "/workspace", {}  # links: made in each, by path

    def __init__(self, folder, variables):
        self.folder, self.proc, self.outer = folder, None, None
        self.variables = variables  # of each pod
        self.told = {}  # of this one, beside them
        for name in self.own.values():
            os.makedirs(os.path.join(folder, name), exist_ok=True)
        for name in ("tmp", "vartmp"):
            os.chmod(os.path.join(folder, name), 0o1777)

    def start(self):
        args = ["bwrap", "--unshare-pid", "--unshare-ipc", "--unshare-uts",
                "--hostname", "pod", "--die-with-parent", "--ro-bind", "/usr",
                "/usr", "--ro-bind", "/etc", "/etc", "--proc", "/proc",
                "--dev", "/dev", "--tmpfs", "/run", "--perms", "1777",
                "--tmpfs", "/dev/shm", "--dir", "/var"]
        for d in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
            if os.path.islink("/" + d):
                args += ["--symlink", os.readlink("/" + d), "/" + d]
            elif os.path.isdir("/" + d):
                args += ["--ro-bind", "/" + d, "/" + d]
        for path, name in self.own.items():
            args += ["--bind", os.path.join(self.folder, name), path]
        for path, to in self.links.items():
            args += ["--symlink", to, path]
        r, w = os.pipe()
        self.proc = subprocess.Popen(
            [*args, "--info-fd", str(w), "--", "/bin/sh", "-c",
             "echo up; exec sleep infinity"], env=self.env(), pass_fds=(w,),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        os.close(w)
        with os.fdopen(r) as f:
            self.first = json.load(f)["child-pid"]
        self.proc.stdout.readline()
        if os.geteuid():
            with open("/proc/%d/ns/user" % self.first) as f:
                self.outer = fcntl.ioctl(f, NS_GET_PARENT)

    def enter(self, cwd):
        """The command line up to the program."""
        if not self.proc:
            self.start()
        way = ["-m", "-u", "-i", "-p", "-t", str(self.first),
               "--preserve-credentials", "--"]
        if self.outer is not None:
            # for an ordinary user bubblewrap makes two user namespaces: the
            # outer owns all else, and the program is in the inner one
            way = ["--user=/proc/%d/fd/%d" % (os.getpid(), self.outer), *way,
                   "nsenter", "-U", "-t", "1", "--preserve-credentials", "--"]
        return ["nsenter", *way, "env", "-C", cwd or self.cwd]

    def env(self):
        return {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
                "HOME": "/root", "LANG": "C.UTF-8", **self.variables,
                **self.told}

    def host(self, path):
        """Where a path of the pod is on this machine."""
        path = os.path.normpath(os.path.join("/workspace", path))
        for top, name in self.own.items():
            if path == top or path.startswith(top + "/"):
                return os.path.join(self.folder, name) + path[len(top):]
        return path

    def end(self):
        """Nothing of it runs any more."""
        self.told = {}
        if self.proc:
            os.kill(self.first, signal.SIGKILL)
            self.proc.wait()
            self.proc.stdout.close()
            self.proc = None
        if self.outer is not None:
            os.close(self.outer)
            self.outer = None
