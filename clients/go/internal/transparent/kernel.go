// SPDX-License-Identifier: Apache-2.0

package transparent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// KernelCannotError says what the kernel lacks.
type KernelCannotError struct{ Lacks string }

func (e *KernelCannotError) Error() string {
	return "this kernel cannot serve the BPF door: " + e.Lacks
}

// kernelCan returns a KernelCannotError where the program could not be attached.
func kernelCan(cache *btf.Cache) error {
	types, err := cache.Kernel()
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, ebpf.ErrNotSupported) {
		return &KernelCannotError{"it tells nothing of its types (CONFIG_DEBUG_INFO_BTF)"}
	}
	if err != nil {
		return fmt.Errorf("reading the kernel's types: %w", err)
	}
	return typesSuffice(types)
}

func typesSuffice(types *btf.Spec) error {
	var hook *btf.Func
	if err := types.TypeByName("update_socket_protocol", &hook); err != nil {
		return &KernelCannotError{"it has no update_socket_protocol, which came with Linux 6.6"}
	}
	// The function is always there; MPTCP is what lets programs answer for it.
	var mptcp *btf.Struct
	if err := types.TypeByName("mptcp_sock", &mptcp); err != nil {
		return &KernelCannotError{"it was built without MPTCP (CONFIG_MPTCP)"}
	}
	return nil
}

// Where a kernel whose mode may be chosen tells which it has.
var preemptPath = "/sys/kernel/debug/sched/preempt"

// preempts tells whether the kernel may preempt a task within a program; yes
// where that is not known.
func preempts() bool {
	text, err := os.ReadFile(preemptPath)
	if err == nil {
		mode := chosen(string(text), "()")
		return mode != "none" && mode != "voluntary"
	}
	var name unix.Utsname
	if unix.Uname(&name) != nil {
		return true
	}
	return strings.Contains(unix.ByteSliceToString(name.Version[:]), "PREEMPT")
}

// explained adds what may be the reason why the kernel refused.
func explained(err error) error {
	if !errors.Is(err, unix.EPERM) {
		return err
	}
	mode := lockdown()
	if mode == "" || mode == "none" {
		return fmt.Errorf("%w: it takes CAP_BPF and CAP_PERFMON", err)
	}
	return fmt.Errorf("%w: it takes CAP_BPF and CAP_PERFMON, and the kernel is locked down (%s)", err, mode)
}

// lockdown returns the mode that is in force, or "".
func lockdown() string {
	text, err := os.ReadFile("/sys/kernel/security/lockdown")
	if err != nil {
		return ""
	}
	return chosen(string(text), "[]")
}

// chosen returns the word in these brackets.
func chosen(words, brackets string) string {
	_, rest, _ := strings.Cut(words, brackets[:1])
	word, _, found := strings.Cut(rest, brackets[1:])
	if !found {
		return ""
	}
	return word
}
