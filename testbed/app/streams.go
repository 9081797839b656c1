package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Requests that last: a gRPC stream, a WebSocket and an upload at once, so that one sees what a change of routes does to them.

const (
	socketPath = "/socket"
	uploadPath = "/upload"
	pause      = 100 * time.Millisecond
)

// socket answers each line after a switch of protocols with the request as it arrived. The bytes are no frames of WebSocket: proxies do
// not look at them.
func (e *echo) socket(w http.ResponseWriter, r *http.Request) {
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer conn.Close()
	answer, _ := json.Marshal(echoAnswer{Name: e.name, Path: r.URL.Path, Host: r.Host, Headers: r.Header, Peer: r.RemoteAddr, Proto: r.Proto})
	fmt.Fprint(buffered, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	for buffered.Flush() == nil {
		if _, err := buffered.ReadString('\n'); err != nil {
			return
		}
		_, _ = buffered.Write(append(answer, '\n'))
	}
}

// upload answers with the request as it arrived when all of its body has, and with the body's length as path.
func (e *echo) upload(w http.ResponseWriter, r *http.Request) {
	length, err := io.Copy(io.Discard, r.Body)
	status := http.StatusOK
	if err != nil {
		status = http.StatusBadRequest
	}
	writeJSON(w, status, echoAnswer{Name: e.name, Path: fmt.Sprint(length), Host: r.Host, Headers: r.Header, Peer: r.RemoteAddr, Proto: r.Proto})
}

// stream is what came of one of them. Count is messages, lines or bytes that came back or arrived.
type stream struct {
	Count  int64   `json:"count"`
	Error  string  `json:"error,omitempty"`
	Direct string  `json:"direct"`
	Millis float64 `json:"ms"`
}

// handleStreams keeps all three open to url for `seconds` (the upload: until `bytes` have been sent).
func handleStreams(w http.ResponseWriter, r *http.Request) {
	q := query{r.URL.Query()}
	ctx, cancel := context.WithTimeout(r.Context(), 5*time.Minute)
	defer cancel()
	until := time.Now().Add(time.Duration(q.number("seconds", 5)) * time.Second)
	target, rpc, length := q.Get("url"), q.Get("grpc"), int64(q.number("bytes", 1<<30))
	all, mu, wait := map[string]stream{}, sync.Mutex{}, sync.WaitGroup{}
	run := func(name string, open func(*stream) error) {
		wait.Add(1)
		go func() {
			defer wait.Done()
			began := time.Now()
			var s stream
			if err := open(&s); err != nil {
				s.Error = reason(err)
			}
			s.Millis = millis(time.Since(began))
			mu.Lock()
			defer mu.Unlock()
			all[name] = s
		}()
	}
	run("socket", func(s *stream) error { return s.overSocket(ctx, target, until) })
	run("upload", func(s *stream) error { return s.overUpload(ctx, target, length) })
	if rpc != "" {
		run("grpc", func(s *stream) error { return s.overGRPC(ctx, rpc, until) })
	}
	wait.Wait()
	writeJSON(w, http.StatusOK, all)
}

func (s *stream) overSocket(ctx context.Context, target string, until time.Time) error {
	to, err := url.Parse(target)
	if err != nil {
		return err
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", to.Host)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(until.Add(time.Minute))
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", socketPath, to.Host)
	reader := bufio.NewReader(conn)
	response, err := http.ReadResponse(reader, nil)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusSwitchingProtocols {
		return fmt.Errorf("status %s", response.Status)
	}
	for time.Now().Before(until) {
		fmt.Fprintln(conn, "next")
		line, err := reader.ReadBytes('\n')
		if err != nil {
			return fmt.Errorf("after %d lines: %w", s.Count, err)
		}
		s.Count++
		s.Direct = caller(line)
		time.Sleep(pause)
	}
	return nil
}

func (s *stream) overUpload(ctx context.Context, target string, length int64) error {
	client := newClient(clientOptions{timeout: 5 * time.Minute})
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(target, "/")+uploadPath, io.LimitReader(zeros{}, length))
	if err != nil {
		return err
	}
	request.ContentLength = length
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBody))
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("status %s: %s", response.Status, body)
	}
	var answer echoAnswer
	if err := json.Unmarshal(body, &answer); err != nil {
		return err
	}
	s.Direct = caller(body)
	_, err = fmt.Sscan(answer.Path, &s.Count)
	return err
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func (s *stream) overGRPC(ctx context.Context, target string, until time.Time) error {
	client := newClient(clientOptions{keepAlive: true, http2: true, timeout: 5 * time.Minute})
	defer client.CloseIdleConnections()
	writer, response, err := openTalk(ctx, client, strings.TrimSuffix(target, "/")+talkPath)
	if err != nil {
		return err
	}
	defer writer.Close()
	defer response.Body.Close()
	for {
		answer, err := readMessage(response.Body)
		if err != nil {
			return fmt.Errorf("after %d messages, status %s, grpc-status %q: %w", s.Count, response.Status, response.Header.Get("Grpc-Status"), err)
		}
		s.Count++
		s.Direct = caller(answer)
		if !time.Now().Before(until) {
			break
		}
		time.Sleep(pause)
		if err := writeMessage(writer, []byte("next")); err != nil {
			return err
		}
	}
	writer.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if status := response.Trailer.Get("Grpc-Status"); status != "0" {
		return fmt.Errorf("grpc-status %q", status)
	}
	return nil
}
