/* SPDX-License-Identifier: GPL-2.0 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM graft

#if !defined(_GRAFT_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _GRAFT_TRACE_H

#include <linux/tracepoint.h>

#include "addr.h"

#define graft_show_kind(kind)						\
	__print_symbolic(kind, { GRAFT_EVENT_GRAFTED, "grafted" },	\
			 { GRAFT_EVENT_NATIVE, "native" },		\
			 { GRAFT_EVENT_DENIED, "denied" })

TRACE_EVENT(graft_decision,
	TP_PROTO(u8 kind, const struct graft_why *why, u64 cookie,
		 const char *name, u8 verb, const struct graft_addr *a),
	TP_ARGS(kind, why, cookie, name, verb, a),
	TP_STRUCT__entry(
		__field(u64, cookie)
		__field(int, err)
		__field(u16, port)
		__field(u8, kind)
		__field(u8, reason)
		__field(u8, verb)
		__array(u8, address, 16)
		__array(char, name, GRAFT_NAME_MAX)
	),
	TP_fast_assign(
		__entry->cookie = cookie;
		__entry->err = why->err;
		__entry->kind = kind;
		__entry->reason = why->reason;
		__entry->verb = verb;
		__entry->port = a ? a->port : 0;
		memset(__entry->address, 0, 16);
		if (a && a->family == AF_INET)
			ipv6_addr_set_v4mapped(a->v4, (struct in6_addr *)
					       __entry->address);
		else if (a)
			memcpy(__entry->address, &a->v6, 16);
		strscpy(__entry->name, name, GRAFT_NAME_MAX);
	),
	TP_printk("%s cookie=%llu endpoint=%s verb=%u reason=%u err=%d address=[%pI6c]:%u",
		  graft_show_kind(__entry->kind), __entry->cookie,
		  __entry->name, __entry->verb, __entry->reason, __entry->err,
		  __entry->address, __entry->port)
);

#endif /* _GRAFT_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
