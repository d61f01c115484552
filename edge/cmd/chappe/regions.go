package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/chappe-relay/chappe/edge/admin"
	"github.com/chappe-relay/chappe/edge/mesh"
	"github.com/chappe-relay/chappe/plugins/api"
)

var regionsInitCommand = command{
	name:  "regions init",
	brief: "make the keys and certificates that join regions",
	usage: `NAME
    chappe regions init - make the keys and certificates that join regions

USAGE
    chappe regions init [-dir DIRECTORY] REGION[=HOST:PORT[,HOST:PORT]]...

DESCRIPTION
    Makes a directory for each region: its secret key, its certificate,
    mesh.yaml, which names the others by their public keys, and chappe.yaml, a
    configuration to begin with. HOST:PORT is where the nodes of a region take
    links from regions with a larger name; the smallest name needs it most, the
    largest not at all. A node runs with

        chappe serve -config REGION/chappe.yaml,REGION/mesh.yaml

    Run again with one region more, it keeps what is there and writes each
    mesh.yaml anew: a SIGHUP makes running nodes read it. The authority's key,
    ca.key, is needed for that alone: keep it off the nodes.

FLAGS
    -dir DIRECTORY    where the directories are made; . if not given

EXAMPLE
    $ chappe regions init -dir mesh ap=ap.example:7422 eu=eu.example:7422 us`,
	setup: func(f *flags) func(*env, []string) error {
		dir := f.String("dir", ".", "")
		return func(e *env, args []string) error {
			if len(args) < 2 {
				return wrong("name two regions at least")
			}
			var sites []mesh.Site
			for _, a := range args {
				name, urls, _ := strings.Cut(a, "=")
				s := mesh.Site{Region: name}
				if urls != "" {
					s.URLs = strings.Split(urls, ",")
				}
				sites = append(sites, s)
			}
			if err := mesh.Init(*dir, sites); err != nil {
				return err
			}
			for _, s := range sites {
				if _, err := fmt.Fprintf(e.stdout, "%s/%s/mesh.yaml\n", strings.TrimSuffix(*dir, "/"), s.Region); err != nil {
					return err
				}
			}
			return nil
		}
	},
}

var regionsCommand = command{
	name:  "regions",
	brief: "who is in the mesh: links, lag, loss and clocks",
	usage: `NAME
    chappe regions - who is in the mesh: links, lag, loss and clocks

USAGE
    chappe regions [-json] [-admin URL] [-token TOKEN]

DESCRIPTION
    Prints the nodes that this one hears, with the load and the clients they
    tell of, the round trip, how old their newest mark was when it came, how
    many of their messages were lost on the way here for good, how far their
    clocks are from this one's, and which version they run; then the links; then
    the regions that are configured and not heard.

FLAGS
    -json           print what the admin port answered
` + adminPage + `

EXAMPLE
    $ chappe regions`,
	setup: func(f *flags) func(*env, []string) error {
		flags, asJSON := newAdminFlags(f), f.Bool("json", false, "")
		return func(e *env, args []string) error {
			if err := none(args); err != nil {
				return err
			}
			body, err := flags.ask(e, http.MethodGet, "/v1/regions", "")
			if no, ok := errors.AsType[*api.Error](err); ok && no.Status == http.StatusNotFound {
				return errors.New("this node is alone: no mesh is configured")
			}
			if err != nil {
				return err
			}
			if *asJSON {
				_, err := e.stdout.Write(body)
				return err
			}
			var all admin.Regions
			if err := json.Unmarshal(body, &all); err != nil {
				return fmt.Errorf("the answer cannot be read: %w", err)
			}
			return writeRegions(e.stdout, &all)
		}
	},
}

func writeRegions(w io.Writer, all *admin.Regions) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "REGION\tNODE\tSTATE\tCLIENTS\tLOAD\tRTT\tLAG\tLOST\tCLOCK\tVERSION\tURL")
	for _, m := range all.Members {
		state := "up"
		switch {
		case m.Self:
			state = "this node"
		case !m.Up:
			state = "not heard"
		case m.Draining:
			state = "draining"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%.2f\t%s\t%s\t%d\t%s\t%s\t%s\n", m.Region, m.Node, state, m.Clients, m.Load, round(m.RTT), round(m.Lag), m.Lost, round(m.Clock), m.Version, m.URL)
	}
	for _, l := range all.Links {
		state := "up"
		if !l.Up {
			state = "down"
		}
		fmt.Fprintf(t, "%s\t%s\t%s %s\t\t\t%s\n", l.Region, l.Node, l.Kind, state, round(l.RTT))
	}
	for _, region := range all.Missing {
		fmt.Fprintf(t, "%s\t\tnot heard\n", region)
	}
	return t.Flush()
}

func round(d time.Duration) string {
	if d == 0 {
		return "-"
	}
	return d.Round(10 * time.Microsecond).String()
}
