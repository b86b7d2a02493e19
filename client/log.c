#include "client/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "client/limits.h"

static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
/* log_lock protects: log_program, log_to_syslog, log_rate, log_sink */
static char log_program[64] = "sbxfs";
static bool log_to_syslog;
static struct {
	void (*fn)(void *arg, const char *level, const char *text);
	void *arg;
} log_sink;
static struct {
	time_t second;
	unsigned int lines, dropped;
} log_rate;

/* read without the lock: a level that changes is seen soon enough */
static _Atomic int log_level = SBX_LOG_WARNING;

static const char *const level_words[] = {
	[SBX_LOG_ERROR] = "error",
	[SBX_LOG_WARNING] = "warning",
	[SBX_LOG_INFO] = "info",
	[SBX_LOG_DEBUG] = "debug",
};
static const int level_syslog[] = {
	[SBX_LOG_ERROR] = LOG_ERR,
	[SBX_LOG_WARNING] = LOG_WARNING,
	[SBX_LOG_INFO] = LOG_INFO,
	[SBX_LOG_DEBUG] = LOG_DEBUG,
};

void sbx_log_open(const char *program, enum sbx_log_level max, int to_syslog)
{
	pthread_mutex_lock(&log_lock);
	if (log_to_syslog)
		closelog();
	snprintf(log_program, sizeof(log_program), "%s", program);
	log_to_syslog = to_syslog;
	if (to_syslog)
		openlog(log_program, LOG_PID, LOG_DAEMON);
	log_level = max;
	pthread_mutex_unlock(&log_lock);
}

void sbx_log_set_sink(void (*fn)(void *arg, const char *level,
				 const char *text),
		      void *arg)
{
	pthread_mutex_lock(&log_lock);
	log_sink.fn = fn;
	log_sink.arg = arg;
	pthread_mutex_unlock(&log_lock);
}

enum sbx_log_level sbx_log_max(void)
{
	return log_level;
}

static void log_emit(enum sbx_log_level level, const char *text)
{
	char line[SBX_LOG_MAX_LINE + 128];
	size_t len;

	if (log_sink.fn)
		log_sink.fn(log_sink.arg, level_words[level], text);
	if (log_to_syslog) {
		syslog(level_syslog[level], "%s", text);
		return;
	}
	snprintf(line, sizeof(line), "%s: %s: %s\n", log_program,
		 level_words[level], text);
	len = strlen(line);
	/* one write, so that lines of several threads do not mix; there is
	 * nobody to tell when it fails */
	if (write(STDERR_FILENO, line, len) < 0)
		return;
}

/* Whether this line may be written; tells how many were not before it. */
static bool log_admit(void)
{
	char text[80];
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	if (now.tv_sec != log_rate.second) {
		if (log_rate.dropped) {
			snprintf(text, sizeof(text),
				 "log: %u lines too many were dropped",
				 log_rate.dropped);
			log_emit(SBX_LOG_WARNING, text);
		}
		log_rate.second = now.tv_sec;
		log_rate.lines = 0;
		log_rate.dropped = 0;
	}
	if (log_rate.lines >= SBX_LOG_MAX_RATE) {
		log_rate.dropped++;
		return false;
	}
	log_rate.lines++;
	return true;
}

void sbx_log_write(enum sbx_log_level level, const char *component,
		   const char *fmt, ...)
{
	char text[SBX_LOG_MAX_LINE];
	unsigned char *p;
	va_list ap;
	int n;

	n = snprintf(text, sizeof(text), "%s: ", component);
	if (n < 0 || (size_t)n >= sizeof(text))
		return;
	va_start(ap, fmt);
	vsnprintf(text + n, sizeof(text) - (size_t)n, fmt, ap);
	va_end(ap);
	for (p = (unsigned char *)text; *p; p++)
		if (*p < 0x20 || *p == 0x7f)
			*p = '?';
	pthread_mutex_lock(&log_lock);
	if (log_admit())
		log_emit(level, text);
	pthread_mutex_unlock(&log_lock);
}
