// SPDX-License-Identifier: Apache-2.0

package transparent

import (
	"math"
	"os"
	"slices"
	"strings"
	"testing"
)

func TestWhoIsKeptIsTakenOnce(t *testing.T) {
	t.Setenv("RUNTIME_DIRECTORY", t.TempDir())
	cookies := []uint64{1, 4711, math.MaxUint64}
	if err := write(keptPath(), cookies); err != nil {
		t.Fatal(err)
	}
	if got, err := takeKept(); err != nil || !slices.Equal(got, cookies) {
		t.Errorf("%v: %v", got, err)
	}
	if got, err := takeKept(); err != nil || got != nil {
		t.Errorf("again: %v: %v", got, err)
	}
}

func TestADamagedFileIsSaidOnce(t *testing.T) {
	t.Setenv("RUNTIME_DIRECTORY", t.TempDir())
	if err := os.WriteFile(keptPath(), []byte("[1, "), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := takeKept(); err == nil || !strings.HasPrefix(err.Error(), "reading the namespaces that were kept for a restart: ") {
		t.Error(err)
	}
	if got, err := takeKept(); err != nil || got != nil {
		t.Errorf("again: %v: %v", got, err)
	}
}

func TestByHandNothingIsKept(t *testing.T) {
	t.Setenv("RUNTIME_DIRECTORY", "")
	if err := keep(); err != nil {
		t.Error(err)
	}
	if got, err := takeKept(); err != nil || got != nil {
		t.Errorf("%v: %v", got, err)
	}
}
