package main

import (
	"cmp"
	"crypto/tls"
	"errors"
	"strings"

	chappe "github.com/chappe-relay/chappe/sdk/go"
)

// clientFlags are those that pub and sub share.
type clientFlags struct {
	url, token, transport, format *string
	insecure                      *bool
}

func newClientFlags(f *flags) clientFlags {
	return clientFlags{
		url: f.String("url", "", ""), token: f.String("token", "", ""),
		transport: f.String("transport", "", ""), format: f.String("format", "", ""),
		insecure: f.Bool("insecure", false, ""),
	}
}

// options checks the flags. The client library would refuse the same, but
// without the nearest right word.
func (c *clientFlags) options(e *env) (url string, o chappe.Options, err error) {
	for _, w := range []struct {
		flag, value string
		words       []string
	}{{"-transport", *c.transport, []string{"ws", "sse", "poll"}}, {"-format", *c.format, []string{"json", "bin"}}} {
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
	if *c.format != "" && *c.transport != "" && *c.transport != "ws" {
		return "", o, wrong("-format is for -transport ws; the others speak JSON")
	}
	all := strings.Split(cmp.Or(*c.url, e.getenv("CHAPPE_URL"), defaultURL), ",")
	for _, one := range all {
		if !strings.Contains(one, "://") {
			return "", o, wrong("-url: want a URL such as %s, not %s", defaultURL, printable(one))
		}
	}
	url = all[0]
	o = chappe.Options{
		Token: cmp.Or(*c.token, e.getenv("CHAPPE_TOKEN")), Transport: *c.transport, Format: *c.format, Agent: "chappe-cli", Regions: all[1:],
	}
	if *c.insecure {
		o.TLS = &tls.Config{InsecureSkipVerify: true} // asked for
	}
	return url, o, nil
}

// refused reports whether the relay said no, for which a wrong argument is the reason.
func refused(err error) bool {
	var no *chappe.Error
	return errors.As(err, &no)
}
