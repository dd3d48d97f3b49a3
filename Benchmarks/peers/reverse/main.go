// An HTTP reverse proxy as one writes it in Go: httputil.ReverseProxy, one log line per request.
// Usage: reverse LISTEN TARGET LOGFILE
package main

import (
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"time"
)

// The status and length of a response, for the log.
type witness struct {
	http.ResponseWriter
	status int
	length int
}

func (w *witness) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *witness) Write(body []byte) (int, error) {
	n, err := w.ResponseWriter.Write(body)
	w.length += n
	return n, err
}

func main() {
	file, err := os.OpenFile(os.Args[3], os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		log.Fatal(err)
	}
	lines := log.New(file, "", log.LstdFlags|log.Lmicroseconds)
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: os.Args[2]})
	// The default keeps two idle connections for a host, and would dial for nearly every request.
	proxy.Transport = &http.Transport{MaxIdleConns: 1024, MaxIdleConnsPerHost: 1024, IdleConnTimeout: time.Minute}
	handler := func(response http.ResponseWriter, request *http.Request) {
		started := time.Now()
		w := &witness{ResponseWriter: response, status: http.StatusOK}
		proxy.ServeHTTP(w, request)
		lines.Printf("%s %s %s %d %d took=%s", request.RemoteAddr, request.Method, request.URL.Path, w.status, w.length, time.Since(started))
	}
	log.Fatal(http.ListenAndServe(os.Args[1], http.HandlerFunc(handler)))
}
