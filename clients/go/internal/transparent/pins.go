// SPDX-License-Identifier: Apache-2.0

package transparent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Folder is where the maps and the links are pinned.
const Folder = "/sys/fs/bpf/graft"

// Tests have another.
var folder = Folder

// The second of the programs that rewrite sockets: on kernels that preempt.
const (
	tooProgram = "transparent_too"
	tooPin     = "link-too"
)

// pins are the links' names below Folder, by program, in the order in which
// they are put in place. The first is the one that rewrites sockets: with it
// its own watchers of the module are there, if only by their fresh pins.
var pins = []struct{ program, pin string }{
	{"transparent", "link"},
	{tooProgram, tooPin},
	{"door_opens", "link-opens"},
	{"door_closes", "link-closes"},
}

// The maps' names below Folder.
const (
	mapPin   = "transparent"
	hintsPin = "hints"
)

func mapPath() string { return pinPath(mapPin) }

func hintsPath() string { return pinPath(hintsPin) }

func pinPath(name string) string { return filepath.Join(folder, name) }

// freshPath is where a link or map is pinned until it is put in its place.
func freshPath(name string) string { return pinPath(name + "-new") }

// putInPlace ends the earlier program or map whose place a fresh pin takes.
func putInPlace(name string) error {
	if err := os.Rename(freshPath(name), pinPath(name)); err != nil {
		return fmt.Errorf("putting a pin in its place: %w", err)
	}
	return nil
}

// settle ends what a loader left half done. The first of the fresh pins is the
// first that is made and the first that is put in its place: where it is
// missing, the others belong to the program that serves.
func settle() error {
	_, err := os.Lstat(freshPath(pins[0].pin))
	if err == nil {
		return dropFresh()
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("looking for what a loader left: %w", err)
	}
	for _, each := range pins {
		if err := putInPlace(each.pin); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// dropFresh removes what was not put in its place, the first pin last.
func dropFresh() error {
	for i := len(pins) - 1; i >= 0; i-- {
		if err := remove(freshPath(pins[i].pin)); err != nil {
			return err
		}
	}
	return nil
}

// Unload removes the links and the maps, and keeps for a restart who was in the
// map. It is no error if they are not there.
func Unload() error {
	unlock, err := lock()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unlock()
	// Who unloads wants it gone, kept or not.
	unkept := keep()
	for _, each := range pins {
		if err := errors.Join(remove(pinPath(each.pin)), remove(freshPath(each.pin))); err != nil {
			return err
		}
	}
	if err := unpinMaps(); err != nil {
		return err
	}
	return errors.Join(remove(folder), unkept)
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing a pin: %w", err)
	}
	return nil
}

// makeAndLock makes the folder of the pins where it is missing, and locks it.
func makeAndLock() (unlock func(), err error) {
	for {
		if err := os.Mkdir(folder, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("making the folder of the pins: %w", err)
		}
		// Between the two someone may unload.
		if unlock, err := lock(); !errors.Is(err, fs.ErrNotExist) {
			return unlock, err
		}
	}
}

// lock keeps other loaders out until unlock is called.
func lock() (unlock func(), err error) {
	for {
		opened, err := os.Open(folder)
		if err != nil {
			return nil, fmt.Errorf("opening the folder of the pins: %w", err)
		}
		if err := unix.Flock(int(opened.Fd()), unix.LOCK_EX); err != nil {
			opened.Close()
			return nil, fmt.Errorf("waiting for another loader: %w", err)
		}
		still, err := stillThere(opened)
		if still {
			return func() { opened.Close() }, nil
		}
		opened.Close()
		if err != nil {
			return nil, err
		}
	}
}

// stillThere tells whether the folder is the one at its path, and not one that
// another loader removed meanwhile.
func stillThere(opened *os.File) (bool, error) {
	held, err := opened.Stat()
	if err != nil {
		return false, fmt.Errorf("looking at the folder of the pins: %w", err)
	}
	there, err := os.Stat(folder)
	if err != nil {
		return false, fmt.Errorf("looking at the folder of the pins: %w", err)
	}
	return os.SameFile(held, there), nil
}
