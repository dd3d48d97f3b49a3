// armon/go-socks5 with one user and one log line per connection.
// Usage: socks5 LISTEN USER PASSWORD LOGFILE
package main

import (
	"log"
	"net"
	"os"

	socks5 "github.com/armon/go-socks5"
	"golang.org/x/net/context"
)

func main() {
	file, err := os.OpenFile(os.Args[4], os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		log.Fatal(err)
	}
	lines := log.New(file, "", log.LstdFlags|log.Lmicroseconds)
	server, err := socks5.New(&socks5.Config{
		Credentials: socks5.StaticCredentials{os.Args[2]: os.Args[3]},
		Logger:      lines,
		Dial: func(_ context.Context, network, address string) (net.Conn, error) {
			lines.Printf("connect %s", address)
			return net.Dial(network, address)
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(server.ListenAndServe("tcp", os.Args[1]))
}
