// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
)

const probeTime = 5 * time.Second

// The folder of graftd's sockets; tests have another.
var run = "/run/graftd"

// target is where graftd is: "unix" and a path, or "tcp" and HOST:PORT.
type target struct{ network, address string }

func (t target) String() string {
	if t.network == "unix" {
		return "unix:" + t.address
	}
	return t.address
}

// resolve takes the target given, that of GRAFTD_TARGET, or the default.
func resolve(given string) (target, error) {
	if given == "" {
		given = os.Getenv("GRAFTD_TARGET")
	}
	if given == "" {
		return target{"unix", defaultSocket()}, nil
	}
	if path, found := strings.CutPrefix(given, "unix:"); found || strings.HasPrefix(given, "/") {
		return target{"unix", path}, nil
	}
	_, port, err := net.SplitHostPort(given)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return target{}, invalid(
			"'%s' is no target: expected unix:PATH or HOST:PORT, as in unix:/run/graftd/graftd.sock", given)
	}
	return target{"tcp", given}, nil
}

// defaultSocket is the socket with the most rights among those that this process may use.
func defaultSocket() string {
	names := []string{"admin.sock", "graftd.sock", "read-only.sock"}
	if os.Geteuid() != 0 {
		names = names[1:]
	}
	for _, name := range names {
		path := filepath.Join(run, name)
		if unix.Access(path, unix.W_OK) == nil {
			return path
		}
	}
	return filepath.Join(run, "graftd.sock")
}

// channel is the target as gRPC takes it; for a unix socket any name does, for dial knows the path.
func (t target) channel() string {
	if t.network == "unix" {
		return "passthrough:///localhost"
	}
	return "dns:///" + t.address
}

// dial connects to the target, at the address that its name was resolved to.
func (t target) dial(ctx context.Context, address string) (net.Conn, error) {
	var dialer net.Dialer
	if t.network == "unix" {
		address = t.address
	}
	return dialer.DialContext(ctx, t.network, address)
}

// probe connects, and tells what keeps a client from it; nil where it could, where only a handshake would tell, or where
// the time did not suffice to see. A unix socket tells at once, so that no time has to be left for it.
func (t target) probe(ctx context.Context) *Error {
	if t.network == "unix" {
		ctx = context.WithoutCancel(ctx)
	}
	limited, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	conn, err := t.dial(limited, t.address)
	if err == nil {
		conn.Close()
		return nil
	}
	var number syscall.Errno
	known := errors.As(err, &number)
	// A unix socket that is full of connections is listened on.
	if number == syscall.EAGAIN || !known && ended(ctx) {
		return nil
	}
	reason := err.Error()
	if known {
		reason = number.Error()
	}
	failure := &Error{Code: codes.Unavailable, Passing: true, cause: err}
	switch {
	case t.network == "tcp":
		failure.Message = "graftd cannot be reached at " + t.address + ": " + reason +
			"; its listener, [server.tls], has to be configured, and no firewall be in between"
	case errors.Is(err, fs.ErrPermission):
		failure.Code = codes.PermissionDenied
		failure.Passing = false
		failure.Message = forbidden(t.address)
	case errors.Is(err, fs.ErrNotExist):
		// The sockets are there while graftd is restarted; an upgrade that restarts them too leaves their folder.
		_, gone := os.Stat(filepath.Dir(t.address))
		failure.Passing = gone == nil
		failure.Message = "graftd cannot be reached, for there is no " + t.address + ": systemctl start graftd"
	case number == syscall.ECONNREFUSED:
		failure.Message = "graftd is not running, nobody listens at " + t.address + ": systemctl start graftd"
	default:
		failure.Message = "graftd cannot be reached at " + t.address + ": " + reason
	}
	return failure
}

// ended reports whether a context's time is over; its own clock may be a moment behind.
func ended(ctx context.Context) bool {
	end, limited := ctx.Deadline()
	return ctx.Err() != nil || limited && !time.Now().Before(end)
}

// forbidden says which group may use a socket, as far as this user may see that.
func forbidden(path string) string {
	for _, place := range []string{path, filepath.Dir(path)} {
		var stat unix.Stat_t
		if unix.Stat(place, &stat) != nil {
			continue
		}
		own, _ := os.Getgroups()
		if stat.Gid == 0 || int(stat.Gid) == os.Getegid() || slices.Contains(own, int(stat.Gid)) {
			break
		}
		name := strconv.Itoa(int(stat.Gid))
		if group, err := user.LookupGroupId(name); err == nil {
			name = group.Name
		}
		return "you may not use " + path + ", which is for the group '" + name + "': become a member of it, or root"
	}
	return "you may not use " + path + ", which is for root: become root, or name another socket"
}
