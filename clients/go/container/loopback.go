// SPDX-License-Identifier: Apache-2.0

package container

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// RaiseLoopback brings lo up in the network namespace of a file: without it nothing in there reaches 127.0.0.1. It
// needs CAP_SYS_ADMIN.
func RaiseLoopback(path string) error {
	done := make(chan error)
	go func() {
		// Never unlocked: the thread has another namespace from now on and ends with the goroutine.
		runtime.LockOSThread()
		done <- raiseLoopback(path)
	}()
	if err := <-done; err != nil {
		return fmt.Errorf("bringing lo up in %s: %w", path, err)
	}
	return nil
}

func raiseLoopback(path string) error {
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
	if lo.Uint16()&unix.IFF_UP != 0 {
		return nil
	}
	lo.SetUint16(lo.Uint16() | unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo)
}
