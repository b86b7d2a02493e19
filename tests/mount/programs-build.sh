#!/bin/sh
# a C build with make, locally on the mount and by exec in the sandbox
. "$(dirname "$0")/../lib/mount.sh"
mount_one
mkdir "$BOX" "$T/proj"
cd "$T/proj"
i=0
while [ $i -lt 12 ]; do
	echo "int f$i(int x) { return x + $i; }" >"f$i.c"
	i=$((i + 1))
done
{
	seq 0 11 | sed 's/.*/int f&(int);/'
	echo '#include <stdio.h>'
	echo 'int main(void) { int x = 0;'
	seq 0 11 | sed 's/.*/x = f&(x);/'
	printf '%s\n' 'printf("%d\n", x); return 0; }'
} >main.c
printf 'o := $(patsubst %%.c,%%.o,$(wildcard *.c))\nprog: $(o)\n\tcc -o $@ $(o)\nclean:\n\trm -f prog *.o\n' >Makefile
tar cf "$T/proj.tar" .

mkdir "$W/proj"
tar xf "$T/proj.tar" -C "$W/proj"
diff -r "$T/proj" "$W/proj" || fail "tar x differs"
make -s -j2 -C "$W/proj"
same "built locally" "$("$W/proj/prog")" 66
same "made again, nothing to do" "$(make -C "$W/proj" | grep -c 'cc ' || true)" 0
make -s -C "$W/proj" clean
out=$(run 'make -s -j2 -C proj && proj/prog')
same "built by exec" "$out" 66
same "its result runs here" "$("$W/proj/prog")" 66
unmount
