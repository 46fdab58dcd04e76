// SPDX-License-Identifier: Apache-2.0

package transparent

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// pinned has each name hold its own text in the folder of the pins.
func pinned(t *testing.T, names ...string) {
	t.Helper()
	before := folder
	folder = filepath.Join(t.TempDir(), "graft")
	t.Cleanup(func() { folder = before })
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if err := os.WriteFile(pinPath(name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// found is what there is, as NAME or, where that was another's, NAME=OTHER.
func found(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		name := entry.Name()
		text, err := os.ReadFile(pinPath(name))
		if err != nil {
			t.Fatal(err)
		}
		if string(text) != name {
			name += "=" + string(text)
		}
		names = append(names, name)
	}
	return names
}

func TestWhatALoaderLeftIsSettled(t *testing.T) {
	served := []string{"link", "link-closes", "link-opens"}
	for _, test := range []struct{ left, want []string }{
		{nil, nil},
		{served, served},
		{[]string{"link-new"}, nil},
		{append([]string{"link-new", "link-opens-new"}, served...), served},
		{append([]string{"link-new", "link-opens-new", "link-closes-new"}, served...), served},
		{append([]string{"link-new", "link-too-new", "link-too"}, served...), []string{"link", "link-closes", "link-opens", "link-too"}},
		// The first was put in its place.
		{
			append([]string{"link-opens-new", "link-closes-new"}, served...),
			[]string{"link", "link-closes=link-closes-new", "link-opens=link-opens-new"},
		},
		{append([]string{"link-closes-new"}, served...), []string{"link", "link-closes=link-closes-new", "link-opens"}},
		{
			append([]string{"link-too-new", "link-opens-new"}, served...),
			[]string{"link", "link-closes", "link-opens=link-opens-new", "link-too=link-too-new"},
		},
	} {
		pinned(t, test.left...)
		if err := settle(); err != nil {
			t.Errorf("%v: %v", test.left, err)
		}
		if got := found(t); !slices.Equal(got, test.want) {
			t.Errorf("%v became %v, want %v", test.left, got, test.want)
		}
	}
}

func TestUnloadRemovesWhatALoaderLeft(t *testing.T) {
	pinned(t, "transparent", "transparent-new", "hints", "hints-new", "link", "link-new", "link-too", "link-opens", "link-opens-new", "link-closes-new")
	for range 2 {
		if err := Unload(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(folder); !os.IsNotExist(err) {
		t.Errorf("the folder has %v", found(t))
	}
}

func TestTheLockIsOfTheFolderThatIsThere(t *testing.T) {
	pinned(t)
	unlock, err := lock()
	if err != nil {
		t.Fatal(err)
	}
	locked := make(chan func())
	go func() {
		unlock, err := makeAndLock()
		if err != nil {
			t.Error(err)
		}
		locked <- unlock
	}()
	// It waits for the folder that is about to go.
	time.Sleep(200 * time.Millisecond)
	if err := os.Remove(folder); err != nil {
		t.Fatal(err)
	}
	unlock()
	unlock = <-locked
	defer unlock()
	// Who comes later finds it locked, and not another beside it.
	go func() {
		unlock, err := lock()
		if err != nil {
			t.Error(err)
		}
		locked <- unlock
	}()
	select {
	case <-locked:
		t.Error("two have the lock")
	case <-time.After(200 * time.Millisecond):
		unlock()
		(<-locked)()
	}
}
