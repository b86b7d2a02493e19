"""A VM of the time-travel stand-in: its folder, pod and snapshots as files."""
import asyncio
import os
import shutil
import time

import pod


def now_text():
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())


class AgentPod(pod.Pod):
    """The workspace is a folder of a file system, and can be replaced."""
    own = dict({"/btrfs": "btrfs"},
               **{k: v for k, v in pod.OWN.items() if k != "/workspace"})
    cwd, links = "/btrfs/workspace", {"/workspace": "/btrfs/workspace"}


def can_copy(d, name):
    p = os.path.join(d, name)
    return os.path.islink(p) or os.path.isdir(p) or os.path.isfile(p)


class VM:
    def __init__(self, top, number, name, args):
        self.number, self.name = number, name
        self.dir = os.path.join(top, "vm-%d" % number)
        self.created = now_text()
        self.status = "creating"
        self.base_vm = "virtualbox" if args.agent else "docker"
        self.alive = True
        os.makedirs(self.path("snapshots"))
        # an agent takes a request at a time
        self.lock = asyncio.Lock() if args.agent else None
        self.replaces = args.agent or args.btrfs
        self.workspace = self.path(
            "btrfs/workspace" if args.agent else "workspace")
        os.makedirs(self.workspace)
        self.pod = (AgentPod if args.agent else pod.Pod)(self.dir, {})
        self.pod.start()

    def path(self, *parts):
        return os.path.join(self.dir, *parts)

    def record(self):
        return {"id": self.number, "api_key_id": 1, "name": self.name,
                "base_vm": self.base_vm, "status": self.status,
                "agent_port": 3333 + self.number,
                "ssh_port": 2222 + self.number, "created_at": self.created,
                "updated_at": self.created}

    def argv(self, command):
        return [*self.pod.enter(None), "/bin/sh", "-c", command]

    @staticmethod
    def env():
        return {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:"
                        "/sbin:/bin",
                "HOME": "/root"}

    def end(self):
        self.pod.end()
        shutil.rmtree(self.dir, ignore_errors=True)

    # ---- its workspace as a whole ----

    def copy(self, name):
        shutil.copytree(self.workspace, self.path("snapshots", name),
                        symlinks=True, ignore_dangling_symlinks=True,
                        ignore=lambda d, names: [
                            n for n in names if not can_copy(d, n)])

    def clear(self):
        """rm -rf *: what is hidden stays."""
        for name in os.listdir(self.workspace):
            p = os.path.join(self.workspace, name)
            if name.startswith("."):
                continue
            if os.path.isdir(p) and not os.path.islink(p):
                shutil.rmtree(p)
            else:
                os.unlink(p)

    def replace(self, source):
        """By another subvolume: who has the old one open keeps it."""
        old = self.path("old")
        os.rename(self.workspace, old)
        if source:
            shutil.copytree(source, self.workspace, symlinks=True)
        else:
            os.mkdir(self.workspace)
        shutil.rmtree(old)

    def restore(self, name):
        """Looks last, but for an agent."""
        source = self.path("snapshots", name)
        if self.lock and not os.path.isdir(source):
            raise RuntimeError("Snapshot %s does not exist" % name)
        if not self.lock:
            self.clear()
        if not os.path.isdir(source):
            raise RuntimeError("Command failed: cp -r %s/. %s" % (
                source, self.workspace))
        if self.replaces:
            self.replace(source)
        else:
            shutil.copytree(source, self.workspace, symlinks=True,
                            copy_function=shutil.copy, dirs_exist_ok=True)

    def empty(self):
        if not self.replaces:
            self.clear()
        elif not self.lock:
            self.replace(None)
        else:
            for name in os.listdir(self.workspace):
                p = os.path.join(self.workspace, name)
                if os.path.isdir(p):  # which a link to one is no less
                    shutil.rmtree(p)
                else:
                    os.unlink(p)
