// SPDX-License-Identifier: Apache-2.0

package client

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"os"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// TLS names files in PEM for a connection over TCP, where both sides show a certificate.
type TLS struct {
	// CA has whom to trust.
	CA string

	// Certificate and Key say who the client is.
	Certificate, Key string

	// ServerName is the name that graftd's certificate has, where it is another than the target's host.
	ServerName string
}

func environmentTLS() *TLS {
	files := TLS{
		CA:          os.Getenv("GRAFTD_TLS_CA"),
		Certificate: os.Getenv("GRAFTD_TLS_CERT"),
		Key:         os.Getenv("GRAFTD_TLS_KEY"),
	}
	if files == (TLS{}) {
		return nil
	}
	return &files
}

// credentials of a connection; who is at a unix socket, the kernel says.
func (t target) credentials(files *TLS) (credentials.TransportCredentials, error) {
	if t.network == "unix" {
		return insecure.NewCredentials(), nil
	}
	if files == nil {
		files = environmentTLS()
	}
	if files == nil || files.CA == "" || files.Certificate == "" || files.Key == "" {
		return nil, invalid(
			"graftd at %s is reached with certificates alone: name those of the authority and of yourself, and your key", t)
	}
	ca, err := read(files.CA)
	if err != nil {
		return nil, err
	}
	certificate, err := read(files.Certificate)
	if err != nil {
		return nil, err
	}
	key, err := read(files.Key)
	if err != nil {
		return nil, err
	}
	trusted := x509.NewCertPool()
	if !trusted.AppendCertsFromPEM(ca) {
		return nil, invalid("%s has no certificate in PEM: it has to be that of the authority of graftd's", files.CA)
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return nil, invalid("%s and %s are no certificate and its key in PEM: %v", files.Certificate, files.Key, err)
	}
	return credentials.NewTLS(&tls.Config{
		RootCAs:      trusted,
		Certificates: []tls.Certificate{pair},
		ServerName:   files.ServerName,
		MinVersion:   tls.VersionTLS12,
	}), nil
}

func read(path string) ([]byte, error) {
	content, err := os.ReadFile(path)
	var wrong *fs.PathError
	if errors.As(err, &wrong) {
		return nil, invalid("%s cannot be read: %v", path, wrong.Err)
	}
	return content, err
}
