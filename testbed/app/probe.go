package main

import (
	"net/http"
	"time"
)

type probeResult struct {
	Reached    bool    `json:"reached"`
	StartMs    float64 `json:"start_ms"` // from the start of the first request to the start of the first one that arrived as wanted
	EndMs      float64 `json:"end_ms"`   // and to its end
	Before     int     `json:"before"`   // requests sent before that one
	loadResult         // counts, failures and all samples
}

// handleProbe is /probe: sends requests every interval_ms, without waiting for answers, until one arrives as wanted:
// until=direct (default), fallback, or ok (any 2xx).
func handleProbe(w http.ResponseWriter, r *http.Request) {
	q := query{r.URL.Query()}
	if q.Get("until") == "" {
		q.Set("until", "direct")
	}
	interval := q.number("interval_ms", 20)
	l := &load{
		url: q.Get("url"), client: q.client(), header: q.headers(), grpc: q.flag("grpc", false),
		rate:   1000 / interval,
		length: time.Duration(q.number("timeout_s", 20) * float64(time.Second)),
	}
	if l.url == "" || interval < 1 {
		http.Error(w, "url is needed, and an interval_ms of at least 1", http.StatusBadRequest)
		return
	}
	wanted := func(s sample) bool {
		return s.good() && (q.Get("until") == "ok" || s.Direct == q.Get("until"))
	}
	l.until = wanted
	l.run(r.Context())
	writeJSON(w, http.StatusOK, newProbeResult(l.result(true), wanted))
}

func newProbeResult(result loadResult, wanted func(sample) bool) probeResult {
	p := probeResult{loadResult: result, StartMs: -1, EndMs: -1, Before: len(result.Samples)}
	for i, s := range result.Samples {
		if wanted(s) {
			first := result.Samples[0].At
			p.Reached, p.StartMs, p.EndMs, p.Before = true, s.At-first, s.At-first+s.Millis, i
			break
		}
	}
	return p
}
