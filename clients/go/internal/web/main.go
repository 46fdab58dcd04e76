// SPDX-License-Identifier: Apache-2.0

// Web is a server and client for tests/containers, which has the same in other languages: web PORT UNRULED UPSTREAM.
//
// It listens on both ports. "/" answers with the address that asks, "/fetch" with what UPSTREAM answers.
package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"time"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 4 {
		log.Fatal("usage: web PORT UNRULED UPSTREAM")
	}
	upstream := http.Client{Timeout: 20 * time.Second}
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		fmt.Fprintln(w, host)
	})
	http.HandleFunc("/fetch", func(w http.ResponseWriter, _ *http.Request) {
		answer, err := upstream.Get("http://" + os.Args[3] + "/")
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer answer.Body.Close()
		if _, err := io.Copy(w, answer.Body); err != nil {
			log.Print(err)
		}
	})
	ended := make(chan error)
	for _, port := range os.Args[1:3] {
		listener, err := net.Listen("tcp", ":"+port)
		if err != nil {
			log.Fatal(err)
		}
		go func() { ended <- http.Serve(listener, nil) }()
	}
	log.Fatal(<-ended)
}
