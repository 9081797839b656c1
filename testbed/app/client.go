package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const maxBody = 1 << 20

type clientOptions struct {
	keepAlive bool
	http2     bool
	timeout   time.Duration
}

func newClient(o clientOptions) *http.Client {
	transport := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: o.timeout}).DialContext,
		DisableKeepAlives:   !o.keepAlive,
		MaxIdleConnsPerHost: 4096, // an open-loop load must not wait for a connection
		Protocols:           new(http.Protocols),
	}
	transport.Protocols.SetHTTP1(!o.http2)
	transport.Protocols.SetUnencryptedHTTP2(o.http2)
	return &http.Client{
		Transport:     transport,
		Timeout:       o.timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// fetched is the outcome of one request. Body is JSON when the answer was JSON, a string otherwise.
type fetched struct {
	URL    string          `json:"url"`
	Status int             `json:"status,omitempty"`
	Error  string          `json:"error,omitempty"`
	Millis float64         `json:"ms"`
	Direct string          `json:"direct"`
	Body   json.RawMessage `json:"body,omitempty"`
}

func (f fetched) good() bool { return f.Error == "" && f.Status >= 200 && f.Status < 300 }

func fetch(ctx context.Context, client *http.Client, target string, header http.Header) (f fetched) {
	f.URL = target
	began := time.Now()
	defer func() { f.Millis = millis(time.Since(began)) }()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		f.Error = err.Error()
		return f
	}
	for name, values := range header {
		if name == "Host" {
			request.Host = values[0]
		} else {
			request.Header[name] = values
		}
	}
	response, err := client.Do(request)
	if err != nil {
		f.Error = reason(err)
		return f
	}
	defer response.Body.Close()
	f.Status = response.StatusCode
	calls.add(request.Host)
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBody))
	if err != nil {
		f.Error = reason(err)
	}
	if json.Valid(body) {
		f.Body = body
	} else if len(body) > 0 {
		f.Body, _ = json.Marshal(string(body))
	}
	f.Direct = caller(body)
	return f
}

// reason drops the method and URL that net/http puts in front of every error.
func reason(err error) string {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	return err.Error()
}

const fallbackAccount = "/sa/global-sidecar"

// caller reads an echoed answer and says by which way the request came: "fallback" if the last hop before the server was the
// global-sidecar, "direct" if it was anybody else, "" if the answer does not tell (no echo, or no mTLS).
//
// Envoy appends one element for each hop to X-Forwarded-Client-Cert, so the immediate caller is in the last one.
func caller(body []byte) string {
	var answer echoAnswer
	if json.Unmarshal(body, &answer) != nil {
		return ""
	}
	certs := answer.Headers["X-Forwarded-Client-Cert"]
	if len(certs) == 0 {
		return ""
	}
	elements := strings.Split(certs[len(certs)-1], ",")
	for part := range strings.SplitSeq(elements[len(elements)-1], ";") {
		if uri, found := strings.CutPrefix(strings.TrimSpace(part), "URI="); found {
			if strings.HasSuffix(strings.Trim(uri, `"`), fallbackAccount) {
				return "fallback"
			}
			return "direct"
		}
	}
	return ""
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// query reads the parameters that all client endpoints share: url, timeout_ms, keepalive, h2, grpc, header (Name:Value, repeatable).
type query struct{ url.Values }

func (q query) number(name string, standard float64) float64 {
	if n, err := strconv.ParseFloat(q.Get(name), 64); err == nil {
		return n
	}
	return standard
}

func (q query) flag(name string, standard bool) bool {
	switch q.Get(name) {
	case "1", "on", "true":
		return true
	case "0", "off", "false":
		return false
	}
	return standard
}

func (q query) client() *http.Client {
	return newClient(clientOptions{
		keepAlive: q.flag("keepalive", true),
		http2:     q.flag("h2", q.flag("grpc", false)),
		timeout:   time.Duration(q.number("timeout_ms", 10_000)) * time.Millisecond,
	})
}

func (q query) headers() http.Header {
	headers := http.Header{}
	for _, line := range q.Values["header"] {
		if name, value, found := strings.Cut(line, ":"); found {
			headers.Add(name, strings.TrimSpace(value))
		}
	}
	return headers
}

func handleFetch(w http.ResponseWriter, r *http.Request) {
	q := query{r.URL.Query()}
	client := q.client()
	defer client.CloseIdleConnections()
	writeJSON(w, http.StatusOK, fetch(r.Context(), client, q.Get("url"), q.headers()))
}
