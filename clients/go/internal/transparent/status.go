// SPDX-License-Identifier: Apache-2.0

package transparent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
)

// State says whether the door serves.
type State string

// The states that a machine can be in.
const (
	Served       State = "served"
	NotLoaded    State = "not-loaded"
	KernelCannot State = "kernel-cannot"
)

// Status is what is known of the door.
type Status struct {
	State State `json:"state"`
	// Detail is a sentence.
	Detail string `json:"detail"`
	// Namespaces is how many are in the map.
	Namespaces int `json:"namespaces"`
	// Missed is how many sockets, of any namespace, are native for the kernel
	// having left the program out while another task was preempted within it
	// on the same processor, at most. Nil where that may not be asked.
	Missed *uint64 `json:"missed"`
}

// Read returns the door's status.
func Read() (Status, error) {
	for _, each := range pins {
		if each.pin == tooPin {
			continue
		}
		if _, err := os.Stat(pinPath(each.pin)); errors.Is(err, fs.ErrNotExist) {
			return absent()
		} else if err != nil {
			return Status{}, fmt.Errorf("looking for the program's link: %w", err)
		}
	}
	cookies, err := listNamespaces()
	if err != nil {
		return Status{}, err
	}
	detail := "sockets of the namespaces in the map are graftable"
	if open, err := doorIsOpen(); err != nil {
		return Status{}, err
	} else if !open {
		detail = "sockets stay native until the module is loaded: modprobe graft"
	}
	found := Status{State: Served, Detail: detail, Namespaces: len(cookies)}
	switch missed, err := readMissed(); {
	case err == nil:
		found.Missed = &missed
	case !errors.Is(err, fs.ErrPermission):
		return Status{}, err
	}
	return found, nil
}

// readMissed asks the programs that rewrite sockets. Where there are two,
// each counts what passed it by, and what passed both is in both counts.
func readMissed() (uint64, error) {
	missed, err := missedBy(pins[0].pin)
	if err != nil {
		return 0, err
	}
	too, err := missedBy(tooPin)
	if errors.Is(err, fs.ErrNotExist) {
		return missed, nil
	}
	return min(missed, too), err
}

func missedBy(pin string) (uint64, error) {
	pinned, err := link.LoadPinnedLink(pinPath(pin), nil)
	if err != nil {
		return 0, fmt.Errorf("opening the program's link: %w", err)
	}
	defer pinned.Close()
	info, err := pinned.Info()
	if err != nil {
		return 0, fmt.Errorf("asking for the program's link: %w", err)
	}
	program, err := ebpf.NewProgramFromID(info.Program)
	if err != nil {
		return 0, fmt.Errorf("opening the program: %w", err)
	}
	defer program.Close()
	stats, err := program.Stats()
	if err != nil {
		return 0, fmt.Errorf("asking the program what it missed: %w", err)
	}
	return stats.RecursionMisses, nil
}

// absent returns the status of a machine that has no program in place.
func absent() (Status, error) {
	found := Status{State: NotLoaded, Detail: "the program is not loaded: systemctl start graft-transparent", Missed: new(uint64)}
	var cannot *KernelCannotError
	if err := kernelCan(btf.NewCache()); errors.As(err, &cannot) {
		found.State, found.Detail = KernelCannot, cannot.Error()+"; the preload library serves"
	} else if err != nil {
		return Status{}, err
	}
	return found, nil
}

func listNamespaces() ([]uint64, error) {
	namespaces, err := openPinned(mapPath())
	if err != nil {
		return nil, err
	}
	defer namespaces.Close()
	cookies := []uint64{}
	var cookie uint64
	var marked uint8
	entries := namespaces.Iterate()
	for entries.Next(&cookie, &marked) {
		cookies = append(cookies, cookie)
	}
	if err := entries.Err(); err != nil {
		return nil, fmt.Errorf("listing the namespaces: %w", err)
	}
	return cookies, nil
}
