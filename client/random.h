/*
 * Random numbers from the kernel.  Any thread.
 */
#ifndef SBX_RANDOM_H
#define SBX_RANDOM_H

#include <stddef.h>
#include <stdint.h>

/* Uniform in [low, high], low if that is none.  Never fails nor waits, and
 * may be guessed at boot: for pauses, not for secrets. */
uint32_t sbx_random_between(uint32_t low, uint32_t high);
/* At most 32 bytes as 2 * bytes hex digits and a NUL, which nobody can guess;
 * -EIO */
int sbx_random_hex(char *text, size_t bytes);

#endif
