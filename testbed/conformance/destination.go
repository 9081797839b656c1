package main

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/coder/websocket"
)

// Longest message that is echoed: some cases send 16 MiB.
const longest = 64 << 20

// destination answers "/" with a short page after it has read the body, echoes the messages of a WebSocket, and has more for browsers.
func destination(address string) error {
	mux := http.NewServeMux()
	forBrowsers(mux)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
			echo(w, r)
			return
		}
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		io.WriteString(w, "this is the destination\n")
	})
	server := &http.Server{Addr: address, Handler: mux, Protocols: new(http.Protocols)}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	return server.ListenAndServe()
}

func echo(w http.ResponseWriter, r *http.Request) {
	// Browsers send the origin of their page.
	options := &websocket.AcceptOptions{InsecureSkipVerify: true, CompressionMode: websocket.CompressionContextTakeover}
	conn, err := websocket.Accept(w, r, options)
	if err != nil {
		return
	}
	defer conn.CloseNow()
	conn.SetReadLimit(longest)
	for {
		kind, message, err := conn.Read(r.Context())
		if err != nil {
			var closed websocket.CloseError
			if errors.As(err, &closed) {
				conn.Close(closed.Code, closed.Reason)
			}
			return
		}
		if kind == websocket.MessageText && !utf8.Valid(message) {
			conn.Close(websocket.StatusInvalidFramePayloadData, "text that is no UTF-8")
			return
		}
		if err := conn.Write(r.Context(), kind, message); err != nil {
			return
		}
	}
}
