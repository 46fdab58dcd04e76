// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"graftd/clients/go/graftv1"
)

func TestResolve(t *testing.T) {
	for _, one := range []struct{ given, environment, want, wrong string }{
		{given: "unix:/a/b.sock", want: "unix:/a/b.sock"},
		{given: "/a/b.sock", want: "unix:/a/b.sock"},
		{environment: "unix:/c", want: "unix:/c"},
		{given: "/a", environment: "unix:/c", want: "unix:/a"},
		{given: "node:7443", want: "node:7443"},
		{given: "[::1]:7443", want: "[::1]:7443"},
		{given: "node", wrong: "'node' is no target: expected unix:PATH or HOST:PORT"},
		{given: "node:http", wrong: "'node:http' is no target"},
		{given: "node:70000", wrong: "'node:70000' is no target"},
	} {
		t.Setenv("GRAFTD_TARGET", one.environment)
		found, err := resolve(one.given)
		if one.wrong != "" {
			if err == nil || !strings.HasPrefix(err.Error(), one.wrong) {
				t.Errorf("%q: got %v, %v", one.given, found, err)
			}
		} else if err != nil || found.String() != one.want {
			t.Errorf("%q: got %v, %v, want %s", one.given, found, err, one.want)
		}
	}
}

func TestTheDefaultIsTheSocketWithTheMostRights(t *testing.T) {
	t.Setenv("GRAFTD_TARGET", "")
	before := run
	run = t.TempDir()
	t.Cleanup(func() { run = before })
	names := []string{"graftd.sock", "read-only.sock"}
	if os.Geteuid() == 0 {
		names = append([]string{"admin.sock"}, names...)
	}
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(run, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range append(names, "graftd.sock") {
		found, err := resolve("")
		if want := "unix:" + filepath.Join(run, name); err != nil || found.String() != want {
			t.Errorf("got %v, %v, want %s", found, err, want)
		}
		os.Remove(filepath.Join(run, name))
	}
}

func TestAProbeTellsWhatItSawAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "graftd.sock")
	socket, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(socket) })
	if err := unix.Bind(socket, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	over, cancel := context.WithDeadline(t.Context(), time.Now())
	defer cancel()
	local := target{"unix", path}
	refused := "graftd is not running, nobody listens at " + path + ": systemctl start graftd"
	if found := local.probe(over); found == nil || found.Message != refused {
		t.Errorf("of a socket that nobody listens at it says %v, want %q", found, refused)
	}
	if found := (target{"tcp", "127.0.0.1:1"}).probe(over); found != nil {
		t.Errorf("with no time left it says %v of another machine", found)
	}
	if err := unix.Listen(socket, 0); err != nil {
		t.Fatal(err)
	}
	for {
		conn, err := net.Dial("unix", path)
		if err != nil {
			if !errors.Is(err, unix.EAGAIN) {
				t.Fatal(err)
			}
			break
		}
		t.Cleanup(func() { conn.Close() })
	}
	if found := local.probe(t.Context()); found != nil {
		t.Errorf("of a socket that is full of connections it says %v", found)
	}
}

// files are certificates and keys that one authority gave out, to "graftd" and to a client.
type files struct{ ca, server, client, key string }

func certificates(t *testing.T) files {
	t.Helper()
	folder := t.TempDir()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, content []byte) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"},
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	sign := func(name string, certificate *x509.Certificate) string {
		der, err := x509.CreateCertificate(rand.Reader, certificate, authority, &key.PublicKey, key)
		if err != nil {
			t.Fatal(err)
		}
		return write(name, "CERTIFICATE", der)
	}
	leaf := func(number int64, name string) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: big.NewInt(number), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
			NotAfter: time.Now().Add(time.Hour),
		}
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return files{
		ca:     sign("ca.pem", authority),
		server: sign("server.pem", leaf(2, "graftd")),
		client: sign("client.pem", leaf(3, "alice")),
		key:    write("key.pem", "PRIVATE KEY", der),
	}
}

type node struct {
	graftv1.UnimplementedNodeServiceServer
}

func (node) GetVersion(
	context.Context, *graftv1.GetVersionRequest,
) (*graftv1.GetVersionResponse, error) {
	return &graftv1.GetVersionResponse{}, nil
}

func TestBothSidesShowACertificate(t *testing.T) {
	files := certificates(t)
	pair, err := tls.LoadX509KeyPair(files.server, files.key)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(files.ca)
	if err != nil {
		t.Fatal(err)
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(ca)
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{pair}, ClientCAs: trusted, ClientAuth: tls.RequireAndVerifyClientCert,
	})))
	graftv1.RegisterNodeServiceServer(server, node{})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	target := listener.Addr().String()

	good := TLS{CA: files.ca, Certificate: files.client, Key: files.key, ServerName: "graftd"}
	other := good
	other.CA = certificates(t).ca
	lost := good
	lost.Key = "/nowhere/key.pem"
	mixed := good
	mixed.Key = certificates(t).key
	for _, one := range []struct {
		name  string
		tls   *TLS
		wrong string
	}{
		{"good", &good, ""},
		{"none", nil, "graftd at " + target + " is reached with certificates alone"},
		{"another authority", &other, "the connection to graftd at " + target + " broke: "},
		{"no file", &lost, "/nowhere/key.pem cannot be read: no such file or directory"},
		{"another key", &mixed, files.client + " and " + mixed.Key + " are no certificate and its key in PEM"},
	} {
		t.Run(one.name, func(t *testing.T) {
			patience := 5 * time.Second
			if one.wrong == "" {
				patience = time.Minute
			}
			c, err := Dial(t.Context(), Options{Target: target, TLS: one.tls, Patience: patience})
			if c != nil {
				c.Close()
			}
			if one.wrong == "" && err != nil || one.wrong != "" && (err == nil || !strings.HasPrefix(err.Error(), one.wrong)) {
				t.Errorf("got %v, want %q", err, one.wrong)
			}
		})
	}
	t.Run("environment", func(t *testing.T) {
		t.Setenv("GRAFTD_TLS_CA", files.ca)
		t.Setenv("GRAFTD_TLS_CERT", files.client)
		t.Setenv("GRAFTD_TLS_KEY", files.key)
		_, err := Dial(t.Context(), Options{Target: target, Patience: 5 * time.Second})
		if err == nil || !strings.Contains(err.Error(), "certificate is valid for graftd") &&
			!strings.Contains(err.Error(), "cannot validate certificate for 127.0.0.1") {
			t.Errorf("got %v", err)
		}
	})
}
