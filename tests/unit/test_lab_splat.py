# SPDX-License-Identifier: Apache-2.0
"""The lab recognises what a kernel says of its own defects, and only that."""

import pytest

from lab.graftlab.splat import find_splat

SPLATS = [
    "[   17.388944] BUG: kernel NULL pointer dereference, address: 0000000000000008",
    "[   17.388944][  T181] BUG: KASAN: slab-use-after-free in w+0x1af/0x250 [graft]",
    "[    5.1] BUG: sleeping function called from invalid context at kernel/locking/mutex.c:585",
    "[    5.1] BUG: scheduling while atomic: sh/184/0x00000002",
    "[    5.1] watchdog: BUG: soft lockup - CPU#0 stuck for 130s! [sh:184]",
    "[    5.1] BUG kmalloc-128 (Tainted: G           OE     ): Poison overwritten",
    "[   17.485169] WARNING: CPU: 0 PID: 184 at net/core/sock.c:19 w+0x1af/0x250 [graft]",
    "[   17.485169] WARNING: net/core/sock.c:19 at sk_free+0x1af/0x250, CPU#1: sh/184",
    "[    5.1] WARNING: possible circular locking dependency detected",
    "[    5.1] WARNING: suspicious RCU usage",
    "[    5.1] INFO: possible recursive locking detected",
    "[    5.1] INFO: trying to register non-static key.",
    "[    5.1] INFO: task sh:184 blocked for more than 120 seconds.",
    "[    5.1] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
    "[    5.1] kernel BUG at mm/slub.c:4041!",
    "[    5.1] Oops: 0002 [#1] PREEMPT SMP NOPTI",
    "[    5.1] Oops: general protection fault, probably for non-canonical address 0xdead000000000108",
    "[    5.1] Kernel panic - not syncing: Fatal exception in interrupt",
    "[    5.1] PANIC: double fault, error_code: 0x0",
    "[    5.1] refcount_t: underflow; use-after-free.",
    "[    5.1] unregister_netdevice: waiting for lo to become free. Usage count = 2",
    "[    5.1] kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)",
    "[    5.1] ref_tracker: net notrefcnt@ff1100000a1b3f58 has 1/1 users at",
    "[    5.1] ODEBUG: free active (active state 0) object: 00 object type: timer_list hint: 0x0",
    "[    5.1] UBSAN: array-index-out-of-bounds in graft.c:3:4",
    "[    5.1] list_del corruption. prev->next should be ff11, but was dead000000000100",
    "[    5.1] Attempt to release TCP socket in state 10 00000000c2a2a1b4",
    "[    5.1] int3: 0000 [#1] PREEMPT SMP NOPTI",
    "lab: graft.ko cannot be unloaded, something holds it: rmmod: ERROR: Module graft is in use",
    "[    5.1] invalid opcode: 0000 [#1] PREEMPT SMP NOPTI",
    "[    5.1] divide error: 0000 [#1] PREEMPT SMP NOPTI",
    "[    5.1] stack segment: 0000 [#1] PREEMPT SMP NOPTI",
    "[    5.1] kernel tried to execute NX-protected page - exploit attempt? (uid: 0)",
]
HARMLESS = [
    "[    0.000000] Command line: console=ttyS0 oops=panic panic=-1 rcupdate.rcu_cpu_stall_timeout=120",
    "[    0.1] Spectre V2 : WARNING: Unprivileged eBPF is enabled with eIBRS on, data leaks possible",
    "[    0.1] [Firmware Bug]: TSC ADJUST differs within socket(s), fixing all errors",
    "[    0.1] kmemleak: Kernel memory leak detector initialized (mem pool available: 39000)",
    "[    0.1] rcu: Preemptible hierarchical RCU implementation.",
    "[    0.1] RCU Lockdep checking is enabled: PROVE_RCU",
    "[    7.1] graft: loading out-of-tree module taints kernel.",
    "[    7.1] nginx[312]: segfault at 0 ip 0000000000000000 sp 00007ffc error 14",
    "[    7.1] traps: probe[312] trap invalid opcode ip:55d0 sp:7ffc error:0 in probe[55d0+1000]",
    "[    7.1] traps: probe[312] trap divide error ip:55d0 sp:7ffc error:0 in probe[55d0+1000]",
    "[    7.1] sysrq: Show Blocked State",
    "[    7.1] NMI backtrace for cpu 1",
]


@pytest.mark.parametrize("line", SPLATS)
def test_each_report_is_found_among_harmless_lines(line: str) -> None:
    splat = find_splat([*HARMLESS, line, *HARMLESS])
    assert splat is not None
    assert splat.title == line


@pytest.mark.parametrize("line", HARMLESS)
def test_harmless_lines_are_no_report(line: str) -> None:
    assert find_splat([line]) is None


def test_a_report_has_the_line_before_it_and_all_that_follows() -> None:
    console = [
        "early",
        "[1] ------------[ cut here ]------------",
        "[1] WARNING: CPU: 0 at x",
        "[1] RIP: y",
        "",
        "[2] late",
    ]
    splat = find_splat(console)
    assert splat is not None
    assert splat.lines == ("early", console[1], console[2], console[3], "[2] late")


def test_a_very_long_report_is_cut_and_says_so() -> None:
    splat = find_splat(["[1] BUG: x", *(f"[1] line {number}" for number in range(1000))])
    assert splat is not None
    shown = splat.shown()
    assert len(shown) == 401
    assert shown[-1] == "(601 more lines)"


INT3 = [
    "[1] Oops: int3: 0000 [#1] PREEMPT SMP NOPTI",
    "[1] RIP: 0010:tcp_sendmsg+0x1/0x40",
    "[1] Kernel panic - not syncing",
]


def test_an_int3_without_our_code_is_the_emulators_fault() -> None:
    splat = find_splat([*INT3, "[1] Modules linked in: graft(OE) 9p 9pnet_virtio"])
    assert splat is not None
    assert splat.is_emulators_fault


def test_an_int3_with_our_code_in_its_trace_is_not() -> None:
    splat = find_splat([*INT3, "[1]  graft_sendmsg+0x12/0x90 [graft]"])
    assert splat is not None
    assert not splat.is_emulators_fault


def test_an_int3_that_another_report_preceded_is_not() -> None:
    splat = find_splat(["[1] WARNING: CPU: 0 PID: 1 at kernel/x.c:1 f+0x1/0x2", *INT3])
    assert splat is not None
    assert not splat.is_emulators_fault
