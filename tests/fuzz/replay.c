/*
 * Runs a fuzz target over the files of its corpus, without a fuzzer:
 * replay FILE|DIR ...  Built once with each target.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define FILE_MAX (8 * 1024 * 1024)

static int replay_file(const char *path)
{
	FILE *f = fopen(path, "rb");
	uint8_t *data;
	size_t len;

	if (!f) {
		perror(path);
		return 1;
	}
	data = malloc(FILE_MAX);
	if (!data) {
		fclose(f);
		return 1;
	}
	len = fread(data, 1, FILE_MAX, f);
	fclose(f);
	/* of exact size, so that reading beyond its end is noticed */
	data = realloc(data, len ? len : 1);
	LLVMFuzzerTestOneInput(data, len);
	free(data);
	return 0;
}

static int replay_dir(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *e;
	char name[4096];
	int bad = 0, n = 0;

	if (!d) {
		perror(path);
		return 1;
	}
	while ((e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(name, sizeof(name), "%s/%s", path, e->d_name);
		bad |= replay_file(name);
		n++;
	}
	closedir(d);
	printf("%s: %d files\n", path, n);
	return bad || !n;
}

int main(int argc, char **argv)
{
	struct stat st;
	int i, bad = argc < 2;

	for (i = 1; i < argc; i++) {
		if (stat(argv[i], &st) < 0) {
			perror(argv[i]);
			bad = 1;
		} else if (S_ISDIR(st.st_mode)) {
			bad |= replay_dir(argv[i]);
		} else {
			bad |= replay_file(argv[i]);
		}
	}
	return bad;
}
