// SPDX-License-Identifier: Apache-2.0

package transparent

import (
	"bytes"
	"errors"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

func TestObjectIsWhatIsPinned(t *testing.T) {
	spec, err := collectionSpec()
	if err != nil {
		t.Fatal(err)
	}
	for _, each := range pins {
		if program := spec.Programs[each.program]; program == nil {
			t.Errorf("the object has no program %q", each.program)
		} else if program.License != "GPL" {
			t.Errorf("%s is under %q, and the kernel asks for GPL", each.program, program.License)
		}
	}
	if len(spec.Programs) != len(pins) {
		t.Errorf("the object has %d programs, %d are put in place", len(spec.Programs), len(pins))
	}
	if first := pins[0]; spec.Programs[first.program].AttachType != ebpf.AttachModifyReturn {
		t.Errorf("%s is put in place first, before what rewrites sockets", first.program)
	}
	namespaces := spec.Maps[mapName]
	if namespaces == nil {
		t.Fatalf("the object has no map %q", mapName)
	}
	if namespaces.Type != ebpf.Hash || namespaces.KeySize != 8 || namespaces.ValueSize != 1 || namespaces.MaxEntries != 65536 {
		t.Errorf("graftd expects another map than %v", namespaces)
	}
	hints := spec.Maps[hintsName]
	if hints == nil {
		t.Fatalf("the object has no map %q", hintsName)
	}
	if hints.Type != ebpf.Array || hints.KeySize != 4 || hints.ValueSize != 8<<hashBits || hints.MaxEntries != 1 {
		t.Errorf("graftd and the loader expect other hints than %v", hints)
	}
	for _, name := range []string{doorName, hostName} {
		if spec.Variables[name] == nil {
			t.Errorf("the object has no variable %q", name)
		}
	}
}

// kernelTypes returns the types of a kernel that has these alone.
func kernelTypes(t *testing.T, types ...btf.Type) *btf.Spec {
	t.Helper()
	builder, err := btf.NewBuilder(types, nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := builder.Marshal(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	spec, err := btf.LoadSpecFromReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

func TestTypesSuffice(t *testing.T) {
	number := &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed}
	hook := &btf.Func{Name: "update_socket_protocol", Type: &btf.FuncProto{Return: number}, Linkage: btf.GlobalFunc}
	mptcp := &btf.Struct{Name: "mptcp_sock", Size: 4, Members: []btf.Member{{Name: "flags", Type: number}}}
	tests := []struct {
		name  string
		types []btf.Type
		want  string
	}{
		{"6.6 with MPTCP", []btf.Type{hook, mptcp}, ""},
		{"6.6 without MPTCP", []btf.Type{hook}, "it was built without MPTCP (CONFIG_MPTCP)"},
		{"only named MPTCP", []btf.Type{hook, &btf.Fwd{Name: "mptcp_sock", Kind: btf.FwdStruct}}, "it was built without MPTCP (CONFIG_MPTCP)"},
		{"6.1", []btf.Type{mptcp}, "it has no update_socket_protocol, which came with Linux 6.6"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := typesSuffice(kernelTypes(t, test.types...))
			if test.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			var cannot *KernelCannotError
			if !errors.As(err, &cannot) || cannot.Lacks != test.want {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestChosen(t *testing.T) {
	for text, want := range map[string]string{
		"[none] integrity confidentiality\n": "none",
		"none [integrity] confidentiality\n": "integrity",
		"none integrity [confidentiality]\n": "confidentiality",
		"none integrity\n":                   "",
		"none [integrity\n":                  "",
		"":                                   "",
	} {
		if got := chosen(text, "[]"); got != want {
			t.Errorf("chosen(%q) is %q, want %q", text, got, want)
		}
	}
}

// The same stand in tests/unit/test_transparent_map.py.
func TestHash(t *testing.T) {
	for cookie, want := range map[uint64]uint64{0: 0, 1: 10125, 2: 3867, 4097: 1396, math.MaxUint64 - 1: 12516} {
		if got := hash(cookie); got != want {
			t.Errorf("hash(%d) is %d, want %d", cookie, got, want)
		}
	}
}

func TestHintsAt(t *testing.T) {
	first, other := uint64(5), uint64(7)
	second := first + 1
	for hash(second) != hash(first) {
		second++
	}
	hints := hintsAt([]uint64{first, other, second})
	for place, hint := range hints {
		want := uint64(0)
		switch uint64(place) {
		case hash(first):
			want = several
		case hash(other):
			want = other
		}
		if hint != want {
			t.Errorf("the hint at %d is %d, want %d", place, hint, want)
		}
	}
	if alone := hintsAt([]uint64{second}); alone[hash(second)] != second {
		t.Errorf("one namespace is hinted at by %d, want its cookie %d", alone[hash(second)], second)
	}
}

func TestPreempts(t *testing.T) {
	before := preemptPath
	t.Cleanup(func() { preemptPath = before })
	for text, want := range map[string]bool{
		"none (voluntary) full\n":      false,
		"(none) voluntary full lazy\n": false,
		"full (lazy)\n":                true,
		"(full) lazy\n":                true,
		"something else\n":             true,
	} {
		preemptPath = filepath.Join(t.TempDir(), "preempt")
		if err := os.WriteFile(preemptPath, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := preempts(); got != want {
			t.Errorf("%q: %t", text, got)
		}
	}
}
