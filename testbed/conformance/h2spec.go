package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/summerwind/h2spec/config"
	"github.com/summerwind/h2spec/generic"
	"github.com/summerwind/h2spec/hpack"
	"github.com/summerwind/h2spec/http2"
	"github.com/summerwind/h2spec/spec"
)

// verdict is one case: Failure is empty if it passed or was skipped.
type verdict struct {
	Case, Title, Failure string
	Skipped              bool
}

// h2spec's own runner connects to the authority of its requests. A proxy is one thing and the authority another: so each connection is
// made to the proxy, and the case then runs as if it had been made to the destination.
func h2spec(proxy, destination string) error {
	to, err := configFor(proxy)
	if err != nil {
		return err
	}
	as, err := configFor(destination)
	if err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	for _, group := range []*spec.TestGroup{generic.Spec(), http2.Spec(), hpack.Spec()} {
		if err := runGroup(group, to, as, out); err != nil {
			return err
		}
	}
	return nil
}

func configFor(address string) (*config.Config, error) {
	host, digits, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	port, err := strconv.Atoi(digits)
	return &config.Config{Host: host, Port: port, Path: "/", Timeout: 2 * time.Second, MaxHeaderLen: 4000, Strict: true}, err
}

func runGroup(group *spec.TestGroup, to, as *config.Config, out *json.Encoder) error {
	for number, test := range append(group.Tests, group.StrictTests...) {
		conn, err := spec.Dial(to)
		if err != nil {
			return err
		}
		err = test.Run(as, conn)
		conn.Close()
		told := verdict{Case: fmt.Sprintf("%s/%d", group.ID(), number+1), Title: test.Desc, Skipped: err == spec.ErrSkipped}
		if err != nil && !told.Skipped {
			told.Failure = err.Error()
		}
		if err := out.Encode(told); err != nil {
			return err
		}
	}
	for _, inner := range group.Groups {
		if err := runGroup(inner, to, as, out); err != nil {
			return err
		}
	}
	return nil
}
