package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
)

// source is a Source over maps; chappe.yaml is the file when there is one.
func source(files, env map[string]string) Source {
	s := Source{
		Getenv: func(name string) string { return env[name] },
		ReadFile: func(name string) ([]byte, error) {
			if text, ok := files[name]; ok {
				return []byte(text), nil
			}
			return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		},
	}
	if _, ok := files["chappe.yaml"]; ok {
		s.Path = "chappe.yaml"
	}
	return s
}

func lines(err error) []string {
	var out []string
	for _, f := range Faults(err) {
		out = append(out, f.Error())
	}
	return out
}

func TestDefaultsAreValid(t *testing.T) {
	for _, dev := range []bool{false, true} {
		if _, err := Load(Source{Dev: dev}); err != nil {
			t.Errorf("dev %v: %v", dev, err)
		}
	}
	// Bounds must parse too, also those of map entries.
	for _, f := range schema() {
		if f.tag.Get("doc") == "" {
			t.Errorf("%s has no doc", f.path)
		}
		if !f.isSection() && !f.isMap() && !f.isList() {
			if err := f.check(); err != nil {
				t.Errorf("default of %s: %v", f.path, err)
			}
		}
	}
}

func TestExampleIsValid(t *testing.T) {
	secret := strings.Repeat("s", 32)
	c, err := Load(source(map[string]string{
		"chappe.yaml": example, "/run/secrets/chappe-admin": secret + "\n",
		"/run/secrets/chappe-jwt": secret, "/run/secrets/chappe-dispatch": "ck_" + secret,
	}, nil))
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Admin.Token.Reveal(); got != secret {
		t.Errorf("admin token %q; want the file's content without its newline", got)
	}
	if got := c.Namespaces["rides"]; time.Duration(got.Age) != 10*time.Minute || got.Entries != 1000 || !got.History {
		t.Errorf("rides: %+v", got)
	}
	if w := c.Warnings(); len(w) != 0 {
		t.Errorf("warnings for the example: %q", w)
	}
}

func TestFaults(t *testing.T) {
	for name, c := range map[string]struct {
		file string
		env  map[string]string
		want []string
	}{
		"unknown keys": {
			file: "region: x\nclient:\n  lsiten: :80\n  public-url: http://x\nnamespcaes: {}\nlevel: debug\nweather: 1\n",
			want: []string{
				"chappe.yaml:3: client.lsiten: unknown key; did you mean client.listen?",
				"chappe.yaml:4: client.public-url: unknown key; did you mean client.public_url?",
				"chappe.yaml:5: namespcaes: unknown key; did you mean namespaces?",
				"chappe.yaml:6: level: unknown key; did you mean log.level?",
				"chappe.yaml:7: weather: unknown key; want region, client, admin, auth, namespaces, limits, mesh, history, plugins, memory, data, log or drain",
			},
		},
		"in a namespace": {
			file: "namespaces:\n  rides:\n    histroy: true\n    age: 5\n    policy: confalte\n    entries: 10\n    anonymous: [subscrib]\n  a.b: {}\n  other: {wide: true}\n",
			want: []string{
				"chappe.yaml:3: namespaces.rides.histroy: unknown key; did you mean namespaces.rides.history?",
				"chappe.yaml:4: namespaces.rides.age: want a duration with a unit such as 5s or 5m",
				"chappe.yaml:8: namespaces.a.b: a namespace is the first token of a channel name: 1 to 64 of A-Z a-z 0-9 _ -, or *",
				"chappe.yaml:9: namespaces.other.wide: only \"*\" can have it: *.x begins with no namespace",
				"chappe.yaml:7: namespaces.rides.anonymous: unknown value \"subscrib\"; did you mean subscribe?",
				"chappe.yaml:6: namespaces.rides.entries: has no effect without history: true",
				"chappe.yaml:5: namespaces.rides.policy: unknown value \"confalte\"; did you mean conflate?",
			},
		},
		"values": {
			file: "region: EU West\nclient:\n  listen: 8080\n  origins: [https://a.example/x]\n  trusted_proxies: [10.0.0.0/33]\n  proxy_protocol: yes\nmemory: 1MiB\nlimits: {batch: many, dead: 9s, frame: 64KiB, poll_hold: 1h}\nlog: {level: [a], format: json}\n",
			want: []string{
				"chappe.yaml:6: client.proxy_protocol: want true or false, not \"yes\"",
				"chappe.yaml:8: limits.batch: want a whole number, not \"many\"",
				"chappe.yaml:9: log.level: want a single value",
				"chappe.yaml:3: client.listen: want address:port such as 127.0.0.1:8080 or :8080, not \"8080\"",
				"chappe.yaml:4: client.origins: \"https://a.example/x\": not an origin such as https://app.example, without a path",
				"chappe.yaml:5: client.trusted_proxies: want an address or a network such as 10.0.0.0/8, not \"10.0.0.0/33\"",
				"chappe.yaml:8: limits.dead: 9s must be more than limits.ping, 10s",
				"chappe.yaml:8: limits.frame: 64KiB must be at least one and a half times limits.message, 64KiB: base64 and JSON need room",
				"chappe.yaml:8: limits.poll_hold: 1h is too much: at most 25s",
				"chappe.yaml:7: memory: 1MiB is too small: at least 8MiB",
				"chappe.yaml:1: region: \"EU West\" is not 1 to 32 of a-z 0-9 -",
			},
		},
		"secrets": {
			file: "admin: {listen: 0.0.0.0:8081}\nauth:\n  secret: short\n  retired: short\n  retired_file: jwt\n  keys:\n    k1: {algorithm: ES256, public: nonsense}\n    k2: {}\n    k3: {algorithm: ES384}\n    k4: {secret_file: nowhere}\n    k5: {secret: tiny}\n  api_keys:\n    a: {grants: ['rides.>:publsh']}\n    b: {key: ck_0123456789012345678901}\n    c: {key_file: nowhere, grants: ['r..x:all', 'x']}\n",
			want: []string{
				"chappe.yaml:10: auth.keys.k4.secret_file: nowhere: file does not exist",
				"chappe.yaml:15: auth.api_keys.c.key_file: nowhere: file does not exist",
				"chappe.yaml:5: auth.retired_file: give retired or retired_file, not both",
				"chappe.yaml:1: admin.listen: 0.0.0.0:8081 can be reached from other machines and needs admin.token or admin.token_file",
				"chappe.yaml:13: auth.api_keys.a.grants: grant \"rides.>:publsh\": unknown value \"publsh\"; did you mean publish?",
				"chappe.yaml:13: auth.api_keys.a.key: missing; give key or sha256",
				"chappe.yaml:14: auth.api_keys.b.grants: missing",
				"chappe.yaml:15: auth.api_keys.c.grants: grant \"r..x:all\": token 2 of channel name \"r..x\" is empty (byte 2)",
				"chappe.yaml:15: auth.api_keys.c.grants: want pattern:actions such as rides.>:publish,history, not \"x\"",
				"chappe.yaml:7: auth.keys.k1.public: not PEM",
				"chappe.yaml:8: auth.keys.k2.secret: missing",
				"chappe.yaml:9: auth.keys.k3.algorithm: unknown value \"ES384\"; want HS256, ES256 or EdDSA",
				"chappe.yaml:11: auth.keys.k5.secret: 4 bytes; at least 32 are needed",
				"chappe.yaml:4: auth.retired: 5 bytes; at least 32 are needed",
				"chappe.yaml:3: auth.secret: 5 bytes; at least 32 are needed",
			},
		},
		"environment": {
			file: "namespaces: {a-b: {}, a_b: {}}\n",
			env:  map[string]string{"CHAPPE_MEMORY": "lots", "CHAPPE_NAMESPACES_A_B_WIDE": "false", "CHAPPE_NAMESPACES": "{c: {hsitory: true}}"},
			want: []string{
				"environment CHAPPE_NAMESPACES: namespaces.c.hsitory: unknown key; did you mean namespaces.c.history?",
				"environment CHAPPE_NAMESPACES_A_B_WIDE: namespaces.a_b.wide: also names namespaces.a-b.wide; set this in the file",
				"environment CHAPPE_MEMORY: memory: want a size such as 64KiB or 256MiB, not \"lots\"",
			},
		},
		"more than a packet, with a store": {
			file: "limits: {message: 5MiB, frame: 16MiB}\nnamespaces: {rides: {history: true, message: 4MiB}}\n",
			want: []string{"chappe.yaml:1: limits.message: 5MiB is too much with a mesh or a store: at most 4032KiB fit a packet between nodes and in a store"},
		},
		"more than a packet, with a mesh": {
			file: "limits: {message: 4MiB, frame: 16MiB}\nmesh: {key: SU}\nhistory: {store: false}\n",
			want: []string{"chappe.yaml:1: limits.message: 4MiB is too much with a mesh or a store: at most 4032KiB fit a packet between nodes and in a store"},
		},
		"a packet":                 {file: "limits: {message: 4032KiB, frame: 16MiB}\nmesh: {key: SU}\nnamespaces: {rides: {history: true, message: 4032KiB}}\n"},
		"more than a packet, here": {file: "limits: {message: 16MiB, frame: 64MiB}\nnamespaces: {rides: {message: 16MiB}}\n"},
		"bare star":                {file: "namespaces:\n  *: {history: true}\n", want: []string{"chappe.yaml:2: in YAML a * stands in quotes: \"*\""}},
		"tab":                      {file: "namespaces:\n\thistory: true\n", want: []string{"chappe.yaml:2: a tab; YAML is indented with spaces"}},
		"twice":                    {file: "region: a\nregion: b\n", want: []string{"chappe.yaml:2: mapping key \"region\" already defined at [1:1]"}},
		"not a map":                {file: "- a\n", want: []string{"chappe.yaml:1: want keys and values here"}},
		"two":                      {file: "region: a\n---\nregion: b\n", want: []string{"chappe.yaml:3: a second document; one file holds one"}},
		"alias":                    {file: "region: &r a\nlog: {level: *r}\n", want: []string{"chappe.yaml:1: region: anchors, aliases and tags are not understood here", "chappe.yaml:2: log.level: anchors, aliases and tags are not understood here"}},
		"no value":                 {file: "region:\nclient:\n", want: []string{"chappe.yaml:1: region: has no value"}},
		"empty":                    {file: "# nothing\n"},
		"empty list":               {file: "client: {origins: []}\n"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Load(source(map[string]string{"chappe.yaml": c.file, "jwt": "x"}, c.env))
			if got := lines(err); !slices.Equal(got, c.want) {
				t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(c.want, "\n  "))
			}
		})
	}
}

func TestBrokenYAMLNamesTheLine(t *testing.T) {
	_, err := Load(source(map[string]string{"chappe.yaml": "region: a\nclient: {listen: [\n"}, nil))
	got := lines(err)
	if len(got) != 1 || !strings.HasPrefix(got[0], "chappe.yaml:") || strings.Contains(got[0], "\n") {
		t.Errorf("%q; want one line with its place", got)
	}
}

func TestMissingFile(t *testing.T) {
	_, err := Load(Source{Path: "nowhere.yaml", ReadFile: source(nil, nil).ReadFile})
	if got := lines(err); !slices.Equal(got, []string{"nowhere.yaml: file does not exist"}) {
		t.Errorf("%q", got)
	}
}

func TestEveryKeyByEnvironment(t *testing.T) {
	env := map[string]string{"CHAPPE_NAMESPACES": "{n: {}}", "CHAPPE_AUTH_KEYS": "{n: {}}", "CHAPPE_AUTH_API_KEYS": "{n: {}}", "CHAPPE_PLUGINS_KEYS": "{n: {}}", "CHAPPE_MESH_PEERS": "{n: {}}"}
	want := make(map[string]string)
	for _, f := range schema() {
		if f.isSection() || f.isMap() {
			continue
		}
		path := strings.ReplaceAll(f.path, "<name>", "n")
		value := map[string]string{"number": "7", "size": "9MiB", "duration": "7s", "list": "a, b", "true or false": "true"}[f.typeName()]
		if value == "" {
			value = "word"
		}
		env[EnvName(path)], want[path] = value, value
	}
	// Values are laid down, whatever Validate says to them.
	c, _ := Load(source(nil, env))
	seen := 0
	leaves("", reflect.ValueOf(c).Elem(), func(f field, _ []field) {
		if f.isMap() {
			return
		}
		seen++
		got := f.text()
		switch {
		case f.isList():
			got = strings.Join(f.value.Interface().([]string), ", ")
		case f.isSecret():
			got = f.value.String()
		}
		if got != want[f.path] {
			t.Errorf("%s = %q; want %q from %s", f.path, got, want[f.path], f.env())
		}
		if from := c.from[f.path]; from != "environment "+f.env() {
			t.Errorf("%s comes from %q", f.path, from)
		}
	})
	if seen != len(want) {
		t.Errorf("%d keys seen, %d in the schema", seen, len(want))
	}
}

func TestLayers(t *testing.T) {
	c, err := Load(source(
		map[string]string{"chappe.yaml": "region: file\nmemory: 64MiB\nnamespaces:\n  \"*\": {presence: true}\n"},
		map[string]string{"CHAPPE_REGION": "env", "CHAPPE_NAMESPACES_ALL_CACHE": "true", "CHAPPE_LOG_LEVEL": ""}))
	if err != nil {
		t.Fatal(err)
	}
	if all := c.Namespaces["*"]; c.Region != "env" || c.Memory != 64<<20 || !all.Presence || !all.Cache || c.Log.Level != "info" {
		t.Errorf("%+v %+v", c, all)
	}
}

func TestRelativeSecretFile(t *testing.T) {
	c, err := Load(Source{Path: "/etc/chappe/chappe.yaml", ReadFile: func(name string) ([]byte, error) {
		switch name {
		case "/etc/chappe/chappe.yaml":
			return []byte("admin: {token_file: admin.token}"), nil
		case "/etc/chappe/admin.token":
			return []byte("0123456789abcdef\n"), nil
		}
		return nil, fs.ErrNotExist
	}})
	if err != nil || c.Admin.Token.Reveal() != "0123456789abcdef" {
		t.Errorf("token %q, %v", c.Admin.Token.Reveal(), err)
	}
}

func TestSecretsStayHidden(t *testing.T) {
	const secret = "correct-horse-battery-staple-forever"
	c, err := Load(source(map[string]string{"chappe.yaml": fmt.Sprintf("auth: {secret: %s, keys: {k: {secret: %s}}, api_keys: {b: {key: ck_%s, grants: ['>:all']}}}\nadmin: {token: %s}\n", secret, secret, secret, secret)}, nil))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := c.Print(&b); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(b.String(), redacted); n != 4 {
		t.Errorf("%d secrets redacted; want 4", n)
	}
	s := c.Auth.Secret
	fmt.Fprintf(&b, "%s %v %+v %#v %q %x %X %d %v", s, s, s, s, s, s, s, s, c.Auth)
	slog.New(slog.NewJSONHandler(&b, nil)).Info("x", "secret", s, "auth", c.Auth)
	slog.New(slog.NewTextHandler(&b, nil)).Info("x", "secret", s, "admin", c.Admin)
	j, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	y, err := yaml.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	b.Write(j)
	b.Write(y)
	for _, leak := range []string{secret, "correct", fmt.Sprintf("%x", secret)} {
		if strings.Contains(strings.ToLower(b.String()), leak) {
			t.Errorf("%q is shown", leak)
		}
	}
	// Nor by a fault.
	_, err = Load(source(map[string]string{"chappe.yaml": "auth: {secret: tiny-secret}\nadmin: {token: tiny-token}"}, nil))
	if got := fmt.Sprint(err); err == nil || strings.Contains(got, "tiny") {
		t.Errorf("%q", got)
	}
}

func TestPrintReadsBack(t *testing.T) {
	file := "region: file\nclient: {origins: ['https://*.a.example', \"*\"], listen: ':80'}\nnamespaces: {\"*\": {presence: true}, rides: {history: true, age: 90s, anonymous: [all]}}\n"
	c, err := Load(source(map[string]string{"chappe.yaml": file}, map[string]string{"CHAPPE_MEMORY": "10000000"}))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := c.Print(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"region: file ", "# chappe.yaml:1\n", "memory: 10000000", "# environment CHAPPE_MEMORY\n", "level: info", "# default\n", "age: 1m30s",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is missing in\n%s", want, b.String())
		}
	}
	// Values that are printed as defaults would be faults with history off: take them out again.
	var kept []string
	for line := range strings.Lines(b.String()) {
		if !strings.HasSuffix(line, "# default\n") {
			kept = append(kept, line)
		}
	}
	again, err := Load(source(map[string]string{"chappe.yaml": strings.Join(kept, "")}, nil))
	if err != nil {
		t.Fatal(err)
	}
	c.from, again.from = nil, nil
	if !reflect.DeepEqual(c, again) {
		t.Errorf("read back:\n%+v\nwas\n%+v", again, c)
	}
}

func TestManualFits(t *testing.T) {
	var b bytes.Buffer
	if err := Manual(&b); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(b.String()) {
		if len(strings.TrimSpace(line)) > 0 && len([]rune(line)) > 81 && len(strings.Fields(line)) > 1 {
			t.Errorf("longer than 80 columns: %q", line)
		}
	}
	for _, f := range schema() {
		if !strings.Contains(b.String(), f.path) {
			t.Errorf("%s is not in the manual", f.path)
		}
	}
}

func TestConfigurationDocument(t *testing.T) {
	var b bytes.Buffer
	if err := Markdown(&b); err != nil {
		t.Fatal(err)
	}
	const name = "../../docs/configuration.md"
	got, err := os.ReadFile(name)
	if err != nil || !bytes.Equal(bytes.ReplaceAll(got, []byte("\r\n"), []byte("\n")), b.Bytes()) {
		t.Errorf("docs/configuration.md is not what the tags say (%v); run: go run ./edge/cmd/chappe config doc -markdown > docs/configuration.md", err)
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{"64KiB": 65536, "1 MiB": 1 << 20, "1GB": 1e9, "512": 512, "7B": 7, "0": 0, "2kB": 2000} {
		s, err := ParseSize(text)
		if err != nil || int64(s) != want {
			t.Errorf("%q: %d, %v; want %d", text, s, err, want)
		}
		if back, err := ParseSize(s.String()); err != nil || back != s {
			t.Errorf("%q is written %q, which reads %d, %v", text, s, back, err)
		}
	}
	for _, text := range []string{"", "-1", "1.5MiB", "MiB", "64kb", "9999999TiB", "1e9"} {
		if s, err := ParseSize(text); err == nil {
			t.Errorf("%q is taken for %d", text, s)
		}
	}
}

func TestDurations(t *testing.T) {
	for text, want := range map[string]time.Duration{"2m": 2 * time.Minute, "90s": 90 * time.Second, "7d": 168 * time.Hour, "1h30m": 90 * time.Minute, "0s": 0, "0": 0} {
		d, err := ParseDuration(text)
		if err != nil || time.Duration(d) != want {
			t.Errorf("%q: %v, %v; want %v", text, d, err, want)
		}
		if back, err := ParseDuration(d.String()); err != nil || back != d {
			t.Errorf("%q is written %q, which reads %v, %v", text, d, back, err)
		}
	}
	for _, text := range []string{"", "5", "-1s", "-5", "d", "1 week"} {
		if d, err := ParseDuration(text); err == nil {
			t.Errorf("%q is taken for %v", text, d)
		}
	}
	if got := Duration(2 * time.Hour).String(); got != "2h" {
		t.Errorf("2 h is written %s", got)
	}
}

func TestWarnings(t *testing.T) {
	c := Default()
	if w := c.Warnings(); len(w) != 1 || !strings.HasPrefix(w[0], "auth: ") {
		t.Errorf("%q; want a word about auth alone", w)
	}
	c.Client.Listen, c.Client.Origins, c.Admin.Listen = ":8080", []string{"*"}, ":8081"
	if w := c.Warnings(); len(w) != 4 {
		t.Errorf("%q; want 4", w)
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte(example))
	f.Add([]byte("region: &a [*a]\n? {x: y}\n: z\n"))
	f.Add([]byte("namespaces: {\"*\": {age: !!int 5}}\n---\n<<: {}\n"))
	f.Add([]byte("client: {listen: |\n  x\n}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := Load(source(map[string]string{"chappe.yaml": string(text)}, nil))
		for _, line := range lines(err) {
			if strings.ContainsAny(line, "\n") || line == "" {
				t.Errorf("fault %q is not one line", line)
			}
		}
		var b bytes.Buffer
		if err := c.Print(&b); err != nil {
			t.Error(err)
		}
	})
}

// A later file counts; paths are relative to the first; what differs is named.
func TestSeveralFiles(t *testing.T) {
	files := map[string]string{
		"/etc/chappe/a.yaml": "region: one\nclient: {listen: 127.0.0.1:1}\nauth: {secret_file: s}\nnamespaces: {rides: {history: true}}\n",
		"/var/b.yaml":        "region: two\nnamespaces: {rides: {age: 5m}}\n",
		"/etc/chappe/s":      strings.Repeat("s", 40),
	}
	src := Source{Path: "/etc/chappe/a.yaml,/var/b.yaml", ReadFile: func(name string) ([]byte, error) {
		text, ok := files[name]
		if !ok {
			return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		}
		return []byte(text), nil
	}}
	a, err := Load(src)
	if err != nil {
		t.Fatal(err)
	}
	if n := a.Namespaces["rides"]; a.Region != "two" || !n.History || time.Duration(n.Age) != 5*time.Minute || a.Auth.Secret.Reveal() != files["/etc/chappe/s"] {
		t.Errorf("%+v %+v", a, n)
	}
	files["/var/b.yaml"] = "region: two\nlimits: {rate: 7}\nmesh: {peers: {eu: {key: x}}}\nnamespaces: {rides: {age: 5m}}\n"
	b, _ := Load(src)
	if got := strings.Join(Changed(a, b), " "); got != "limits.rate mesh.peers mesh.peers.eu.key mesh.peers.eu.urls" {
		t.Errorf("changed: %s", got)
	}
	if got := Changed(a, a); len(got) != 0 {
		t.Errorf("changed: %v", got)
	}
}
