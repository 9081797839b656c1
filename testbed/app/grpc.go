package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// gRPC as it is on the wire, without its library: HTTP/2, messages with a prefix of five bytes, the status in trailers.

const talkPath = "/testbed.Echo/Talk"

func writeMessage(w io.Writer, message []byte) error {
	prefix := make([]byte, 5, 5+len(message))
	binary.BigEndian.PutUint32(prefix[1:], uint32(len(message)))
	_, err := w.Write(append(prefix, message...))
	return err
}

func readMessage(r io.Reader) ([]byte, error) {
	prefix := make([]byte, 5)
	if _, err := io.ReadFull(r, prefix); err != nil {
		return nil, err
	}
	length := binary.BigEndian.Uint32(prefix[1:])
	if prefix[0] != 0 || length > maxBody {
		return nil, fmt.Errorf("message is compressed or too long: %v", prefix)
	}
	message := make([]byte, length)
	_, err := io.ReadFull(r, message)
	return message, err
}

// talk answers each message with the request as it arrived, before the next one comes.
func (e *echo) talk(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor != 2 || r.Header.Get("Te") != "trailers" {
		http.Error(w, "gRPC needs HTTP/2 and te: trailers, got "+r.Proto, http.StatusHTTPVersionNotSupported)
		return
	}
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set("Trailer", "Grpc-Status, Grpc-Message")
	w.WriteHeader(http.StatusOK)
	flush := http.NewResponseController(w).Flush
	_ = flush()
	answer, _ := json.Marshal(echoAnswer{Name: e.name, Path: r.URL.Path, Host: r.Host, Headers: r.Header, Peer: r.RemoteAddr, Proto: r.Proto})
	for {
		_, err := readMessage(r.Body)
		if errors.Is(err, io.EOF) {
			w.Header().Set("Grpc-Status", "0")
			return
		}
		if err == nil {
			err = writeMessage(w, answer)
		}
		if err == nil {
			err = flush()
		}
		if err != nil {
			w.Header().Set("Grpc-Status", "13")
			w.Header().Set("Grpc-Message", err.Error())
			return
		}
	}
}

// call is what came of one gRPC call.
type call struct {
	URL      string          `json:"url"`
	Status   int             `json:"status,omitempty"`
	GRPC     string          `json:"grpc_status"`
	Messages int             `json:"messages"`
	Error    string          `json:"error,omitempty"`
	Millis   float64         `json:"ms"`
	Direct   string          `json:"direct"`
	Body     json.RawMessage `json:"body,omitempty"`
}

// handleGRPC calls url's Talk: `messages` times one message and its answer, on one stream; 1 is what a unary call is on the wire.
func handleGRPC(w http.ResponseWriter, r *http.Request) {
	q := query{r.URL.Query()}
	client := newClient(clientOptions{keepAlive: true, http2: true, timeout: time.Duration(q.number("timeout_ms", 10_000)) * time.Millisecond})
	defer client.CloseIdleConnections()
	writeJSON(w, http.StatusOK, talkTo(r.Context(), client, q.Get("url"), int(q.number("messages", 1))))
}

func talkTo(ctx context.Context, client *http.Client, url string, messages int) call {
	c := call{URL: url + talkPath}
	began := time.Now()
	if err := c.make(ctx, client, messages); err != nil {
		c.Error = reason(err)
	}
	c.Millis = millis(time.Since(began))
	return c
}

// fetched is the same as of any request; a call that did not end with status 0 has failed.
func (c call) fetched() fetched {
	if c.Error == "" && c.GRPC != "0" {
		c.Error = "grpc-status " + c.GRPC
	}
	return fetched{URL: c.URL, Status: c.Status, Error: c.Error, Millis: c.Millis, Direct: c.Direct}
}

// openTalk begins a call of Talk with a first message. More go to the writer, whose end is the caller's end of the stream.
func openTalk(ctx context.Context, client *http.Client, url string) (*io.PipeWriter, *http.Response, error) {
	reader, writer := io.Pipe()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, reader)
	if err != nil {
		return nil, nil, err
	}
	request.Header.Set("Content-Type", "application/grpc")
	request.Header.Set("Te", "trailers")
	go func() { _ = writeMessage(writer, []byte("first")) }()
	response, err := client.Do(request)
	if err != nil {
		writer.Close()
		return nil, nil, err
	}
	return writer, response, nil
}

func (c *call) make(ctx context.Context, client *http.Client, messages int) error {
	writer, response, err := openTalk(ctx, client, c.URL)
	if err != nil {
		return err
	}
	defer writer.Close()
	defer response.Body.Close()
	c.Status = response.StatusCode
	for c.Messages < messages {
		if c.Messages > 0 {
			if err := writeMessage(writer, []byte("next")); err != nil {
				return err
			}
		}
		answer, err := readMessage(response.Body)
		if err != nil {
			c.GRPC = response.Trailer.Get("Grpc-Status") + response.Header.Get("Grpc-Status")
			return fmt.Errorf("after %d messages: %w", c.Messages, err)
		}
		c.Messages++
		c.Body, c.Direct = answer, caller(answer)
	}
	writer.Close()
	rest, err := io.Copy(io.Discard, response.Body)
	if err == nil && rest > 0 {
		err = fmt.Errorf("%d bytes too many", rest)
	}
	c.GRPC = response.Trailer.Get("Grpc-Status")
	return err
}
