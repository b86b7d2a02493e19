#!/bin/sh
# git init, commit, clone, branch, gc and fsck on the mount
. "$(dirname "$0")/../lib/mount.sh"
mount_one
mkdir "$BOX"
export GIT_AUTHOR_NAME=t GIT_AUTHOR_EMAIL=t@example.org
export GIT_COMMITTER_NAME=t GIT_COMMITTER_EMAIL=t@example.org
export HOME="$T" GIT_CONFIG_NOSYSTEM=1
git config --global safe.directory '*'
git config --global init.defaultBranch main

git init -q "$T/origin"
cd "$T/origin"
i=0
while [ $i -lt 200 ]; do
	mkdir -p "d$((i % 10))"
	echo "$i" >"d$((i % 10))/f$i"
	i=$((i + 1))
done
git add . && git commit -qm first

git clone -q "$T/origin" "$W/repo"
cd "$W/repo"
same "status after clone" "$(git status --porcelain)" ""
echo changed >d3/f3
rm d4/f4
echo new >new
same "status after changes" "$(git status --porcelain | tr -d '\n')" \
	" M d3/f3 D d4/f4?? new"
git add -A && git commit -qm second
git checkout -q -b side HEAD~1
same "the old content is back" "$(cat d3/f3)" 3
git checkout -q main
same "the new content is back" "$(cat d3/f3)" changed
git gc -q --prune=now
git fsck --strict 2>&1 | grep -vE '^(notice|Checking)' && fail "git fsck"
same "status after gc" "$(git status --porcelain)" ""
# a change from inside is seen by the next status, without any refresh
run 'echo inside > repo/d5/f5' >/dev/null
same "status after a change inside" "$(git status --porcelain)" " M d5/f5"
cd /
unmount
