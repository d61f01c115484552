package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"

	"github.com/chappe-relay/chappe/edge/admin"
)

var settingsCommand = command{
	name:  "settings",
	brief: "what can be set while nodes run, and who set it",
	usage: `NAME
    chappe settings - what can be set while nodes run, and who set it

USAGE
    chappe settings [-json] [-set] [-admin URL] [-token TOKEN] [PREFIX]

DESCRIPTION
    Prints the keys of the configuration that a running node takes in, whose
    names begin with PREFIX if one is given: the value in force on the node that
    is asked, and where it comes from. A value that was set stands on all nodes
    over what their files and environments say, until it is unset; OWN is what
    this node's say. One that does not go with the rest of a node's
    configuration is without effect there, and the last column says why.

FLAGS
    -json           print what the admin port answered, line by line
    -set            only what was set
` + adminPage + `

EXAMPLE
    $ chappe settings namespaces.rides`,
	setup: func(f *flags) func(*env, []string) error {
		flags, asJSON, onlySet := newAdminFlags(f), f.Bool("json", false, ""), f.Bool("set", false, "")
		return func(e *env, args []string) error {
			prefix := ""
			if len(args) > 0 {
				prefix, args = args[0], args[1:]
			}
			if err := none(args); err != nil {
				return err
			}
			all, err := flags.settings(e)
			if err != nil {
				return err
			}
			var wanted []admin.Setting
			for _, s := range all {
				if strings.HasPrefix(s.Key, prefix) && (s.Own != nil || s.Idle != "" || !*onlySet) {
					wanted = append(wanted, s)
				}
			}
			if !*asJSON {
				return writeSettings(e.stdout, wanted)
			}
			enc := json.NewEncoder(e.stdout)
			for _, s := range wanted {
				if err := enc.Encode(s); err != nil {
					return err
				}
			}
			return nil
		}
	},
}

// settings reads all pages.
func (a *adminFlags) settings(e *env) (all []admin.Setting, err error) {
	for after := ""; ; {
		raw, err := a.ask(e, http.MethodGet, "/v1/settings?limit=1000&after="+url.QueryEscape(after), "")
		if err != nil {
			return nil, err
		}
		var page struct {
			Settings []admin.Setting
			Next     string
		}
		if err := json.Unmarshal(raw, &page); err != nil {
			return nil, fmt.Errorf("the answer cannot be read: %w", err)
		}
		all = append(all, page.Settings...)
		if after = page.Next; after == "" {
			return all, nil
		}
	}
}

func writeSettings(w io.Writer, all []admin.Setting) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "KEY\tVALUE\tFROM\tOWN\tWITHOUT EFFECT")
	dash := func(s string) string {
		if s == "" {
			return "-"
		}
		return s
	}
	for _, s := range all {
		own := ""
		if s.Own != nil {
			own = dash(*s.Own)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", s.Key, dash(s.Value), s.From, own, s.Idle)
	}
	return t.Flush()
}

var settingsSetCommand = command{
	name:  "settings set",
	brief: "set a key of the configuration on all nodes",
	usage: `NAME
    chappe settings set - set a key of the configuration on all nodes

USAGE
    chappe settings set [-admin URL] [-token TOKEN] KEY VALUE

DESCRIPTION
    Gives a key a value, in the form that its environment variable has. It is in
    force on the node that is asked when the command returns, and on the others
    within seconds of being in touch. It stays, also over restarts, until it is
    unset. A key that a running node does not take in is refused (restart).

FLAGS
` + adminPage + `

EXAMPLE
    $ chappe settings set namespaces.rides.anonymous subscribe,history`,
	setup: func(f *flags) func(*env, []string) error {
		flags := newAdminFlags(f)
		return func(e *env, args []string) error {
			if len(args) != 2 {
				return wrong("give a key and its value: chappe settings set KEY VALUE")
			}
			_, err := flags.ask(e, http.MethodPut, "/v1/settings/"+url.PathEscape(args[0]), args[1])
			return err
		}
	},
}

var settingsUnsetCommand = command{
	name:  "settings unset",
	brief: "let each node's own configuration count again",
	usage: `NAME
    chappe settings unset - let each node's own configuration count again

USAGE
    chappe settings unset [-admin URL] [-token TOKEN] KEY

FLAGS
` + adminPage + `

EXAMPLE
    $ chappe settings unset namespaces.rides.anonymous`,
	setup: func(f *flags) func(*env, []string) error {
		flags := newAdminFlags(f)
		return func(e *env, args []string) error {
			if len(args) != 1 {
				return wrong("give one key: chappe settings unset KEY")
			}
			_, err := flags.ask(e, http.MethodDelete, "/v1/settings/"+url.PathEscape(args[0]), "")
			return err
		}
	},
}
