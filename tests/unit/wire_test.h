/* What cmocka.h needs before it and does not include, in that order. */
#ifndef TEST_WIRE_TEST_H
#define TEST_WIRE_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

/* a line of its own: include sorting must not move it up */
#include <cmocka.h>

#endif
