// SPDX-License-Identifier: Apache-2.0

// Package client reaches graftd from Go.
//
// A call that fails because graftd restarts, or cannot be reached for a moment, is repeated for as long as its time
// allows. A change carries a request id, so that a repeated one is carried out once. Every error of a call is an *Error.
package client

import (
	"context"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"graftd/clients/go/graftv1"
)

// DefaultPatience is how long a call takes at most, where nobody says otherwise.
const DefaultPatience = 10 * time.Second

// An export is one message: 16,384 endpoints and 131,072 rules are 40 MB.
const maxMessage = 256 << 20

// Options say where graftd is, and how long to wait for it. The zero value means the machine's own graftd.
type Options struct {
	// Target is unix:PATH, or HOST:PORT with TLS. Empty: that of the environment's GRAFTD_TARGET, otherwise the socket
	// in /run/graftd with the most rights that this process may use.
	Target string

	// TLS is for HOST:PORT alone. Nil: the files that the environment's GRAFTD_TLS_CA, GRAFTD_TLS_CERT and
	// GRAFTD_TLS_KEY name.
	TLS *TLS

	// Patience is how long one call may take with all its repetitions, where its context has no deadline.
	// 0: DefaultPatience.
	Patience time.Duration
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

	conn     *grpc.ClientConn
	target   target
	patience time.Duration
}

// Dial connects to graftd and asks for its version. One that is being restarted is waited for, as long as a call may
// take.
func Dial(ctx context.Context, options Options) (*Client, error) {
	where, err := resolve(options.Target)
	if err != nil {
		return nil, err
	}
	security, err := where.credentials(options.TLS)
	if err != nil {
		return nil, err
	}
	c := &Client{target: where, patience: options.Patience}
	if c.patience <= 0 {
		c.patience = DefaultPatience
	}
	quick := backoff.Config{BaseDelay: firstPause, Multiplier: 1.6, Jitter: 0.2, MaxDelay: longestPause}
	c.conn, err = grpc.NewClient(
		where.channel(),
		grpc.WithTransportCredentials(security),
		grpc.WithNoProxy(),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return where.dial(ctx, address)
		}),
		// One attempt may take until graftd answers, not less.
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: quick, MinConnectTimeout: 20 * time.Second}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
		// What is repeated depends on graftd's reason, which a service configuration does not see.
		grpc.WithDisableServiceConfig(),
		grpc.WithUnaryInterceptor(c.call),
		grpc.WithStreamInterceptor(c.stream),
	)
	if err != nil {
		return nil, invalid("graftd's target %s cannot be used: %v", where, err)
	}
	c.Namespaces = graftv1.NewNamespaceServiceClient(c.conn)
	c.Endpoints = graftv1.NewEndpointServiceClient(c.conn)
	c.Rules = graftv1.NewRuleServiceClient(c.conn)
	c.ACL = graftv1.NewAclServiceClient(c.conn)
	c.Sockets = graftv1.NewSocketServiceClient(c.conn)
	c.Node = graftv1.NewNodeServiceClient(c.conn)
	c.Watcher = graftv1.NewWatchServiceClient(c.conn)
	if _, err := c.Node.GetVersion(ctx, &graftv1.GetVersionRequest{}); err != nil {
		c.conn.Close()
		return nil, err
	}
	return c, nil
}

// Target is where graftd is.
func (c *Client) Target() string { return c.target.String() }

// Close ends the connection, and every call on it.
func (c *Client) Close() error {
	if err := c.conn.Close(); err != nil {
		return fmt.Errorf("closing the connection to graftd: %w", err)
	}
	return nil
}
