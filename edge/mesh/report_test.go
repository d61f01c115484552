package mesh

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/chappe-relay/chappe/relay/node"
)

// What comes and goes is said once: nodes, regions, versions.
func TestChangesAreSaid(t *testing.T) {
	var said lines
	keys := regionKeys{}
	m := launch(t, Config{Region: "ap", Node: "n0", Listen: "127.0.0.1:0", Key: keys.seed(t, "ap"), Logger: said.logger(),
		Peers: []Peer{{Region: "eu", Key: keys.public(t, "eu")}, {Region: "us", Key: keys.public(t, "us")}}}).mesh
	now := time.Now()
	self := Member{Region: "ap", Node: "n0", Status: Status{Version: "v1"}, Self: true, Up: true}
	one := Member{Region: "eu", Node: "n0", Status: Status{Version: "v1"}, Up: true}
	two := Member{Region: "eu", Node: "n1", Status: Status{Version: "v2"}, Up: true}
	silent := func(m Member) Member { m.Up, m.Heard = false, now.Add(-3*time.Second); return m }
	left := func(m Member) Member { m.Up, m.Left = false, true; return m }
	r := &report{nodes: make(map[string]bool), regions: make(map[string]bool)}
	for _, step := range []struct {
		members []Member
		want    []string
	}{
		{[]Member{self}, nil}, // who starts has said already whom it does not hear
		{[]Member{self, one, two}, []string{`a node is heard" member=eu.n0 version=v1`, `a node is heard" member=eu.n1 version=v2`,
			`nodes run different versions" versions="v1 (ap.n0, eu.n0), v2 (eu.n1)"`}},
		{[]Member{self, one, silent(two)}, []string{`a node is no longer heard" member=eu.n1 silent=3s`, `all nodes run one version again" version="v1 (ap.n0, eu.n0)"`}},
		{[]Member{self, silent(one), silent(two)}, []string{`a node is no longer heard" member=eu.n0`, `a region is no longer heard: none of its nodes is" region=eu`}},
		{[]Member{self, one, silent(two)}, []string{`a node is heard again" member=eu.n0`, `a region is heard again" region=eu`}},
		{[]Member{self, left(one)}, []string{`a node has left" member=eu.n0`, `a region is no longer heard: none of its nodes is" region=eu`}},
		{[]Member{self}, nil},
	} {
		for range 2 {
			m.reportNodes(r, step.members, now)
			m.reportRegions(r, step.members)
			m.reportVersions(r, step.members)
		}
		said.mu.Lock()
		text := said.b.String()
		said.b.Reset()
		said.mu.Unlock()
		for _, want := range step.want {
			if strings.Count(text, `msg="mesh: `+want) != 1 {
				t.Errorf("%s: not said once in\n%s", want, text)
			}
		}
		if n := strings.Count(text, "\n"); n != len(step.want) {
			t.Errorf("%d lines, want %d:\n%s", n, len(step.want), text)
		}
	}
}

// So are links, by the watchdog.
func TestLinksAreSaid(t *testing.T) {
	var px *proxy
	var said lines
	regions(t, regionKeys{}, []string{"ap", "eu"}, func(_, _, address string) string {
		px = newProxy(t, address)
		return px.address()
	}, func(c *Config, _ *node.Config) {
		if c.Region == "ap" {
			c.Logger = said.logger()
		}
	})
	says := func(n int, what string) {
		t.Helper()
		eventually(t, what, func() bool { return said.count(what) >= n })
	}
	says(1, `msg="mesh: a link is up" kind=leaf region=eu node=n0`)
	px.refusing(true)
	says(1, `msg="mesh: a link is down" kind=leaf region=eu node=n0`)
	says(1, `msg="mesh: a region is no longer heard: none of its nodes is" region=eu`)
	px.refusing(false)
	says(2, `msg="mesh: a link is up" kind=leaf region=eu node=n0`)
	says(1, `msg="mesh: a region is heard again" region=eu`)
}

// What finds no room in a queue is said at once, and then now and then.
func TestDropsAreSaid(t *testing.T) {
	var said lines
	p := launch(t, Config{Region: "ap", Node: "n0", Key: regionKeys{}.seed(t, "ap"), Logger: said.logger()})
	p.close(true)
	now := time.Now()
	p.mesh.out.dropped.Add(3)
	p.mesh.report(now)
	p.mesh.out.dropped.Add(4)
	p.mesh.in.dropped.Add(5)
	p.mesh.report(now.Add(time.Second))
	p.mesh.report(now.Add(quiet))
	p.mesh.report(now.Add(3 * quiet))
	for _, want := range []string{"queue=outbox packets=3", "queue=outbox packets=4", "queue=inbox packets=5"} {
		if said.count(want) != 1 {
			t.Errorf("%s: %d times", want, said.count(want))
		}
	}
	if n := said.count("packets were dropped"); n != 3 {
		t.Errorf("said %d times", n)
	}
}

// A link of an older server than the floor is not let in.
func TestOldServerIsRefused(t *testing.T) {
	keys := regionKeys{}
	var said lines
	a := launch(t, Config{Region: "ap", Node: "n0", Listen: "127.0.0.1:0", Key: keys.seed(t, "ap"), Logger: said.logger(),
		Peers: []Peer{{Region: "eu", Key: keys.public(t, "eu")}}})
	for version, refused := range map[string]bool{"2.14.9": true, minVersion: false} {
		answer := linkAs(t, a.mesh.Addr(), keys.seed(t, "eu"), version)
		if got := strings.Contains(answer, "minimum version"); got != refused {
			t.Errorf("a server %s is answered %q", version, answer)
		}
	}
	eventually(t, "it is said and counted", func() bool {
		return a.mesh.Stats().Refused == 1 && said.count(CodeRefused) == 1 && said.count("minimum version") == 1
	})
}

// linkAs makes a link by hand, as a server of a version would, and returns what it
// is told, up to an error or a ping.
func linkAs(t *testing.T, address, seed, version string) (answer string) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	r := bufio.NewReader(conn)
	line, err := r.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	var info struct{ Nonce string }
	if err := json.Unmarshal([]byte(strings.TrimPrefix(line, "INFO ")), &info); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	kp, err := nkeys.FromSeed([]byte(seed))
	if err != nil {
		t.Fatal(err)
	}
	sig, err := kp.Sign([]byte(info.Nonce))
	if err != nil {
		t.Fatal(err)
	}
	public, err := kp.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "CONNECT {\"nkey\":%q,\"sig\":%q,\"version\":%q,\"name\":\"eu.n0.x\",\"server_id\":\"X\"}\r\nPING\r\n",
		public, base64.RawURLEncoding.EncodeToString(sig), version)
	for {
		line, err := r.ReadString('\n')
		answer += line
		if err != nil || strings.HasPrefix(line, "-ERR") || strings.HasPrefix(line, "PONG") {
			return answer
		}
	}
}
