// SPDX-License-Identifier: Apache-2.0

package container

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// RaiseLoopback brings lo up in the network namespace of a file: without it nothing in there reaches 127.0.0.1. It
// needs CAP_SYS_ADMIN.
func RaiseLoopback(path string) error {
	err := withLoopback(path, func(fd int, lo *unix.Ifreq) error {
		if lo.Uint16()&unix.IFF_UP != 0 {
			return nil
		}
		lo.SetUint16(lo.Uint16() | unix.IFF_UP)
		return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo)
	})
	if err != nil {
		return fmt.Errorf("bringing lo up in %s: %w", path, err)
	}
	return nil
}

// CheckLoopback fails where lo is down in the network namespace of a file. It needs CAP_SYS_ADMIN.
func CheckLoopback(path string) error {
	err := withLoopback(path, func(_ int, lo *unix.Ifreq) error {
		if lo.Uint16()&unix.IFF_UP == 0 {
			return errors.New("it is down: ip link set lo up")
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("looking at lo in %s: %w", path, err)
	}
	return nil
}

// withLoopback does something in a network namespace with lo's flags, and a socket of there.
func withLoopback(path string, do func(fd int, lo *unix.Ifreq) error) error {
	done := make(chan error)
	go func() {
		// Never unlocked: the thread has another namespace from now on and ends with the goroutine.
		runtime.LockOSThread()
		done <- inside(path, do)
	}()
	return <-done
}

func inside(path string, do func(fd int, lo *unix.Ifreq) error) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := unix.Setns(int(file.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("entering it: %w", err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, lo); err != nil {
		return err
	}
	return do(fd, lo)
}
