package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/chappe-relay/chappe/plugins"
	"github.com/chappe-relay/chappe/plugins/api"
	"github.com/chappe-relay/chappe/plugins/manifest"
	"github.com/chappe-relay/chappe/plugins/registry"
	"github.com/chappe-relay/chappe/plugins/sign"
	"github.com/chappe-relay/chappe/relay/policy"
)

var pluginPushCommand = command{
	name:  "plugin push",
	brief: "upload a module, and bind channels to it",
	usage: `NAME
    chappe plugin push - upload a module, and bind channels to it

USAGE
    chappe plugin push [-channels PATTERN,...] [-canary PERCENT] [-key FILE]
                       [-key-name NAME] [-manifest FILE] [-frames FILE]
                       [-admin URL] [-token TOKEN] [MODULE.wasm | FOLDER]

DESCRIPTION
    Uploads a module with its manifest and its recorded frames. The node checks
    it, compiles it and runs the frames; a version that passes is kept under its
    digest, which is printed. With -channels or -canary channels then go through
    it; a message sees one version, and nobody is disconnected. Without, nothing
    changes for any channel until chappe plugin bind.

    What was pushed before, unchanged, is not uploaded again.

    Without an argument it is the module of the project in this folder.

FLAGS
    -channels PATTERN,...
                    let the channels of these patterns go through it; may be
                    repeated. With -canary alone: those that are bound to the
                    plugin already
    -canary PERCENT
                    1 to 99 percent of the channels go through it, the others
                    through what they went through before, until promote or
                    rollback
    -key FILE       sign with this key (chappe plugin keygen), else with that in
                    the file $CHAPPE_PLUGIN_KEY, else with none: chappe dev only
    -key-name NAME
                    the key's name in the node's configuration, else its file's
                    without .key
    -manifest FILE
                    its manifest, else plugin.json beside the module; without
                    either, one that asks for what the module imports
    -frames FILE    frames that the node runs before it takes the module, else
                    the tests of the manifest, else testdata/frames.jsonl beside
                    the module; none: no frames
` + adminPage + `

EXAMPLES
    $ chappe plugin push -channels 'rides.>'
    $ chappe plugin push geofence.wasm -channels 'rides.>' -canary 10 -key ann.key`,
	setup: func(f *flags) func(*env, []string) error {
		p := pushFlags{
			flags: f, admin: newAdminFlags(f), channels: channelFlag(f), canary: f.Int("canary", 0, ""),
			key: f.String("key", "", ""), keyName: f.String("key-name", "", ""), manifest: f.String("manifest", "", ""), frames: f.String("frames", "", ""),
		}
		return p.run
	},
}

type pushFlags struct {
	flags                          *flags
	admin                          adminFlags
	channels                       func() ([]string, error)
	canary                         *int
	key, keyName, manifest, frames *string
}

func (p *pushFlags) run(e *env, args []string) error {
	patterns, err := p.channels()
	if err != nil {
		return err
	}
	canary := p.flags.given("canary")
	if canary && (*p.canary < 1 || *p.canary > 99) {
		return wrong("-canary: want 1 to 99 percent, not %d", *p.canary)
	}
	c, err := p.admin.client(e)
	if err != nil {
		return err
	}
	m, err := openModule(e, args, *p.manifest)
	if err != nil {
		return err
	}
	ctx, stop := interrupts(e.ctx, nil)
	defer stop()
	v, err := p.upload(ctx, e, c, m)
	if err != nil {
		return unanswered(c, err)
	}
	if len(patterns) == 0 && canary {
		if patterns, err = boundTo(ctx, c, m.manifest.Name); err != nil {
			return unanswered(c, err)
		}
	}
	if len(patterns) == 0 {
		_, err := fmt.Fprintf(e.stdout, "no channel goes through it yet: chappe plugin bind %s -channels PATTERN\n", m.manifest.Name)
		return err
	}
	all, err := c.Bind(ctx, m.manifest.Name, api.BindRequest{Channels: patterns, Version: manifest.Hex(policy.Digest(v.Digest)), Canary: *p.canary})
	if err != nil {
		return unanswered(c, err)
	}
	return tellBindings(e, all)
}

// upload makes a version of a module, unless the node has it.
func (p *pushFlags) upload(ctx context.Context, e *env, c *api.Client, m *module) (*registry.Version, error) {
	text, err := p.tested(m)
	if err != nil {
		return nil, err
	}
	known, err := versions(ctx, c, m.manifest.Name)
	if err != nil {
		return nil, err
	}
	for i := range known {
		b, _, err := bundle(text, m.wasm, known[i].Serial)
		if err != nil {
			return nil, err
		}
		if known[i].State == plugins.Ready && registry.Digest(b.Digest()) == known[i].Digest {
			_, err := fmt.Fprintf(e.stdout, "%s %s is there already\n", m.manifest.Name, known[i].Digest)
			return &known[i].Version, err
		}
	}
	serial := m.manifest.Serial
	if serial == 0 {
		serial = uint64(time.Now().UnixMilli())
	}
	b, d, err := bundle(text, m.wasm, serial)
	if err != nil {
		return nil, err
	}
	if key := cmp.Or(*p.key, e.getenv("CHAPPE_PLUGIN_KEY")); key != "" {
		if b.Signature, err = signature(key, *p.keyName, sign.Statement{Digest: d, Name: m.manifest.Name, Serial: serial}); err != nil {
			return nil, err
		}
	}
	out, err := c.Push(ctx, b)
	if err != nil {
		return nil, err
	}
	_, err = fmt.Fprintf(e.stdout, "%s %s is ready: %s, hooks %s\n", m.manifest.Name, out.Digest, bytesText(uint64(len(m.wasm))), list(out.Hooks))
	return &out.Version, err
}

// bundle is a version: a manifest with a serial in it, and the module.
func bundle(text map[string]json.RawMessage, wasm []byte, serial uint64) (*manifest.Bundle, policy.Digest, error) {
	n, err := json.Marshal(serial)
	if err != nil {
		return nil, policy.Digest{}, err
	}
	text["serial"] = n
	whole, err := json.Marshal(text) // in the order of its keys: the same text for the same manifest
	if err != nil {
		return nil, policy.Digest{}, err
	}
	b := &manifest.Bundle{Manifest: whole, Wasm: wasm}
	return b, b.Digest(), nil
}

// tested is the manifest with the frames that the node is to run.
func (p *pushFlags) tested(m *module) (map[string]json.RawMessage, error) {
	var text map[string]json.RawMessage
	if err := json.Unmarshal(m.text, &text); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	switch {
	case *p.frames == "none":
		delete(text, "tests")
		return text, nil
	case *p.frames == "" && len(m.manifest.Cases()) > 0:
		return text, nil
	}
	cases, from, err := m.frames(*p.frames)
	if err != nil || len(cases) == 0 {
		return text, err
	}
	const other = "; choose some with -frames FILE, or -frames none"
	if len(cases) > manifest.MaxTests {
		return nil, fmt.Errorf("%s: %d frames, and a node runs at most %d at upload%s", shown(from), len(cases), manifest.MaxTests, other)
	}
	tests, err := json.Marshal(cases)
	if err != nil {
		return nil, err
	}
	if text["tests"] = tests; len(tests) > manifest.MaxBytes-4096 { // the rest of the manifest comes on top
		return nil, fmt.Errorf("%s: %s, and a manifest has at most %s%s", shown(from), bytesText(uint64(len(tests))), bytesText(manifest.MaxBytes), other)
	}
	return text, nil
}

// versions are those of a plugin on a node, the newest first; none if it has no
// such plugin.
func versions(ctx context.Context, c *api.Client, name string) ([]api.Version, error) {
	p, err := c.Get(ctx, name)
	var no *api.Error
	if errors.As(err, &no) && no.Code == "not_found" {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return p.Versions, nil
}

// boundTo are the patterns whose channels go through a plugin.
func boundTo(ctx context.Context, c *api.Client, name string) (out []string, err error) {
	p, err := c.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	for _, b := range p.Bindings {
		out = append(out, b.Pattern)
	}
	slices.Sort(out)
	if len(out) == 0 {
		return nil, wrong("-canary: %s is bound to no channels yet; name some with -channels", name)
	}
	return out, nil
}
