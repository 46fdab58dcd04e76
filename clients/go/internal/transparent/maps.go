// SPDX-License-Identifier: Apache-2.0

package transparent

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/user"
	"strconv"

	"github.com/cilium/ebpf"
)

const (
	mapName   = "graft_transparent"
	hintsName = "graft_hints"

	// The program's HASH().
	hashBits       = 14
	hashMultiplier = 0x9e3779b97f4a7c15
	// A hint where more than one namespace has that hash: the program's SEVERAL.
	several = math.MaxUint64
)

// maps are what the program reads: namespaces by their cookies, and the hints
// that spare nearly all sockets the look-up.
type maps struct {
	namespaces, hints *ebpf.Map
	// areNew tells that they were made here, so they have to be pinned.
	areNew bool
}

func (m *maps) close() {
	m.namespaces.Close()
	m.hints.Close()
}

// findMaps returns the maps that are pinned, or new ones. Those of namespaces
// are pinned last and removed first: without it there is none.
func findMaps() (*maps, error) {
	spec, err := collectionSpec()
	if err != nil {
		return nil, err
	}
	// They may be graftd's: reading is enough for a program that looks up.
	namespaces, err := openPinned(mapPath())
	if errors.Is(err, fs.ErrNotExist) {
		return makeMaps(spec, takeKept)
	}
	if err != nil {
		return nil, err
	}
	hints, err := openPinned(hintsPath())
	if err != nil {
		namespaces.Close()
	}
	if errors.Is(err, fs.ErrNotExist) {
		// Someone removed them, or loaded the program before there were any.
		return makeMaps(spec, listNamespaces)
	}
	if err != nil {
		return nil, err
	}
	found := &maps{namespaces: namespaces, hints: hints}
	if spec.Maps[hintsName].Compatible(hints) != nil {
		// Another version's program reads them, until this one's is in its place.
		found.close()
		return makeMaps(spec, listNamespaces)
	}
	if err := spec.Maps[mapName].Compatible(namespaces); err != nil {
		found.close()
		return nil, fmt.Errorf("the map that is pinned has another shape; 'graft-transparent unload' removes it: %w", err)
	}
	return found, nil
}

// makeMaps returns new maps with the namespaces that list returns.
func makeMaps(spec *ebpf.CollectionSpec, list func() ([]uint64, error)) (*maps, error) {
	cookies, err := list()
	if err != nil {
		return nil, err
	}
	namespaces, err := ebpf.NewMap(spec.Maps[mapName])
	if err != nil {
		return nil, fmt.Errorf("making the map of namespaces: %w", explained(err))
	}
	hints, err := ebpf.NewMap(spec.Maps[hintsName])
	if err != nil {
		namespaces.Close()
		return nil, fmt.Errorf("making the hints to the map of namespaces: %w", explained(err))
	}
	made := &maps{namespaces: namespaces, hints: hints, areNew: true}
	if err := made.fill(cookies); err != nil {
		made.close()
		return nil, err
	}
	return made, nil
}

// fill gives new maps whom those before them had.
func (m *maps) fill(cookies []uint64) error {
	for _, cookie := range cookies {
		if err := m.namespaces.Put(cookie, uint8(1)); err != nil {
			return fmt.Errorf("giving the map the namespaces of the one before: %w", err)
		}
	}
	if err := m.hints.Put(uint32(0), hintsAt(cookies)); err != nil {
		return fmt.Errorf("hinting at the namespaces of the map before: %w", err)
	}
	return nil
}

// hintsAt returns the hints to a map of these.
func hintsAt(cookies []uint64) []uint64 {
	hints := make([]uint64, 1<<hashBits)
	for _, cookie := range cookies {
		if hint := &hints[hash(cookie)]; *hint == 0 {
			*hint = cookie
		} else {
			*hint = several
		}
	}
	return hints
}

func hash(cookie uint64) uint64 {
	return cookie * hashMultiplier >> (64 - hashBits)
}

// publish pins the maps where they are new, and gives them to Owner before
// they are seen.
func (m *maps) publish() (notice string, err error) {
	if !m.areNew {
		return giveAway(hintsPath(), mapPath())
	}
	// A loader that was killed may have left its own.
	if err := dropFreshMaps(); err != nil {
		return "", err
	}
	if err := m.hints.Pin(freshPath(hintsPin)); err != nil {
		return "", fmt.Errorf("pinning the hints to the map of namespaces: %w", err)
	}
	if err := m.namespaces.Pin(freshPath(mapPin)); err != nil {
		return "", fmt.Errorf("pinning the map of namespaces: %w", err)
	}
	if notice, err = giveAway(freshPath(hintsPin), freshPath(mapPin)); err != nil {
		return "", err
	}
	return notice, errors.Join(putInPlace(hintsPin), putInPlace(mapPin))
}

// dropFreshMaps removes what was not put in its place.
func dropFreshMaps() error {
	return errors.Join(remove(freshPath(mapPin)), remove(freshPath(hintsPin)))
}

// unpinMaps removes all of their pins that there are.
func unpinMaps() error {
	return errors.Join(remove(mapPath()), remove(hintsPath()), dropFreshMaps())
}

func openPinned(path string) (*ebpf.Map, error) {
	found, err := ebpf.LoadPinnedMap(path, &ebpf.LoadPinOptions{ReadOnly: true})
	if err != nil {
		return nil, fmt.Errorf("opening the map %s: %w", path, err)
	}
	return found, nil
}

// giveAway makes Owner the owner of what is pinned, the only one who may write.
func giveAway(paths ...string) (notice string, err error) {
	owner, err := user.Lookup(Owner)
	var unknown user.UnknownUserError
	if errors.As(err, &unknown) {
		return fmt.Sprintf("there is no user %s, so the maps stay root's; 'graft-transparent load' gives them away once there is one", Owner), nil
	}
	if err != nil {
		return "", fmt.Errorf("looking up the user %s: %w", Owner, err)
	}
	uid, err := strconv.Atoi(owner.Uid)
	if err != nil {
		return "", fmt.Errorf("the id of user %s is no number: %w", Owner, err)
	}
	gid, err := strconv.Atoi(owner.Gid)
	if err != nil {
		return "", fmt.Errorf("the id of the group of user %s is no number: %w", Owner, err)
	}
	for _, path := range paths {
		if err := os.Chown(path, uid, gid); err != nil {
			return "", fmt.Errorf("giving the map of namespaces to %s: %w", Owner, err)
		}
	}
	return "", nil
}
