package main

import (
	"cmp"
	"crypto/tls"
	"errors"
	"strings"

	chappe "github.com/chappe-relay/chappe/sdk/go"
	"github.com/chappe-relay/chappe/sdk/go/wt"
)

// clientFlags are those that pub and sub share.
type clientFlags struct {
	urls                     *words
	token, transport, format *string
	insecure, inOrder        *bool
}

// urlPage is their part of the usage that says where to connect.
const urlPage = `    -url URL            the relay, else $CHAPPE_URL, else http://127.0.0.1:8080.
                        May be repeated, or hold several with commas between:
                        then the nearest one that is well is taken, and the
                        others when it is gone
    -in-order           of several, the first one that is well, not the nearest
`

func newClientFlags(f *flags) clientFlags {
	return clientFlags{
		urls: f.list("url"), token: f.String("token", "", ""),
		transport: f.String("transport", "", ""), format: f.String("format", "", ""),
		insecure: f.Bool("insecure", false, ""), inOrder: f.Bool("in-order", false, ""),
	}
}

// options checks the flags. The client library would refuse the same, but
// without the nearest right word.
func (c *clientFlags) options(e *env) (url string, o chappe.Options, err error) {
	for _, w := range []struct {
		flag, value string
		words       []string
	}{{"-transport", *c.transport, []string{"ws", "wt", "sse", "poll"}}, {"-format", *c.format, []string{"json", "bin"}}} {
		if w.value == "" {
			continue
		}
		ok := false
		for _, word := range w.words {
			ok = ok || word == w.value
		}
		if !ok {
			return "", o, unknown("value of "+w.flag, w.value, w.words, "want "+strings.Join(w.words, ", "))
		}
	}
	if *c.format != "" && *c.transport != "" && *c.transport != "ws" && *c.transport != "wt" {
		return "", o, wrong("-format is for -transport ws and wt; the others speak JSON")
	}
	given := strings.Join(*c.urls, ",")
	all := strings.Split(cmp.Or(given, e.getenv("CHAPPE_URL"), defaultURL), ",")
	for i, one := range all {
		if all[i] = strings.TrimSpace(one); !strings.Contains(one, "://") {
			return "", o, wrong("-url: want a URL such as %s, not %s", defaultURL, printable(one))
		}
	}
	o = chappe.Options{
		Token: cmp.Or(*c.token, e.getenv("CHAPPE_TOKEN")), Transport: *c.transport, Format: *c.format, Agent: "chappe-cli",
		WebTransport: new(wt.Dialer), InOrder: *c.inOrder, Memory: new(chappe.Memory),
	}
	if *c.insecure {
		o.TLS = &tls.Config{InsecureSkipVerify: true} // asked for
	}
	if !o.InOrder {
		all = chappe.Nearest(e.ctx, all, o)
	}
	url, o.Regions = all[0], all[1:]
	return url, o, nil
}

// refused reports whether the relay said no, for which a wrong argument is the reason.
func refused(err error) bool {
	var no *chappe.Error
	return errors.As(err, &no)
}
