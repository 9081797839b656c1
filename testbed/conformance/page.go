package main

import (
	"compress/gzip"
	_ "embed"
	"fmt"
	"io"
	"net/http"
	"sync"
)

// page asks everything of this destination that a browser may, and reports what it saw.
//
//go:embed page.html
var page []byte

// forBrowsers adds what page.html asks for to mux.
func forBrowsers(mux *http.ServeMux) {
	var lock sync.Mutex
	var report []byte
	gone := make(chan struct{}, 1)
	stream := func(kind, first, last string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", kind)
			io.WriteString(w, first)
			w.(http.Flusher).Flush()
			select {
			case <-gone:
				io.WriteString(w, last)
			case <-r.Context().Done():
			}
		}
	}
	mux.HandleFunc("GET /page", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Write(page)
	})
	mux.HandleFunc("GET /hello", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Mine", "1")
		http.SetCookie(w, &http.Cookie{Name: "a", Value: "b"})
		fmt.Fprintf(w, "hello, leaked: %v", r.Header.Get("Slime-Orig-Dest") != "" || r.Header.Get("Slime-Source-Ns") != "")
	})
	mux.HandleFunc("GET /cookie", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Header.Get("Cookie")) })
	mux.Handle("GET /moved", http.RedirectHandler("/hello", http.StatusFound))
	mux.HandleFunc("GET /empty", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("GET /gzip", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		zip := gzip.NewWriter(w)
		defer zip.Close()
		io.WriteString(zip, "unzipped")
	})
	mux.HandleFunc("POST /echo", func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) })
	mux.HandleFunc("GET /stream", stream("text/plain", "one", "two"))
	mux.HandleFunc("GET /events", stream("text/event-stream", "data: one\n\n", "data: two\n\n"))
	// The page has seen the start of a stream: the rest may come.
	mux.HandleFunc("POST /go", func(w http.ResponseWriter, r *http.Request) { gone <- struct{}{} })
	mux.HandleFunc("POST /report", func(w http.ResponseWriter, r *http.Request) {
		lock.Lock()
		defer lock.Unlock()
		report, _ = io.ReadAll(r.Body)
	})
	mux.HandleFunc("GET /report", func(w http.ResponseWriter, r *http.Request) {
		lock.Lock()
		defer lock.Unlock()
		if report == nil {
			http.NotFound(w, r)
			return
		}
		w.Write(report)
		report = nil
	})
}
