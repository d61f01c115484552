package edge

import (
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/chappe-relay/chappe/edge/config"
	"github.com/chappe-relay/chappe/relay"
	"github.com/chappe-relay/chappe/relay/identity"
	"github.com/chappe-relay/chappe/relay/namespace"
)

func TestDefaultsOfTheFileAreThoseOfTheRelay(t *testing.T) {
	got := relayConfig(options(0)).Limits
	want := relay.Limits{}.Filled()
	want.Connections, want.Sockets = 0, 0 // the machine decides, in New
	if got != want {
		t.Errorf("the file's defaults are\n%+v, the relay's\n%+v", got, want)
	}
	n := config.Dev().Namespaces["*"]
	o := namespaceOptions(n, config.Default().Limits.Message)
	if want := (namespace.Options{History: true, Presence: true, Wide: true}).Filled(); o != want {
		t.Errorf("a namespace's defaults are\n%+v, the relay's\n%+v", o, want)
	}
}

func TestEveryKeyReachesTheRelay(t *testing.T) {
	file := `
region: eu-west
memory: 64MiB
client: {public_url: "https://r.example", alternatives: ["https://s.example"], origins: ["https://a.example"], trusted_proxies: [10.0.0.0/8]}
auth: {issuer: i, audience: a, leeway: 7s, secret: ssssssssssssssssssssssssssssssss, retired: rrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrr,
  keys: {k: {secret: kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk}}, api_keys: {b: {key: ck_0123456789012345678901, grants: ["x.>:publish"]}}}
limits: {message: 1KiB, frame: 2KiB, batch: 3, control: 4KiB, subscriptions: 5, rate: 6, burst: 7, connections: 8, admission: 9, hello: 9s, ping: 10s, dead: 11s, poll_hold: 12s, reconnect: 13s, idempotency: 14s}
namespaces: {n: {history: true, entries: 1, bytes: 2KiB, age: 3s, policy: latest, presence: true, cache: true, anonymous: [publish, history], message: 512, members: 4}, "*": {wide: true}}
`
	c, err := config.Load(config.Source{Path: "x", ReadFile: func(string) ([]byte, error) { return []byte(file), nil }})
	if err != nil {
		t.Fatal(err)
	}
	got := relayConfig(Options{Config: c})
	if want := (relay.Limits{
		Message: 1 << 10, Frame: 2 << 10, Batch: 3, Control: 4 << 10, Subs: 5, Rate: 6, Burst: 7, Connections: 8, Admission: 9,
		Hello: 9 * time.Second, Ping: 10 * time.Second, Dead: 11 * time.Second, PollHold: 12 * time.Second,
		Reconnect: 13 * time.Second, Idempotency: 14 * time.Second,
	}); got.Limits != want {
		t.Errorf("limits\n%+v, want\n%+v", got.Limits, want)
	}
	if want := (namespace.Options{
		History: true, Entries: 1, Bytes: 2 << 10, Age: 3 * time.Second, Policy: namespace.Latest, Presence: true, Cache: true,
		Anonymous: identity.Publish | identity.History, Message: 512, Members: 4,
	}); got.Namespaces["n"] != want {
		t.Errorf("namespace\n%+v, want\n%+v", got.Namespaces["n"], want)
	}
	if star := got.Namespaces["*"]; !star.Wide || star.Message != 1<<10 {
		t.Errorf("* is %+v; want wide, and its default message within limits.message", star)
	}
	if got.Region != "eu-west" || got.Memory != 64<<20 || got.PublicURL != "https://r.example" || got.Dev ||
		!slices.Equal(got.Alternatives, []string{"https://s.example"}) || !slices.Equal(got.Origins, []string{"https://a.example"}) ||
		len(got.Proxies) != 1 || got.Proxies[0].String() != "10.0.0.0/8" {
		t.Errorf("%+v", got)
	}
	a := got.Auth
	if a.Issuer != "i" || a.Audience != "a" || a.Leeway != 7*time.Second || len(a.Secret) != 32 || len(a.Retired) != 1 ||
		len(a.Keys) != 1 || a.Keys[0].ID != "k" || len(a.APIKeys) != 1 || a.APIKeys[0].Name != "b" || len(a.APIKeys[0].Grants) != 1 {
		t.Errorf("auth %v %v %v", a, a.Keys, a.APIKeys)
	}
	if err := got.Validate(); err != nil {
		t.Error(err)
	}
	// A field that somebody adds to the relay's limits has no key yet. Sockets has
	// none: the open-file limit decides.
	if n := reflect.TypeFor[relay.Limits]().NumField(); n != 16 {
		t.Errorf("relay.Limits has %d fields, this test knows 16: give the new one a key, and a line here", n)
	}
}

func TestDevSecretIsForDevOnly(t *testing.T) {
	o := options(0)
	o.DevSecret = "secret"
	if c := relayConfig(o); len(c.Auth.Keys) != 0 || c.Dev {
		t.Error("serve takes the development key")
	}
	o.Dev = true
	if c := relayConfig(o); len(c.Auth.Keys) != 1 || !c.Dev {
		t.Error("dev does not take the development key")
	}
}

var (
	fqName = regexp.MustCompile(`fqName: "(chappe_[a-z_]+)", help: "((?:[^"\\]|\\.)*)"`)
	rowOf  = regexp.MustCompile("(?m)^\\| `(chappe_[a-z_]+)` \\| (.*) \\|$")
)

// The table of metrics in docs/operations.md is what is registered by a node with
// a mesh and a store, no more and no less.
func TestMetricsAreDocumented(t *testing.T) {
	key, _ := seed(t)
	o := newRegion(t, "ap", "n1", key, nil).o
	o.DevTLS = true
	o.Config.Namespaces = map[string]*config.Namespace{"h": {History: true, Entries: 1, Bytes: 1 << 10, Age: config.Duration(time.Second), Message: 1, Members: 1}}
	n, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	defer n.join.close()
	defer n.keep.close()
	defer n.client.Close()
	defer n.admin.Close()
	registered := make(map[string]string)
	descs := make(chan *prometheus.Desc)
	go func() {
		n.registry.Describe(descs)
		close(descs)
	}()
	for d := range descs {
		if m := fqName.FindStringSubmatch(d.String()); m != nil {
			registered[m[1]] = m[2]
		}
	}
	if len(registered) < 10 {
		t.Fatalf("only %d metrics of ours are registered", len(registered))
	}
	text, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := make(map[string]string)
	for _, m := range rowOf.FindAllStringSubmatch(strings.ReplaceAll(string(text), "\r\n", "\n"), -1) {
		if documented[m[1]] != "" {
			t.Errorf("docs/operations.md has %s twice", m[1])
		}
		documented[m[1]] = m[2]
	}
	var rows []string
	for name, help := range registered {
		if documented[name] != help {
			rows = append(rows, fmt.Sprintf("| `%s` | %s |", name, help))
		}
	}
	slices.Sort(rows)
	if len(rows) > 0 {
		t.Errorf("docs/operations.md lacks, or says otherwise:\n%s", strings.Join(rows, "\n"))
	}
	for name := range documented {
		if _, ok := registered[name]; !ok {
			t.Errorf("docs/operations.md has %s, which is not registered", name)
		}
	}
}
