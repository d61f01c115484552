package main

import (
	"encoding/base64"
	"fmt"
	"net"
	"path/filepath"
	"strings"

	"github.com/chappe-relay/chappe/edge"
	"github.com/chappe-relay/chappe/edge/config"
)

var devCommand = command{
	name:  "dev",
	brief: "run a relay on this machine, to try things out",
	usage: `NAME
    chappe dev - run a relay on this machine, to try things out

USAGE
    chappe dev [-listen ADDRESS] [-admin ADDRESS] [-tls [-clear ADDRESS]]

DESCRIPTION
    Starts a node that needs no file, and prints four lines to paste into
    another terminal: subscribe with curl, publish with curl, subscribe with
    chappe, look at the metrics. At / it has a page that shows a browser at
    work. Clients on this machine may do everything without a token; others
    nothing. Every namespace has history, presence and wide patterns. Nothing
    is kept when it ends, which Ctrl-C does at once.

FLAGS
    -listen ADDRESS    for clients, 127.0.0.1:8080 if not given (with -tls
                       8443); port 0 takes any free one. A loopback address
                       stands for that of the other family too
    -admin ADDRESS     for health, metrics and the admin API, 127.0.0.1:8081
                       if not given; needs no token from this machine
    -tls               speak TLS to clients, with a certificate of its own for
                       this machine, and WebTransport on the same port. Nobody
                       vouches for the certificate: a page believes it by its
                       hash (serverCertificateHashes), which is printed, and
                       is in /v1/probe at the next address
    -clear ADDRESS     with -tls: where all is served in the clear as well, for
                       pages; 127.0.0.1:8080 if neither it nor -listen is
                       given, else any free port

ENVIRONMENT
    CHAPPE_DEV_SECRET    signs development tokens: give the same to chappe
                         token to try out grants
    CHAPPE_...           keys of the configuration count here too

EXAMPLE
    $ chappe dev
    $ curl -N "http://127.0.0.1:8080/v1/sse?channel=rides.42"
    $ curl -d hello http://127.0.0.1:8080/v1/channels/rides.42/messages`,
	setup: func(f *flags) func(*env, []string) error {
		listen, admin := f.String("listen", "", ""), f.String("admin", "", "")
		secure, clear := f.Bool("tls", false, ""), f.String("clear", "", "")
		return func(e *env, args []string) error {
			if err := none(args); err != nil {
				return err
			}
			if *clear != "" && !*secure {
				return wrong("-clear is for -tls: without it all is in the clear")
			}
			at := *listen
			if *secure && *clear == "" {
				*clear = "127.0.0.1:0"
				if at == "" && e.getenv("CHAPPE_CLIENT_LISTEN") == "" {
					at, *clear = "127.0.0.1:8443", "127.0.0.1:8080"
				}
			}
			// Flags stand above the environment; as variables they are checked like them.
			getenv := func(name string) string {
				switch {
				case name == "CHAPPE_CLIENT_LISTEN" && at != "":
					return at
				case name == "CHAPPE_ADMIN_LISTEN" && *admin != "":
					return *admin
				}
				return e.getenv(name)
			}
			inner := *e
			inner.getenv = getenv
			c, err := inner.load(config.Source{Dev: true})
			if err != nil {
				return err
			}
			o := edge.Options{Config: c, Dev: true, DevSecret: e.getenv("CHAPPE_DEV_SECRET"), DevTLS: *secure, DevClear: *clear, Logger: newLogger(e.stderr, c.Log)}
			return e.serve(o, "choose another with -listen, -clear or -admin", func(n *edge.Node) error {
				text := ""
				for _, line := range append(pages(n), "Ready. Paste these into other terminals; Ctrl-C ends this one.") {
					text += dim(e.stdout, e.getenv, "# "+line) + "\n"
				}
				_, err := fmt.Fprint(e.stdout, text, pasteable(e.program(), n.ClientAddr(), n.AdminAddr(), *secure))
				return err
			})
		}
	},
}

// pages are what a browser can do.
func pages(n *edge.Node) []string {
	if n.ClearAddr() == nil {
		return []string{"In a browser: " + reachable(n.ClientAddr()) + "/"}
	}
	var hashes []string
	for _, h := range n.Hashes() {
		hashes = append(hashes, "'"+base64.StdEncoding.EncodeToString(h[:])+"'")
	}
	base := strings.Replace(reachable(n.ClientAddr()), "http:", "https:", 1)
	return []string{
		"In a browser, as it is: " + reachable(n.ClearAddr()) + "/",
		"WebTransport from a page of yours: new Chappe('" + base + "', { transports: ['wt'], hashes: [" + strings.Join(hashes, ", ") + "] })",
	}
}

const defaultURL = "http://127.0.0.1:8080"

// pasteable are the four lines. Quotes are double: they work in cmd.exe too.
func pasteable(program string, client, admin net.Addr, secure bool) string {
	base, op := reachable(client), reachable(admin)
	at, trust := "", ""
	if secure {
		base, trust = strings.Replace(base, "http:", "https:", 1), "k" // the certificate is its own authority
	}
	if base != defaultURL {
		at = "-url " + base + " "
	}
	if secure {
		at += "-insecure "
	}
	return fmt.Sprintf(`curl -%sN "%s/v1/sse?channel=rides.42"
curl %s-d hello %s/v1/channels/rides.42/messages
%s sub %srides.42
curl %s/metrics
`, trust, base, dash(trust), base, program, at, op)
}

// dash makes a flag of its own of a letter.
func dash(letter string) string {
	if letter == "" {
		return ""
	}
	return "-" + letter + " "
}

// reachable is the URL of a listen address from this machine.
func reachable(a net.Addr) string {
	host, port, err := net.SplitHostPort(a.String())
	if err != nil {
		return "http://" + a.String()
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}

// program is how to call this program again: by its name if it was found on
// PATH, by its path otherwise, and through go run if that is where it came from,
// for its file is gone afterwards.
func (e *env) program() string {
	switch {
	case strings.Contains(filepath.ToSlash(e.name), "/go-build"):
		return "go run ./edge/cmd/chappe"
	case strings.ContainsAny(e.name, ` "'$`+"`"):
		return `"` + e.name + `"`
	}
	return e.name
}
