// Command app is the one application of the testbed. What it is in a pod is chosen by environment variables:
//
//	NAME      echoed in every answer
//	PORTS     comma-separated ports to listen on, default 9080
//	CALLS_ON  path prefix whose requests make CALLS
//	CALLS     comma-separated URLs, called one after the other; their answers are embedded
//
// Every other path echoes the request as it arrived; talkPath is gRPC and does so for each message. /socket and /upload take streams. /fetch, /grpc, /streams, /load,
// /load/start, /load/stop and /probe make the pod a client (see README.md of the testbed), and /metrics counts its calls. Called as `curl` it is a
// small look-alike of curl.
package main

import (
	"context"
	"encoding/json"
	"log"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func main() {
	if filepath.Base(os.Args[0]) == "curl" {
		os.Exit(curl(os.Args[1:], os.Stdout, os.Stderr))
	}
	serve()
}

func serve() {
	mux := http.NewServeMux()
	app := newEcho(os.Getenv("NAME"), os.Getenv("CALLS_ON"), list(os.Getenv("CALLS")))
	mux.Handle("/", app)
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	mux.HandleFunc(talkPath, app.talk)
	mux.HandleFunc(socketPath, app.socket)
	mux.HandleFunc(uploadPath, app.upload)
	mux.HandleFunc("/streams", handleStreams)
	mux.HandleFunc("/fetch", handleFetch)
	mux.HandleFunc("/grpc", handleGRPC)
	mux.HandleFunc("/probe", handleProbe)
	mux.Handle("/metrics", &calls)
	loads := newLoads()
	mux.HandleFunc("/load", loads.run)
	mux.HandleFunc("/load/start", loads.start)
	mux.HandleFunc("/load/stop", loads.stop)

	ports := list(os.Getenv("PORTS"))
	if len(ports) == 0 {
		ports = []string{"9080"}
	}
	var servers []*http.Server
	for _, port := range ports {
		server := &http.Server{Addr: ":" + port, Handler: mux, Protocols: new(http.Protocols)}
		server.Protocols.SetHTTP1(true)
		server.Protocols.SetUnencryptedHTTP2(true)
		servers = append(servers, server)
		go func() {
			log.Println("listening on", port)
			if err := server.ListenAndServe(); err != http.ErrServerClosed {
				log.Fatal(err)
			}
		}()
	}

	// As the first process of its container it has to ask for the signal, or it gets none. Requests under way are finished.
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	<-stop
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	for _, server := range servers {
		_ = server.Shutdown(ctx)
	}
}

func list(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' })
}

func writeJSON(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(value)
}
