// A reverse proxy of Go's standard library with nothing added: a peer of the original forwarder's kind, with connections kept.
package main

import (
	"log"
	"net/http"
	"net/http/httputil"
	"os"
)

// How many unused connections are kept to one destination: as many as the largest row has clients.
const kept = 1024

func transport(http2 bool) *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(!http2)
	protocols.SetUnencryptedHTTP2(http2)
	return &http.Transport{
		Protocols:           protocols,
		DisableCompression:  true,
		MaxIdleConns:        kept,
		MaxIdleConnsPerHost: kept,
	}
}

// Speaks to the destination what the client spoke.
type alike struct{ http1, http2 *http.Transport }

func (a alike) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.ProtoMajor == 2 {
		return a.http2.RoundTrip(request)
	}
	return a.http1.RoundTrip(request)
}

func main() {
	proxy := &httputil.ReverseProxy{
		Rewrite: func(request *httputil.ProxyRequest) {
			request.Out.URL.Scheme = "http"
			request.Out.URL.Host = request.In.Header.Get("Slime-Orig-Dest")
			request.Out.Host = request.In.Host
			// The outgoing request has the client's protocol only in the incoming one.
			request.Out.ProtoMajor = request.In.ProtoMajor
			request.Out.Header.Del("Slime-Orig-Dest")
			request.Out.Header.Del("Slime-Source-Ns")
		},
		Transport: alike{transport(false), transport(true)},
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{Addr: os.Args[1], Handler: proxy, Protocols: protocols}
	log.Fatal(server.ListenAndServe())
}
