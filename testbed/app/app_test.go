package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestCallerIsTheLastElement(t *testing.T) {
	const (
		page    = `By=spiffe://x/sa/global-sidecar;Hash=a;Subject="";URI=spiffe://cluster.local/ns/default/sa/bookinfo-productpage`
		sidecar = `By=spiffe://x/sa/details;Hash=b;Subject="";URI=spiffe://cluster.local/ns/mesh-operator/sa/global-sidecar`
	)
	for header, want := range map[string]string{page: "direct", page + "," + sidecar: "fallback", sidecar: "fallback", "": "", "By=x": ""} {
		body, _ := json.Marshal(echoAnswer{Headers: http.Header{"X-Forwarded-Client-Cert": {header}}})
		if got := caller(body); got != want {
			t.Errorf("caller(%q) = %q, want %q", header, got, want)
		}
	}
	if caller([]byte("plain")) != "" || caller([]byte("{}")) != "" {
		t.Error("an answer that is no echo tells nothing")
	}
}

func TestEchoEmbedsItsCallsAndReportsAFailedOne(t *testing.T) {
	good := httptest.NewServer(newEcho("details", "", nil))
	defer good.Close()
	bad := httptest.NewServer(http.NotFoundHandler())
	defer bad.Close()
	for _, c := range []struct {
		path  string
		calls []string
		want  int
	}{
		{"/productpage", []string{good.URL + "/details/0"}, 200},
		{"/productpage", []string{good.URL + "/details/0", bad.URL}, 502},
		{"/other", []string{bad.URL}, 200},
	} {
		recorder := httptest.NewRecorder()
		newEcho("productpage", "/productpage", c.calls).ServeHTTP(recorder, httptest.NewRequest("GET", c.path, nil))
		if recorder.Code != c.want {
			t.Errorf("%s calling %v: %d, want %d", c.path, c.calls, recorder.Code, c.want)
		}
	}
}

// The schedule does not wait: 20 requests, each answered after 300 ms, are sent within 200 ms.
func TestLoadIsOpenLoop(t *testing.T) {
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { time.Sleep(300 * time.Millisecond) }))
	defer slow.Close()
	l, err := query{url.Values{"url": {slow.URL}, "rate": {"100"}, "count": {"20"}}}.load()
	if err != nil {
		t.Fatal(err)
	}
	l.run(t.Context())
	r := l.result(true)
	if r.Sent != 20 || r.OK != 20 || r.P50 < 300 || r.Samples[19].At < 190 || r.Samples[19].At > 290 {
		t.Errorf("%+v", r)
	}
}

func TestStartAndStop(t *testing.T) {
	server := httptest.NewServer(newEcho("x", "", nil))
	defer server.Close()
	ls := newLoads()
	call := func(h http.HandlerFunc, target string) *httptest.ResponseRecorder {
		recorder := httptest.NewRecorder()
		h(recorder, httptest.NewRequest("GET", target, nil))
		return recorder
	}
	call(ls.start, "/load/start?rate=100&url="+server.URL)
	time.Sleep(200 * time.Millisecond)
	var r loadResult
	if err := json.Unmarshal(call(ls.stop, "/load/stop?id=1").Body.Bytes(), &r); err != nil || r.Sent < 10 || r.OK != r.Sent {
		t.Errorf("%+v %v", r, err)
	}
	if code := call(ls.stop, "/load/stop?id=1").Code; code != 404 {
		t.Error("a load is stopped once", code)
	}
}

func TestProbeEndsAtTheFirstWanted(t *testing.T) {
	began := time.Now()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if time.Since(began) < 100*time.Millisecond {
			http.Error(w, "not yet", http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	recorder := httptest.NewRecorder()
	handleProbe(recorder, httptest.NewRequest("GET", "/probe?interval_ms=10&until=ok&url="+server.URL, nil))
	var p probeResult
	if err := json.Unmarshal(recorder.Body.Bytes(), &p); err != nil || !p.Reached || p.StartMs < 50 || p.StartMs > 300 || p.FailedCount != p.Before {
		t.Errorf("%s %v", recorder.Body, err)
	}
}

func TestCurl(t *testing.T) {
	server := httptest.NewServer(newEcho("x", "", nil))
	defer server.Close()
	var out, complaints strings.Builder
	address := strings.TrimPrefix(server.URL, "http://")
	if code := curl([]string{"-sSo", "/dev/null", "-w", `%{http_code}\n`, "-H", "Host: details", address}, &out, &complaints); code != 0 || out.String() != "200\n" {
		t.Error(code, out.String(), complaints.String())
	}
	if code := curl([]string{"-s", "-m", "2", "http://127.0.0.1:1/"}, &out, &complaints); code != curlConnect {
		t.Error(code)
	}
}

// serveBoth serves HTTP/1.1, and HTTP/2 with prior knowledge.
func serveBoth(handler http.Handler) *httptest.Server {
	server := httptest.NewUnstartedServer(handler)
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetHTTP1(true)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	return server
}

func TestTalkIsAnsweredMessageByMessageAndOnlyOverHTTP2(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc(talkPath, newEcho("details", "", nil).talk)
	server := serveBoth(mux)
	defer server.Close()
	for _, messages := range []string{"1", "5"} {
		recorder := httptest.NewRecorder()
		handleGRPC(recorder, httptest.NewRequest("GET", "/grpc?url="+server.URL+"&messages="+messages, nil))
		var c call
		if err := json.Unmarshal(recorder.Body.Bytes(), &c); err != nil || c.Error != "" || c.GRPC != "0" || strconv.Itoa(c.Messages) != messages {
			t.Errorf("%s messages: %v %+v", messages, err, c)
		}
	}
	response, err := http.Post(server.URL+talkPath, "application/grpc", nil)
	if err != nil || response.StatusCode != http.StatusHTTPVersionNotSupported {
		t.Errorf("HTTP/1.1: %v %v", response, err)
	}
}

func TestStreamsOfAllKindsLastAndAreCounted(t *testing.T) {
	e := &echo{name: "e"}
	mux := http.NewServeMux()
	mux.HandleFunc(talkPath, e.talk)
	mux.HandleFunc(socketPath, e.socket)
	mux.HandleFunc(uploadPath, e.upload)
	server := serveBoth(mux)
	defer server.Close()
	recorder := httptest.NewRecorder()
	asked := "/streams?seconds=1&bytes=1000000&url=" + server.URL + "&grpc=" + server.URL
	handleStreams(recorder, httptest.NewRequest("GET", asked, nil))
	var all map[string]stream
	if err := json.Unmarshal(recorder.Body.Bytes(), &all); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"socket", "grpc", "upload"} {
		if s, there := all[name]; !there || s.Error != "" || s.Count < 2 {
			t.Errorf("%s: %+v", name, all)
		}
	}
	if all["upload"].Count != 1_000_000 {
		t.Errorf("upload: %+v", all["upload"])
	}
}
