/*
 * Log to stderr (foreground) or syslog (background).  Any thread.  Texts
 * come from code, never secrets; lines are cut at 1 KiB and control
 * characters replaced.  More than 50 lines a second are counted, not
 * written.
 */
#ifndef SBX_LOG_H
#define SBX_LOG_H

enum sbx_log_level {
	SBX_LOG_ERROR,
	SBX_LOG_WARNING,
	SBX_LOG_INFO,
	SBX_LOG_DEBUG,
};

void sbx_log_open(const char *program, enum sbx_log_level max, int to_syslog);
enum sbx_log_level sbx_log_max(void);
/* Called for every line that is written, under the log's lock: it must not
 * log.  NULL: none; the last call has returned then. */
void sbx_log_set_sink(void (*fn)(void *arg, const char *level,
				 const char *text),
		      void *arg);
void sbx_log_write(enum sbx_log_level level, const char *component,
		   const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#define sbx_log(level, component, ...)                                         \
	do {                                                                   \
		if ((level) <= sbx_log_max())                                  \
			sbx_log_write(level, component, __VA_ARGS__);          \
	} while (0)

#endif
