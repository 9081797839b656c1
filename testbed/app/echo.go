package main

import (
	"net/http"
	"strings"
	"time"
)

// echo answers with the request as it arrived and, on some paths, with what its own calls to others returned.
type echo struct {
	name    string
	callsOn string
	calls   []string
	client  *http.Client
}

func newEcho(name, callsOn string, calls []string) *echo {
	return &echo{name, callsOn, calls, newClient(clientOptions{keepAlive: true, timeout: 10 * time.Second})}
}

type echoAnswer struct {
	Name    string      `json:"name"`
	Path    string      `json:"path"`
	Host    string      `json:"host"`
	Headers http.Header `json:"headers"`
	Peer    string      `json:"peer"`
	Proto   string      `json:"proto"`
	Calls   []fetched   `json:"calls,omitempty"`
	Failed  []string    `json:"failed,omitempty"`
}

func (e *echo) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer := echoAnswer{Name: e.name, Path: r.URL.Path, Host: r.Host, Headers: r.Header, Peer: r.RemoteAddr, Proto: r.Proto}
	status := http.StatusOK
	if e.callsOn != "" && strings.HasPrefix(r.URL.Path, e.callsOn) {
		for _, url := range e.calls {
			f := fetch(r.Context(), e.client, url, nil)
			answer.Calls = append(answer.Calls, f)
			if !f.good() {
				answer.Failed = append(answer.Failed, url)
				status = http.StatusBadGateway // so that a load test sees it
			}
		}
	}
	writeJSON(w, status, answer)
}
