// SPDX-License-Identifier: GPL-2.0
/* Home of the tracepoints. */

#include <net/ipv6.h>

#define CREATE_TRACE_POINTS
#include "trace.h"
