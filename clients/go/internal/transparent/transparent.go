// SPDX-License-Identifier: Apache-2.0

// Package transparent loads the BPF door's program, and says whether it serves.
//
// What it loads stays when the process ends, for it is pinned: the map of
// namespaces, which graftd fills, and a link for each program.
package transparent

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Folder is where the map and the links are pinned.
const Folder = "/sys/fs/bpf/graft"

// Owner is the user to whom the map is given.
const Owner = "graftd"

const (
	mapName  = "graft_transparent"
	doorName = "door_is_open"
	hostName = "host_cookie"

	protocolGraft = 254
)

// Compiled by "make -C kmod/bpf".
//
//go:embed transparent.bpf.o
var object []byte

// pins are the links' names below Folder, by program, in the order in which
// they are put in place: the module is watched before sockets are rewritten.
var pins = []struct{ program, pin string }{
	{"door_opens", "link-opens"},
	{"door_closes", "link-closes"},
	{"transparent", "link"},
}

func mapPath() string { return filepath.Join(Folder, "transparent") }

func pinPath(name string) string { return filepath.Join(Folder, name) }

// Load puts the program in place, instead of an earlier one if there is one;
// the map keeps what it holds. It returns what the operator should know though
// the door serves, as a sentence, or "".
func Load() (notice string, err error) {
	types := btf.NewCache()
	if err := kernelCan(types); err != nil {
		return "", err
	}
	if err := os.Mkdir(Folder, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("making the folder of the pins: %w", err)
	}
	unlock, err := lock()
	if err != nil {
		return "", err
	}
	defer unlock()

	namespaces, notice, err := pinnedMap()
	if err != nil {
		return "", err
	}
	defer namespaces.Close()
	collection, err := load(namespaces, types)
	if err != nil {
		return "", err
	}
	defer collection.Close()

	for _, each := range pins {
		if err := attach(collection.Programs[each.program], each.pin); err != nil {
			return "", err
		}
		if each.program == "door_closes" {
			if err := learnDoor(collection.Variables[doorName]); err != nil {
				return "", err
			}
		}
	}
	return notice, nil
}

// Unload removes the links and the map. It is no error if they are not there.
func Unload() error {
	unlock, err := lock()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unlock()
	for i := len(pins) - 1; i >= 0; i-- {
		if err := remove(pinPath(pins[i].pin)); err != nil {
			return err
		}
	}
	if err := remove(mapPath()); err != nil {
		return err
	}
	return remove(Folder)
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing a pin: %w", err)
	}
	return nil
}

// lock keeps other loaders out until unlock is called.
func lock() (unlock func(), err error) {
	folder, err := os.Open(Folder)
	if err != nil {
		return nil, fmt.Errorf("opening the folder of the pins: %w", err)
	}
	if err := unix.Flock(int(folder.Fd()), unix.LOCK_EX); err != nil {
		folder.Close()
		return nil, fmt.Errorf("waiting for another loader: %w", err)
	}
	return func() { folder.Close() }, nil
}

// pinnedMap returns the map of namespaces, pinned and given to Owner.
func pinnedMap() (*ebpf.Map, string, error) {
	spec, err := collectionSpec()
	if err != nil {
		return nil, "", err
	}
	// It may be graftd's: reading is enough for a program that looks up.
	namespaces, err := openMap()
	switch {
	case err == nil:
		if err := spec.Maps[mapName].Compatible(namespaces); err != nil {
			namespaces.Close()
			return nil, "", fmt.Errorf("the map that is pinned has another shape; 'graft-transparent unload' removes it: %w", err)
		}
	case errors.Is(err, fs.ErrNotExist):
		if namespaces, err = ebpf.NewMap(spec.Maps[mapName]); err != nil {
			return nil, "", fmt.Errorf("making the map of namespaces: %w", explained(err))
		}
		if err := namespaces.Pin(mapPath()); err != nil {
			namespaces.Close()
			return nil, "", fmt.Errorf("pinning the map of namespaces: %w", err)
		}
	default:
		return nil, "", err
	}
	notice, err := giveAway(mapPath())
	if err != nil {
		namespaces.Close()
		return nil, "", err
	}
	return namespaces, notice, nil
}

func openMap() (*ebpf.Map, error) {
	namespaces, err := ebpf.LoadPinnedMap(mapPath(), &ebpf.LoadPinOptions{ReadOnly: true})
	if err != nil {
		return nil, fmt.Errorf("opening the map of namespaces: %w", err)
	}
	return namespaces, nil
}

// giveAway makes Owner the owner, the only one who may write.
func giveAway(path string) (notice string, err error) {
	owner, err := user.Lookup(Owner)
	var unknown user.UnknownUserError
	if errors.As(err, &unknown) {
		return fmt.Sprintf("there is no user %s, so the map stays root's; 'graft-transparent load' gives it away once there is one", Owner), nil
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
	if err := os.Chown(path, uid, gid); err != nil {
		return "", fmt.Errorf("giving the map of namespaces to %s: %w", Owner, err)
	}
	return "", nil
}

func collectionSpec() (*ebpf.CollectionSpec, error) {
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(object))
	if err != nil {
		return nil, fmt.Errorf("reading the program that is built in: %w", err)
	}
	return spec, nil
}

func load(namespaces *ebpf.Map, types *btf.Cache) (*ebpf.Collection, error) {
	spec, err := collectionSpec()
	if err != nil {
		return nil, err
	}
	host, err := ownCookie()
	if err != nil {
		return nil, err
	}
	if err := spec.Variables[hostName].Set(host); err != nil {
		return nil, fmt.Errorf("telling the program which namespace is the host's: %w", err)
	}
	collection, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{
		MapReplacements: map[string]*ebpf.Map{mapName: namespaces},
		Cache:           types,
	})
	if err != nil {
		return nil, fmt.Errorf("loading the program: %w", explained(err))
	}
	return collection, nil
}

// ownCookie returns the kernel's number for the namespace of this process.
func ownCookie() (uint64, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("making a socket: %w", err)
	}
	defer unix.Close(fd)
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil {
		return 0, fmt.Errorf("asking for the cookie of the network namespace: %w", err)
	}
	return cookie, nil
}

// attach starts a program and pins its link; an earlier one's ends when the pin
// is no longer its own, so there is always one at work.
func attach(program *ebpf.Program, pin string) error {
	attached, err := link.AttachTracing(link.TracingOptions{Program: program})
	if err != nil {
		return fmt.Errorf("attaching the program: %w", explained(err))
	}
	defer attached.Close()
	fresh := pinPath(pin + "-new")
	if err := remove(fresh); err != nil {
		return err
	}
	if err := attached.Pin(fresh); err != nil {
		return fmt.Errorf("pinning the program's link: %w", err)
	}
	if err := os.Rename(fresh, pinPath(pin)); err != nil {
		return fmt.Errorf("putting the program's link in its place: %w", err)
	}
	return nil
}

// learnDoor tells the program whether the module serves. From now on it sees
// for itself what changes, so what it may have seen meanwhile is asked again.
func learnDoor(variable *ebpf.Variable) error {
	for {
		open, err := doorIsOpen()
		if err != nil {
			return err
		}
		if err := variable.Set(open); err != nil {
			return fmt.Errorf("telling the program whether the module is loaded: %w", err)
		}
		if again, err := doorIsOpen(); err != nil || again == open {
			return err
		}
	}
}

func doorIsOpen() (bool, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, protocolGraft)
	if errors.Is(err, unix.EPROTONOSUPPORT) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("asking the kernel for a socket of IPPROTO_GRAFT: %w", err)
	}
	return true, unix.Close(fd)
}
