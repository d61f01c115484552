package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/chappe-relay/chappe/plugins"
	"github.com/chappe-relay/chappe/plugins/api"
	"github.com/chappe-relay/chappe/plugins/manifest"
	"github.com/chappe-relay/chappe/plugins/registry"
)

var pluginListCommand = command{
	name:  "plugin list",
	brief: "what plugins a node has, and how they do",
	usage: `NAME
    chappe plugin list - what plugins a node has, and how they do

USAGE
    chappe plugin list [-json] [-admin URL] [-token TOKEN] [NAME]

DESCRIPTION
    Prints each plugin with the channels that go through it, its versions, the
    newest first, and what their hooks did on this node since they were loaded:
    calls, verdicts by kind, failures by kind, fuel, time of a sample, memory,
    and the breaker where it is not closed.

FLAGS
    -json           print what the admin port answered
` + adminPage + `

EXAMPLE
    $ chappe plugin list geofence`,
	setup: func(f *flags) func(*env, []string) error {
		admin, asJSON := newAdminFlags(f), f.Bool("json", false, "")
		return func(e *env, args []string) error {
			if len(args) > 1 {
				return wrong("one argument too many: %s", printable(args[1]))
			}
			c, err := admin.client(e)
			if err != nil {
				return err
			}
			ctx, stop := interrupts(e.ctx, nil)
			defer stop()
			var all []api.Plugin
			if len(args) == 1 {
				var one *api.Plugin
				if one, err = c.Get(ctx, args[0]); err == nil {
					all = []api.Plugin{*one}
				}
			} else {
				all, err = c.List(ctx)
			}
			if err != nil {
				return unanswered(c, err)
			}
			if *asJSON {
				out := json.NewEncoder(e.stdout)
				out.SetIndent("", "  ")
				if all == nil {
					all = []api.Plugin{}
				}
				return out.Encode(map[string][]api.Plugin{"plugins": all})
			}
			if len(all) == 0 {
				_, err := fmt.Fprintln(e.stdout, "no plugins; chappe plugin push uploads one")
				return err
			}
			for i := range all {
				if err := writePlugin(e.stdout, &all[i]); err != nil {
					return err
				}
			}
			return nil
		}
	},
}

func writePlugin(w io.Writer, p *api.Plugin) error {
	var b strings.Builder
	b.WriteString(p.Name + "\n")
	for i := range p.Bindings {
		b.WriteString("  channels " + bindingText(&p.Bindings[i]) + "\n")
	}
	if len(p.Bindings) == 0 {
		b.WriteString("  no channels\n")
	}
	for i := range p.Versions {
		writeVersion(&b, &p.Versions[i], p.Bindings)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func writeVersion(b *strings.Builder, v *api.Version, bound []registry.Binding) {
	words := []string{string(v.State)}
	for _, used := range []struct {
		as string
		of func(*registry.Binding) registry.Digest
	}{
		{"bound", func(b *registry.Binding) registry.Digest { return b.Stable }},
		{"canary", func(b *registry.Binding) registry.Digest { return b.Canary }},
		{"kept for rollback", func(b *registry.Binding) registry.Digest { return b.Previous }},
	} {
		if slices.ContainsFunc(bound, func(b registry.Binding) bool { return used.of(&b) == v.Digest }) {
			words = append(words, used.as)
		}
	}
	if v.State == plugins.Ready {
		words = append(words, "role "+string(role(manifest.Role(v.Role))))
	}
	if len(v.Hooks) > 0 {
		words = append(words, "hooks "+list(v.Hooks))
	}
	if v.Bytes > 0 {
		words = append(words, bytesText(uint64(v.Bytes)))
	}
	if v.Key != "" {
		words = append(words, "key "+v.Key)
	}
	words = append(words, v.Accepted.UTC().Format(time.DateTime))
	fmt.Fprintf(b, "  version %s: %s\n", v.Digest, strings.Join(words, "; "))
	if v.Why != "" {
		b.WriteString("    " + strings.Join(unfolded(v.Why), "\n    ") + "\n")
	}
	if v.Loaded {
		line := fmt.Sprintf("    %s, %s", plural(v.Instances, "instance", "instances"), bytesText(v.Memory))
		if v.Breaker != "closed" && v.Breaker != "" {
			line += ", breaker " + v.Breaker
		}
		if v.Shed > 0 {
			line += ", " + grouped(v.Shed) + " calls shed"
		}
		b.WriteString(line + "\n")
	}
	for _, hook := range slices.Sorted(maps.Keys(v.Calls)) {
		c := v.Calls[hook]
		if c.Calls == 0 && len(c.Failures) == 0 {
			continue
		}
		parts := []string{grouped(c.Calls) + " calls"}
		if text := counts(c.Verdicts); text != "" {
			parts[0] += " (" + text + ")"
		}
		if text := counts(c.Failures); text != "" {
			parts = append(parts, "failed: "+text)
		}
		if c.Calls > 0 {
			parts = append(parts, "fuel "+grouped(c.Fuel/c.Calls)+" each, p99 below "+grouped(c.FuelP99+1))
		}
		if c.MeanTime > 0 {
			parts = append(parts, took(c.MeanTime)+" each")
		}
		fmt.Fprintf(b, "    %s: %s\n", hook, strings.Join(parts, "; "))
	}
}

// counts writes what is counted by kind, the most frequent first.
func counts(by map[string]uint64) string {
	kinds := slices.SortedFunc(maps.Keys(by), func(a, b string) int {
		if by[a] != by[b] {
			if by[a] > by[b] {
				return -1
			}
			return 1
		}
		return strings.Compare(a, b)
	})
	var parts []string
	for _, k := range kinds {
		if by[k] > 0 {
			parts = append(parts, k+" "+grouped(by[k]))
		}
	}
	return strings.Join(parts, ", ")
}
