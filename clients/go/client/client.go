// SPDX-License-Identifier: Apache-2.0

// Package client reaches graftd from Go.
//
// A call that fails because graftd restarts, or cannot be reached for a moment, is repeated for as long as its time
// allows. A change carries a request id, so that a repeated one is carried out once.
package client

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"graftd/clients/go/graftv1"
)

// DefaultPatience is how long a call takes at most, where nobody says otherwise.
const DefaultPatience = 10 * time.Second

// Options say where graftd is, and how long to wait for it. The zero value means the machine's own graftd.
type Options struct {
	// Target is unix:PATH, or HOST:PORT with TLS. Empty: that of the environment's GRAFTD_TARGET, otherwise the socket
	// in /run/graftd with the most rights that this process may use.
	Target string

	// TLS is needed for HOST:PORT alone.
	TLS *TLS

	// Patience is how long one call may take with all its repetitions, where its context has no deadline.
	// 0: DefaultPatience.
	Patience time.Duration
}

// TLS names files in PEM for a connection over TCP, where both sides show a certificate.
type TLS struct {
	// CA has whom to trust.
	CA string

	// Certificate and Key say who the client is.
	Certificate, Key string

	// ServerName is the name that graftd's certificate has, where it is another than the target's host.
	ServerName string
}

// Client is what Dial returns. Several goroutines may use one.
type Client struct {
	Namespaces graftv1.NamespaceServiceClient
	Endpoints  graftv1.EndpointServiceClient
	Rules      graftv1.RuleServiceClient
	ACL        graftv1.AclServiceClient
	Sockets    graftv1.SocketServiceClient
	Node       graftv1.NodeServiceClient
	Watcher    graftv1.WatchServiceClient

	conn   *grpc.ClientConn
	target string
}

// Dial connects to graftd. One that is being restarted is waited for, as long as a call may take.
func Dial(_ context.Context, options Options) (*Client, error) {
	conn, err := grpc.NewClient(options.Target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	return newClient(conn, options.Target), nil
}

func newClient(conn *grpc.ClientConn, target string) *Client {
	return &Client{
		Namespaces: graftv1.NewNamespaceServiceClient(conn),
		Endpoints:  graftv1.NewEndpointServiceClient(conn),
		Rules:      graftv1.NewRuleServiceClient(conn),
		ACL:        graftv1.NewAclServiceClient(conn),
		Sockets:    graftv1.NewSocketServiceClient(conn),
		Node:       graftv1.NewNodeServiceClient(conn),
		Watcher:    graftv1.NewWatchServiceClient(conn),
		conn:       conn,
		target:     target,
	}
}

// Target is where graftd is.
func (c *Client) Target() string { return c.target }

// Close ends the connection, and every call on it.
func (c *Client) Close() error { return c.conn.Close() }
