// Command conformance is what the suite in tests/conformance needs of Go: the cases of h2spec, and a destination that speaks HTTP/1.1,
// HTTP/2 and WebSocket.
//
//	conformance h2spec PROXY DESTINATION    runs every case against PROXY; requests are addressed to DESTINATION. One line of JSON a case
//	conformance destination ADDRESS         serves until it is killed
package main

import (
	"fmt"
	"os"
)

func main() {
	var err error
	switch arguments := os.Args[1:]; {
	case len(arguments) == 3 && arguments[0] == "h2spec":
		err = h2spec(arguments[1], arguments[2])
	case len(arguments) == 2 && arguments[0] == "destination":
		err = destination(arguments[1])
	default:
		fmt.Fprintln(os.Stderr, "usage: conformance h2spec PROXY DESTINATION | destination ADDRESS")
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}
