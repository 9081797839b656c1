package main

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
)

// calls counts this pod's answered calls as the proxies of the callees count them in Istio's own build of Envoy; the one of the
// testbed is the upstream build, which has no such filter.
var calls = callCounter{counts: map[string]int{}}

type callCounter struct {
	mutex  sync.Mutex
	counts map[string]int
}

func (c *callCounter) add(host string) {
	name, _, _ := strings.Cut(host, ":")
	if name != "" && !strings.Contains(name, ".") {
		name += ".default.svc.cluster.local"
	}
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.counts[name]++
}

func (c *callCounter) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	app, _, _ := strings.Cut(os.Getenv("NAME"), "-")
	c.mutex.Lock()
	defer c.mutex.Unlock()
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	fmt.Fprintln(w, "# TYPE istio_requests_total counter")
	for _, host := range slices.Sorted(maps.Keys(c.counts)) {
		fmt.Fprintf(w, "istio_requests_total{reporter=\"destination\",source_app=%q,destination_service=%q} %d\n", app, host, c.counts[host])
	}
}
