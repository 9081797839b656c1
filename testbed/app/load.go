package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"
)

const maxFailuresListed = 100

// sample is one request of a load: when it was sent (from the load's start), how long it took, and by which way it came.
type sample struct {
	At     float64 `json:"at_ms"`
	Millis float64 `json:"ms"`
	Status int     `json:"status"`
	Error  string  `json:"error,omitempty"`
	Direct string  `json:"direct"`
}

func (s sample) good() bool { return s.Error == "" && s.Status >= 200 && s.Status < 300 }

type failure struct {
	At     float64 `json:"at_ms"`
	Status int     `json:"status"`
	Error  string  `json:"error,omitempty"`
}

type loadResult struct {
	ID          string    `json:"id,omitempty"`
	Started     time.Time `json:"started"`
	Seconds     float64   `json:"seconds"`
	Sent        int       `json:"sent"`
	OK          int       `json:"ok"`
	FailedCount int       `json:"failed_count"`
	Failed      []failure `json:"failed"` // the first 100
	Direct      int       `json:"direct"`
	Fallback    int       `json:"fallback"`
	P50         float64   `json:"p50_ms"`
	P99         float64   `json:"p99_ms"`
	Max         float64   `json:"max_ms"`
	// How far the sender itself fell behind its schedule at worst; large values mean that the machine was too busy to trust the rest.
	MaxLate float64  `json:"max_late_ms"`
	Samples []sample `json:"samples,omitempty"`
}

// load sends requests on a fixed schedule and never waits for earlier ones: a slow answer does not hide the requests that a
// closed loop would not have sent meanwhile.
type load struct {
	url     string
	client  *http.Client
	header  http.Header
	grpc    bool // unary calls of url's Talk instead of requests
	rate    float64
	count   int           // stop after so many requests, 0: no limit
	length  time.Duration // stop after this time, 0: no limit
	until   func(sample) bool
	began   time.Time
	mutex   sync.Mutex
	samples []sample
	maxLate float64
}

func (q query) load() (*load, error) {
	l := &load{
		url: q.Get("url"), client: q.client(), header: q.headers(), grpc: q.flag("grpc", false),
		rate:   q.number("rate", 10),
		count:  int(q.number("count", 0)),
		length: time.Duration(q.number("seconds", 0) * float64(time.Second)),
	}
	if l.url == "" || l.rate <= 0 || l.rate > 10_000 {
		return nil, fmt.Errorf("url is needed, and a rate in (0, 10000]")
	}
	return l, nil
}

// run sends until the schedule ends or the context does, then waits for the answers still under way.
func (l *load) run(ctx context.Context) {
	defer l.client.CloseIdleConnections()
	sending, stop := context.WithCancel(ctx)
	defer stop()
	l.began = time.Now()
	var underway sync.WaitGroup
	timer := time.NewTimer(0)
	defer timer.Stop()
	for i := 0; l.count == 0 || i < l.count; i++ {
		due := time.Duration(float64(i) / l.rate * float64(time.Second))
		if l.length > 0 && due >= l.length {
			break
		}
		timer.Reset(due - time.Since(l.began))
		select {
		case <-sending.Done():
		case <-timer.C:
		}
		if sending.Err() != nil {
			break
		}
		at := time.Since(l.began)
		l.maxLate = max(l.maxLate, millis(at-due))
		underway.Go(func() {
			// Not the sender's context: stopping the load lets these finish.
			f := l.send(context.WithoutCancel(ctx))
			s := sample{At: millis(at), Millis: f.Millis, Status: f.Status, Error: f.Error, Direct: f.Direct}
			l.mutex.Lock()
			defer l.mutex.Unlock()
			l.samples = append(l.samples, s)
			if l.until != nil && l.until(s) {
				stop()
			}
		})
	}
	underway.Wait()
}

func (l *load) send(ctx context.Context) fetched {
	if l.grpc {
		return talkTo(ctx, l.client, l.url, 1).fetched()
	}
	return fetch(ctx, l.client, l.url, l.header)
}

func (l *load) result(withSamples bool) loadResult {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	slices.SortFunc(l.samples, func(a, b sample) int { return int(1000 * (a.At - b.At)) })
	r := loadResult{
		Started: l.began, Seconds: time.Since(l.began).Seconds(), Sent: len(l.samples), Failed: []failure{}, MaxLate: l.maxLate,
	}
	var times []float64
	for _, s := range l.samples {
		times = append(times, s.Millis)
		switch s.Direct {
		case "direct":
			r.Direct++
		case "fallback":
			r.Fallback++
		}
		if s.good() {
			r.OK++
			continue
		}
		r.FailedCount++
		if len(r.Failed) < maxFailuresListed {
			r.Failed = append(r.Failed, failure{s.At, s.Status, s.Error})
		}
	}
	slices.Sort(times)
	if n := len(times); n > 0 {
		r.P50, r.P99, r.Max = times[n/2], times[n*99/100], times[n-1]
	}
	if withSamples {
		r.Samples = l.samples
	}
	return r
}

// loads keeps the loads that were started and not stopped yet.
type loads struct {
	mutex sync.Mutex
	next  int
	byID  map[string]*startedLoad
}

type startedLoad struct {
	*load
	cancel context.CancelFunc
	done   chan struct{}
}

func newLoads() *loads { return &loads{byID: map[string]*startedLoad{}} }

// run is /load: answers when the load is over.
func (ls *loads) run(w http.ResponseWriter, r *http.Request) {
	q := query{r.URL.Query()}
	l, err := q.load()
	if err == nil && l.count == 0 && l.length == 0 {
		err = fmt.Errorf("seconds or count is needed, or /load/start")
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	l.run(r.Context())
	writeJSON(w, http.StatusOK, l.result(q.flag("samples", true)))
}

// start is /load/start: answers at once with an id. Without seconds and count it goes on until it is stopped.
func (ls *loads) start(w http.ResponseWriter, r *http.Request) {
	l, err := query{r.URL.Query()}.load()
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	started := &startedLoad{l, cancel, make(chan struct{})}
	ls.mutex.Lock()
	ls.next++
	id := fmt.Sprint(ls.next)
	ls.byID[id] = started
	ls.mutex.Unlock()
	go func() {
		defer close(started.done)
		l.run(ctx)
	}()
	writeJSON(w, http.StatusOK, map[string]string{"id": id})
}

// stop is /load/stop?id=: ends the load (if it has not ended by itself), waits for its last answers and returns its result.
func (ls *loads) stop(w http.ResponseWriter, r *http.Request) {
	q := query{r.URL.Query()}
	id := q.Get("id")
	ls.mutex.Lock()
	started := ls.byID[id]
	delete(ls.byID, id)
	ls.mutex.Unlock()
	if started == nil {
		http.Error(w, "no load with this id", http.StatusNotFound)
		return
	}
	started.cancel()
	<-started.done
	result := started.result(q.flag("samples", true))
	result.ID = id
	writeJSON(w, http.StatusOK, result)
}
