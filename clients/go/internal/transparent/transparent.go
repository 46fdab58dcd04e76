// SPDX-License-Identifier: Apache-2.0

// Package transparent loads the BPF door's program, and says whether it serves.
//
// What it loads stays when the process ends, for it is pinned: the map of
// namespaces and the hints to it, which graftd fills, and a link for each
// program.
package transparent

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Owner is the user to whom the map is given.
const Owner = "graftd"

const (
	doorName = "door_is_open"
	hostName = "host_cookie"

	protocolGraft = 254
)

// Compiled by "make -C kmod/bpf".
//
//go:embed transparent.bpf.o
var object []byte

// Load puts the program in place, instead of an earlier one if there is one;
// the map keeps what it holds. Where it fails all is as before. It returns what
// the operator should know though the door serves, as a sentence, or "".
func Load() (notice string, err error) {
	types := btf.NewCache()
	if err := kernelCan(types); err != nil {
		return "", err
	}
	unlock, err := makeAndLock()
	if err != nil {
		return "", err
	}
	defer unlock()
	// Unless something is pinned there.
	defer os.Remove(folder)
	if err := settle(); err != nil {
		return "", err
	}
	found, err := findMaps()
	if err != nil {
		return "", err
	}
	defer found.close()
	collection, err := load(found, types)
	if err != nil {
		return "", err
	}
	defer collection.Close()

	undo := func(err error) error { return errors.Join(err, dropFresh(), dropFreshMaps()) }
	two := preempts()
	if err := attachAll(collection, two); err != nil {
		return "", undo(err)
	}
	// graftd takes a map for a program that serves.
	if notice, err = found.publish(); err != nil {
		return "", undo(err)
	}
	// An earlier one's second program, which nothing replaces.
	if !two {
		if err := remove(pinPath(tooPin)); err != nil {
			return "", undo(err)
		}
	}
	if err := putInPlace(pins[0].pin); err != nil {
		return "", undo(err)
	}
	return notice, settle()
}

func collectionSpec() (*ebpf.CollectionSpec, error) {
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(object))
	if err != nil {
		return nil, fmt.Errorf("reading the program that is built in: %w", err)
	}
	return spec, nil
}

func load(found *maps, types *btf.Cache) (*ebpf.Collection, error) {
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
		MapReplacements: map[string]*ebpf.Map{mapName: found.namespaces, hintsName: found.hints},
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

// attachAll starts the programs and pins their links, by fresh pins. The first
// rewrites nothing until it is told that the module serves.
func attachAll(collection *ebpf.Collection, two bool) error {
	for _, each := range pins {
		if each.pin == tooPin && !two {
			continue
		}
		if err := attach(collection.Programs[each.program], freshPath(each.pin)); err != nil {
			return err
		}
	}
	return learnDoor(collection.Variables[doorName])
}

func attach(program *ebpf.Program, path string) error {
	attached, err := link.AttachTracing(link.TracingOptions{Program: program})
	if err != nil {
		return fmt.Errorf("attaching the program: %w", explained(err))
	}
	defer attached.Close()
	if err := attached.Pin(path); err != nil {
		return fmt.Errorf("pinning the program's link: %w", err)
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
