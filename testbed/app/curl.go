package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// Exit codes of the real curl.
const (
	curlUsage   = 2
	curlConnect = 7
	curlHTTP    = 22 // with -f
	curlTimeout = 28
)

type curlOptions struct {
	url, output, write, method, data string
	include, head, fail, http2       bool
	headers                          http.Header
	timeout                          time.Duration
}

func parseCurl(args []string) (o curlOptions, err error) {
	o.headers = http.Header{}
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		value := func() (v string) {
			if len(args) == 0 {
				err = fmt.Errorf("option %s needs a value", arg)
				return ""
			}
			v, args = args[0], args[1:]
			return v
		}
		switch arg {
		case "-s", "--silent", "-S", "--show-error", "-k", "--insecure", "-L", "--http1.1":
		case "-i", "--include":
			o.include = true
		case "-I", "--head":
			o.head, o.include = true, true
		case "-f", "--fail":
			o.fail = true
		case "--http2-prior-knowledge":
			o.http2 = true
		case "-o", "--output":
			o.output = value()
		case "-w", "--write-out":
			o.write = value()
		case "-X", "--request":
			o.method = value()
		case "-d", "--data":
			o.data = value()
		case "-m", "--max-time", "--connect-timeout":
			seconds, bad := strconv.ParseFloat(value(), 64)
			if bad != nil {
				return o, bad
			}
			o.timeout = time.Duration(seconds * float64(time.Second))
		case "-H", "--header":
			name, text, _ := strings.Cut(value(), ":")
			o.headers.Add(name, strings.TrimSpace(text))
		default:
			switch {
			case strings.HasPrefix(arg, "-") && !strings.HasPrefix(arg, "--") && len(arg) > 2:
				args = append([]string{arg[:2], "-" + arg[2:]}, args...) // -sSo FILE
			case strings.HasPrefix(arg, "-"):
				return o, fmt.Errorf("option %s is not known to this look-alike", arg)
			default:
				o.url = arg
			}
		}
		if err != nil {
			return o, err
		}
	}
	if o.url == "" {
		return o, errors.New("no URL")
	}
	if !strings.Contains(o.url, "://") {
		o.url = "http://" + o.url
	}
	return o, nil
}

func (o curlOptions) request() (*http.Request, error) {
	method := o.method
	switch {
	case method != "":
	case o.head:
		method = http.MethodHead
	case o.data != "":
		method = http.MethodPost
	default:
		method = http.MethodGet
	}
	request, err := http.NewRequest(method, o.url, strings.NewReader(o.data))
	if err != nil {
		return nil, err
	}
	request.Header = o.headers
	if host := o.headers.Get("Host"); host != "" {
		request.Host = host
	}
	if request.Header.Get("User-Agent") == "" {
		request.Header.Set("User-Agent", "curl/testbed")
	}
	return request, nil
}

func curl(args []string, stdout, stderr io.Writer) int {
	o, err := parseCurl(args)
	complain := func(code int, err error) int {
		fmt.Fprintf(stderr, "curl: (%d) %v\n", code, err)
		return code
	}
	if err != nil {
		return complain(curlUsage, err)
	}
	request, err := o.request()
	if err != nil {
		return complain(curlUsage, err)
	}
	client := newClient(clientOptions{timeout: o.timeout, http2: o.http2})
	began := time.Now()
	response, err := client.Do(request)
	if err != nil {
		writeOut(stdout, o.write, 0, time.Since(began))
		if os.IsTimeout(err) || errors.Is(err, context.DeadlineExceeded) {
			return complain(curlTimeout, errors.New(reason(err)))
		}
		return complain(curlConnect, errors.New(reason(err)))
	}
	defer response.Body.Close()
	code := 0
	if o.fail && response.StatusCode >= 400 {
		code = complain(curlHTTP, fmt.Errorf("the server answered %s", response.Status))
	} else if err := saveBody(o, response, stdout); err != nil {
		code = complain(curlConnect, err)
	}
	writeOut(stdout, o.write, response.StatusCode, time.Since(began))
	return code
}

func saveBody(o curlOptions, response *http.Response, stdout io.Writer) error {
	to := stdout
	if o.output != "" && o.output != "-" {
		file, err := os.Create(o.output)
		if err != nil {
			return err
		}
		defer file.Close()
		to = file
	}
	if o.include {
		fmt.Fprintf(to, "%s %s\r\n", response.Proto, response.Status)
		_ = response.Header.Write(to)
		fmt.Fprint(to, "\r\n")
	}
	_, err := io.Copy(to, response.Body)
	return err
}

func writeOut(to io.Writer, format string, status int, took time.Duration) {
	fmt.Fprint(to, strings.NewReplacer(
		"%{http_code}", fmt.Sprintf("%03d", status),
		"%{response_code}", fmt.Sprintf("%03d", status),
		"%{time_total}", fmt.Sprintf("%.6f", took.Seconds()),
		`\n`, "\n",
	).Replace(format))
}
