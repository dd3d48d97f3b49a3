// A TCP relay as one writes it in Go: io.Copy both ways, half-close passed on, one log line per connection.
// Usage: relay LISTEN TARGET LOGFILE
package main

import (
	"io"
	"log"
	"net"
	"os"
	"time"
)

func pump(from, to *net.TCPConn, done chan<- int64) {
	n, _ := io.Copy(to, from)
	to.CloseWrite()
	done <- n
}

func serve(client *net.TCPConn, target string, lines *log.Logger) {
	started := time.Now()
	defer client.Close()
	upstream, err := net.DialTimeout("tcp", target, 5*time.Second)
	if err != nil {
		lines.Printf("%s refused: %v", client.RemoteAddr(), err)
		return
	}
	defer upstream.Close()
	up, down := make(chan int64, 1), make(chan int64, 1)
	go pump(client, upstream.(*net.TCPConn), up)
	pump(upstream.(*net.TCPConn), client, down)
	lines.Printf("%s -> %s up=%d down=%d took=%s", client.RemoteAddr(), target, <-up, <-down, time.Since(started))
}

func main() {
	file, err := os.OpenFile(os.Args[3], os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		log.Fatal(err)
	}
	lines := log.New(file, "", log.LstdFlags|log.Lmicroseconds)
	listener, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	for {
		client, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go serve(client.(*net.TCPConn), os.Args[2], lines)
	}
}
