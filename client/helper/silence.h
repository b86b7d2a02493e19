/*
 * For how long the client has said nothing.  The clock runs on while the
 * sandbox is frozen, and nobody could have been heard then: so it is looked
 * every now and then, and what is far too late for a look was no silence.
 * Nothing here does anything.
 */
#ifndef HELPER_SILENCE_H
#define HELPER_SILENCE_H

#include <stdint.h>

#define SILENCE_LOOKS 4 /* in the time after which it is long enough */

struct silence {
	int64_t ms; /* of silence, after which the client is given up */
	int64_t heard_ms;
	int64_t look_ms; /* when the next look is due */
};

/* How long from now that is; 0: it has been silent for long enough. */
static inline int64_t silence_look(struct silence *l, int64_t now)
{
	int64_t step = l->ms / SILENCE_LOOKS, left;

	if (l->look_ms && now - l->look_ms > step)
		l->heard_ms += now - l->look_ms;
	if (l->heard_ms > now)
		l->heard_ms = now;
	left = l->heard_ms + l->ms - now;
	if (left <= 0)
		return 0;
	if (left > step)
		left = step;
	l->look_ms = now + left;
	return left;
}

#endif
