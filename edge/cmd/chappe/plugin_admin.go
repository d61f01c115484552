package main

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/chappe-relay/chappe/plugins/api"
	"github.com/chappe-relay/chappe/plugins/registry"
	"github.com/chappe-relay/chappe/relay/channel"
)

const defaultAdmin = "http://127.0.0.1:8081"

// adminFlags are those of the commands that speak to a node's admin port.
type adminFlags struct{ url, token *string }

func newAdminFlags(f *flags) adminFlags {
	return adminFlags{f.String("admin", "", ""), f.String("token", "", "")}
}

// adminPage is how pages explain them.
const adminPage = `    -admin URL      the node's admin port, else $CHAPPE_ADMIN_URL, else
                    http://127.0.0.1:8081
    -token TOKEN    the admin token, else $CHAPPE_ADMIN_TOKEN, which other users
                    of this machine cannot see`

func (a *adminFlags) client(e *env) (*api.Client, error) {
	at := cmp.Or(*a.url, e.getenv("CHAPPE_ADMIN_URL"), defaultAdmin)
	if u, err := url.Parse(at); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, wrong("-admin: want a URL such as %s, not %s", defaultAdmin, printable(at))
	}
	return &api.Client{URL: at, Token: cmp.Or(*a.token, e.getenv("CHAPPE_ADMIN_TOKEN"))}, nil
}

// unanswered says what can be done about an error of the admin port.
func unanswered(c *api.Client, err error) error {
	var no *api.Error
	var lost *url.Error
	switch {
	case errors.As(err, &no):
		if no.Status == http.StatusUnauthorized {
			return fmt.Errorf("%w; give the node's admin token with -token or CHAPPE_ADMIN_TOKEN", err)
		}
		if no.Code == "not_found" && strings.HasPrefix(no.Text, "no such route") {
			return fmt.Errorf("the node at %s takes no plugins: its configuration has no plugins.keys (or this is not its admin port)", c.URL)
		}
		return err
	case errors.As(err, &lost):
		return fmt.Errorf("nobody answers at %s: %v; -admin or CHAPPE_ADMIN_URL names another node", c.URL, errors.Unwrap(lost))
	}
	return err
}

// channelFlag declares -channels, which takes patterns separated by commas and may
// be repeated.
func channelFlag(f *flags) func() ([]string, error) {
	given := f.list("channels")
	return func() (out []string, err error) {
		for _, text := range *given {
			for p := range strings.SplitSeq(text, ",") {
				p = strings.TrimSpace(p)
				if _, err := channel.CheckPattern(p); err != nil {
					return nil, wrong("-channels: %v", err)
				}
				out = append(out, p)
			}
		}
		return out, nil
	}
}

// pluginName is the one argument of most commands.
func pluginName(args []string, usage string) (string, error) {
	switch len(args) {
	case 0:
		return "", wrong("which plugin? %s", usage)
	case 1:
		return args[0], nil
	}
	return "", wrong("one argument too many: %s", printable(args[1]))
}

// tellBindings prints what channels go through now.
func tellBindings(e *env, all []registry.Binding) error {
	for i := range all {
		if _, err := fmt.Fprintln(e.stdout, bindingText(&all[i])); err != nil {
			return err
		}
	}
	return nil
}

func bindingText(b *registry.Binding) string {
	if !b.Bound() {
		return b.Pattern + ": no plugin"
	}
	var parts []string
	switch {
	case !b.Stable.IsZero():
		parts = append(parts, b.Stable.String())
	case b.Percent < 100:
		parts = append(parts, "no plugin")
	}
	if !b.Canary.IsZero() {
		parts = append(parts, fmt.Sprintf("%d %% of the channels %s (canary)", b.Percent, b.Canary))
	}
	return b.Pattern + ": " + strings.Join(parts, ", ")
}
